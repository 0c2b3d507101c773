//! The entries of a directive table (`ngx_command_t`).

use std::ffi::{c_char, c_void};
use std::ptr;

use nginx_sys::{
    NGX_CONF_FLAG, NGX_CONF_TAKE1, NGX_HTTP_LIF_CONF, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET,
    NGX_HTTP_MAIN_CONF, NGX_HTTP_MAIN_CONF_OFFSET, NGX_HTTP_SRV_CONF, ngx_command_t,
    ngx_conf_set_flag_slot, ngx_conf_set_msec_slot, ngx_conf_set_size_slot, ngx_conf_t, ngx_str_t,
    ngx_uint_t,
};

use super::reader::set;

pub(super) type Setter =
    unsafe extern "C" fn(*mut ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char;

/// Contexts location, if in location.
pub(super) const LOCATION: u32 = NGX_HTTP_LOC_CONF | NGX_HTTP_LIF_CONF;
/// Contexts http, server, location.
pub(super) const ANY: u32 = NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;

/// A directive of http. Its setter reads into [`MainConf`](crate::nginx::conf::MainConf).
pub(super) const fn main(name: &'static str, arguments: u32, set: Setter) -> ngx_command_t {
    main_at(name, arguments, set, 0)
}

/// The same for one whose setter reads into what is at `offset` of it.
pub(super) const fn main_at(
    name: &'static str,
    arguments: u32,
    set: Setter,
    offset: usize,
) -> ngx_command_t {
    ngx_command_t {
        name: terminated(name),
        type_: (NGX_HTTP_MAIN_CONF | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        offset,
        post: ptr::null_mut(),
    }
}

/// A directive of `context`. Its setter reads into what is at `offset` of a [`LocConf`](crate::nginx::conf::LocConf).
pub(super) const fn location(
    name: &'static str,
    context: u32,
    arguments: u32,
    set: Setter,
    offset: usize,
) -> ngx_command_t {
    ngx_command_t {
        name: terminated(name),
        type_: (context | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset,
        post: ptr::null_mut(),
    }
}

/// `NAME on|off;` in http, server and location: an `ngx_flag_t` at `offset`.
pub(super) const fn flag(name: &'static str, offset: usize) -> ngx_command_t {
    location(name, ANY, NGX_CONF_FLAG, ngx_conf_set_flag_slot, offset)
}

/// `NAME TIME;` in http, server and location: an `ngx_msec_t` at `offset`.
pub(super) const fn milliseconds(name: &'static str, offset: usize) -> ngx_command_t {
    location(name, ANY, NGX_CONF_TAKE1, ngx_conf_set_msec_slot, offset)
}

/// `NAME SIZE;` in http, server and location: a `usize` at `offset`.
pub(super) const fn size(name: &'static str, set: Setter, offset: usize) -> ngx_command_t {
    location(name, ANY, NGX_CONF_TAKE1, set, offset)
}

/// The setter of a [`size`] that has a least value: `LEAST` bytes.
///
/// # Safety
///
/// nginx calls it for a command whose offset is that of a `usize`, as `ngx_conf_set_size_slot` wants it.
pub(super) unsafe extern "C" fn size_of_at_least<const LEAST: usize>(
    cf: *mut ngx_conf_t,
    command: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: nginx calls it.
    let result = unsafe { ngx_conf_set_size_slot(cf, command, conf) };
    if !result.is_null() {
        return result;
    }
    // SAFETY: at the command's offset is a usize.
    unsafe {
        set::<usize>(cf, command, conf, |directive| {
            if *directive.conf < LEAST {
                return Err(directive.error(format!("must be at least {}k", LEAST / 1024)));
            }
            Ok(())
        })
    }
}

/// `ngx_string` of a text that ends with a NUL.
const fn terminated(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len().saturating_sub(1), data: text.as_ptr().cast_mut() }
}
