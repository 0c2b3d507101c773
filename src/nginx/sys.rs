//! Functions and constants that nginx has only as C macros, and this module's own description.

use std::ffi::c_char;
use std::ptr;

use nginx_sys::{
    ngx_chain_t, ngx_connection_t, ngx_event_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_log_ctx_t, ngx_http_request_t, ngx_int_t, ngx_module_t, ngx_msec_t, ngx_pool_t,
    ngx_posted_events, ngx_posted_next_events, ngx_queue_insert_before, ngx_queue_remove,
    ngx_str_t,
};

unsafe extern "C" {
    /// The module's definition for nginx. `module.rs` defines it, above all the files that it names. The files below
    /// it use this declaration, as the files of a module in C do.
    #[allow(non_upper_case_globals)]
    pub(super) static mut ngx_http_pywsgi_module: ngx_module_t;
}

/// This module's description.
pub(super) fn own_module() -> &'static ngx_module_t {
    // SAFETY: nginx sets its part of the description, such as ctx_index, before it calls the module, and never
    // changes it afterwards.
    unsafe { &*ptr::addr_of!(ngx_http_pywsgi_module) }
}

pub(super) const OK: ngx_int_t = nginx_sys::NGX_OK as ngx_int_t;
pub(super) const ERROR: ngx_int_t = nginx_sys::NGX_ERROR as ngx_int_t;
pub(super) const DECLINED: ngx_int_t = nginx_sys::NGX_DECLINED as ngx_int_t;
pub(super) const AGAIN: ngx_int_t = nginx_sys::NGX_AGAIN as ngx_int_t;
pub(super) const DONE: ngx_int_t = nginx_sys::NGX_DONE as ngx_int_t;

/// nginx generates the response itself from this status on (`NGX_HTTP_SPECIAL_RESPONSE`).
pub(super) const SPECIAL_RESPONSE: ngx_int_t = nginx_sys::NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t;

pub(super) const HTTP_2: usize = nginx_sys::NGX_HTTP_VERSION_20 as usize;

pub(super) const CONF_OK: *mut c_char = ptr::null_mut();
pub(super) const CONF_ERROR: *mut c_char = ptr::without_provenance_mut(usize::MAX);

/// What `send_chain` returns for a broken connection (`NGX_CHAIN_ERROR`).
pub(super) const CHAIN_ERROR: *mut ngx_chain_t = ptr::without_provenance_mut(usize::MAX);

pub(super) const CONF_UNSET: isize = -1;
pub(super) const CONF_UNSET_SIZE: usize = usize::MAX;
pub(super) const CONF_UNSET_MSEC: ngx_msec_t = ngx_msec_t::MAX;

/// `ngx_http_get_module_loc_conf`.
///
/// # Safety
///
/// `r` is a live request, and `T` is the type that the module's `create_loc_conf` makes.
pub(super) unsafe fn loc_conf<T>(r: *mut ngx_http_request_t, module: &ngx_module_t) -> *mut T {
    // SAFETY: nginx fills loc_conf for every HTTP module, at its ctx_index.
    unsafe { (*(*r).loc_conf.add(module.ctx_index)).cast() }
}

/// The core module's configuration for the request's location.
///
/// # Safety
///
/// `r` is a live request.
pub(super) unsafe fn core_loc_conf<'a>(r: *mut ngx_http_request_t) -> &'a ngx_http_core_loc_conf_t {
    // SAFETY: the core module has a configuration for every location; nothing changes it while
    // requests are served.
    unsafe { &*loc_conf::<ngx_http_core_loc_conf_t>(r, &*ptr::addr_of!(ngx_http_core_module)) }
}

/// `ngx_http_set_log_request`: from now on, lines in this connection's log name `r`.
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
/// `event` is valid, and this is nginx's thread.
pub(super) unsafe fn delete_timer(event: *mut ngx_event_t) {
    // SAFETY: the event is valid, and this is nginx's thread; a timer that is set is in the tree.
    unsafe {
        if (*event).timer_set() != 0 {
            nginx_sys::ngx_del_timer(event);
        }
    }
}

/// `ngx_post_event`, to the queue that nginx processes in this turn of its loop.
///
/// # Safety
///
/// `event` is valid, and this is nginx's thread.
pub(super) unsafe fn post_event(event: *mut ngx_event_t) {
    // SAFETY: the event is valid, and this is nginx's thread; an event that is not posted is in no queue.
    unsafe {
        if (*event).posted() == 0 {
            (*event).set_posted(1);
            // Insert at the end of the queue.
            ngx_queue_insert_before(&raw mut ngx_posted_events, &raw mut (*event).queue);
        }
    }
}

/// `ngx_post_event`, to the queue of the next turn. nginx looks for new events before that turn.
///
/// # Safety
///
/// As for [`post_event`].
pub(super) unsafe fn post_next_event(event: *mut ngx_event_t) {
    // SAFETY: the event is valid, and this is nginx's thread; an event that is not posted is in no queue.
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
    // SAFETY: the event is valid, and this is nginx's thread; a posted event is in a queue.
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

/// The bytes of an `ngx_str_t`, or an empty slice if it has no data.
///
/// # Safety
///
/// `text` is valid for `'a`.
pub(super) unsafe fn bytes<'a>(text: ngx_str_t) -> &'a [u8] {
    if text.data.is_null() || text.len == 0 {
        return &[];
    }
    // SAFETY: the text is valid for `'a`; an nginx string has len bytes at data.
    unsafe { std::slice::from_raw_parts(text.data, text.len) }
}

/// Copies `text` into `pool`, NUL-terminated as nginx's parsers expect.
///
/// # Safety
///
/// `pool` is valid.
pub(super) unsafe fn pool_copy(pool: *mut ngx_pool_t, text: &[u8]) -> Option<ngx_str_t> {
    // SAFETY: the pool is valid; len + 1 bytes are allocated, and all of them are written.
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

/// Whether the connection's `buffered` bits are set.
///
/// # Safety
///
/// `c` is valid.
pub(super) unsafe fn is_buffered(c: *mut ngx_connection_t) -> bool {
    // SAFETY: the connection is valid.
    unsafe { (*c).buffered() != 0 }
}

/// The `ngx_str_t` of a literal, as `ngx_string` makes it.
pub(super) const fn string(text: &'static std::ffi::CStr) -> ngx_str_t {
    ngx_str_t { len: text.count_bytes(), data: text.as_ptr().cast_mut().cast() }
}

/// A random number.
pub(super) fn random() -> u64 {
    let mut number = [0; size_of::<u64>()];
    // SAFETY: the bytes are local to this function. If the kernel gave none, the number is 0, which is as good as any.
    unsafe { libc::getrandom(number.as_mut_ptr().cast(), number.len(), 0) };
    u64::from_ne_bytes(number)
}

/// Whether there is a process of that number.
pub(super) fn lives(process: u32) -> bool {
    let Ok(process) = libc::pid_t::try_from(process) else { return false };
    // SAFETY: a plain system call, which sends nothing.
    let found = unsafe { libc::kill(process, 0) } == 0;
    // Another user's (a master is root's).
    found || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Whether a process of that number runs. One that has died lives on until its parent has noticed it.
pub(super) fn runs(process: u32) -> bool {
    let has_died = || {
        let text = std::fs::read(format!("/proc/{process}/stat")).unwrap_or_default();
        // The state follows the name, which may have any characters.
        let name_end = text.iter().rposition(|byte| *byte == b')');
        let state = name_end.and_then(|at| text.get(at + 2));
        matches!(state, Some(b'Z' | b'X'))
    };
    lives(process) && !has_died()
}

/// The bytes of a process's memory that are in RAM (proc(5), statm).
pub(super) fn resident_memory(process: u32) -> std::io::Result<u64> {
    let path = format!("/proc/{process}/statm");
    let text = std::fs::read_to_string(&path)?;
    let pages = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages
        .map(|pages| pages * page_size())
        .ok_or_else(|| std::io::Error::other(format!("{path} has another form")))
}

/// The bytes of a page of memory.
fn page_size() -> u64 {
    // SAFETY: a system call without pointers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}
