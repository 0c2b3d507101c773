//! A location with an application, as its requests need it: every directive has its value.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nginx_sys::ngx_msec_t;

use super::common::{CommonConf, Param, ParamValue};
use super::main::{Logs, MainConf};
use crate::bridge::config::{
    Buffering, ClientAbort, Debug, ExecutorId, LocationConfig, WebSocketConfig,
};
use crate::http::header::HeaderKind;
use crate::http::names::Names;
use crate::http::request_head::says_https;
use crate::nginx::sys::{self, CONF_UNSET};

#[derive(Debug)]
pub(in crate::nginx) struct Location {
    /// What goes along to the threads.
    pub(in crate::nginx) config: Arc<LocationConfig>,
    pub(in crate::nginx) queue_timeout: ngx_msec_t,
    /// 0: no limit.
    pub(in crate::nginx) timeout: ngx_msec_t,
    /// 0: off.
    pub(in crate::nginx) slow_request: ngx_msec_t,
    /// After so many milliseconds a request is looked at for the first time: there is nothing to decide before the
    /// shortest limit. All of them count, because the thread may start at once.
    pub(in crate::nginx) first_look: ngx_msec_t,
    pub(in crate::nginx) request_buffering: bool,
    pub(in crate::nginx) raw_path: bool,
    pass_request_headers: bool,
    pass_authorization: bool,
    hide_headers: Names,
    pass_headers: Names,
    accel: bool,
    ignore_headers: Vec<HeaderKind>,
    /// `None`: for files alone.
    pub(in crate::nginx) force_ranges: Option<bool>,
    pub(in crate::nginx) intercept_errors: bool,
    /// The `…_param`s to evaluate for each request.
    pub(in crate::nginx) request_params: Vec<Param>,
    /// What the other `…_param`s say of the scheme.
    pub(in crate::nginx) https: Option<bool>,
    /// Which reading of the configuration this is.
    pub(in crate::nginx) configuration: usize,
}

/// What the directives of one protocol alone say of a location.
#[derive(Debug)]
pub(super) struct Own {
    /// The application's index.
    pub(super) app: usize,
    /// The `python_process` that runs it.
    pub(super) group: Option<usize>,
    /// What runs it in the process that it runs in.
    pub(super) executor: ExecutorId,
    /// How long after its timeout the application is interrupted.
    pub(super) interrupt: Option<Duration>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) websocket: Option<WebSocketConfig>,
}

impl Location {
    /// `conf` has been merged.
    pub(super) fn new(conf: &CommonConf, main: &mut MainConf, logs: &Logs, own: Own) -> Self {
        let Own { app, group, executor, interrupt, max_in_flight, websocket } = own;
        let params = conf.params.iter().flatten();
        let (request_params, constant) = params.cloned().partition(Param::depends_on_request);
        let params = constant_params(constant);
        let https = params.iter().filter_map(|(name, value)| says_https(name, value)).next_back();
        let ignore_headers = conf.ignore_headers.clone().unwrap_or_default();
        let accel = conf.accel != 0;
        let slow_request = conf.slow_request.unwrap_or(0);
        let kill = conf.kill_timeout.as_ref().map_or(0, |(time, _)| *time);
        let config = LocationConfig {
            id: main.add_location(app, logs),
            in_group: main.groups.next_location(group),
            app,
            protocol: conf.prefix.protocol,
            group,
            executor: group.map_or(executor, ExecutorId::Process),
            output: Arc::clone(&logs.output.log),
            script_name: conf.script_name.clone().flatten(),
            timeout: (conf.timeout > 0).then(|| Duration::from_millis(conf.timeout as u64)),
            interrupt,
            kill: (kill > 0).then(|| Duration::from_millis(kill as u64)),
            slow: (slow_request > 0).then(|| Duration::from_millis(slow_request as u64)),
            client_abort: conf.client_abort.unwrap_or(ClientAbort::Notify),
            debug: conf.debug.unwrap_or(Debug::Off),
            early_hints: conf.early_hints != 0,
            file_wrapper: conf.file_wrapper != 0,
            max_in_flight,
            websocket,
            accel_buffering: accel && !ignore_headers.contains(&HeaderKind::AccelBuffering),
            params,
            buffering: buffering(conf),
        };
        if group.is_some() {
            main.groups.add_location(LocationConfig { executor, ..config.clone() });
        }
        Self {
            config: Arc::new(config),
            queue_timeout: conf.queue_timeout,
            timeout: conf.timeout,
            slow_request,
            first_look: limit(conf.timeout).min(conf.queue_timeout).min(limit(slow_request)),
            request_buffering: conf.request_buffering != 0,
            raw_path: conf.raw_path == Some(true),
            pass_request_headers: conf.pass_request_headers != 0,
            pass_authorization: conf.pass_authorization != 0,
            hide_headers: conf.hide_headers.clone().unwrap_or_default(),
            pass_headers: conf.pass_headers.clone().unwrap_or_default(),
            accel,
            ignore_headers,
            force_ranges: (conf.force_ranges != CONF_UNSET).then_some(conf.force_ranges != 0),
            intercept_errors: conf.intercept_errors != 0,
            request_params,
            https,
            configuration: main.configuration,
        }
    }

    /// Does this module act on that X-Accel header of a response?
    pub(in crate::nginx) fn obeys(&self, kind: HeaderKind) -> bool {
        self.accel && !self.ignore_headers.contains(&kind)
    }

    /// Does that header of a response go to the client? The X-Accel ones are nginx's own.
    pub(in crate::nginx) fn passes(&self, kind: HeaderKind, name: &[u8]) -> bool {
        // …_pass_header takes out of what is hidden (ngx_http_upstream_hide_headers_hash).
        self.pass_headers.contains(name) || !(kind.is_accel() || self.hide_headers.contains(name))
    }

    /// Does that header of a request go to the application? Those that describe the body go along with it.
    pub(in crate::nginx) fn passes_in(&self, name: &[u8]) -> bool {
        if !self.pass_request_headers {
            return name.eq_ignore_ascii_case(b"content-type")
                || name.eq_ignore_ascii_case(b"content-length");
        }
        self.pass_authorization || !name.eq_ignore_ascii_case(b"authorization")
    }
}

/// A time of which 0 means that there is no limit.
pub(in crate::nginx) fn limit(time: ngx_msec_t) -> ngx_msec_t {
    if time == 0 { NO_LIMIT } else { time }
}

/// The period of a request's timer, in milliseconds, if there is no limit. The timer is then needed only for the
/// draining worker.
pub(in crate::nginx) const NO_LIMIT: ngx_msec_t = 60 * 60 * 1000;

/// The names and values; not those that are left out if they are empty.
fn constant_params(params: Vec<Param>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = params.into_iter().filter_map(|Param { name, value, if_not_empty }| match value {
        ParamValue::Constant(value) if !(value.is_empty() && if_not_empty) => Some((name, value)),
        _ => None,
    });
    pairs.collect()
}

fn buffering(conf: &CommonConf) -> Buffering {
    // SAFETY: a path of the configuration's, which the merge has set if there may be a file.
    let directory =
        unsafe { conf.temp_path.as_ref().map_or(&[][..], |path| sys::bytes(path.name)) };
    Buffering {
        enabled: conf.buffering != 0,
        memory: conf.buffer_size,
        file: conf.max_temp_file_size as u64,
        directory: Path::new(OsStr::from_bytes(directory)).into(),
    }
}
