//! The module's definition for nginx, and the functions that nginx calls when it starts and ends a process.

use std::ffi::c_void;
use std::ptr;

use nginx_sys::{
    NGX_HTTP_MODULE, ngx_conf_t, ngx_cycle_t, ngx_http_module_t, ngx_int_t, ngx_module_t,
    ngx_uint_t,
};

use super::check::check_applications;
use super::children;
use super::conf::{self, Handlers};
use super::directives::COMMANDS;
use super::keep;
use super::process::{application, exit, generation, reload, start};
use super::request::handler::on_content;
use super::status::board;
use super::status::handler::on_status;
use super::sys;
use super::trampoline::guard;
use super::variables;

static CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create_main_conf),
    init_main_conf: Some(conf::init_main_conf),
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: Some(conf::create_loc_conf),
    merge_loc_conf: Some(conf::merge_loc_conf),
};

const HANDLERS: Handlers =
    Handlers { content: on_content, status: on_status, post_read: children::on_request };

unsafe extern "C" fn create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx calls this function with a valid `cf` while it reads its configuration.
    unsafe { conf::create_main_conf(cf, HANDLERS) }
}

unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx calls this function with a valid `cf` while it reads its configuration.
    unsafe {
        guard(
            (*cf).log,
            || sys::ERROR,
            |_token| match variables::add(cf) {
                Some(()) => sys::OK,
                None => sys::ERROR,
            },
        )
    }
}

unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx calls this function with a valid `cf` while it reads its configuration.
    unsafe {
        conf::postconfiguration(cf, |reading| {
            keep::ask(reading);
            check_applications(reading)
        })
    }
}

// A test binary has no nginx to link with. Without this root the linker keeps nothing that calls nginx.
#[cfg_attr(not(test), used, unsafe(no_mangle))]
#[allow(non_upper_case_globals)]
pub(super) static mut ngx_http_pywsgi_module: ngx_module_t = ngx_module_t {
    ctx: ptr::addr_of!(CONTEXT).cast_mut().cast::<c_void>(),
    commands: ptr::addr_of_mut!(COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx calls this function in the master, when it has taken over a configuration, with the valid cycle of
    // that.
    unsafe {
        guard(
            (*cycle).log,
            || sys::OK,
            |token| {
                let Some(kept) = application::add(token, cycle) else { return sys::ERROR };
                reload::share(cycle);
                generation::publish(cycle, &kept);
                board::publish(cycle);
                sys::OK
            },
        )
    }
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx calls this function when it starts a process, with the valid cycle of that process.
    unsafe {
        guard(
            (*cycle).log,
            || sys::OK,
            |token| {
                start::start(token, cycle);
                sys::OK
            },
        )
    }
}

unsafe extern "C" fn exit_process(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx calls this function when it ends a process, with the valid cycle of that process.
    unsafe { guard((*cycle).log, exit::leave_python, |token| exit::stop(token)) }
}

#[cfg(not(test))]
mod exports {
    //! The symbols that nginx looks up in a dynamic module (`ngx_load_module`).

    use std::ffi::c_char;

    use super::{ngx_http_pywsgi_module, ngx_module_t, ptr};

    /// A table that nginx reads but does not write.
    #[repr(transparent)]
    struct Table<T>(T);

    // SAFETY: nginx reads the tables on one thread, while it reads its configuration.
    unsafe impl<T> Sync for Table<T> {}

    #[unsafe(no_mangle)]
    #[allow(non_upper_case_globals)]
    static ngx_modules: Table<[*mut ngx_module_t; 2]> =
        Table([ptr::addr_of_mut!(ngx_http_pywsgi_module), ptr::null_mut()]);

    #[unsafe(no_mangle)]
    #[allow(non_upper_case_globals)]
    static ngx_module_names: Table<[*const c_char; 2]> =
        Table([c"ngx_http_pywsgi_module".as_ptr(), ptr::null()]);

    #[unsafe(no_mangle)]
    #[allow(non_upper_case_globals)]
    static ngx_module_order: Table<[*const c_char; 1]> = Table([ptr::null()]);
}
