//! What an application can request from nginx with its response head: another location's response
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

/// Whether `error_page` handles this status (`wsgi_intercept_errors`).
pub(super) fn intercepts(request: &Request<'_>, head: &ResponseHead) -> bool {
    if !request.conf().intercept_errors || status(head) < sys::SPECIAL_RESPONSE {
        return false;
    }
    // SAFETY: the array belongs to the configuration, which outlives the request.
    unsafe {
        let Some(pages) = request.core_conf().error_pages.as_ref() else { return false };
        let pages = pages.as_slice::<ngx_http_err_page_t>();
        pages.iter().any(|page| page.status == status(head))
    }
}

/// The target of `X-Accel-Redirect`, if the response has this field and the configuration obeys it.
pub(in crate::nginx) fn target<'h>(conf: &Location, head: &'h ResponseHead) -> Option<&'h [u8]> {
    if !conf.obeys(HeaderKind::AccelRedirect) {
        return None;
    }
    let mut fields = head.fields();
    fields.find(|(kind, _, _)| *kind == HeaderKind::AccelRedirect).map(|(_, _, value)| value)
}

/// Redirects the request, whose head has not been sent, to another location. Keeps those of the application's headers
/// that nginx keeps from an upstream (`ngx_http_upstream_process_headers`).
pub(super) fn redirect(request: Request<'_>, head: &ResponseHead, target: &[u8]) {
    let r = request.raw();
    let copied = response::keep(&request, head) // SAFETY: the request is live, and so is its pool.
        .and_then(|()| unsafe { sys::pool_copy((*r).pool, target) });
    let Some(mut uri) = copied else {
        finalize::end(request, Ending::Failed);
        return;
    };
    if target.starts_with(b"@") {
        finalize::end(request, Ending::Elsewhere);
        // SAFETY: the request is still live: `Ending::Elsewhere` only detaches it, and nginx has not finalized it.
        unsafe { ngx_http_named_location(r, &raw mut uri) };
    } else {
        let mut args = ngx_str_t::empty();
        let mut flags = NGX_HTTP_LOG_UNSAFE as ngx_uint_t;
        // SAFETY: the request lives as long as `request`, and the text is in its pool.
        let parsed =
            unsafe { ngx_http_parse_unsafe_uri(r, &raw mut uri, &raw mut args, &raw mut flags) };
        if parsed != sys::OK {
            finalize::end(request, Ending::Answered(NOT_FOUND));
            return;
        }
        finalize::end(request, Ending::Elsewhere);
        // SAFETY: the request is still live: `Ending::Elsewhere` only detaches it, and nginx has not finalized it.
        unsafe {
            if (*r).method != NGX_HTTP_HEAD as ngx_uint_t {
                (*r).method = NGX_HTTP_GET as ngx_uint_t;
                (*r).method_name = ngx_http_core_get_method;
            }
            ngx_http_internal_redirect(r, &raw mut uri, &raw mut args);
        }
    }
    // SAFETY: the redirect has increased the request's count; nothing of the request is used afterwards.
    unsafe { ngx_http_finalize_request(r, sys::DONE) };
}

/// The status, in the type of nginx's codes.
fn status(head: &ResponseHead) -> isize {
    head.code() as isize
}
