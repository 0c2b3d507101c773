//! nginx's configuration while nginx reads it.

use std::ffi::{OsStr, c_char, c_void};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use nginx_sys::{
    NGX_LOG_EMERG, ngx_array_push, ngx_conf_log_error, ngx_conf_t, ngx_core_conf_t,
    ngx_core_module, ngx_cycle_t, ngx_http_compile_complex_value, ngx_http_compile_complex_value_t,
    ngx_http_complex_value_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_variable_t,
    ngx_int_t, ngx_module_t, ngx_open_file_t, ngx_pcalloc, ngx_pool_cleanup_add, ngx_pool_t,
    ngx_str_t, ngx_uint_t,
};

use super::checks::access::User;
use super::error::{ConfError, Place};
use super::handlers::RequestHandler;
use crate::bridge::code::Code;
use crate::bridge::log::Level;
use crate::nginx::log;
use crate::nginx::sys::{self, CONF_ERROR, own_module};
use crate::nginx::trampoline::guard;

/// Proof that nginx is reading its `http` block, and what it gives modules meanwhile. nginx has one thread then.
pub(in crate::nginx) struct Reading(*mut ngx_conf_t);

impl Reading {
    /// Runs what nginx has called; `failed` if that panics, which is then in the log.
    ///
    /// # Safety
    ///
    /// nginx calls a directive's setter or a function of `ngx_http_module_t`, with this `cf`.
    pub(in crate::nginx) unsafe fn run<R>(
        cf: *mut ngx_conf_t,
        failed: R,
        read: impl FnOnce(&mut Reading) -> R,
    ) -> R {
        // SAFETY: nginx's own `cf` has a log.
        unsafe { guard((*cf).log, || failed, |_token| read(&mut Reading(cf))) }
    }

    /// nginx's own structure, for its own functions.
    pub(in crate::nginx) fn as_ptr(&self) -> *mut ngx_conf_t {
        self.0
    }

    fn cf(&self) -> &ngx_conf_t {
        // SAFETY: nginx's `cf` lives as long as its call.
        unsafe { &*self.0 }
    }

    /// Where nginx is reading now.
    pub(in crate::nginx) fn place(&self) -> Place {
        // SAFETY: nginx has a file open, but for the directives of its option -g.
        match unsafe { self.cf().conf_file.as_ref() } {
            Some(file) => Place {
                // SAFETY: the file's name lives as long as the configuration.
                file: String::from_utf8_lossy(unsafe { sys::bytes(file.file.name) }).into_owned(),
                line: file.line,
            },
            None => Place { file: "command line".to_owned(), line: 0 },
        }
    }

    /// Logs an error of the directive that nginx is reading: nginx adds the place.
    pub(in crate::nginx) fn refuse(&self, error: &ConfError) -> *mut c_char {
        let text = error.to_string();
        // SAFETY: "%*s" takes a size_t and a pointer to as many bytes.
        unsafe {
            ngx_conf_log_error(
                NGX_LOG_EMERG as ngx_uint_t,
                self.0,
                0,
                c"%*s".as_ptr(),
                text.len(),
                text.as_ptr(),
            );
        }
        CONF_ERROR
    }

    /// Logs an error whose text names the place itself.
    pub(in crate::nginx) fn write(&self, error: &ConfError) {
        // SAFETY: nginx's `cf` has a log.
        unsafe { log::message(self.cf().log, error.code, &error.text) }
    }

    /// Logs a line of what has been found out about the configuration.
    pub(in crate::nginx) fn log(&self, code: Code, line: &str) {
        // SAFETY: nginx's `cf` has a log.
        unsafe { log::message(self.cf().log, code, line) }
    }

    /// Logs a line of what a process has said that tries the configuration, at its own level.
    pub(in crate::nginx) fn pass_on(&self, level: Level, line: &str) {
        // SAFETY: nginx's `cf` has a log.
        unsafe { log::write(self.cf().log, log::number(level), line) }
    }

    /// The cycle that nginx makes of this configuration.
    pub(in crate::nginx) fn cycle(&self) -> *mut ngx_cycle_t {
        self.cf().cycle
    }

    /// A copy that lives as long as the configuration.
    pub(in crate::nginx) fn copy(&self, text: &[u8]) -> Result<ngx_str_t, ConfError> {
        // SAFETY: the configuration's pool.
        unsafe { sys::pool_copy(self.cf().pool, text) }.ok_or_else(ConfError::out_of_memory)
    }

    /// Moves a configuration to the heap. nginx's pool drops it when the cycle ends. Null if memory is out.
    pub(in crate::nginx) fn keep<T>(&self, conf: T) -> *mut c_void {
        // SAFETY: the configuration's pool runs its cleanups once, when nothing uses the configuration any more.
        let cleanup = unsafe { ngx_pool_cleanup_add(self.cf().pool, 0).as_mut() };
        let Some(cleanup) = cleanup else { return ptr::null_mut() };
        cleanup.data = Box::into_raw(Box::new(conf)).cast();
        cleanup.handler = Some(drop_box::<T>);
        cleanup.data
    }

    /// The core module's configuration of the location that nginx is reading.
    pub(in crate::nginx) fn core_loc_conf(&mut self) -> &mut ngx_http_core_loc_conf_t {
        let at = core_module().ctx_index;
        // SAFETY: nginx is in its `http` block, where the core module has a configuration at each level.
        unsafe { &mut *(*(*self.http()).loc_conf.add(at)).cast() }
    }

    /// This module's main configuration, which is a `T`.
    ///
    /// # Safety
    ///
    /// `create_main_conf` made a `T`, and there is no other reference to it meanwhile.
    pub(super) unsafe fn main_conf<T>(&mut self) -> &mut T {
        // SAFETY: nginx is in its `http` block: each module has its main configuration there.
        unsafe { &mut *(*(*self.http()).main_conf.add(own_module().ctx_index)).cast() }
    }

    /// Whether nginx is in `http` itself, and not in a `server` or a location.
    pub(in crate::nginx) fn is_http(&self) -> bool {
        self.cf().cmd_type == nginx_sys::NGX_HTTP_MAIN_CONF as ngx_uint_t
    }

    /// The configuration's pool.
    pub(in crate::nginx) fn pool(&self) -> *mut ngx_pool_t {
        self.cf().pool
    }

    fn http(&self) -> *mut ngx_http_conf_ctx_t {
        self.cf().ctx.cast()
    }

    /// Adds a variable to nginx's own `env`, unless it is there already.
    pub(in crate::nginx) fn add_env(&mut self, name: &[u8]) -> Result<(), ConfError> {
        let copy = self.copy(name)?;
        // SAFETY: the core module has made its array of variables, which nobody else reads meanwhile.
        let env = unsafe { &mut (*ptr::from_ref(nginx_core_conf(self.cf().cycle)).cast_mut()).env };
        // SAFETY: the array has nelts strings.
        let known = unsafe { std::slice::from_raw_parts(env.elts.cast::<ngx_str_t>(), env.nelts) };
        // SAFETY: the names live as long as the configuration.
        let mut names = known.iter().map(|known| unsafe { sys::bytes(*known) });
        if names.any(|known| known.split(|byte| *byte == b'=').next() == Some(name)) {
            return Ok(());
        }
        // SAFETY: an element of the array is a string.
        unsafe { push(env, copy) }
    }

    /// Has `handler` called for every request of this nginx, before anything else is done with it. Only in
    /// `postconfiguration`.
    pub(in crate::nginx) fn add_post_read_handler(
        &mut self,
        handler: RequestHandler,
    ) -> Result<(), ConfError> {
        const PHASE: usize = nginx_sys::ngx_http_phases_NGX_HTTP_POST_READ_PHASE as usize;
        // SAFETY: the core module has made the array of each phase's handlers (ngx_http_init_phases).
        unsafe {
            let main = *(*self.http()).main_conf.add(core_module().ctx_index);
            let phase = &mut (*main.cast::<ngx_http_core_main_conf_t>()).phases[PHASE];
            push::<ngx_http_handler_pt>(&mut phase.handlers, Some(handler))
        }
    }

    /// Whether a directive has that variable. Only in `postconfiguration`.
    pub(in crate::nginx) fn uses_variable(&self, name: &[u8]) -> bool {
        // SAFETY: the core module has made its array of the variables that directives have, which nobody changes meanwhile.
        unsafe {
            let main = *(*self.http()).main_conf.add(core_module().ctx_index);
            let variables = &(*main.cast::<ngx_http_core_main_conf_t>()).variables;
            if variables.elts.is_null() {
                return false;
            }
            let used: &[ngx_http_variable_t] =
                std::slice::from_raw_parts(variables.elts.cast(), variables.nelts);
            used.iter().any(|variable| sys::bytes(variable.name) == name)
        }
    }

    /// The user of the workers; `None` if that is the user who reads the configuration.
    pub(in crate::nginx) fn workers_user(&self) -> Option<User> {
        // SAFETY: a plain system call.
        if unsafe { libc::geteuid() } != 0 {
            return None;
        }
        // SAFETY: nginx's `cf` has a cycle.
        let core = unsafe { nginx_core_conf(self.cf().cycle) };
        if core.user != libc::uid_t::MAX {
            return Some(User { uid: core.user, gid: core.group });
        }
        // Not set yet: ngx_core_module_init_conf will take nginx's own default.
        // SAFETY: a NUL-terminated name; the entry is read before the next call.
        let entry = unsafe { libc::getpwnam(nginx_sys::NGX_USER.as_ptr()).as_ref() };
        entry.map(|entry| User { uid: entry.pw_uid, gid: entry.pw_gid })
    }

    /// Compiles a value with variables, as `uwsgi_param` does; `None` if it is invalid, which is then in the log.
    pub(in crate::nginx) fn compile(
        &mut self,
        mut text: ngx_str_t,
    ) -> Result<Option<*mut ngx_http_complex_value_t>, ConfError> {
        let size = size_of::<ngx_http_complex_value_t>();
        // SAFETY: the configuration's pool.
        let value = unsafe { ngx_pcalloc(self.cf().pool, size) };
        if value.is_null() {
            return Err(ConfError::out_of_memory());
        }
        // SAFETY: plain data, for which all zeros are good, as nginx itself begins.
        let mut compile: ngx_http_compile_complex_value_t = unsafe { std::mem::zeroed() };
        compile.cf = self.0;
        compile.value = &raw mut text;
        compile.complex_value = value.cast();
        // SAFETY: the compiler reads the text, which lives as long as the configuration, and writes the value.
        let compiled = unsafe { ngx_http_compile_complex_value(&raw mut compile) } == sys::OK;
        Ok(compiled.then_some(value.cast()))
    }
}

/// Adds to an array of nginx's.
///
/// # Safety
///
/// The array's elements are `T`.
unsafe fn push<T>(array: &mut nginx_sys::ngx_array_t, element: T) -> Result<(), ConfError> {
    // SAFETY: ngx_array_push gives room for one element, or null.
    unsafe {
        let added = ngx_array_push(array).cast::<T>();
        if added.is_null() {
            return Err(ConfError::out_of_memory());
        }
        added.write(element);
    }
    Ok(())
}

unsafe extern "C" fn drop_box<T>(data: *mut c_void) {
    // SAFETY: `keep` made it, and the pool calls once. A destructor here does not panic: it frees
    // strings and lists.
    drop(unsafe { Box::from_raw(data.cast::<T>()) });
}

/// This module's main configuration of a cycle, which is a `T`; `None` if the cycle has no `http`.
///
/// # Safety
///
/// `cycle` is valid, and `create_main_conf` made a `T`.
pub(super) unsafe fn main_conf_of_cycle<'a, T>(cycle: *mut ngx_cycle_t) -> Option<&'a T> {
    // SAFETY: `ngx_http_cycle_get_module_main_conf`; nothing changes it once it has been read.
    unsafe {
        let http = (*(*cycle).conf_ctx.add((*ptr::addr_of!(nginx_sys::ngx_http_module)).index))
            .cast::<ngx_http_conf_ctx_t>();
        if http.is_null() {
            return None;
        }
        (*(*http).main_conf.add(own_module().ctx_index)).cast::<T>().as_ref()
    }
}

/// nginx's own `user`, `worker_shutdown_timeout`, …
///
/// # Safety
///
/// `cycle` is valid.
pub(in crate::nginx) unsafe fn nginx_core_conf<'a>(cycle: *mut ngx_cycle_t) -> &'a ngx_core_conf_t {
    // SAFETY: as the caller says; the core module has a configuration from the start.
    unsafe { &*core_conf(cycle) }
}

/// # Safety
///
/// `cycle` is valid.
unsafe fn core_conf(cycle: *mut ngx_cycle_t) -> *mut ngx_core_conf_t {
    // SAFETY: `ngx_get_conf`.
    unsafe { (*(*cycle).conf_ctx.add((*ptr::addr_of!(ngx_core_module)).index)).cast() }
}

/// The folders of the files that nginx opens again as it reopens its logs (USR1).
///
/// # Safety
///
/// `cycle` is valid.
pub(in crate::nginx) unsafe fn log_folders(cycle: *mut ngx_cycle_t) -> Vec<PathBuf> {
    // SAFETY: as the caller says.
    let files = unsafe { open_files(cycle) };
    let folders = files.iter().filter_map(|(name, _)| name.parent());
    let mut folders: Vec<_> =
        folders.filter(|folder| folder.is_absolute()).map(Path::to_owned).collect();
    folders.sort();
    folders.dedup();
    folders
}

/// The files that nginx opens again as it reopens its logs, with their descriptors.
///
/// # Safety
///
/// `cycle` is valid.
pub(in crate::nginx) unsafe fn open_files(cycle: *mut ngx_cycle_t) -> Vec<(PathBuf, RawFd)> {
    let mut all = Vec::new();
    // SAFETY: each part of the cycle's list has nelts files, whose names live as long as the cycle.
    unsafe {
        let mut part = &raw const (*cycle).open_files.part;
        while let Some(found) = part.as_ref() {
            let files = found.elts.cast::<ngx_open_file_t>();
            for at in 0..found.nelts {
                let file = &*files.add(at);
                let name = Path::new(OsStr::from_bytes(sys::bytes(file.name)));
                all.push((name.to_owned(), file.fd));
            }
            part = found.next;
        }
    }
    all
}

/// Has the master start so many workers more. Only in `init_module`, before it starts them.
///
/// # Safety
///
/// `cycle` is valid, and the caller has no reference to its configuration of nginx's core.
pub(in crate::nginx) unsafe fn add_workers(cycle: *mut ngx_cycle_t, more: usize) {
    // SAFETY: as the caller says; nginx has one thread here.
    unsafe { (*core_conf(cycle)).worker_processes += more as ngx_int_t };
}

fn core_module() -> &'static ngx_module_t {
    // SAFETY: nginx sets ctx_index before any configuration is made, and never again.
    unsafe { &*ptr::addr_of!(ngx_http_core_module) }
}
