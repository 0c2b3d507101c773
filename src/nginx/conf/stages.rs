//! What nginx calls while it reads its configuration, in its order.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use nginx_sys::{ngx_conf_t, ngx_http_request_t, ngx_int_t};

use super::{ConfError, LocConf, MainConf};
use crate::nginx::sys::{self, CONF_ERROR, CONF_OK};

/// A function that nginx calls with a live request.
pub(in crate::nginx) type RequestHandler =
    unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// What the configuration has nginx call for requests.
#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct Handlers {
    /// The content handler of a location with an application.
    pub(in crate::nginx) content: RequestHandler,
    /// Called first for each request, whoever serves it.
    pub(in crate::nginx) post_read: RequestHandler,
}

/// Counts the readings of the configuration: a process of one reading does not serve another's.
static CONFIGURATION: AtomicUsize = AtomicUsize::new(0);

/// # Safety
///
/// nginx's `create_main_conf`.
pub(in crate::nginx) unsafe fn create_main_conf(
    cf: *mut ngx_conf_t,
    handlers: Handlers,
) -> *mut c_void {
    // SAFETY: nginx reads its configuration.
    unsafe {
        super::reading(cf, ptr::null_mut(), || {
            let configuration = CONFIGURATION.fetch_add(1, Ordering::Relaxed) + 1;
            super::keep(cf, MainConf::new(configuration, handlers))
        })
    }
}

/// # Safety
///
/// nginx's `create_loc_conf`.
pub(in crate::nginx) unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx reads its configuration.
    unsafe {
        super::reading(cf, ptr::null_mut(), || {
            super::keep(cf, LocConf::new(CONFIGURATION.load(Ordering::Relaxed)))
        })
    }
}

/// # Safety
///
/// nginx's `init_main_conf`.
pub(in crate::nginx) unsafe extern "C" fn init_main_conf(
    cf: *mut ngx_conf_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx reads its configuration; conf is what create_main_conf made.
    unsafe {
        super::reading(cf, CONF_ERROR, || {
            (*conf.cast::<MainConf>()).set_defaults();
            CONF_OK
        })
    }
}

/// # Safety
///
/// nginx's `merge_loc_conf`.
pub(in crate::nginx) unsafe extern "C" fn merge_loc_conf(
    cf: *mut ngx_conf_t,
    previous: *mut c_void,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx reads its configuration; both are what create_loc_conf made, and two different ones.
    unsafe {
        super::reading(cf, CONF_ERROR, || {
            let conf = &mut *conf.cast::<LocConf>();
            match conf.merge(cf, &*previous.cast::<LocConf>()) {
                Ok(()) => CONF_OK,
                Err(error) => {
                    super::write(cf, &error);
                    CONF_ERROR
                }
            }
        })
    }
}

/// # Safety
///
/// nginx's `postconfiguration`.
pub(in crate::nginx) unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: nginx reads its configuration.
    unsafe {
        super::reading(cf, sys::ERROR, || match complete(cf) {
            Ok(()) => sys::OK,
            Err(error) => {
                super::write(cf, &error);
                sys::ERROR
            }
        })
    }
}

/// All directives have been read: checks and sets up what depends on several of them.
///
/// # Safety
///
/// nginx's `postconfiguration`.
unsafe fn complete(cf: *mut ngx_conf_t) -> Result<(), ConfError> {
    // SAFETY: the http block has a main configuration of this module, which nobody else uses meanwhile.
    unsafe {
        let main = &mut *super::main_conf(cf);
        if !main.has_apps() {
            return Ok(());
        }
        let user = super::workers_user(cf);
        main.set_user(user);
        main.check_files(user)?;
        main.inherited_variables().try_for_each(|name| super::add_env(cf, name))?;
        main.share()?;
        super::add_post_read_handler(cf, main.handlers.post_read)
    }
}
