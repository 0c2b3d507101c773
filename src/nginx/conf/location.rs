//! Contexts `http`, `server` and `location`: the `wsgi_*` directives, how they are inherited, and what a
//! location's requests get of them.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nginx_sys::{
    NGX_HTTP_UWSGI_TEMP_PATH, ngx_conf_merge_path_value, ngx_conf_t, ngx_flag_t,
    ngx_http_complex_value_t, ngx_http_core_loc_conf_t, ngx_log_t, ngx_msec_t, ngx_path_init_t,
    ngx_path_t, ngx_str_t,
};

use super::main::{DEFAULT_POOL, MainConf};
use super::{ConfError, Place, RequestHandler, core_loc_conf, main_conf, out_of_memory};
use crate::bridge::config::{AppConfig, Buffering, ClientAbort, Debug, ExecutorId, LocationConfig};
use crate::http::header::HeaderKind;
use crate::http::names::Names;
use crate::nginx::sys::{self, CONF_UNSET, CONF_UNSET_MSEC, CONF_UNSET_SIZE};

/// `wsgi_thread_pool inline`: the event loop's own thread.
const INLINE: &str = "inline";

/// What `wsgi_app` says.
#[derive(Clone, Debug)]
pub(in crate::nginx) enum App {
    Off,
    Target(String, Place),
}

/// A `wsgi_param`.
#[derive(Clone, Debug)]
pub(in crate::nginx) struct Param {
    pub(in crate::nginx) name: Vec<u8>,
    pub(in crate::nginx) value: ParamValue,
    pub(in crate::nginx) if_not_empty: bool,
}

#[derive(Clone, Debug)]
pub(in crate::nginx) enum ParamValue {
    Constant(Vec<u8>),
    /// Compiled in the configuration's pool.
    Complex(*mut ngx_http_complex_value_t),
}

/// Contexts http, server and location.
#[derive(Debug)]
pub(in crate::nginx) struct LocConf {
    pub(in crate::nginx) app: Option<App>,
    pub(in crate::nginx) callables: Option<Vec<String>>,
    pub(in crate::nginx) script_name: Option<Option<Vec<u8>>>,
    pub(in crate::nginx) params: Option<Vec<Param>>,
    pub(in crate::nginx) pool: Option<(String, Place)>,
    pub(in crate::nginx) queue_timeout: ngx_msec_t,
    pub(in crate::nginx) timeout: ngx_msec_t,
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
    pub(in crate::nginx) intercept_errors: ngx_flag_t,
    pub(in crate::nginx) request_buffering: ngx_flag_t,
    pub(in crate::nginx) buffering: ngx_flag_t,
    pub(in crate::nginx) buffer_size: usize,
    pub(in crate::nginx) max_temp_file_size: usize,
    pub(in crate::nginx) temp_path: *mut ngx_path_t,
    /// Made by the merge, where this location has an application.
    pub(in crate::nginx) location: Option<Arc<LocationConfig>>,
    /// The `wsgi_param`s to evaluate for each request.
    pub(in crate::nginx) request_params: Vec<Param>,
    /// Which reading of the configuration this is.
    pub(in crate::nginx) configuration: usize,
}

impl LocConf {
    pub(in crate::nginx) fn new(configuration: usize) -> Self {
        Self {
            app: None,
            callables: None,
            script_name: None,
            params: None,
            pool: None,
            queue_timeout: CONF_UNSET_MSEC,
            timeout: CONF_UNSET_MSEC,
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
            intercept_errors: CONF_UNSET,
            request_buffering: CONF_UNSET,
            buffering: CONF_UNSET,
            buffer_size: CONF_UNSET_SIZE,
            max_temp_file_size: CONF_UNSET_SIZE,
            temp_path: ptr::null_mut(),
            location: None,
            request_params: Vec::new(),
            configuration,
        }
    }

    /// Inherits from `previous` what this level does not set, and settles what its requests need.
    ///
    /// # Safety
    ///
    /// nginx is merging: `cf` is its own.
    pub(in crate::nginx) unsafe fn merge(
        &mut self,
        cf: *mut ngx_conf_t,
        previous: &LocConf,
    ) -> Result<(), ConfError> {
        inherit(&mut self.callables, &previous.callables);
        inherit(&mut self.script_name, &previous.script_name);
        inherit(&mut self.params, &previous.params);
        inherit(&mut self.pool, &previous.pool);
        merge_value(&mut self.queue_timeout, previous.queue_timeout, CONF_UNSET_MSEC, 30_000);
        merge_value(&mut self.timeout, previous.timeout, CONF_UNSET_MSEC, 60_000);
        inherit(&mut self.raw_path, &previous.raw_path);
        inherit(&mut self.hide_headers, &previous.hide_headers);
        inherit(&mut self.pass_headers, &previous.pass_headers);
        inherit(&mut self.ignore_headers, &previous.ignore_headers);
        merge_value(&mut self.pass_authorization, previous.pass_authorization, CONF_UNSET, 1);
        merge_value(&mut self.pass_request_headers, previous.pass_request_headers, CONF_UNSET, 1);
        merge_value(&mut self.accel, previous.accel, CONF_UNSET, 1);
        merge_value(&mut self.early_hints, previous.early_hints, CONF_UNSET, 1);
        merge_value(&mut self.file_wrapper, previous.file_wrapper, CONF_UNSET, 1);
        merge_value(&mut self.force_ranges, previous.force_ranges, CONF_UNSET, CONF_UNSET);
        inherit(&mut self.client_abort, &previous.client_abort);
        inherit(&mut self.debug, &previous.debug);
        merge_value(&mut self.intercept_errors, previous.intercept_errors, CONF_UNSET, 0);
        merge_value(&mut self.request_buffering, previous.request_buffering, CONF_UNSET, 1);
        merge_value(&mut self.buffering, previous.buffering, CONF_UNSET, 1);
        merge_value(&mut self.buffer_size, previous.buffer_size, CONF_UNSET_SIZE, 256 * 1024);
        let gigabyte = 1024 * 1024 * 1024;
        merge_value(
            &mut self.max_temp_file_size,
            previous.max_temp_file_size,
            CONF_UNSET_SIZE,
            gigabyte,
        );
        // SAFETY: cf is nginx's; the path's text lives in the configuration's pool.
        unsafe {
            let mut default = ngx_path_init_t {
                name: temp_path(cf).ok_or_else(out_of_memory)?,
                level: [1, 2, 0],
            };
            let merged = ngx_conf_merge_path_value(
                cf,
                &raw mut self.temp_path,
                previous.temp_path,
                &raw mut default,
            );
            if !merged.is_null() {
                return Err(ConfError("wsgi_temp_path cannot be set up".to_owned()));
            }
        }
        // SAFETY: the core module's merge made its configuration for this location.
        let core = unsafe { &mut *core_loc_conf(cf) };
        // SAFETY: cf is nginx's, and main_conf its own main configuration of this module.
        let main = unsafe { &mut *main_conf(cf) };
        self.inherit_app(core, main.handlers.content, previous)?;
        if let Some(App::Target(target, place)) = self.app.clone() {
            self.make_location(main, target, &place, core.error_log)?;
        }
        Ok(())
    }

    /// Does this module act on that X-Accel header of a response?
    pub(in crate::nginx) fn obeys(&self, kind: HeaderKind) -> bool {
        self.accel != 0 && !self.ignore_headers.iter().flatten().any(|ignored| *ignored == kind)
    }

    /// Does that header of a response go to the client? The X-Accel ones are nginx's own.
    pub(in crate::nginx) fn passes(&self, kind: HeaderKind, name: &[u8]) -> bool {
        let among =
            |names: &Option<Names>| names.as_ref().is_some_and(|names| names.contains(name));
        // wsgi_pass_header takes out of what is hidden (ngx_http_upstream_hide_headers_hash).
        among(&self.pass_headers) || !(kind.is_accel() || among(&self.hide_headers))
    }

    /// As nginx's own content handlers are: into `if` and `limit_except`, not into nested locations.
    fn inherit_app(
        &mut self,
        core: &mut ngx_http_core_loc_conf_t,
        content: RequestHandler,
        previous: &LocConf,
    ) -> Result<(), ConfError> {
        let ours = core.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, content));
        match &self.app {
            Some(App::Target(_, place)) if !ours => Err(ConfError(format!(
                "wsgi_app stands beside another content handler, which would win; only one of them \
                 can serve a location in {}:{}",
                place.file, place.line
            ))),
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

    fn make_location(
        &mut self,
        main: &mut MainConf,
        target: String,
        place: &Place,
        log: *mut ngx_log_t,
    ) -> Result<(), ConfError> {
        let callables = self.callables.clone();
        let callables = callables.unwrap_or_else(|| vec!["application".into(), "app".into()]);
        let app = main.add_app(AppConfig { target, callables }, place);
        let name = self.pool.as_ref().map_or(DEFAULT_POOL, |(name, _)| name);
        let place = self.pool.as_ref().map_or(place, |(_, place)| place);
        let executor = if name == INLINE {
            if self.request_buffering == 0 {
                return Err(ConfError(format!(
                    "wsgi_thread_pool inline and wsgi_request_buffering off exclude each other: the event \
                     loop cannot wait for a request's body in {}:{}",
                    place.file, place.line
                )));
            }
            ExecutorId::Inline
        } else {
            ExecutorId::Pool(pool_named(main, name, place)?)
        };
        let mut params = Vec::new();
        self.request_params.clear();
        for param in self.params.iter().flatten() {
            match &param.value {
                ParamValue::Constant(value) if value.is_empty() && param.if_not_empty => {}
                ParamValue::Constant(value) => params.push((param.name.clone(), value.clone())),
                ParamValue::Complex(_) => self.request_params.push(param.clone()),
            }
        }
        // SAFETY: the merge has set temp_path, in the configuration's pool.
        let directory = unsafe { sys::bytes((*self.temp_path).name) };
        let location = LocationConfig {
            id: main.add_location(app, log),
            app,
            executor,
            script_name: self.script_name.clone().flatten(),
            timeout: (self.timeout > 0).then(|| Duration::from_millis(self.timeout as u64)),
            client_abort: self.client_abort.unwrap_or(ClientAbort::Notify),
            debug: self.debug.unwrap_or(Debug::Off),
            early_hints: self.early_hints != 0,
            file_wrapper: self.file_wrapper != 0,
            accel_buffering: self.obeys(HeaderKind::AccelBuffering),
            params,
            buffering: Buffering {
                enabled: self.buffering != 0,
                memory: self.buffer_size,
                file: self.max_temp_file_size as u64,
                directory: Path::new(std::ffi::OsStr::from_bytes(directory)).into(),
            },
        };
        self.location = Some(Arc::new(location));
        Ok(())
    }
}

/// The index of the `python_thread_pool` of that name.
fn pool_named(main: &MainConf, name: &str, place: &Place) -> Result<usize, ConfError> {
    main.pools.iter().position(|pool| pool.name == name).ok_or_else(|| {
        let known: Vec<_> = main.pools.iter().map(|pool| pool.name.as_str()).collect();
        ConfError(format!(
            "wsgi_thread_pool \"{name}\" is not defined; write python_thread_pool {name} threads=N; in \
             http, or use one of: {}, {INLINE} in {}:{}",
            known.join(", "),
            place.file,
            place.line
        ))
    })
}

fn inherit<T: Clone>(own: &mut Option<T>, previous: &Option<T>) {
    if own.is_none() {
        own.clone_from(previous);
    }
}

fn merge_value<T: PartialEq + Copy>(own: &mut T, previous: T, unset: T, default: T) {
    if *own == unset {
        *own = if previous == unset { default } else { previous };
    }
}

/// The default of `wsgi_temp_path`: beside nginx's own temporary folders, wherever this nginx keeps
/// them.
///
/// # Safety
///
/// `cf` is nginx's.
unsafe fn temp_path(cf: *mut ngx_conf_t) -> Option<ngx_str_t> {
    const UWSGI: &CStr = NGX_HTTP_UWSGI_TEMP_PATH;
    let beside = Path::new(std::ffi::OsStr::from_bytes(UWSGI.to_bytes()));
    let name = match beside.file_name().map(OsStrExt::as_bytes) {
        Some(b"uwsgi_temp") | None => "wsgi_temp",
        Some(_) => "wsgi",
    };
    let path = beside.with_file_name(name);
    // SAFETY: cf's pool lives as long as the configuration.
    unsafe { sys::pool_copy((*cf).pool, path.as_os_str().as_bytes()) }
}
