//! 103 (Early Hints, RFC 8297): an nginx from 1.29 on can send it, an older one cannot.

use nginx_sys::ngx_http_request_t;

#[cfg(nginx_1_29)]
pub(in crate::nginx) use self::sending::{are_unsent, flush, send};

/// Can this nginx send a 103 to the client of `r`? Not in answer to a subrequest, and not to HTTP/1.0, which
/// knows one response to a request.
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

    use crate::http::header::Field;
    use crate::nginx::request::{Request, response};
    use crate::nginx::sys;

    /// Sends one, before the header. If `early_hints` is configured its conditions say to whom; if it is not, everybody
    /// gets it: it is the application that asks.
    pub(in crate::nginx) fn send(request: &Request<'_>, fields: &[Field]) -> isize {
        let r = request.raw();
        // The fields of the response itself, as far as other modules have set them, are put aside meanwhile; the
        // list's `last` points into the list where it stands.
        // SAFETY: the request is there; the list is made anew before anybody reads it, and put back afterwards.
        let (kept, made) = unsafe {
            let kept = ptr::read(&raw const (*r).headers_out.headers);
            let size = size_of::<ngx_table_elt_t>();
            let list = &raw mut (*r).headers_out.headers;
            (kept, ngx_list_init(list, (*r).pool, fields.len().max(1), size))
        };
        let filled = made == sys::OK && response::set_hints(request, fields).is_some();
        // SAFETY: the request is there.
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

    /// Are there hints that the client could not take at once? What the connection has beside may be another
    /// request's of the same page, in a filter that compresses it.
    pub(in crate::nginx) fn are_unsent(request: &Request<'_>) -> bool {
        // SAFETY: the request is there.
        request.is_main() && unsafe { !(*request.raw()).out.is_null() }
    }

    /// Sends on what the client could not take at once, as `ngx_http_upstream_early_hints_writer` does.
    pub(in crate::nginx) fn flush(request: &Request<'_>) -> isize {
        // SAFETY: the request is there.
        unsafe { ngx_http_write_filter(request.raw(), ptr::null_mut()) }
    }
}
