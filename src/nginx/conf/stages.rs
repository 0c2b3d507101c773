//! What nginx calls while it reads its configuration, in its order.

use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use nginx_sys::{ngx_conf_t, ngx_int_t};

use super::error::ConfError;
use super::groups::Group;
use super::handlers::Handlers;
use super::levels::LocConf;
use super::main::MainConf;
use super::reading::{Reading, nginx_core_conf};
use crate::bridge::code::Code;
use crate::nginx::sys::{self, CONF_ERROR, CONF_OK};

/// Tries what the configuration asks for, last.
type Check = fn(&Reading) -> Result<(), ConfError>;

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
        Reading::run(cf, ptr::null_mut(), |reading| {
            let configuration = CONFIGURATION.fetch_add(1, Ordering::Relaxed) + 1;
            reading.keep(MainConf::new(configuration, handlers))
        })
    }
}

/// # Safety
///
/// nginx's `create_loc_conf`.
pub(in crate::nginx) unsafe extern "C" fn create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: nginx reads its configuration.
    unsafe { Reading::run(cf, ptr::null_mut(), |reading| reading.keep(LocConf::new())) }
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
        Reading::run(cf, CONF_ERROR, |_reading| {
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
    // SAFETY: both are what create_loc_conf made, and two different ones.
    let (conf, previous) = unsafe { (&mut *conf.cast::<LocConf>(), &*previous.cast::<LocConf>()) };
    // SAFETY: nginx reads its configuration.
    unsafe {
        Reading::run(cf, CONF_ERROR, |reading| match conf.merge(reading, previous) {
            Ok(()) => CONF_OK,
            Err(error) => {
                reading.write(&error);
                CONF_ERROR
            }
        })
    }
}

/// # Safety
///
/// nginx's `postconfiguration`.
pub(in crate::nginx) unsafe fn postconfiguration(cf: *mut ngx_conf_t, check: Check) -> ngx_int_t {
    // SAFETY: nginx reads its configuration.
    unsafe {
        Reading::run(cf, sys::ERROR, |reading| match complete(reading, check) {
            Ok(()) => sys::OK,
            Err(error) => {
                reading.write(&error);
                sys::ERROR
            }
        })
    }
}

/// All directives have been read: checks and sets up what depends on several of them.
fn complete(reading: &mut Reading, check: Check) -> Result<(), ConfError> {
    let user = reading.workers_user();
    let measures_cpu = reading.uses_variable(b"python_cpu_time");
    // SAFETY: the cycle of the configuration.
    let core = unsafe { nginx_core_conf(reading.cycle()) };
    // SAFETY: no setter runs, and nobody else refers to it.
    let idle: Vec<_> = unsafe { MainConf::of(reading) }.groups.idle().collect();
    for text in idle {
        reading.log(Code::GroupUnused, &text);
    }
    // SAFETY: as above.
    let main = unsafe { MainConf::of(reading) };
    if !main.has_apps() {
        return Ok(());
    }
    main.measures_cpu = measures_cpu;
    main.environment.set_user(user);
    main.check_files(user)?;
    main.groups.check(core.master != 0, user, |resource| match resource.name {
        "nofile" => u64::try_from(core.rlimit_nofile).ok(),
        "core" => u64::try_from(core.rlimit_core).ok(),
        _ => None,
    })?;
    main.share()?;
    let of_groups = main.groups.all().iter().flat_map(Group::environment);
    let (inherited, post_read) = (main.environment.inherited(of_groups), main.handlers.post_read);
    for name in inherited {
        reading.add_env(&name)?;
    }
    reading.add_post_read_handler(post_read)?;
    // SAFETY: as above.
    let hidden: Vec<_> = unsafe { MainConf::of(reading) }.hidden_output().collect();
    for text in hidden {
        reading.log(Code::OutputHidden, &text);
    }
    check(reading)
}
