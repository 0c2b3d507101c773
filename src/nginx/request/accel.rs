//! What an application can ask of nginx by its response's head: another location's answer
//! (`X-Accel-Redirect`), or nginx's own page for its status (`wsgi_intercept_errors`).

use nginx_sys::{
    NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_LOG_UNSAFE, ngx_http_core_get_method,
    ngx_http_err_page_t, ngx_http_finalize_request, ngx_http_internal_redirect,
    ngx_http_named_location, ngx_http_parse_unsafe_uri, ngx_str_t, ngx_uint_t,
};

use super::Request;
use super::finalize::{self, Ending};
use super::response;
use crate::http::header::HeaderKind;
use crate::http::response_head::ResponseHead;
use crate::nginx::conf::Location;
use crate::nginx::sys;

const NOT_FOUND: isize = nginx_sys::NGX_HTTP_NOT_FOUND as isize;

/// Does `error_page` answer for this status?
pub(super) fn intercepts(request: &Request<'_>, head: &ResponseHead) -> bool {
    if !request.conf().intercept_errors || status(head) < sys::SPECIAL_RESPONSE {
        return false;
    }
    // SAFETY: the array is the configuration's.
    unsafe {
        let Some(pages) = request.core_conf().error_pages.as_ref() else { return false };
        let pages = pages.as_slice::<ngx_http_err_page_t>();
        pages.iter().any(|page| page.status == status(head))
    }
}

/// Where `X-Accel-Redirect` sends the request, if anywhere.
pub(in crate::nginx) fn target<'h>(conf: &Location, head: &'h ResponseHead) -> Option<&'h [u8]> {
    if !conf.obeys(HeaderKind::AccelRedirect) {
        return None;
    }
    let mut fields = head.fields();
    fields.find(|(kind, _, _)| *kind == HeaderKind::AccelRedirect).map(|(_, _, value)| value)
}

/// Hands the request, whose head has not gone, to another location, with those of the application's headers that
/// nginx keeps for an upstream (`ngx_http_upstream_process_headers`).
pub(super) fn redirect(request: Request<'_>, head: &ResponseHead, target: &[u8]) {
    let r = request.raw();
    let copied = response::keep(&request, head) // SAFETY: the request is there, and so is its pool.
        .and_then(|()| unsafe { sys::pool_copy((*r).pool, target) });
    let Some(mut uri) = copied else {
        finalize::end(request, Ending::Failed);
        return;
    };
    if target.starts_with(b"@") {
        finalize::end(request, Ending::Elsewhere);
        // SAFETY: nginx has the request, which is still there.
        unsafe { ngx_http_named_location(r, &raw mut uri) };
    } else {
        let mut args = ngx_str_t::empty();
        let mut flags = NGX_HTTP_LOG_UNSAFE as ngx_uint_t;
        // SAFETY: the request is there, and the text in its pool.
        let parsed =
            unsafe { ngx_http_parse_unsafe_uri(r, &raw mut uri, &raw mut args, &raw mut flags) };
        if parsed != sys::OK {
            finalize::end(request, Ending::Answered(NOT_FOUND));
            return;
        }
        finalize::end(request, Ending::Elsewhere);
        // SAFETY: nginx has the request, which is still there.
        unsafe {
            if (*r).method != NGX_HTTP_HEAD as ngx_uint_t {
                (*r).method = NGX_HTTP_GET as ngx_uint_t;
                (*r).method_name = ngx_http_core_get_method;
            }
            ngx_http_internal_redirect(r, &raw mut uri, &raw mut args);
        }
    }
    // SAFETY: the redirection has taken a count for itself; nothing of the request is used afterwards.
    unsafe { ngx_http_finalize_request(r, sys::DONE) };
}

/// The status as nginx's codes are.
fn status(head: &ResponseHead) -> isize {
    head.code() as isize
}
