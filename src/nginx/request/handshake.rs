//! The opening handshake of a WebSocket: which request asks for one, and the answer to one that asks wrongly.

use std::ptr;

use nginx_sys::{
    NGX_HTTP_GET, NGX_HTTP_VERSION_11, ngx_http_discard_request_body, ngx_http_request_t,
    ngx_http_send_header,
};

use super::response;
use super::snapshot::Headers;
use crate::bridge::code::Code;
use crate::http::websocket::handshake::{Asked, Handshake, Refusal, VERSION};
use crate::nginx::conf::Location;
use crate::nginx::log;
use crate::nginx::sys;

const BAD_REQUEST: isize = nginx_sys::NGX_HTTP_BAD_REQUEST as isize;
const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;
const UPGRADE_REQUIRED: usize = 426;

/// What a request asks for, in a location whose application gets WebSockets. `None` if it is an ordinary request.
///
/// # Safety
///
/// `r` is a live request in its content phase.
pub(super) unsafe fn read(
    r: *mut ngx_http_request_t,
    conf: &Location,
) -> Option<Result<Handshake, Refusal>> {
    let config = conf.config.websocket.as_ref()?;
    // SAFETY: the request is live, and nothing changes it while this function runs. nginx's strings are valid as long as
    // the request.
    unsafe {
        let request = &*r;
        // Only these can ask: most requests need no look at their fields.
        if request.method != NGX_HTTP_GET as usize || !ptr::eq(r, request.main) {
            return None;
        }
        let asked = Asked {
            is_get: true,
            is_http_1_1: request.http_version == NGX_HTTP_VERSION_11 as usize,
            has_body: request.headers_in.content_length_n > 0 || request.headers_in.chunked() != 0,
        };
        let fields = Headers::of(request).filter(|field| field.hash != 0);
        let fields = fields.map(|field| (sys::bytes(field.key), sys::bytes(field.value)));
        Handshake::of(asked, fields, config.deflate)
    }
}

/// Answers a request that asks wrongly: 400, or 426 with the version that is spoken. Returns nginx's code.
///
/// # Safety
///
/// `r` is a live request in its content phase.
pub(super) unsafe fn refuse(r: *mut ngx_http_request_t, refusal: Refusal) -> isize {
    // SAFETY: the request is live, and its header has not been sent. The texts are static.
    unsafe {
        log::message((*(*r).connection).log, Code::WebSocketRefused, refusal);
        if refusal != Refusal::Version {
            return BAD_REQUEST;
        }
        let discarded = ngx_http_discard_request_body(r);
        if discarded != sys::OK {
            return discarded;
        }
        let out = &mut (*r).headers_out;
        out.status = UPGRADE_REQUIRED;
        out.status_line = sys::string(c"426 Upgrade Required");
        out.content_length_n = 0;
        let list = &raw mut out.headers;
        let added = response::push(list, sys::string(c"Upgrade"), sys::string(c"websocket"))
            .and_then(|_| {
                let version =
                    nginx_sys::ngx_str_t { len: VERSION.len(), data: VERSION.as_ptr().cast_mut() };
                response::push(list, sys::string(c"Sec-WebSocket-Version"), version)
            });
        if added.is_none() {
            return INTERNAL_SERVER_ERROR;
        }
        (*r).set_header_only(1);
        ngx_http_send_header(r)
    }
}
