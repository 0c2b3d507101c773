//! `…_debug`: the traceback as the page of a 500.

use bytes::Bytes;
use pyo3::prelude::*;

use super::logging;
use super::response::{Response, Start};
use super::shim::{self, Shim};
use crate::bridge::code::Code;
use crate::bridge::config::Debug;
use crate::bridge::exchange::Exchange;
use crate::http::header::HeaderKind;
use crate::http::response_head::ResponseHead;

/// Answers with a page that shows `report`, if the location asks for it and the head has not been sent. False if nginx
/// must answer.
pub(super) fn show(
    py: Python<'_>,
    shim: &Shim,
    exchange: &Exchange,
    response: &Response,
    report: &str,
) -> bool {
    if exchange.location.debug == Debug::Off || response.head_sent(py) {
        return false;
    }
    let (media_type, body) = match page(py, exchange, report) {
        Ok(page) => page,
        Err(error) => {
            logging::exception(
                py,
                shim,
                Code::DebugPageFailed,
                "the debug page cannot be made",
                &error,
            );
            return false;
        }
    };
    let mut head = ResponseHead::new(500, b"Internal Server Error");
    head.push(HeaderKind::ContentType, b"Content-Type", media_type.as_bytes());
    head.push(HeaderKind::CacheControl, b"Cache-Control", b"no-store");
    response.start(py, Start { head, buffering: None, trailers: false, dropped: None });
    let total = Some(body.len() as u64);
    response.send(py, Bytes::from(body), total, true).is_ok()
}

fn page(py: Python<'_>, exchange: &Exchange, report: &str) -> PyResult<(String, Vec<u8>)> {
    let head = &exchange.head;
    let request = format!(
        "{} {}",
        head.get(head.method).escape_ascii(),
        head.get(head.target).escape_ascii()
    );
    let wants_html = head.fields().iter().any(|field| {
        head.get(field.name()).eq_ignore_ascii_case(b"accept")
            && head
                .get(field.value())
                .windows(9)
                .any(|part| part.eq_ignore_ascii_case(b"text/html"))
    });
    let directive = format!("{}_debug", exchange.location.protocol);
    shim::function(py, "pywsgi._debug_page", "page")?
        .call1((report, request, wants_html, directive))?
        .extract()
}
