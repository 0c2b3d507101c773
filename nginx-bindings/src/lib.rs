//! The part of nginx's C interface that the module uses. `build/surface.rs` lists it, and `build/check.rs` compares
//! it with what the C compiler makes of nginx's headers. The rest of this file replaces macros and inline functions
//! of nginx.

mod bindings {
    // Rust 1.85 does not know unnecessary_transmutes, which bindgen names at each bit field.
    #![allow(unknown_lints, unnecessary_transmutes)]
    #![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]
    #![allow(dead_code, unsafe_op_in_unsafe_fn, unused_imports)]
    #![allow(clippy::all, clippy::undocumented_unsafe_blocks, clippy::missing_safety_doc)]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

use std::mem::offset_of;
use std::ptr;

pub use self::bindings::*;

/// `NGX_HTTP_MAIN_CONF_OFFSET`.
pub const NGX_HTTP_MAIN_CONF_OFFSET: usize = offset_of!(ngx_http_conf_ctx_t, main_conf);

/// `NGX_HTTP_LOC_CONF_OFFSET`.
pub const NGX_HTTP_LOC_CONF_OFFSET: usize = offset_of!(ngx_http_conf_ctx_t, loc_conf);

impl ngx_str_t {
    /// `ngx_null_string`.
    pub const fn empty() -> Self {
        Self { len: 0, data: ptr::null_mut() }
    }
}

impl ngx_array_t {
    /// The elements of the array.
    ///
    /// # Safety
    ///
    /// The array is initialised and holds elements of type `T`. Nothing changes it while the slice is used.
    pub unsafe fn as_slice<T>(&self) -> &[T] {
        if self.nelts == 0 {
            return &[];
        }
        // SAFETY: the caller guarantees that the array is initialised, holds elements of type `T` and does not
        // change.
        unsafe { std::slice::from_raw_parts(self.elts.cast(), self.nelts) }
    }
}

impl ngx_command_t {
    /// `ngx_null_command`, which ends a table of directives.
    pub const fn empty() -> Self {
        Self {
            name: ngx_str_t::empty(),
            type_: 0,
            set: None,
            conf: 0,
            offset: 0,
            post: ptr::null_mut(),
        }
    }
}

impl ngx_module_t {
    /// `NGX_MODULE_V1` and `NGX_MODULE_V1_PADDING`: a module for this nginx, with no content of its own yet.
    pub const fn default() -> Self {
        Self {
            ctx_index: ngx_uint_t::MAX,
            index: ngx_uint_t::MAX,
            name: ptr::null_mut(),
            spare0: 0,
            spare1: 0,
            version: nginx_version as ngx_uint_t,
            signature: PYWSGI_NGINX_SIGNATURE.as_ptr(),
            ctx: ptr::null_mut(),
            commands: ptr::null_mut(),
            type_: 0,
            init_master: None,
            init_module: None,
            init_process: None,
            init_thread: None,
            exit_thread: None,
            exit_process: None,
            exit_master: None,
            spare_hook0: 0,
            spare_hook1: 0,
            spare_hook2: 0,
            spare_hook3: 0,
            spare_hook4: 0,
            spare_hook5: 0,
            spare_hook6: 0,
            spare_hook7: 0,
        }
    }
}

/// `ngx_event_add_timer`: calls the event's handler after `timer` milliseconds, unless the timer is deleted before. A
/// timer that is already set stays unchanged if the difference is below `NGX_TIMER_LAZY_DELAY`.
///
/// # Safety
///
/// This is nginx's thread. `event` is valid until its timer has fired or been deleted.
#[inline]
pub unsafe fn ngx_add_timer(event: *mut ngx_event_t, timer: ngx_msec_t) {
    // SAFETY: the caller guarantees that the event is valid and that this is nginx's thread; a node whose timer_set
    // is 1 is in the tree.
    unsafe {
        let key = ngx_current_msec.wrapping_add(timer);
        if (*event).timer_set() != 0 {
            // nginx uses the signed ngx_msec_int_t here, because its clock may wrap.
            let difference = key.wrapping_sub((*event).timer.key) as isize;
            if difference.unsigned_abs() < NGX_TIMER_LAZY_DELAY as usize {
                return;
            }
            ngx_del_timer(event);
        }
        (*event).timer.key = key;
        ngx_rbtree_insert(&raw mut ngx_event_timer_rbtree, &raw mut (*event).timer);
        (*event).set_timer_set(1);
    }
}

/// `ngx_event_del_timer`.
///
/// # Safety
///
/// This is nginx's thread, and the event's timer is set.
#[inline]
pub unsafe fn ngx_del_timer(event: *mut ngx_event_t) {
    // SAFETY: the caller guarantees that the timer is set, so its node is in the tree, and that this is nginx's
    // thread. nginx checks the pointers afterwards if it is built with NGX_DEBUG.
    unsafe {
        ngx_rbtree_delete(&raw mut ngx_event_timer_rbtree, &raw mut (*event).timer);
        (*event).timer.left = ptr::null_mut();
        (*event).timer.right = ptr::null_mut();
        (*event).timer.parent = ptr::null_mut();
        (*event).set_timer_set(0);
    }
}

/// `ngx_queue_insert_before`: inserts `node` before `queue`. If `queue` is the head, `node` becomes the last element.
///
/// # Safety
///
/// `queue` is in a queue; `node` is in no queue.
#[inline]
pub unsafe fn ngx_queue_insert_before(queue: *mut ngx_queue_t, node: *mut ngx_queue_t) {
    // SAFETY: the caller guarantees that `queue` is in a queue, so its neighbours are valid, and that `node` is in no
    // queue.
    unsafe {
        (*node).prev = (*queue).prev;
        (*(*node).prev).next = node;
        (*node).next = queue;
        (*queue).prev = node;
    }
}

/// `ngx_queue_remove`.
///
/// # Safety
///
/// `node` is in a queue.
#[inline]
pub unsafe fn ngx_queue_remove(node: *mut ngx_queue_t) {
    // SAFETY: the caller guarantees that `node` is in a queue, so its neighbours are valid.
    unsafe {
        (*(*node).next).prev = (*node).prev;
        (*(*node).prev).next = (*node).next;
        (*node).prev = ptr::null_mut();
        (*node).next = ptr::null_mut();
    }
}

/// `ngx_list_init`: makes `list` an empty list whose parts hold `count` elements of `size` bytes.
///
/// # Safety
///
/// `list` is valid for writes, and `pool` is valid.
#[inline]
pub unsafe fn ngx_list_init(
    list: *mut ngx_list_t,
    pool: *mut ngx_pool_t,
    count: ngx_uint_t,
    size: usize,
) -> ngx_int_t {
    // SAFETY: the caller guarantees that `list` is valid for writes and that `pool` is valid; the first part is in
    // the list itself.
    unsafe {
        (*list).part.elts = ngx_palloc(pool, count * size);
        if (*list).part.elts.is_null() {
            return NGX_ERROR as ngx_int_t;
        }
        (*list).part.nelts = 0;
        (*list).part.next = ptr::null_mut();
        (*list).last = &raw mut (*list).part;
        (*list).size = size;
        (*list).nalloc = count;
        (*list).pool = pool;
        NGX_OK as ngx_int_t
    }
}
