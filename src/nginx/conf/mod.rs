//! The module's configuration: what the directives set, how it is inherited, and where nginx keeps it.

pub(super) mod checks;
mod location;
mod main;
mod shared;
mod stages;

use std::ffi::c_void;
use std::ptr;

use nginx_sys::{
    NGX_LOG_EMERG, ngx_array_push, ngx_conf_t, ngx_core_conf_t, ngx_core_module, ngx_cycle_t,
    ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_core_main_conf_t, ngx_http_core_module,
    ngx_http_handler_pt, ngx_module_t, ngx_pool_cleanup_add, ngx_str_t, ngx_uint_t,
};

use self::checks::access;
pub(super) use self::location::{App, LocConf, Param, ParamValue};
pub(super) use self::main::{DEFAULT_MAX_QUEUE, MainConf, Variable};
pub(super) use self::stages::{
    Handlers, RequestHandler, create_loc_conf, create_main_conf, init_main_conf, merge_loc_conf,
    postconfiguration,
};
use super::log;
use super::sys::{self, own_module};
use super::trampoline::guard;

/// What is wrong, as nginx prints it before `in FILE:LINE`.
#[derive(Debug)]
pub(super) struct ConfError(pub(super) String);

/// Where a directive stands.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: ngx_uint_t,
}

pub(super) fn out_of_memory() -> ConfError {
    ConfError("out of memory".to_owned())
}

fn core_module() -> &'static ngx_module_t {
    // SAFETY: nginx sets ctx_index before any configuration is made, and never again.
    unsafe { &*ptr::addr_of!(ngx_http_core_module) }
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

/// Has `handler` called for every request of this nginx, before anything else is done with it.
///
/// # Safety
///
/// nginx's `postconfiguration`.
pub(super) unsafe fn add_post_read_handler(
    cf: *mut ngx_conf_t,
    handler: RequestHandler,
) -> Result<(), ConfError> {
    const PHASE: usize = nginx_sys::ngx_http_phases_NGX_HTTP_POST_READ_PHASE as usize;
    // SAFETY: the caller's: the core module has made the array of each phase's handlers (ngx_http_init_phases).
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = *(*ctx).main_conf.add(core_module().ctx_index);
        let main = main.cast::<ngx_http_core_main_conf_t>();
        let phase = &raw mut (*main).phases[PHASE];
        let added = ngx_array_push(&raw mut (*phase).handlers).cast::<ngx_http_handler_pt>();
        if added.is_null() {
            return Err(out_of_memory());
        }
        *added = Some(handler);
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

/// Runs what nginx has called while it reads its configuration; `failed` where that panics, which is in the
/// log.
///
/// # Safety
///
/// `cf` is nginx's.
pub(super) unsafe fn reading<R>(cf: *mut ngx_conf_t, failed: R, read: impl FnOnce() -> R) -> R {
    // SAFETY: the caller's.
    unsafe { guard((*cf).log, || failed, |_token| read()) }
}

/// Writes an error whose text names the place itself.
///
/// # Safety
///
/// `cf` is nginx's.
unsafe fn write(cf: *mut ngx_conf_t, error: &ConfError) {
    // SAFETY: a configuration that is being read has a log.
    unsafe { log::write((*cf).log, NGX_LOG_EMERG as ngx_uint_t, &error.0) };
}
