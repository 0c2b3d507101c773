//! The list of everything in nginx that the module uses.
//!
//! bindgen makes bindings only for what is named here. A field that is not named is private in Rust (error E0616).
//! [`super::check`] compares each named field with what the C compiler makes of it.

use std::collections::HashSet;

/// A structure, the fields of it that the module uses, and which of these are bit fields.
pub(crate) struct Record {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static str,
    pub(crate) bits: &'static str,
    /// The first nginx that has these fields, in the form of `nginx_version`.
    pub(crate) since: u32,
}

const fn record(name: &'static str, fields: &'static str, bits: &'static str) -> Record {
    Record { name, fields, bits, since: 0 }
}

impl Record {
    const fn since(mut self, version: u32) -> Self {
        self.since = version;
        self
    }
}

/// Functions, variables or constants that nginx has from a version on.
struct Names {
    since: u32,
    names: &'static str,
}

const RECORDS: &[Record] = &[
    // src/core
    record("ngx_str_t", "len data", ""),
    record("ngx_array_t", "elts nelts", ""),
    record("ngx_list_t", "last part size nalloc pool", ""),
    record("ngx_list_part_t", "elts nelts next", ""),
    record("ngx_queue_t", "prev next", ""),
    record("ngx_rbtree_node_t", "key left right parent", ""),
    record("ngx_table_elt_t", "hash key value lowcase_key", ""),
    record("ngx_table_elt_t", "next", "").since(1_023_000),
    record("ngx_pool_t", "chain cleanup", ""),
    record("ngx_pool_cleanup_t", "handler data next", ""),
    record("ngx_chain_t", "buf next", ""),
    record(
        "ngx_buf_t",
        "pos last file_pos file_last start end tag file",
        "memory in_file flush sync last_buf last_in_chain",
    ),
    record("ngx_file_t", "fd name log", "directio"),
    record("ngx_path_t", "name level", ""),
    record("ngx_path_init_t", "name level", ""),
    record("ngx_log_t", "log_level data connection file next handler writer", ""),
    record(
        "ngx_connection_t",
        "data read write fd recv send_chain sent log ssl sockaddr addr_text local_sockaddr number requests",
        "buffered timedout error close idle shared",
    ),
    record(
        "ngx_event_t",
        "data handler log timer queue",
        "active ready delayed timer_set posted timedout error cancelable channel",
    ),
    record(
        "ngx_cycle_t",
        "conf_ctx log new_log open_files listening connections connection_n reusable_connections_n modules",
        "",
    ),
    record("ngx_process_t", "pid channel data", "respawn just_spawn detached exiting"),
    record("ngx_channel_t", "command pid slot fd", ""),
    record("ngx_listening_t", "fd type previous connection", "inherited reuseport"),
    record("ngx_event_actions_t", "add del", ""),
    record(
        "ngx_core_conf_t",
        "user group env shutdown_timeout rlimit_nofile rlimit_core working_directory worker_processes master \
         priority",
        "",
    ),
    record(
        "ngx_module_t",
        "ctx_index index name spare0 spare1 version signature ctx commands type init_master init_module \
         init_process init_thread exit_thread exit_process exit_master spare_hook0 spare_hook1 spare_hook2 \
         spare_hook3 spare_hook4 spare_hook5 spare_hook6 spare_hook7",
        "",
    ),
    record("ngx_command_t", "name type set conf offset post", ""),
    record("ngx_conf_t", "args cycle pool log ctx cmd_type conf_file", ""),
    record("ngx_conf_file_t", "file line", ""),
    record("ngx_open_file_t", "fd name", ""),
    record("ngx_syslog_peer_t", "severity", ""),
    // src/http
    record(
        "ngx_http_module_t",
        "preconfiguration postconfiguration create_main_conf init_main_conf create_srv_conf merge_srv_conf \
         create_loc_conf merge_loc_conf",
        "",
    ),
    record("ngx_http_conf_ctx_t", "main_conf srv_conf loc_conf", ""),
    record("ngx_http_core_main_conf_t", "phases variables", ""),
    record("ngx_http_phase_t", "handlers", ""),
    record("ngx_http_variable_t", "name get_handler data flags", ""),
    record("ngx_variable_value_t", "data", "len valid no_cacheable not_found"),
    record("ngx_http_core_srv_conf_t", "server_name", ""),
    record(
        "ngx_http_core_loc_conf_t",
        "name handler error_pages error_log send_lowat send_timeout directio tcp_nodelay",
        "noname lmt_excpt auto_redirect",
    ),
    record("ngx_http_core_loc_conf_t", "early_hints", "").since(1_029_000),
    record("ngx_http_log_ctx_t", "current_request", ""),
    record("ngx_http_err_page_t", "status", ""),
    record("ngx_http_complex_value_t", "", ""),
    record("ngx_http_compile_complex_value_t", "cf value complex_value", ""),
    record("ngx_http_cleanup_t", "handler data next", ""),
    record("ngx_http_request_body_t", "bufs buf busy", ""),
    record("ngx_http_headers_in_t", "headers host expect content_length_n server", "chunked"),
    record(
        "ngx_http_headers_out_t",
        "headers trailers status status_line server date content_encoding location last_modified accept_ranges \
         www_authenticate expires etag cache_control link override_charset content_type_len content_type charset \
         content_type_lowcase content_length_n last_modified_time",
        "",
    ),
    record(
        "ngx_http_request_t",
        "connection ctx srv_conf loc_conf read_event_handler write_event_handler pool headers_in headers_out \
         request_body out postponed method http_version request_line uri args unparsed_uri method_name http_protocol main \
         limit_rate cleanup host_start host_end header_in header_size start_sec start_msec",
        "count aio blocked buffered expect_tested request_body_no_buffering header_only expect_trailers keepalive \
         lingering_close reading_body discard_body disable_not_modified chunked allow_ranges single_range limit_rate_set \
         post_action request_output filter_need_in_memory main_filter_need_in_memory",
    ),
];

/// Types of other kinds.
const TYPES: &str = "ngx_buf_tag_t ngx_flag_t ngx_http_handler_pt ngx_http_phases ngx_int_t ngx_msec_t ngx_uint_t off_t";

const FUNCTIONS: &[Names] = &[
    Names {
        since: 0,
        names: "ngx_array_create ngx_array_push ngx_chain_get_free_buf ngx_chain_update_chains \
                ngx_close_connection ngx_close_listening_sockets ngx_conf_log_error ngx_conf_merge_path_value ngx_conf_open_file ngx_conf_set_flag_slot \
                ngx_conf_set_msec_slot ngx_conf_set_path_slot ngx_conf_set_size_slot \
                ngx_connection_local_sockaddr ngx_directio_on ngx_get_connection ngx_handle_read_event \
                ngx_handle_write_event ngx_http_add_variable ngx_http_block_reading ngx_http_cleanup_add \
                ngx_http_compile_complex_value ngx_http_complex_value ngx_http_discard_request_body \
                ngx_http_finalize_request ngx_http_internal_redirect ngx_http_named_location ngx_http_output_filter ngx_http_parse_unsafe_uri \
                ngx_http_read_client_request_body ngx_http_read_unbuffered_request_body \
                ngx_http_request_empty_handler ngx_http_run_posted_requests ngx_http_send_header \
                ngx_http_send_special ngx_tcp_nodelay \
                ngx_http_test_reading ngx_inet_get_port ngx_list_push ngx_log_error_core ngx_palloc \
                ngx_parse_http_time ngx_parse_offset ngx_parse_size ngx_parse_time ngx_pcalloc ngx_pnalloc \
                ngx_pool_cleanup_add ngx_rbtree_delete ngx_rbtree_insert ngx_set_environment ngx_setproctitle \
                ngx_syslog_add_header ngx_syslog_process_conf ngx_syslog_send ngx_time_update ngx_write_channel",
    },
    Names { since: 1_029_000, names: "ngx_http_send_early_hints ngx_http_write_filter" },
];

/// Global variables.
const VARIABLES: &[Names] = &[
    Names {
        since: 0,
        names: "ngx_accept_disabled ngx_channel ngx_core_module ngx_current_msec ngx_cycle ngx_event_actions \
                ngx_event_timer_rbtree ngx_exiting ngx_http_core_get_method ngx_http_core_module ngx_http_module \
                ngx_parent ngx_posted_events ngx_posted_next_events ngx_process ngx_process_slot ngx_processes ngx_quit ngx_terminate \
                ngx_use_accept_mutex ngx_use_exclusive_accept ngx_worker",
    },
    Names { since: 1_029_000, names: "ngx_http_top_early_hints_filter" },
];

/// Macros whose values are numbers.
const NUMBERS: &[Names] = &[Names {
    since: 0,
    names: "NGX_AGAIN NGX_CONF_1MORE NGX_CONF_2MORE NGX_CONF_FLAG NGX_CONF_NOARGS NGX_CONF_TAKE1 NGX_CONF_TAKE12 NGX_CONF_TAKE123 NGX_CONF_TAKE1234 \
            NGX_CONF_TAKE23 NGX_DECLINED NGX_DONE NGX_ERROR NGX_HTTP_BAD_GATEWAY NGX_HTTP_BAD_REQUEST NGX_HTTP_CLIENT_CLOSED_REQUEST NGX_HTTP_FLUSH \
            NGX_HTTP_GATEWAY_TIME_OUT NGX_HTTP_GET NGX_HTTP_HEAD NGX_HTTP_INTERNAL_SERVER_ERROR \
            NGX_HTTP_LIF_CONF NGX_HTTP_LOC_CONF NGX_HTTP_LOG_UNSAFE NGX_HTTP_MAIN_CONF NGX_HTTP_MODULE \
            NGX_HTTP_FORBIDDEN NGX_HTTP_NOT_ALLOWED NGX_HTTP_NOT_FOUND NGX_HTTP_REQUEST_TIME_OUT NGX_HTTP_SERVICE_UNAVAILABLE \
            NGX_HTTP_SPECIAL_RESPONSE NGX_HTTP_SRV_CONF NGX_HTTP_VERSION_11 \
            NGX_HTTP_VAR_NOCACHEABLE NGX_HTTP_VERSION_20 NGX_HTTP_WRITE_BUFFERED NGX_LOG_ALERT NGX_LOG_EMERG NGX_LOG_ERR NGX_LOG_INFO NGX_LOG_NOTICE NGX_LOG_WARN NGX_MAX_PROCESSES NGX_OK \
            NGX_OPEN_FILE_DIRECTIO_OFF NGX_PROCESS_MASTER NGX_PROCESS_SIGNALLER NGX_PROCESS_SINGLE NGX_PROCESS_WORKER NGX_TIMER_LAZY_DELAY \
            nginx_version",
}];

/// Macros whose values are strings.
const STRINGS: &str = "NGINX_VERSION NGX_HTTP_UWSGI_TEMP_PATH NGX_USER";

/// The list for one version of nginx.
pub(crate) struct Surface {
    pub(crate) records: Vec<&'static Record>,
    pub(crate) types: Vec<&'static str>,
    pub(crate) functions: Vec<&'static str>,
    pub(crate) variables: Vec<&'static str>,
    pub(crate) numbers: Vec<&'static str>,
    pub(crate) strings: Vec<&'static str>,
}

impl Surface {
    pub(crate) fn of(nginx: u32) -> Self {
        let names = |list: &[Names]| {
            let known = list.iter().filter(|names| names.since <= nginx);
            known.flat_map(|names| names.names.split_whitespace()).collect()
        };
        Self {
            records: RECORDS.iter().filter(|record| record.since <= nginx).collect(),
            types: TYPES.split_whitespace().collect(),
            functions: names(FUNCTIONS),
            variables: names(VARIABLES),
            numbers: names(NUMBERS),
            strings: STRINGS.split_whitespace().collect(),
        }
    }

    /// The keys of all fields.
    pub(crate) fn fields(&self) -> HashSet<String> {
        let records = self.records.iter();
        records
            .flat_map(|record| record.all_fields().map(|field| Record::key(record.name, field)))
            .collect()
    }
}

impl Record {
    /// The key of a field, which does not depend on the form of its structure's name. nginx's `ngx_x_t` is a typedef
    /// of `struct ngx_x_s` or of a structure without a name, and bindgen appends an underscore to a name that is a
    /// keyword of Rust.
    pub(crate) fn key(record: &str, field: &str) -> String {
        let field = field.strip_suffix('_').unwrap_or(field);
        let stem = record.strip_suffix("_t").or_else(|| record.strip_suffix("_s"));
        format!("{}.{field}", stem.unwrap_or(record))
    }

    pub(crate) fn plain_fields(&self) -> impl Iterator<Item = &'static str> {
        self.fields.split_whitespace()
    }

    pub(crate) fn bit_fields(&self) -> impl Iterator<Item = &'static str> {
        self.bits.split_whitespace()
    }

    pub(crate) fn all_fields(&self) -> impl Iterator<Item = &'static str> {
        self.plain_fields().chain(self.bit_fields())
    }
}
