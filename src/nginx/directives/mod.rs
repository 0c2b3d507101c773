//! The directives: their table.

mod location;
mod main;
mod reader;

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::ptr;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_2MORE, NGX_CONF_FLAG, NGX_CONF_TAKE1, NGX_CONF_TAKE12,
    NGX_CONF_TAKE23, NGX_CONF_TAKE1234, NGX_HTTP_LIF_CONF, NGX_HTTP_LOC_CONF,
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF,
    ngx_command_t, ngx_conf_set_flag_slot, ngx_conf_set_msec_slot, ngx_conf_set_path_slot,
    ngx_conf_set_size_slot, ngx_conf_t, ngx_str_t, ngx_uint_t,
};

use self::location::*;
use self::main::*;
use super::conf::LocConf;
use super::sys;

type Setter = unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

const HTTP: u32 = NGX_HTTP_MAIN_CONF;
const LOCATION: u32 = NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF;
const ANY: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;

const fn main(name: ngx_str_t, arguments: u32, set: Setter) -> ngx_command_t {
    ngx_command_t {
        name,
        type_: (HTTP | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset: 0,
        post: ptr::null_mut(),
    }
}

const fn location(
    name: ngx_str_t,
    context: u32,
    arguments: u32,
    set: Setter,
    offset: usize,
) -> ngx_command_t {
    ngx_command_t {
        name,
        type_: (context | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset,
        post: ptr::null_mut(),
    }
}

/// The directive table; docs/directives has a page for each.
pub(super) static mut COMMANDS: [ngx_command_t; 35] = [
    location(sys::string(c"wsgi_app"), LOCATION, NGX_CONF_TAKE1, wsgi_app, 0),
    location(sys::string(c"wsgi_callable"), ANY, NGX_CONF_1MORE, wsgi_callable, 0),
    location(sys::string(c"wsgi_script_name"), ANY, NGX_CONF_TAKE1, wsgi_script_name, 0),
    location(sys::string(c"wsgi_param"), ANY, NGX_CONF_TAKE23, wsgi_param, 0),
    location(sys::string(c"wsgi_thread_pool"), ANY, NGX_CONF_TAKE1, wsgi_thread_pool, 0),
    location(
        sys::string(c"wsgi_queue_timeout"),
        ANY,
        NGX_CONF_TAKE1,
        ngx_conf_set_msec_slot,
        offset_of!(LocConf, queue_timeout),
    ),
    location(
        sys::string(c"wsgi_timeout"),
        ANY,
        NGX_CONF_TAKE1,
        ngx_conf_set_msec_slot,
        offset_of!(LocConf, timeout),
    ),
    location(
        sys::string(c"wsgi_request_buffering"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, request_buffering),
    ),
    location(
        sys::string(c"wsgi_buffering"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, buffering),
    ),
    location(
        sys::string(c"wsgi_buffer_size"),
        ANY,
        NGX_CONF_TAKE1,
        wsgi_buffer_size,
        offset_of!(LocConf, buffer_size),
    ),
    location(
        sys::string(c"wsgi_max_temp_file_size"),
        ANY,
        NGX_CONF_TAKE1,
        ngx_conf_set_size_slot,
        offset_of!(LocConf, max_temp_file_size),
    ),
    location(
        sys::string(c"wsgi_temp_path"),
        ANY,
        NGX_CONF_TAKE1234,
        ngx_conf_set_path_slot,
        offset_of!(LocConf, temp_path),
    ),
    location(sys::string(c"wsgi_path_info"), ANY, NGX_CONF_TAKE1, wsgi_path_info, 0),
    location(
        sys::string(c"wsgi_pass_authorization"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, pass_authorization),
    ),
    location(
        sys::string(c"wsgi_pass_request_headers"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, pass_request_headers),
    ),
    location(sys::string(c"wsgi_hide_header"), ANY, NGX_CONF_TAKE1, wsgi_hide_header, 0),
    location(sys::string(c"wsgi_pass_header"), ANY, NGX_CONF_TAKE1, wsgi_pass_header, 0),
    location(sys::string(c"wsgi_ignore_headers"), ANY, NGX_CONF_1MORE, wsgi_ignore_headers, 0),
    location(
        sys::string(c"wsgi_accel"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, accel),
    ),
    location(
        sys::string(c"wsgi_early_hints"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, early_hints),
    ),
    location(
        sys::string(c"wsgi_file_wrapper"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, file_wrapper),
    ),
    location(
        sys::string(c"wsgi_force_ranges"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, force_ranges),
    ),
    location(sys::string(c"wsgi_client_abort"), ANY, NGX_CONF_TAKE1, wsgi_client_abort, 0),
    location(sys::string(c"wsgi_debug"), ANY, NGX_CONF_TAKE1, wsgi_debug, 0),
    location(
        sys::string(c"wsgi_intercept_errors"),
        ANY,
        NGX_CONF_FLAG,
        ngx_conf_set_flag_slot,
        offset_of!(LocConf, intercept_errors),
    ),
    main(sys::string(c"python_home"), NGX_CONF_TAKE1, python_home),
    main(sys::string(c"python_path"), NGX_CONF_1MORE, python_path),
    main(sys::string(c"python_executable"), NGX_CONF_TAKE1, python_executable),
    main(sys::string(c"python_env"), NGX_CONF_1MORE, python_env),
    main(sys::string(c"python_thread_pool"), NGX_CONF_2MORE, python_thread_pool),
    main(sys::string(c"python_finalize"), NGX_CONF_TAKE12, python_finalize),
    main(sys::string(c"python_drain_timeout"), NGX_CONF_TAKE1, python_drain_timeout),
    main(sys::string(c"python_stdout_log_level"), NGX_CONF_TAKE1, python_stdout_log_level),
    main(sys::string(c"python_stderr_log_level"), NGX_CONF_TAKE1, python_stderr_log_level),
    ngx_command_t::empty(),
];
