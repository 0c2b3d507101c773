//! What nginx has only as C macros, and this module's own description.

use std::ffi::c_char;
use std::ptr;

use nginx_sys::{
    ngx_chain_t, ngx_connection_t, ngx_event_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_log_ctx_t, ngx_http_request_t, ngx_int_t, ngx_module_t, ngx_msec_t, ngx_pool_t,
    ngx_posted_events, ngx_posted_next_events, ngx_queue_insert_before, ngx_queue_remove,
    ngx_str_t,
};

unsafe extern "C" {
    /// The module as nginx knows it. `module.rs` defines it, on top of all that it names; the files below know it
    /// by this declaration, as those of a module in C do.
    #[allow(non_upper_case_globals)]
    pub(super) static mut ngx_http_pywsgi_module: ngx_module_t;
}

/// This module's description.
pub(super) fn own_module() -> &'static ngx_module_t {
    // SAFETY: nginx sets what it sets of it, such as ctx_index, before it calls the module, and never again.
    unsafe { &*ptr::addr_of!(ngx_http_pywsgi_module) }
}

pub(super) const OK: ngx_int_t = nginx_sys::NGX_OK as ngx_int_t;
pub(super) const ERROR: ngx_int_t = nginx_sys::NGX_ERROR as ngx_int_t;
pub(super) const DECLINED: ngx_int_t = nginx_sys::NGX_DECLINED as ngx_int_t;
pub(super) const DONE: ngx_int_t = nginx_sys::NGX_DONE as ngx_int_t;

/// From this status on nginx answers by itself (`NGX_HTTP_SPECIAL_RESPONSE`).
pub(super) const SPECIAL_RESPONSE: ngx_int_t = nginx_sys::NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t;

pub(super) const HTTP_2: usize = nginx_sys::NGX_HTTP_VERSION_20 as usize;

pub(super) const CONF_OK: *mut c_char = ptr::null_mut();
pub(super) const CONF_ERROR: *mut c_char = ptr::without_provenance_mut(usize::MAX);

pub(super) const CONF_UNSET: isize = -1;
pub(super) const CONF_UNSET_SIZE: usize = usize::MAX;
pub(super) const CONF_UNSET_MSEC: ngx_msec_t = ngx_msec_t::MAX;

/// `ngx_http_get_module_loc_conf`.
///
/// # Safety
///
/// `r` is a live request, and `T` what the module's `create_loc_conf` makes.
pub(super) unsafe fn loc_conf<T>(r: *mut ngx_http_request_t, module: &ngx_module_t) -> *mut T {
    // SAFETY: nginx fills loc_conf for every HTTP module, at its ctx_index.
    unsafe { (*(*r).loc_conf.add(module.ctx_index)).cast() }
}

/// The core module's configuration of the request's location.
///
/// # Safety
///
/// `r` is a live request.
pub(super) unsafe fn core_loc_conf<'a>(r: *mut ngx_http_request_t) -> &'a ngx_http_core_loc_conf_t {
    // SAFETY: the core module has a configuration for every location; nothing changes it while
    // requests are served.
    unsafe { &*loc_conf::<ngx_http_core_loc_conf_t>(r, &*ptr::addr_of!(ngx_http_core_module)) }
}

/// `ngx_http_set_log_request`: lines on this connection's log name `r` from now on.
///
/// # Safety
///
/// `r` is a live request.
pub(super) unsafe fn set_log_request(r: *mut ngx_http_request_t) {
    // SAFETY: an HTTP connection's log has an ngx_http_log_ctx_t from ngx_http_init_connection on.
    unsafe {
        let ctx = (*(*(*r).connection).log).data.cast::<ngx_http_log_ctx_t>();
        if !ctx.is_null() {
            (*ctx).current_request = r;
        }
    }
}

/// `ngx_del_timer`, if one is set.
///
/// # Safety
///
/// `event` is valid, and on nginx's thread.
pub(super) unsafe fn delete_timer(event: *mut ngx_event_t) {
    // SAFETY: a set timer is in the tree.
    unsafe {
        if (*event).timer_set() != 0 {
            nginx_sys::ngx_del_timer(event);
        }
    }
}

/// `ngx_post_event`, to the queue that nginx works off in this turn of its loop.
///
/// # Safety
///
/// `event` is valid, and on nginx's thread.
pub(super) unsafe fn post_event(event: *mut ngx_event_t) {
    // SAFETY: the event is valid, and this is nginx's thread; a posted event is in a queue already.
    unsafe {
        if (*event).posted() == 0 {
            (*event).set_posted(1);
            // At the queue's end.
            ngx_queue_insert_before(&raw mut ngx_posted_events, &raw mut (*event).queue);
        }
    }
}

/// `ngx_post_event`, to the queue of the next turn, before which new events are looked for.
///
/// # Safety
///
/// As for [`post_event`].
pub(super) unsafe fn post_next_event(event: *mut ngx_event_t) {
    // SAFETY: as for `post_event`.
    unsafe {
        if (*event).posted() == 0 {
            (*event).set_posted(1);
            ngx_queue_insert_before(&raw mut ngx_posted_next_events, &raw mut (*event).queue);
        }
    }
}

/// `ngx_delete_posted_event`, if it is posted.
///
/// # Safety
///
/// As for [`post_event`].
pub(super) unsafe fn delete_posted_event(event: *mut ngx_event_t) {
    // SAFETY: a posted event is in a queue.
    unsafe {
        if (*event).posted() != 0 {
            (*event).set_posted(0);
            ngx_queue_remove(&raw mut (*event).queue);
        }
    }
}

/// `ngx_free_chain`.
///
/// # Safety
///
/// `link` came from `pool` and nothing refers to it.
pub(super) unsafe fn free_chain(pool: *mut ngx_pool_t, link: *mut ngx_chain_t) {
    // SAFETY: the link came from the pool, and nothing refers to it.
    unsafe {
        (*link).next = (*pool).chain;
        (*pool).chain = link;
    }
}

/// The bytes of an `ngx_str_t`; empty if it has no data.
///
/// # Safety
///
/// `text` is valid for `'a`.
pub(super) unsafe fn bytes<'a>(text: ngx_str_t) -> &'a [u8] {
    if text.data.is_null() || text.len == 0 {
        return &[];
    }
    // SAFETY: the text is valid for so long; nginx's strings are len bytes at data.
    unsafe { std::slice::from_raw_parts(text.data, text.len) }
}

/// Copies `text` into `pool`, NUL-terminated as nginx's parsers like it.
///
/// # Safety
///
/// `pool` is valid.
pub(super) unsafe fn pool_copy(pool: *mut ngx_pool_t, text: &[u8]) -> Option<ngx_str_t> {
    // SAFETY: len + 1 bytes are allocated, and written whole.
    unsafe {
        let data = nginx_sys::ngx_pnalloc(pool, text.len() + 1).cast::<u8>();
        if data.is_null() {
            return None;
        }
        ptr::copy_nonoverlapping(text.as_ptr(), data, text.len());
        *data.add(text.len()) = 0;
        Some(ngx_str_t { len: text.len(), data })
    }
}

/// The connection's fields that are bits.
///
/// # Safety
///
/// `c` is valid.
pub(super) unsafe fn is_buffered(c: *mut ngx_connection_t) -> bool {
    // SAFETY: the connection is valid.
    unsafe { (*c).buffered() != 0 }
}

/// An `ngx_str_t` of a literal, as `ngx_string` makes it.
pub(super) const fn string(text: &'static std::ffi::CStr) -> ngx_str_t {
    ngx_str_t { len: text.count_bytes(), data: text.as_ptr().cast_mut().cast() }
}
