//! The content handler of `python_status`.

use nginx_sys::{
    NGX_HTTP_BAD_REQUEST, NGX_HTTP_FORBIDDEN, NGX_HTTP_GET, NGX_HTTP_HEAD,
    NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_ALLOWED, NGX_HTTP_SERVICE_UNAVAILABLE,
    ngx_http_discard_request_body, ngx_http_request_t, ngx_int_t,
};

use super::access;
use super::board;
use super::reply::{OK, fields, reply};
use super::threads;
use crate::bridge::code::Code;
use crate::metrics::board::Board;
use crate::metrics::exposition::{Format, exposition};
use crate::metrics::json::json;
use crate::metrics::page::page;
use crate::metrics::text::text;
use crate::nginx::conf::{Shown, StatusFormat, status_of};
use crate::nginx::log;
use crate::nginx::sys;
use crate::nginx::trampoline::{EventThread, guard};

const INTERNAL_SERVER_ERROR: isize = NGX_HTTP_INTERNAL_SERVER_ERROR as isize;
const PLAIN: &str = "text/plain; charset=utf-8";

/// The content handler that `python_status` sets for a location.
///
/// # Safety
///
/// nginx calls it with a live request in its content phase.
pub(in crate::nginx) unsafe extern "C" fn on_status(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: a live request has a connection with a log.
    unsafe {
        guard(
            (*(*r).connection).log,
            || INTERNAL_SERVER_ERROR,
            |token| match answer(token, r) {
                Ok(code) | Err(code) => code,
            },
        )
    }
}

/// # Safety
///
/// `r` is a live request in its content phase.
unsafe fn answer(token: EventThread, r: *mut ngx_http_request_t) -> Result<isize, isize> {
    // SAFETY: the request is live.
    unsafe {
        if (*r).method & (NGX_HTTP_GET | NGX_HTTP_HEAD) as usize == 0 {
            return Err(NGX_HTTP_NOT_ALLOWED as isize);
        }
        if let Some(refusal) = access::refusal(r) {
            log::message((*(*r).connection).log, Code::StatusRefused, refusal.text());
            return Err(NGX_HTTP_FORBIDDEN as isize);
        }
        match ngx_http_discard_request_body(r) {
            sys::OK => {}
            code => return Err(code),
        }
        let Some(board) = board::current() else {
            return Err(NGX_HTTP_SERVICE_UNAVAILABLE as isize);
        };
        let shown = match status_of(r) {
            Some(StatusFormat::Fixed(shown)) => shown,
            Some(StatusFormat::Chosen) | None => chosen(r).ok_or(NGX_HTTP_BAD_REQUEST as isize)?,
        };
        let all = || board.snapshot();
        let (content_type, body) = match shown {
            Shown::Threads => return Ok(threads::ask(token, r, &board)),
            Shown::Ready => return Ok(ready(r, &board)),
            Shown::Html => ("text/html; charset=utf-8", page(&all())),
            Shown::Json => ("application/json", format!("{}\n", json(&all()))),
            Shown::Text => (PLAIN, text(&all())),
            Shown::Prometheus => {
                let openmetrics = takes_openmetrics(r);
                let format = if openmetrics { Format::OpenMetrics } else { Format::Prometheus };
                (format.content_type(), exposition(&all(), format))
            }
        };
        Ok(reply(r, OK, content_type, body.as_bytes()))
    }
}

/// Answers a probe, which comes often, without a snapshot.
///
/// # Safety
///
/// As `answer`.
unsafe fn ready(r: *mut ngx_http_request_t, board: &Board) -> isize {
    let (status, body) = match board.is_ready() {
        true => (OK, "ready\n"),
        false => (NGX_HTTP_SERVICE_UNAVAILABLE, "not ready: no worker serves its applications\n"),
    };
    // SAFETY: as the caller's.
    unsafe { reply(r, status, PLAIN, body.as_bytes()) }
}

/// What the request asks for: by its argument `format`, or by its `Accept`; text if it does not say. `None` if there is
/// no such format.
///
/// # Safety
///
/// `r` is a live request.
unsafe fn chosen(r: *mut ngx_http_request_t) -> Option<Shown> {
    // SAFETY: the request is live.
    let arguments = unsafe { sys::bytes((*r).args) };
    let mut arguments = arguments.split(|byte| *byte == b'&');
    if let Some(name) = arguments.find_map(|argument| argument.strip_prefix(b"format=")) {
        return Shown::named(name);
    }
    // SAFETY: as above.
    let accept = unsafe { accept(r) };
    let wanted = [
        ("openmetrics-text", Shown::Prometheus),
        ("version=0.0.4", Shown::Prometheus),
        ("text/html", Shown::Html),
        ("application/json", Shown::Json),
    ];
    let found = wanted.into_iter().find(|(name, _)| accept.contains(name));
    Some(found.map_or(Shown::Text, |(_, shown)| shown))
}

/// # Safety
///
/// `r` is a live request.
unsafe fn takes_openmetrics(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the request is live.
    unsafe { accept(r) }.contains("application/openmetrics-text")
}

/// The values of the request's `Accept`, joined.
///
/// # Safety
///
/// `r` is a live request.
unsafe fn accept(r: *mut ngx_http_request_t) -> String {
    // SAFETY: the request is live.
    let fields = unsafe { fields(r) };
    let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"accept"));
    let values = values.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase());
    values.collect::<Vec<_>>().join(",")
}
