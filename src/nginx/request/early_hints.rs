//! 103 (Early Hints, RFC 8297). nginx can send it since 1.29; an older nginx cannot.

use nginx_sys::ngx_http_request_t;

#[cfg(nginx_1_29)]
pub(in crate::nginx) use self::sending::{are_unsent, flush, send};

/// Whether this nginx can send a 103 to the client of `r`. It cannot do so for a subrequest, nor over HTTP/1.0, which
/// allows only one response to a request.
pub(in crate::nginx) fn can_be_sent(r: &ngx_http_request_t) -> bool {
    const HTTP_1_1: usize = nginx_sys::NGX_HTTP_VERSION_11 as usize;
    cfg!(nginx_1_29) && std::ptr::eq(r, r.main) && r.http_version >= HTTP_1_1
}

#[cfg(nginx_1_29)]
mod sending {
    use std::ptr;

    use nginx_sys::{
        ngx_http_send_early_hints, ngx_http_top_early_hints_filter, ngx_http_write_filter,
        ngx_list_init, ngx_table_elt_t,
    };

    use crate::http::field::Field;
    use crate::nginx::request::{Request, response};
    use crate::nginx::sys;

    /// Sends a 103, before the header. If `early_hints` is configured, its conditions decide which clients get it. If
    /// it is not configured, every client gets it, because the application asks for it.
    pub(in crate::nginx) fn send(request: &Request<'_>, fields: &[Field]) -> isize {
        let r = request.raw();
        // The fields of the response that other modules have already set are put aside meanwhile. They are put back
        // at the same address, because the list's `last` points into the list itself.
        // SAFETY: the request lives as long as `request`. The list is initialised again before anything reads it, and
        // is put back afterwards.
        let (kept, made) = unsafe {
            let kept = ptr::read(&raw const (*r).headers_out.headers);
            let size = size_of::<ngx_table_elt_t>();
            let list = &raw mut (*r).headers_out.headers;
            (kept, ngx_list_init(list, (*r).pool, fields.len().max(1), size))
        };
        let filled = made == sys::OK && response::set_hints(request, fields).is_some();
        // SAFETY: the request lives as long as `request`.
        unsafe {
            let rc = if !filled {
                sys::ERROR
            } else if !request.core_conf().early_hints.is_null() {
                ngx_http_send_early_hints(r)
            } else if let Some(filter) = ngx_http_top_early_hints_filter {
                filter(r)
            } else {
                sys::OK
            };
            ptr::write(&raw mut (*r).headers_out.headers, kept);
            rc
        }
    }

    /// Whether there are hints that the client could not take at once. Other data that the connection holds may
    /// belong to another request of the same page, in a filter that compresses it.
    pub(in crate::nginx) fn are_unsent(request: &Request<'_>) -> bool {
        // SAFETY: the request lives as long as `request`.
        request.is_main() && unsafe { !(*request.raw()).out.is_null() }
    }

    /// Sends what the client could not take at once, as `ngx_http_upstream_early_hints_writer` does.
    pub(in crate::nginx) fn flush(request: &Request<'_>) -> isize {
        // SAFETY: the request lives as long as `request`.
        unsafe { ngx_http_write_filter(request.raw(), ptr::null_mut()) }
    }
}
