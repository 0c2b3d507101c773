//! The directives that each protocol has under a prefix of its own: what they set, and how it is inherited.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nginx_sys::{
    NGX_HTTP_UWSGI_TEMP_PATH, ngx_conf_merge_path_value, ngx_flag_t, ngx_http_complex_value_t,
    ngx_msec_t, ngx_path_init_t, ngx_path_t,
};

use super::error::{ConfError, Place};
use super::handlers::RequestHandler;
use super::main::MainConf;
use super::reading::Reading;
use crate::bridge::code::Code;
use crate::bridge::config::{ClientAbort, Debug, Protocol};
use crate::http::header::HeaderKind;
use crate::http::names::Names;
use crate::nginx::sys::{CONF_UNSET, CONF_UNSET_MSEC, CONF_UNSET_SIZE};

/// What the directives of one protocol differ in from those of another.
#[derive(Debug)]
pub(in crate::nginx) struct Prefix {
    /// The directives are called after it.
    pub(in crate::nginx) protocol: Protocol,
    /// The other protocol: a location has an application of one of them.
    pub(in crate::nginx) other: Protocol,
    /// The default of `…_request_buffering`.
    pub(in crate::nginx) request_buffering: bool,
    /// The default of `…_max_temp_file_size`.
    pub(in crate::nginx) max_temp_file_size: usize,
    /// What `…_param` cannot set: objects of the request's own.
    pub(in crate::nginx) reserved_params: &'static [&'static [u8]],
}

/// What `…_app` says.
#[derive(Clone, Debug)]
pub(in crate::nginx) enum App {
    Off,
    Target(String, Place),
}

/// A `…_param`.
#[derive(Clone, Debug)]
pub(in crate::nginx) struct Param {
    pub(in crate::nginx) name: Vec<u8>,
    pub(in crate::nginx) value: ParamValue,
    pub(in crate::nginx) if_not_empty: bool,
}

impl Param {
    pub(super) fn depends_on_request(&self) -> bool {
        matches!(self.value, ParamValue::Complex(_))
    }
}

#[derive(Clone, Debug)]
pub(in crate::nginx) enum ParamValue {
    Constant(Vec<u8>),
    /// Compiled in the configuration's pool.
    Complex(*mut ngx_http_complex_value_t),
}

/// What the directives of one prefix set in http, server or location. nginx's own setters write to the fields of
/// nginx's types.
#[derive(Debug)]
pub(in crate::nginx) struct CommonConf {
    pub(in crate::nginx) prefix: &'static Prefix,
    pub(in crate::nginx) app: Option<App>,
    pub(in crate::nginx) callables: Option<Vec<String>>,
    pub(in crate::nginx) script_name: Option<Option<Vec<u8>>>,
    pub(in crate::nginx) params: Option<Vec<Param>>,
    pub(in crate::nginx) queue_timeout: ngx_msec_t,
    pub(in crate::nginx) timeout: ngx_msec_t,
    /// 0: off.
    pub(in crate::nginx) slow_request: Option<ngx_msec_t>,
    /// 0: off.
    pub(in crate::nginx) kill_timeout: Option<(ngx_msec_t, Place)>,
    pub(in crate::nginx) raw_path: Option<bool>,
    pub(in crate::nginx) pass_authorization: ngx_flag_t,
    pub(in crate::nginx) pass_request_headers: ngx_flag_t,
    pub(in crate::nginx) hide_headers: Option<Names>,
    pub(in crate::nginx) pass_headers: Option<Names>,
    pub(in crate::nginx) ignore_headers: Option<Vec<HeaderKind>>,
    pub(in crate::nginx) accel: ngx_flag_t,
    pub(in crate::nginx) early_hints: ngx_flag_t,
    pub(in crate::nginx) file_wrapper: ngx_flag_t,
    /// Unset: for files alone.
    pub(in crate::nginx) force_ranges: ngx_flag_t,
    pub(in crate::nginx) client_abort: Option<ClientAbort>,
    pub(in crate::nginx) debug: Option<Debug>,
    /// The name of a `python_process`; `Some(None)`: off.
    pub(in crate::nginx) process: Option<Option<(String, Place)>>,
    pub(in crate::nginx) intercept_errors: ngx_flag_t,
    pub(in crate::nginx) request_buffering: ngx_flag_t,
    pub(in crate::nginx) buffering: ngx_flag_t,
    pub(in crate::nginx) buffer_size: usize,
    pub(in crate::nginx) max_temp_file_size: usize,
    /// Null: there is no temporary file, because no location has an application, or `max_temp_file_size` is 0.
    pub(in crate::nginx) temp_path: *mut ngx_path_t,
}

impl CommonConf {
    pub(super) fn new(prefix: &'static Prefix) -> Self {
        Self {
            prefix,
            app: None,
            callables: None,
            script_name: None,
            params: None,
            queue_timeout: CONF_UNSET_MSEC,
            timeout: CONF_UNSET_MSEC,
            slow_request: None,
            kill_timeout: None,
            raw_path: None,
            pass_authorization: CONF_UNSET,
            pass_request_headers: CONF_UNSET,
            hide_headers: None,
            pass_headers: None,
            ignore_headers: None,
            accel: CONF_UNSET,
            early_hints: CONF_UNSET,
            file_wrapper: CONF_UNSET,
            force_ranges: CONF_UNSET,
            client_abort: None,
            debug: None,
            process: None,
            intercept_errors: CONF_UNSET,
            request_buffering: CONF_UNSET,
            buffering: CONF_UNSET,
            buffer_size: CONF_UNSET_SIZE,
            max_temp_file_size: CONF_UNSET_SIZE,
            temp_path: ptr::null_mut(),
        }
    }

    /// Inherits from `previous` what this level does not set.
    pub(super) fn merge(
        &mut self,
        reading: &mut Reading,
        previous: &CommonConf,
    ) -> Result<(), ConfError> {
        inherit(&mut self.callables, &previous.callables);
        inherit(&mut self.script_name, &previous.script_name);
        inherit(&mut self.params, &previous.params);
        inherit(&mut self.slow_request, &previous.slow_request);
        inherit(&mut self.kill_timeout, &previous.kill_timeout);
        inherit(&mut self.raw_path, &previous.raw_path);
        inherit(&mut self.hide_headers, &previous.hide_headers);
        inherit(&mut self.pass_headers, &previous.pass_headers);
        inherit(&mut self.ignore_headers, &previous.ignore_headers);
        inherit(&mut self.client_abort, &previous.client_abort);
        inherit(&mut self.debug, &previous.debug);
        inherit(&mut self.process, &previous.process);
        merge_time(&mut self.queue_timeout, previous.queue_timeout, 30_000);
        merge_time(&mut self.timeout, previous.timeout, 60_000);
        merge_flag(&mut self.pass_authorization, previous.pass_authorization, 1);
        merge_flag(&mut self.pass_request_headers, previous.pass_request_headers, 1);
        merge_flag(&mut self.accel, previous.accel, 1);
        merge_flag(&mut self.early_hints, previous.early_hints, 1);
        merge_flag(&mut self.file_wrapper, previous.file_wrapper, 1);
        merge_flag(&mut self.force_ranges, previous.force_ranges, CONF_UNSET);
        merge_flag(&mut self.intercept_errors, previous.intercept_errors, 0);
        let by_default = ngx_flag_t::from(self.prefix.request_buffering);
        merge_flag(&mut self.request_buffering, previous.request_buffering, by_default);
        merge_flag(&mut self.buffering, previous.buffering, 1);
        merge_size(&mut self.buffer_size, previous.buffer_size, 256 * 1024);
        let by_default = self.prefix.max_temp_file_size;
        merge_size(&mut self.max_temp_file_size, previous.max_temp_file_size, by_default);
        self.merge_temp_path(reading, previous)
    }

    /// The names of `…_callable`.
    pub(super) fn callables(&self) -> Vec<String> {
        let callables = self.callables.clone();
        callables.unwrap_or_else(|| vec!["application".into(), "app".into()])
    }

    /// The index of the `python_process` that runs the application, if one does.
    pub(super) fn group(&self, main: &MainConf) -> Result<Option<usize>, ConfError> {
        let Some((name, place)) = self.process.as_ref().and_then(Option::as_ref) else {
            return self.refuse_to_kill_workers().map(|()| None);
        };
        let directive = format!("{}_process", self.prefix.protocol);
        main.groups.named(name, &directive, place).map(Some)
    }

    /// A worker serves other requests and other applications: it is not killed for one.
    fn refuse_to_kill_workers(&self) -> Result<(), ConfError> {
        let Some((1.., place)) = &self.kill_timeout else { return Ok(()) };
        let protocol = self.prefix.protocol;
        let text = format!(
            "{protocol}_kill_timeout kills the process of a python_process, and this application runs in the workers; \
             write {protocol}_process NAME, or {protocol}_kill_timeout off"
        );
        Err(ConfError::at(Code::DirectiveInvalid, text, place))
    }

    fn merge_temp_path(
        &mut self,
        reading: &Reading,
        previous: &CommonConf,
    ) -> Result<(), ConfError> {
        if self.temp_path.is_null() {
            self.temp_path = previous.temp_path;
        }
        // nginx creates the folders of all paths that it knows when it starts.
        let used = matches!(self.app, Some(App::Target(..))) && self.max_temp_file_size > 0;
        if !self.temp_path.is_null() || !used {
            return Ok(());
        }
        let protocol = self.prefix.protocol;
        let name = reading.copy(temp_path(protocol).as_os_str().as_bytes())?;
        let mut default = ngx_path_init_t { name, level: [1, 2, 0] };
        // SAFETY: nginx's own merge, which makes the path: neither level has one.
        let merged = unsafe {
            ngx_conf_merge_path_value(
                reading.as_ptr(),
                &raw mut self.temp_path,
                ptr::null_mut(),
                &raw mut default,
            )
        };
        if merged.is_null() {
            return Ok(());
        }
        Err(ConfError::new(Code::TempPath, format!("{protocol}_temp_path cannot be set up")))
    }

    /// Inherits the application as nginx's own content handlers are: into `if` and `limit_except`, not into nested
    /// locations.
    pub(super) fn inherit_app(
        &mut self,
        reading: &mut Reading,
        content: RequestHandler,
        previous: &CommonConf,
    ) -> Result<(), ConfError> {
        let core = reading.core_loc_conf();
        let ours = core.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, content));
        match &self.app {
            Some(App::Target(_, place)) if !ours => {
                let text = format!(
                    "{}_app stands beside another content handler, which would win; only one of them \
                     can serve a location",
                    self.prefix.protocol
                );
                Err(ConfError::at(Code::ContentHandler, text, place))
            }
            Some(_) => Ok(()),
            None => {
                let inside = core.noname() != 0 || core.lmt_excpt() != 0;
                if inside && core.handler.is_none() && matches!(previous.app, Some(App::Target(..)))
                {
                    self.app.clone_from(&previous.app);
                    core.handler = Some(content);
                }
                Ok(())
            }
        }
    }
}

pub(super) fn inherit<T: Clone>(own: &mut Option<T>, previous: &Option<T>) {
    if own.is_none() {
        own.clone_from(previous);
    }
}

pub(super) fn merge_flag(own: &mut ngx_flag_t, previous: ngx_flag_t, default: ngx_flag_t) {
    merge(own, previous, CONF_UNSET, default);
}

pub(super) fn merge_time(own: &mut ngx_msec_t, previous: ngx_msec_t, default: ngx_msec_t) {
    merge(own, previous, CONF_UNSET_MSEC, default);
}

pub(super) fn merge_size(own: &mut usize, previous: usize, default: usize) {
    merge(own, previous, CONF_UNSET_SIZE, default);
}

fn merge<T: PartialEq + Copy>(own: &mut T, previous: T, unset: T, default: T) {
    if *own == unset {
        *own = if previous == unset { default } else { previous };
    }
}

/// The default of `…_temp_path`: beside nginx's own temporary folders, wherever this nginx keeps them.
fn temp_path(protocol: Protocol) -> PathBuf {
    const UWSGI: &CStr = NGX_HTTP_UWSGI_TEMP_PATH;
    let beside = Path::new(OsStr::from_bytes(UWSGI.to_bytes()));
    match beside.file_name().map(OsStrExt::as_bytes) {
        Some(b"uwsgi_temp") | None => beside.with_file_name(format!("{protocol}_temp")),
        Some(_) => beside.with_file_name(protocol.to_string()),
    }
}
