//! The heads of requests and responses as bytes.
//!
//! A web worker does not trust what a response's head from an application process says: each field is checked as one that
//! an application has set. The other way round only the ranges are checked.

use std::sync::Arc;

use super::wire::{
    Malformed, Reader, TooLarge, put_bytes, put_count, put_flag, put_option, put_u16, put_u32,
    put_u64,
};
use crate::http::field::{Field, check_value, field_size};
use crate::http::header::{HeaderKind, checked_kind};
use crate::http::request_head::{RequestHead, Span};
use crate::http::response_head::ResponseHead;
use crate::http::tls::Tls;
use crate::http::trailer;
use crate::http::websocket::extension::{Deflate, Side};
use crate::http::websocket::handshake::Handshake;

/// What all fields of one list may cost ([`field_size`]).
pub(crate) const LARGEST_FIELDS: usize = 1 << 20;

/// The ranges of a request's head that are always there.
const SPANS: usize = 10;

/// A field of a request's head: three numbers. A `…_param`: four.
const FIELD: usize = 12;
const PARAM: usize = 16;

pub(super) fn put_request_head(bytes: &mut Vec<u8>, head: &RequestHead) {
    for span in spans(head) {
        put_span(bytes, span);
    }
    put_u64(bytes, head.connection);
    put_u64(bytes, head.connection_requests as u64);
    put_flag(bytes, head.takes_hints);
    put_flag(bytes, head.https);
    put_flag(bytes, head.head_only);
    put_option(bytes, head.content_length, put_u64);
    put_option(bytes, head.tls.as_deref(), put_tls);
    put_count(bytes, head.fields().len());
    for field in head.fields() {
        put_u32(bytes, field.name().start());
        put_u32(bytes, field.name().end());
        put_u32(bytes, field.value().end());
    }
    put_count(bytes, head.param_spans().len());
    for &(name, value) in head.param_spans() {
        put_span(bytes, name);
        put_span(bytes, value);
    }
    put_bytes(bytes, head.text());
}

pub(super) fn request_head(reader: &mut Reader<'_>) -> Result<RequestHead, Malformed> {
    let mut places = [(0, 0); SPANS];
    for place in &mut places {
        *place = (reader.u32()?, reader.u32()?);
    }
    let connection = reader.u64()?;
    let connection_requests = reader.usize()?;
    let (takes_hints, https, head_only) = (reader.flag()?, reader.flag()?, reader.flag()?);
    let content_length = reader.option(Reader::u64)?;
    let tls = reader.option(tls)?;
    let count = reader.count(FIELD)?;
    let mut fields = Reader::new(reader.take(count * FIELD)?, "a request's fields");
    let params = reader.count(PARAM)?;
    let mut params = Reader::new(reader.take(params * PARAM)?, "a request's params");
    let mut head = RequestHead::of_text(reader.bytes()?.to_vec(), count);
    let malformed = reader.malformed();
    let located = |head: &RequestHead, (start, end)| head.locate(start, end).ok_or(malformed);
    let mut spans = [Span::default(); SPANS];
    for (span, place) in spans.iter_mut().zip(places) {
        *span = located(&head, place)?;
    }
    while fields.left() > 0 {
        let (start, name_end, value_end) = (fields.u32()?, fields.u32()?, fields.u32()?);
        head.locate_field(start, name_end, value_end).ok_or(malformed)?;
    }
    while params.left() > 0 {
        let name = located(&head, (params.u32()?, params.u32()?))?;
        let value = located(&head, (params.u32()?, params.u32()?))?;
        head.locate_param(name, value);
    }
    set_spans(&mut head, spans);
    head.connection = connection;
    head.connection_requests = connection_requests;
    head.takes_hints = takes_hints;
    head.https = https;
    head.head_only = head_only;
    head.content_length = content_length;
    head.tls = tls.map(Arc::new);
    Ok(head)
}

fn spans(head: &RequestHead) -> [Span; SPANS] {
    [
        head.method,
        head.path,
        head.query,
        head.target,
        head.protocol,
        head.remote_addr,
        head.remote_port,
        head.server_name,
        head.server_port,
        head.local_addr,
    ]
}

fn set_spans(head: &mut RequestHead, spans: [Span; SPANS]) {
    [
        head.method,
        head.path,
        head.query,
        head.target,
        head.protocol,
        head.remote_addr,
        head.remote_port,
        head.server_name,
        head.server_port,
        head.local_addr,
    ] = spans;
}

fn put_span(bytes: &mut Vec<u8>, span: Span) {
    put_u32(bytes, span.start());
    put_u32(bytes, span.end());
}

fn put_text(bytes: &mut Vec<u8>, text: &String) {
    put_bytes(bytes, text.as_bytes());
}

fn put_tls(bytes: &mut Vec<u8>, tls: &Tls) {
    let Tls { server_cert, client_certs, client_name, client_error, version, cipher } = tls;
    put_option(bytes, server_cert.as_ref(), put_text);
    put_count(bytes, client_certs.len());
    for cert in client_certs {
        put_text(bytes, cert);
    }
    put_option(bytes, client_name.as_ref(), put_text);
    put_option(bytes, client_error.as_ref(), put_text);
    put_option(bytes, *version, put_u16);
    put_option(bytes, *cipher, put_u16);
}

fn tls(reader: &mut Reader<'_>) -> Result<Tls, Malformed> {
    let text = |reader: &mut Reader<'_>| reader.text().map(str::to_owned);
    let server_cert = reader.option(text)?;
    // A certificate takes much more memory than the length before it.
    let count = reader.count(LEAST_CERT)?;
    let client_certs = (0..count).map(|_| text(reader)).collect::<Result<_, _>>()?;
    Ok(Tls {
        server_cert,
        client_certs,
        client_name: reader.option(text)?,
        client_error: reader.option(text)?,
        version: reader.option(Reader::u16)?,
        cipher: reader.option(Reader::u16)?,
    })
}

/// No certificate is shorter, with its length.
const LEAST_CERT: usize = 64;

pub(super) fn put_handshake(bytes: &mut Vec<u8>, handshake: &Handshake) {
    put_text(bytes, &handshake.accept);
    put_option(bytes, handshake.deflate, |bytes, deflate| {
        for side in [deflate.server, deflate.client] {
            put_flag(bytes, side.takes_over);
            bytes.push(side.bits);
        }
    });
}

pub(super) fn handshake(reader: &mut Reader<'_>) -> Result<Handshake, Malformed> {
    let accept = reader.text()?.to_owned();
    let side =
        |reader: &mut Reader<'_>| Ok(Side { takes_over: reader.flag()?, bits: reader.u8()? });
    let deflate = reader.option(|reader| {
        let (server, client) = (side(reader)?, side(reader)?);
        Deflate::of_sides(server, client).ok_or(reader.malformed())
    })?;
    Ok(Handshake { accept, deflate })
}

pub(super) fn put_response_head(bytes: &mut Vec<u8>, head: &ResponseHead) -> Result<(), TooLarge> {
    let size: usize = head.fields().map(|(_, name, value)| field_size(name, value)).sum();
    if size > LARGEST_FIELDS || head.reason().len() > LARGEST_FIELDS {
        return Err(TooLarge(LARGEST_FIELDS));
    }
    put_u16(bytes, head.code());
    put_flag(bytes, head.is_file());
    put_flag(bytes, head.expects_trailers());
    put_option(bytes, head.content_length(), put_u64);
    put_bytes(bytes, head.reason());
    put_count(bytes, head.fields().count());
    for (_, name, value) in head.fields() {
        put_bytes(bytes, name);
        put_bytes(bytes, value);
    }
    Ok(())
}

pub(super) fn response_head(reader: &mut Reader<'_>) -> Result<ResponseHead, Malformed> {
    let code = reader.u16()?;
    let (file, trailers) = (reader.flag()?, reader.flag()?);
    let content_length = reader.option(Reader::u64)?;
    let reason = reader.bytes()?;
    let is_length = |length: u64| i64::try_from(length).is_ok();
    if !matches!(code, SWITCHING_PROTOCOLS | 200..=999)
        || reason.iter().any(u8::is_ascii_control)
        || reason.len() > LARGEST_FIELDS
        || !content_length.is_none_or(is_length)
    {
        return Err(reader.malformed());
    }
    let count = reader.count(LEAST_FIELD)?;
    let mut head = ResponseHead::with_capacity(code, reason, count);
    let mut size = 0;
    for _ in 0..count {
        let (kind, name, value) = response_field(reader)?;
        size += field_size(name, value);
        if size > LARGEST_FIELDS {
            return Err(reader.malformed());
        }
        head.push(kind, name, value);
    }
    head.set_content_length(content_length);
    if file {
        head.set_file();
    }
    if trailers {
        head.expect_trailers();
    }
    Ok(head)
}

/// Fields that are not part of a head.
pub(super) fn put_fields(bytes: &mut Vec<u8>, fields: &[Field]) -> Result<(), TooLarge> {
    let size: usize = fields.iter().map(|(name, value)| field_size(name, value)).sum();
    if size > LARGEST_FIELDS {
        return Err(TooLarge(LARGEST_FIELDS));
    }
    put_count(bytes, fields.len());
    for (name, value) in fields {
        put_bytes(bytes, name);
        put_bytes(bytes, value);
    }
    Ok(())
}

/// Fields that go out before the head.
pub(super) fn hints(reader: &mut Reader<'_>) -> Result<Vec<Field>, Malformed> {
    fields(reader, |reader| response_field(reader).map(|(_, name, value)| (name, value)))
}

/// Fields that follow the body.
pub(super) fn trailers(reader: &mut Reader<'_>) -> Result<Vec<Field>, Malformed> {
    fields(reader, |reader| {
        let (name, value) = (reader.bytes()?, reader.bytes()?);
        match trailer::check(name, value) {
            Ok(()) => Ok((name, value)),
            Err(_foreign) => Err(reader.malformed()),
        }
    })
}

/// What a list of fields takes is counted as it costs, and limited.
fn fields<'a>(
    reader: &mut Reader<'a>,
    next: impl Fn(&mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), Malformed>,
) -> Result<Vec<Field>, Malformed> {
    let count = reader.count(LEAST_FIELD)?;
    let mut size = 0;
    let mut fields = Vec::new();
    for _ in 0..count {
        let (name, value) = next(reader)?;
        size += field_size(name, value);
        if size > LARGEST_FIELDS {
            return Err(reader.malformed());
        }
        fields.push((name.to_vec(), value.to_vec()));
    }
    Ok(fields)
}

/// A field that an application may set. The kind is found anew.
fn response_field<'a>(
    reader: &mut Reader<'a>,
) -> Result<(HeaderKind, &'a [u8], &'a [u8]), Malformed> {
    let (name, value) = (reader.bytes()?, reader.bytes()?);
    match checked_kind(name).and_then(|kind| check_value(name, value).map(|()| kind)) {
        Err(_) | Ok(HeaderKind::ContentLength | HeaderKind::HopByHop) => Err(reader.malformed()),
        Ok(kind) => Ok((kind, name, value)),
    }
}

/// The response to a request for a WebSocket.
const SWITCHING_PROTOCOLS: u16 = 101;

/// Two lengths and a name of one byte.
const LEAST_FIELD: usize = 9;
