//! A request's header fields, and a response that is there as a whole.

use std::ptr;

use nginx_sys::{
    NGX_HTTP_INTERNAL_SERVER_ERROR, ngx_buf_t, ngx_chain_t, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_send_header, ngx_list_part_t, ngx_list_push, ngx_pcalloc,
    ngx_table_elt_t,
};

use crate::nginx::sys;

const INTERNAL_SERVER_ERROR: isize = NGX_HTTP_INTERNAL_SERVER_ERROR as isize;
pub(super) const OK: u32 = 200;

/// The names and values of the request's fields.
///
/// # Safety
///
/// `r` is a live request, and lives as long as `'a`.
pub(super) unsafe fn fields<'a>(
    r: *mut ngx_http_request_t,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    // SAFETY: nginx's list, whose parts have nelts elements each, lives as long as its request.
    let first = unsafe { (&raw const (*r).headers_in.headers.part).as_ref::<'a>() };
    // SAFETY: as above.
    let parts =
        std::iter::successors(first, |part: &&ngx_list_part_t| unsafe { part.next.as_ref() });
    parts.flat_map(|part| {
        let fields: &[ngx_table_elt_t] = match part.elts.is_null() {
            true => &[],
            // SAFETY: as above.
            false => unsafe { std::slice::from_raw_parts(part.elts.cast(), part.nelts) },
        };
        // SAFETY: as above.
        fields.iter().map(|field| unsafe { (sys::bytes(field.key), sys::bytes(field.value)) })
    })
}

/// Answers `status` with `body`. Gives back what the content handler returns.
///
/// # Safety
///
/// `r` is a live request whose header has not been sent.
pub(super) unsafe fn reply(
    r: *mut ngx_http_request_t,
    status: u32,
    content_type: &'static str,
    body: &[u8],
) -> isize {
    // SAFETY: the request is live.
    unsafe {
        if prepare(r, status, content_type, body.len()).is_none() {
            return INTERNAL_SERVER_ERROR;
        }
        let sent = ngx_http_send_header(r);
        if sent == sys::ERROR || sent > sys::OK || (*r).header_only() != 0 {
            return sent;
        }
        match chain(r, body) {
            Some(chain) => ngx_http_output_filter(r, chain),
            None => sys::ERROR,
        }
    }
}

/// # Safety
///
/// As for [`reply`].
unsafe fn prepare(
    r: *mut ngx_http_request_t,
    status: u32,
    content_type: &'static str,
    length: usize,
) -> Option<()> {
    // SAFETY: the request is live, and the texts are static.
    unsafe {
        let out = &mut (*r).headers_out;
        out.status = status as usize;
        out.content_length_n = length as nginx_sys::off_t;
        out.content_type = nginx_sys::ngx_str_t {
            len: content_type.len(),
            data: content_type.as_ptr().cast_mut(),
        };
        out.content_type_len = content_type.len();
        let field = ngx_list_push(&raw mut out.headers).cast::<ngx_table_elt_t>();
        ptr::write_bytes(field.as_mut()?, 0, 1);
        (*field).hash = 1;
        (*field).key = sys::string(c"Cache-Control");
        (*field).value = sys::string(c"no-store");
    }
    Some(())
}

/// # Safety
///
/// As for [`reply`].
unsafe fn chain(r: *mut ngx_http_request_t, body: &[u8]) -> Option<*mut ngx_chain_t> {
    // SAFETY: the pool is the request's; what it gives is zeroed, and large enough.
    unsafe {
        let pool = (*r).pool;
        let copy = sys::pool_copy(pool, body)?;
        let buffer = ngx_pcalloc(pool, size_of::<ngx_buf_t>()).cast::<ngx_buf_t>().as_mut()?;
        buffer.pos = copy.data;
        buffer.last = copy.data.add(copy.len);
        buffer.start = buffer.pos;
        buffer.end = buffer.last;
        buffer.set_memory(u32::from(!body.is_empty()));
        buffer.set_last_buf(u32::from(ptr::eq(r, (*r).main)));
        buffer.set_last_in_chain(1);
        let link = ngx_pcalloc(pool, size_of::<ngx_chain_t>()).cast::<ngx_chain_t>();
        link.as_mut()?.buf = buffer;
        Some(link)
    }
}
