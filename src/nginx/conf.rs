//! The module's configuration: what the directives set, how it is inherited, and what a request gets.

use std::collections::HashMap;
use std::ffi::{CStr, OsString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use nginx_sys::{
    NGX_HTTP_UWSGI_TEMP_PATH, ngx_array_push, ngx_conf_merge_path_value, ngx_conf_t,
    ngx_core_conf_t, ngx_core_module, ngx_cycle_t, ngx_flag_t, ngx_http_complex_value_t,
    ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_log_t, ngx_module_t,
    ngx_msec_t, ngx_path_init_t, ngx_path_t, ngx_pool_cleanup_add, ngx_str_t, ngx_uint_t,
};

use super::access;
use super::entry;
use super::module::ngx_http_pywsgi_module;
use super::sys::{self, CONF_UNSET, CONF_UNSET_MSEC, CONF_UNSET_SIZE};
use super::target::Target;
use crate::bridge::config::{
    AppConfig, Buffering, LocationConfig, PoolConfig, PythonConfig, WorkerConfig,
};
use crate::bridge::events::Level;
use crate::http::header::HeaderKind;

/// What is wrong, as nginx prints it before `in FILE:LINE`.
#[derive(Debug)]
pub(super) struct ConfError(pub(super) String);

/// Where a directive stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: ngx_uint_t,
}

/// Context `http`: what a worker process has once.
#[derive(Debug, Default)]
pub(super) struct MainConf {
    pub(super) home: Option<PathBuf>,
    pub(super) path: Vec<PathBuf>,
    pub(super) executable: Option<PathBuf>,
    pub(super) env: Vec<(OsString, Option<OsString>)>,
    pub(super) pools: Vec<PoolConfig>,
    pub(super) stdout_level: Option<Level>,
    pub(super) stderr_level: Option<Level>,
    pub(super) finalize: Option<(bool, Duration)>,
    pub(super) drain_timeout: Option<ngx_msec_t>,
    apps: Vec<AppConfig>,
    /// What the workers' user must be able to read, and the directive that names it.
    pub(super) readable: Vec<(&'static str, PathBuf, Place)>,
    locations: usize,
    /// Which reading of the configuration this is.
    pub(super) configuration: usize,
    /// The environment with which nginx was started; its workers no longer have it.
    started_with: HashMap<OsString, OsString>,
}

/// What `wsgi_app` says.
#[derive(Clone, Debug)]
pub(super) enum App {
    Off,
    Target(String, Place),
}

/// A `wsgi_param`.
#[derive(Clone, Debug)]
pub(super) struct Param {
    pub(super) name: Vec<u8>,
    pub(super) value: ParamValue,
    pub(super) if_not_empty: bool,
}

#[derive(Clone, Debug)]
pub(super) enum ParamValue {
    Constant(Vec<u8>),
    /// Compiled in the configuration's pool.
    Complex(*mut ngx_http_complex_value_t),
}

/// Contexts http, server and location.
#[derive(Debug)]
pub(super) struct LocConf {
    pub(super) app: Option<App>,
    pub(super) callables: Option<Vec<String>>,
    pub(super) script_name: Option<Option<Vec<u8>>>,
    pub(super) params: Option<Vec<Param>>,
    pub(super) pool: Option<(String, Place)>,
    pub(super) queue_timeout: ngx_msec_t,
    pub(super) timeout: ngx_msec_t,
    pub(super) raw_path: Option<bool>,
    pub(super) pass_authorization: ngx_flag_t,
    pub(super) pass_request_headers: ngx_flag_t,
    pub(super) hide_headers: Option<Vec<Vec<u8>>>,
    pub(super) pass_headers: Option<Vec<Vec<u8>>>,
    pub(super) ignore_headers: Option<Vec<HeaderKind>>,
    pub(super) accel: ngx_flag_t,
    pub(super) intercept_errors: ngx_flag_t,
    pub(super) request_buffering: ngx_flag_t,
    pub(super) buffering: ngx_flag_t,
    pub(super) buffer_size: usize,
    pub(super) max_temp_file_size: usize,
    pub(super) temp_path: *mut ngx_path_t,
    /// Made by the merge, where this location has an application.
    pub(super) location: Option<Arc<LocationConfig>>,
    /// The `wsgi_param`s to evaluate for each request.
    pub(super) request_params: Vec<Param>,
    /// Which reading of the configuration this is.
    pub(super) configuration: usize,
}

impl MainConf {
    pub(super) fn new(configuration: usize) -> Self {
        Self { configuration, started_with: std::env::vars_os().collect(), ..Self::default() }
    }

    /// Fills in what no directive has set.
    pub(super) fn set_defaults(&mut self) {
        if !self.pools.iter().any(|pool| pool.name == DEFAULT_POOL) {
            self.pools.push(PoolConfig {
                name: DEFAULT_POOL.to_owned(),
                threads: 8,
                max_queue: DEFAULT_MAX_QUEUE,
                stack: None,
            });
        }
    }

    pub(super) fn has_apps(&self) -> bool {
        !self.apps.is_empty()
    }

    /// What the worker's process has in `os.environ`: `python_env`, and what is kept by default.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let kept = KEPT.map(|name| (OsString::from(name), None));
        let mut environment: Vec<(OsString, OsString)> = Vec::new();
        for (name, value) in kept.iter().chain(&self.env) {
            let value = value.as_ref().or_else(|| self.started_with.get(name));
            if let Some(value) = value {
                environment.retain(|(known, _)| known != name);
                environment.push((name.clone(), value.clone()));
            }
        }
        environment
    }

    /// The variables that come from nginx's start. A binary upgrade hands on only what nginx's own `env`
    /// names (ngx_exec_new_binary), so these must be among them.
    pub(super) fn inherited_variables(&self) -> impl Iterator<Item = &[u8]> {
        let kept = KEPT.iter().map(|name| name.as_bytes());
        let named = self.env.iter().filter(|(_, value)| value.is_none());
        kept.chain(named.map(|(name, _)| name.as_bytes()))
    }

    pub(super) fn worker_config(&self) -> WorkerConfig {
        let (finalize, finalize_timeout) = self.finalize.unwrap_or((true, FINALIZE_TIMEOUT));
        let executable = self.executable.clone().or_else(|| {
            let of_home = self.home.as_ref().map(|home| home.join("bin/python3"));
            of_home.or_else(|| option_env!("PYWSGI_PYTHON_EXECUTABLE").map(PathBuf::from))
        });
        WorkerConfig {
            python: PythonConfig {
                home: self.home.clone(),
                path: self.path.clone(),
                executable,
                stdout_level: self.stdout_level.unwrap_or(Level::Info),
                stderr_level: self.stderr_level.unwrap_or(Level::Error),
                finalize,
                finalize_timeout,
            },
            apps: self.apps.clone(),
            pools: self.pools.clone(),
        }
    }

    /// Can the workers' user read all that the directives name?
    pub(super) fn check_files(&self, user: Option<access::User>) -> Result<(), ConfError> {
        let files: Vec<&Path> = self.readable.iter().map(|(_, path, _)| path.as_path()).collect();
        let unreadable = access::check(user, &files).map_err(|error| {
            ConfError(format!("the files that the workers read cannot be checked: {error}"))
        })?;
        let Some(access::Unreadable { at, error }) = unreadable else {
            return Ok(());
        };
        let Some((directive, path, place)) = self.readable.get(at) else {
            return Ok(());
        };
        let who = match user {
            Some(user) => format!("the workers' user (uid {})", user.uid),
            None => "this user".to_owned(),
        };
        Err(ConfError(format!(
            "{directive} \"{}\" cannot be read by {who}: {error}; let that user read it, and search the \
             folders above it in {}:{}",
            path.display(),
            place.file,
            place.line
        )))
    }

    fn add_app(&mut self, app: AppConfig, place: &Place) -> usize {
        if let Some(at) = self.apps.iter().position(|known| *known == app) {
            return at;
        }
        if let Some(file) = Target::split(&app.target).file() {
            self.readable.push(("wsgi_app", file.to_path_buf(), place.clone()));
        }
        self.apps.push(app);
        self.apps.len() - 1
    }
}

/// The variables that `os.environ` keeps from nginx's start.
const KEPT: [&str; 3] = ["PATH", "LANG", "HOME"];

const DEFAULT_POOL: &str = "default";
pub(super) const DEFAULT_MAX_QUEUE: usize = 1024;
const FINALIZE_TIMEOUT: Duration = Duration::from_secs(2);

impl LocConf {
    pub(super) fn new(configuration: usize) -> Self {
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
    pub(super) unsafe fn merge(
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
        let core = unsafe { &mut *loc_conf_of::<ngx_http_core_loc_conf_t>(cf, core_module()) };
        self.inherit_app(core, previous)?;
        if let Some(App::Target(target, place)) = self.app.clone() {
            // SAFETY: cf is nginx's, and main_conf its own main configuration of this module.
            let main = unsafe { &mut *main_conf(cf) };
            self.make_location(main, target, &place)?;
        }
        Ok(())
    }

    /// Does this module act on that X-Accel header of a response?
    pub(super) fn obeys(&self, kind: HeaderKind) -> bool {
        self.accel != 0 && !self.ignore_headers.iter().flatten().any(|ignored| *ignored == kind)
    }

    /// Does that header of a response go to the client? The X-Accel ones are nginx's own.
    pub(super) fn passes(&self, kind: HeaderKind, name: &[u8]) -> bool {
        let among = |names: &Option<Vec<Vec<u8>>>| {
            names.iter().flatten().any(|known| known.eq_ignore_ascii_case(name))
        };
        if kind.is_accel() { among(&self.pass_headers) } else { !among(&self.hide_headers) }
    }

    /// As nginx's own content handlers are: into `if` and `limit_except`, not into nested locations.
    fn inherit_app(
        &mut self,
        core: &mut ngx_http_core_loc_conf_t,
        previous: &LocConf,
    ) -> Result<(), ConfError> {
        let ours =
            core.handler.is_some_and(|handler| ptr::fn_addr_eq(handler, entry::CONTENT_HANDLER));
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
                    core.handler = Some(entry::CONTENT_HANDLER);
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
    ) -> Result<(), ConfError> {
        let callables = self.callables.clone();
        let callables = callables.unwrap_or_else(|| vec!["application".into(), "app".into()]);
        let app = main.add_app(AppConfig { target, callables }, place);
        let name = self.pool.as_ref().map_or(DEFAULT_POOL, |(name, _)| name);
        let pool = main.pools.iter().position(|pool| pool.name == name).ok_or_else(|| {
            let place = self.pool.as_ref().map_or(place, |(_, place)| place);
            let known: Vec<_> = main.pools.iter().map(|pool| pool.name.as_str()).collect();
            ConfError(format!(
                "wsgi_thread_pool \"{name}\" is not defined; write python_thread_pool {name} \
                 threads=N; in http, or use one of: {} in {}:{}",
                known.join(", "),
                place.file,
                place.line
            ))
        })?;
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
            id: main.locations,
            app,
            pool,
            script_name: self.script_name.clone().flatten(),
            accel_buffering: self.obeys(HeaderKind::AccelBuffering),
            params,
            buffering: Buffering {
                enabled: self.buffering != 0,
                memory: self.buffer_size,
                file: self.max_temp_file_size as u64,
                directory: Path::new(std::ffi::OsStr::from_bytes(directory)).to_path_buf(),
            },
        };
        main.locations += 1;
        self.location = Some(Arc::new(location));
        Ok(())
    }
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

pub(super) fn out_of_memory() -> ConfError {
    ConfError("out of memory".to_owned())
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

fn core_module() -> &'static ngx_module_t {
    // SAFETY: nginx sets ctx_index before any configuration is made, and never again.
    unsafe { &*ptr::addr_of!(ngx_http_core_module) }
}

fn own_module() -> &'static ngx_module_t {
    // SAFETY: as for core_module.
    unsafe { &*ptr::addr_of!(ngx_http_pywsgi_module) }
}

/// `ngx_http_conf_get_module_loc_conf`.
///
/// # Safety
///
/// nginx is reading `http`: `cf.ctx` is an HTTP context.
pub(super) unsafe fn loc_conf_of<T>(cf: *mut ngx_conf_t, module: &ngx_module_t) -> *mut T {
    // SAFETY: the caller's.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        (*(*ctx).loc_conf.add(module.ctx_index)).cast()
    }
}

/// The core module's configuration of the location that is being read.
///
/// # Safety
///
/// As for [`loc_conf_of`].
pub(super) unsafe fn core_loc_conf(cf: *mut ngx_conf_t) -> *mut ngx_http_core_loc_conf_t {
    // SAFETY: the caller's.
    unsafe { loc_conf_of(cf, core_module()) }
}

/// This module's main configuration.
///
/// # Safety
///
/// As for [`loc_conf_of`].
pub(super) unsafe fn main_conf(cf: *mut ngx_conf_t) -> *mut MainConf {
    // SAFETY: the caller's.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        (*(*ctx).main_conf.add(own_module().ctx_index)).cast()
    }
}

/// This module's main configuration of a cycle; `None` where it has no `http`.
///
/// # Safety
///
/// `cycle` is valid.
pub(super) unsafe fn main_conf_of_cycle<'a>(cycle: *mut ngx_cycle_t) -> Option<&'a MainConf> {
    // SAFETY: `ngx_http_cycle_get_module_main_conf`; nothing changes it once it has been read.
    unsafe {
        let http = (*(*cycle).conf_ctx.add((*ptr::addr_of!(nginx_sys::ngx_http_module)).index))
            .cast::<ngx_http_conf_ctx_t>();
        if http.is_null() {
            return None;
        }
        (*(*http).main_conf.add(own_module().ctx_index)).cast::<MainConf>().as_ref()
    }
}

/// nginx's own `user`, `worker_shutdown_timeout`, …
///
/// # Safety
///
/// `cycle` is valid.
pub(super) unsafe fn nginx_core_conf<'a>(cycle: *mut ngx_cycle_t) -> &'a ngx_core_conf_t {
    // SAFETY: `ngx_get_conf`; the core module has a configuration from the start.
    unsafe {
        let core =
            (*(*cycle).conf_ctx.add((*ptr::addr_of!(ngx_core_module)).index)).cast::<*mut c_void>();
        &*core.cast::<ngx_core_conf_t>()
    }
}

/// Adds a variable to nginx's own `env`, where it is not there yet.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn add_env(cf: *mut ngx_conf_t, name: &[u8]) -> Result<(), ConfError> {
    // SAFETY: the core module has made its array of variables; the name is copied into the pool that
    // lives as long.
    unsafe {
        let core = ptr::from_ref(nginx_core_conf((*cf).cycle)).cast_mut();
        let known =
            std::slice::from_raw_parts((*core).env.elts.cast::<ngx_str_t>(), (*core).env.nelts);
        if known
            .iter()
            .any(|known| sys::bytes(*known).split(|byte| *byte == b'=').next() == Some(name))
        {
            return Ok(());
        }
        let copy = sys::pool_copy((*cf).pool, name).ok_or_else(out_of_memory)?;
        let added = ngx_array_push(&raw mut (*core).env).cast::<ngx_str_t>();
        if added.is_null() {
            return Err(out_of_memory());
        }
        *added = copy;
        Ok(())
    }
}

/// The user of the workers, where that is not the one who reads the configuration.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn workers_user(cf: *mut ngx_conf_t) -> Option<access::User> {
    // SAFETY: plain system calls; the core module's configuration is there.
    unsafe {
        if libc::geteuid() != 0 {
            return None;
        }
        let core = nginx_core_conf((*cf).cycle);
        if core.user != libc::uid_t::MAX {
            return Some(access::User { uid: core.user, gid: core.group });
        }
        // Not set yet: ngx_core_module_init_conf will take nginx's own default.
        let entry = libc::getpwnam(nginx_sys::NGX_USER.as_ptr());
        (!entry.is_null()).then(|| access::User { uid: (*entry).pw_uid, gid: (*entry).pw_gid })
    }
}

/// Moves a configuration to the heap; nginx's pool drops it when the cycle ends.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn keep<T>(cf: *mut ngx_conf_t, conf: T) -> *mut c_void {
    // SAFETY: the pool runs its cleanups once, when nothing uses the configuration any more.
    unsafe {
        let cleanup = ngx_pool_cleanup_add((*cf).pool, 0);
        if cleanup.is_null() {
            return ptr::null_mut();
        }
        let conf = Box::into_raw(Box::new(conf)).cast::<c_void>();
        (*cleanup).data = conf;
        (*cleanup).handler = Some(drop_box::<T>);
        conf
    }
}

unsafe extern "C" fn drop_box<T>(data: *mut c_void) {
    // SAFETY: `keep` made it, and the pool calls once. A destructor here does not panic: it frees
    // strings and lists.
    drop(unsafe { Box::from_raw(data.cast::<T>()) });
}

/// Where nginx is reading now.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn place(cf: *mut ngx_conf_t) -> Place {
    // SAFETY: conf_file is null only for -g's directives.
    unsafe {
        match (*cf).conf_file.as_ref() {
            Some(file) => Place {
                file: String::from_utf8_lossy(sys::bytes(file.file.name)).into_owned(),
                line: file.line,
            },
            None => Place { file: "command line".to_owned(), line: 0 },
        }
    }
}

/// The log of a configuration being read.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn log(cf: *mut ngx_conf_t) -> *mut ngx_log_t {
    // SAFETY: the caller's.
    unsafe { (*cf).log }
}
