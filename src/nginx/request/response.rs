//! Passes the application's response head to nginx. If nginx has its own field for a header, that field is set, so
//! that nginx's filters (not-modified, range, gzip, charset, …) know about it.

use std::ptr;

use nginx_sys::{
    NGX_HTTP_GET, NGX_HTTP_HEAD, ngx_http_headers_out_t, ngx_http_request_t, ngx_list_push,
    ngx_list_t, ngx_parse_http_time, ngx_pcalloc, ngx_str_t, ngx_table_elt_t,
};

use super::Request;
use super::field_lists::Lists;
use crate::http::field::Field;
use crate::http::header::HeaderKind;
use crate::http::response_head::ResponseHead;
use crate::http::status;
use crate::nginx::conf::Location;
use crate::nginx::sys;

/// Puts `head` into `r.headers_out`, which has not been sent. `None` if nginx is out of memory.
pub(super) fn set(request: &Request<'_>, head: &ResponseHead) -> Option<()> {
    let (r, conf) = (request.raw(), request.conf());
    set_status(request, head)?;
    // SAFETY: the request lives as long as `request`, and nothing else changes it meanwhile.
    let live = unsafe { &mut *r };
    // The response to another method describes the state that the method has created. Comparing the condition was the
    // application's task, and a 412 would now deny what has been done.
    if !shows(live) {
        live.set_disable_not_modified(1);
    }
    live.headers_out.content_length_n = -1;
    if status::has_no_body(head.code()) {
        live.set_header_only(1);
    } else if let Some(length) = head.content_length() {
        live.headers_out.content_length_n = length as nginx_sys::off_t;
    }
    if head.expects_trailers() {
        request.expect_trailers();
    }
    let ranges = allow_ranges(live, conf, head);
    fields(request, head, |kind, name, value| {
        obey(request, kind, value);
        if kind == HeaderKind::Trailer {
            request.expect_trailers();
        }
        // The range filter adds this field itself.
        conf.passes(kind, name) && !(ranges && kind == HeaderKind::AcceptRanges)
    })
}

/// nginx has a built-in status line for 200, and the filters rely on it.
fn set_status(request: &Request<'_>, head: &ResponseHead) -> Option<()> {
    let line = if head.code() == 200 && head.reason() == b"OK" {
        None
    } else {
        let mut line = Texts::new(request, 4 + head.reason().len())?;
        let mut text = Vec::with_capacity(4 + head.reason().len());
        text.extend_from_slice(head.code().to_string().as_bytes());
        text.push(b' ');
        text.extend_from_slice(head.reason());
        Some(line.put(&text))
    };
    // SAFETY: the request lives as long as `request`.
    unsafe {
        let out = &mut (*request.raw()).headers_out;
        out.status = usize::from(head.code());
        if let Some(line) = line {
            out.status_line = line;
        }
    }
    Some(())
}

/// Whether the method only reads: GET or HEAD.
fn shows(r: &ngx_http_request_t) -> bool {
    r.method == NGX_HTTP_GET as usize || r.method == NGX_HTTP_HEAD as usize
}

/// `wsgi_force_ranges`: whether nginx may send ranges of this response. It can send several ranges of a file at once,
/// but only one range of a response that arrives block by block.
fn allow_ranges(r: &mut ngx_http_request_t, conf: &Location, head: &ResponseHead) -> bool {
    let file = head.is_file();
    let wanted = conf.force_ranges.unwrap_or(file);
    // The Range of another method must be ignored (RFC 9110, section 14.2).
    if !wanted || head.code() != 200 || !shows(r) {
        return false;
    }
    let refused = head.fields().any(|(kind, _, value)| {
        kind == HeaderKind::AcceptRanges && value.eq_ignore_ascii_case(b"none")
    });
    if refused {
        return false;
    }
    r.set_allow_ranges(1);
    r.set_single_range(u32::from(!file));
    true
}

/// Puts only those fields into `r.headers_out` that nginx keeps from a response whose body another location sends
/// (`X-Accel-Redirect`).
pub(super) fn keep(request: &Request<'_>, head: &ResponseHead) -> Option<()> {
    let conf = request.conf();
    fields(request, head, |kind, name, value| {
        obey(request, kind, value);
        let kept = match kind {
            HeaderKind::ContentType | HeaderKind::Expires | HeaderKind::CacheControl => true,
            HeaderKind::Other => {
                name.eq_ignore_ascii_case(b"set-cookie")
                    || name.eq_ignore_ascii_case(b"content-disposition")
            }
            _ => false,
        };
        kept && conf.passes(kind, name)
    })
}

/// Puts only the challenge of a 401 into `r.headers_out`. The page is nginx's, but the application decides who may
/// log in and how (`ngx_http_upstream_intercept_errors`).
pub(super) fn challenge(request: &Request<'_>, head: &ResponseHead) -> Option<()> {
    fields(request, head, |kind, _, _| head.code() == 401 && kind == HeaderKind::WwwAuthenticate)
}

/// Puts the fields that follow the body into `r.headers_out`, before the last buffer is sent. nginx sends them if the
/// protocol supports them.
pub(super) fn set_trailers(request: &Request<'_>, trailers: &[Field]) -> Option<()> {
    // SAFETY: the request lives as long as `request`.
    let list = unsafe { &raw mut (*request.raw()).headers_out.trailers };
    put_all(request, list, trailers)
}

/// Puts the fields of a 103 (Early Hints) into `r.headers_out`.
#[cfg(nginx_1_29)]
pub(super) fn set_hints(request: &Request<'_>, fields: &[Field]) -> Option<()> {
    // SAFETY: the request lives as long as `request`.
    let list = unsafe { &raw mut (*request.raw()).headers_out.headers };
    put_all(request, list, fields)
}

/// Adds fields of the module's own to `r.headers_out`.
pub(super) fn add_own(request: &Request<'_>, fields: &[Field]) -> Option<()> {
    // SAFETY: the request lives as long as `request`.
    let list = unsafe { &raw mut (*request.raw()).headers_out.headers };
    put_all(request, list, fields)
}

/// Puts all `fields` into `list`, which is one of the request's lists.
fn put_all(request: &Request<'_>, list: *mut ngx_list_t, fields: &[Field]) -> Option<()> {
    for (name, value) in fields {
        let mut texts = Texts::new(request, name.len() + value.len())?;
        // SAFETY: the list belongs to the request, and so does the pool that the texts are in.
        unsafe { push(list, texts.put(name), texts.put(value))? };
    }
    Some(())
}

/// Adds a field at the end of `list`.
///
/// # Safety
///
/// The list is a request's own, and the texts are static or in its pool.
pub(super) unsafe fn push(
    list: *mut ngx_list_t,
    name: ngx_str_t,
    value: ngx_str_t,
) -> Option<*mut ngx_table_elt_t> {
    // SAFETY: the list has a pool, and each pushed element has room for a field.
    unsafe {
        let field = ngx_list_push(list).cast::<ngx_table_elt_t>();
        if field.is_null() {
            return None;
        }
        // Later nginx versions have a `next` here, which must be null.
        ptr::write_bytes(field, 0, 1);
        (*field).hash = 1;
        (*field).key = name;
        (*field).value = value;
        Some(field)
    }
}

/// Applies X-Accel-Limit-Rate and X-Accel-Charset (`ngx_http_upstream_process_limit_rate`, `…_charset`).
/// X-Accel-Expires is meant for a cache.
fn obey(request: &Request<'_>, kind: HeaderKind, value: ngx_str_t) {
    if !kind.is_accel() || !request.conf().obeys(kind) {
        return;
    }
    // SAFETY: the text has just been copied into the request's pool.
    let text = unsafe { sys::bytes(value) };
    match kind {
        HeaderKind::AccelLimitRate => {
            let rate = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            if let Some(rate) = rate {
                // SAFETY: the request lives as long as `request`.
                let r = unsafe { &mut *request.raw() };
                r.limit_rate = rate;
                r.set_limit_rate_set(1);
            }
        }
        HeaderKind::AccelCharset => {
            // SAFETY: the allocation is from the request's pool, and is written completely.
            unsafe {
                let r = &mut *request.raw();
                let charset = ngx_pcalloc(r.pool, size_of::<ngx_str_t>()).cast::<ngx_str_t>();
                if !charset.is_null() {
                    *charset = value;
                    r.headers_out.override_charset = charset;
                }
            }
        }
        _ => {}
    }
}

/// Copies the fields that `wanted` accepts into `r.headers_out`.
fn fields(
    request: &Request<'_>,
    head: &ResponseHead,
    mut wanted: impl FnMut(HeaderKind, &[u8], ngx_str_t) -> bool,
) -> Option<()> {
    let size = head.fields().map(|(_, name, value)| name.len() + value.len()).sum();
    let mut texts = Texts::new(request, size)?;
    let mut lists = Lists::default();
    for (kind, name, value) in head.fields() {
        let value = texts.put(value);
        if wanted(kind, name, value) {
            add(request, &mut lists, kind, texts.put(name), value)?;
        }
    }
    Some(())
}

/// Adds one field, and sets nginx's own field for it. [`ResponseHead`] has only one field of each kind that may occur
/// only once.
fn add(
    request: &Request<'_>,
    lists: &mut Lists,
    kind: HeaderKind,
    name: ngx_str_t,
    value: ngx_str_t,
) -> Option<()> {
    // SAFETY: the request lives as long as `request`, and nothing else changes it meanwhile.
    let out = unsafe { &mut (*request.raw()).headers_out };
    if kind == HeaderKind::ContentType {
        set_content_type(out, value);
        return Some(());
    }
    // SAFETY: the list is the request's own, and the texts are in its pool.
    let field = unsafe { push(&raw mut out.headers, name, value)? };
    match kind {
        HeaderKind::LastModified => {
            out.last_modified = field;
            // SAFETY: the text is in the pool.
            out.last_modified_time = unsafe { ngx_parse_http_time(value.data, value.len) };
        }
        HeaderKind::ETag => out.etag = field,
        // A relative location is not changed (ngx_http_upstream_rewrite_location).
        HeaderKind::Location if !is_relative(value) => out.location = field,
        // gunzip can remove only the last coding. An empty field names no coding.
        HeaderKind::ContentEncoding if value.len > 0 => out.content_encoding = field,
        HeaderKind::Date => out.date = field,
        HeaderKind::Server => out.server = field,
        HeaderKind::AcceptRanges => out.accept_ranges = field,
        HeaderKind::Expires => out.expires = field,
        _ => append(request, lists, kind, field)?,
    }
    Some(())
}

/// Adds a field to nginx's own list of its kind, if there is one.
fn append(
    request: &Request<'_>,
    lists: &mut Lists,
    kind: HeaderKind,
    field: *mut ngx_table_elt_t,
) -> Option<()> {
    // SAFETY: the request lives as long as `request`, and nothing else changes its lists meanwhile. The field is from
    // its pool.
    unsafe {
        let (pool, out) = ((*request.raw()).pool, &mut (*request.raw()).headers_out);
        match kind {
            // `auth_request` passes all of these on. Before 1.23 it takes one: the first, as for an upstream.
            #[cfg(nginx_1_23)]
            HeaderKind::WwwAuthenticate => {
                lists.www_authenticate.append(pool, &raw mut out.www_authenticate, field)?;
            }
            #[cfg(not(nginx_1_23))]
            HeaderKind::WwwAuthenticate if out.www_authenticate.is_null() => {
                out.www_authenticate = field;
            }
            // `expires` replaces the fields of `cache_control`; `http2_push_preload` pushes those of `link`.
            HeaderKind::CacheControl => {
                lists.cache_control.append(pool, &raw mut out.cache_control, field)?;
            }
            HeaderKind::Link => lists.link.append(pool, &raw mut out.link, field)?,
            _ => {}
        }
    }
    Some(())
}

fn is_relative(location: ngx_str_t) -> bool {
    // SAFETY: the text has just been copied into the request's pool.
    unsafe { sys::bytes(location) }.starts_with(b"/")
}

/// Sets the content type as `ngx_http_upstream_copy_content_type` does: the charset is set in its own field, for the
/// charset filter.
fn set_content_type(out: &mut ngx_http_headers_out_t, value: ngx_str_t) {
    out.content_type = value;
    out.content_type_len = value.len;
    out.content_type_lowcase = ptr::null_mut();
    // SAFETY: the text has just been copied into the request's pool.
    let text = unsafe { sys::bytes(value) };
    if let Some((type_len, start, end)) = charset(text) {
        out.content_type_len = type_len;
        // SAFETY: start and end are within the text.
        out.charset = ngx_str_t { len: end - start, data: unsafe { value.data.add(start) } };
    }
}

/// The offsets of the media type's end and of the charset value's start and end. `None` if the last parameter is not
/// `charset`.
fn charset(content_type: &[u8]) -> Option<(usize, usize, usize)> {
    let semicolon = content_type.iter().rposition(|byte| *byte == b';')?;
    let parameter = content_type.get(semicolon + 1..)?;
    let space = parameter.iter().take_while(|byte| **byte == b' ').count();
    let start = semicolon + 1 + space + 8;
    let name = content_type.get(semicolon + 1 + space..start)?;
    if !name.eq_ignore_ascii_case(b"charset=") {
        return None;
    }
    match content_type.get(start..)? {
        [b'"', .., b'"'] => Some((semicolon, start + 1, content_type.len() - 1)),
        _ => Some((semicolon, start, content_type.len())),
    }
}

/// One allocation in the request's pool for several texts.
struct Texts {
    next: *mut u8,
    left: usize,
}

impl Texts {
    fn new(request: &Request<'_>, size: usize) -> Option<Self> {
        // SAFETY: the request lives as long as `request`; nginx returns null for a size of 1 or more only if it is
        // out of memory.
        let next = unsafe { nginx_sys::ngx_pnalloc((*request.raw()).pool, size.max(1)) };
        let next = next.cast::<u8>();
        (!next.is_null()).then_some(Self { next, left: size })
    }

    fn put(&mut self, text: &[u8]) -> ngx_str_t {
        let len = text.len().min(self.left);
        let data = self.next;
        // SAFETY: the allocation has at least `len` bytes left.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), data, len);
            self.next = data.add(len);
        }
        self.left -= len;
        ngx_str_t { len, data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_found() {
        for (text, expected) in [
            ("text/html", None),
            ("text/html; charset=utf-8", Some(("text/html", "utf-8"))),
            ("text/html;CHARSET=\"utf-8\"", Some(("text/html", "utf-8"))),
            ("multipart/mixed; boundary=x", None),
            ("text/plain; format=flowed; charset=x", Some(("text/plain; format=flowed", "x"))),
            ("text/html; charset=", Some(("text/html", ""))),
            ("text/html; charset=\"", Some(("text/html", "\""))),
            ("text/html;", None),
        ] {
            let found = charset(text.as_bytes())
                .map(|(type_len, start, end)| (&text[..type_len], &text[start..end]));
            assert_eq!(found, expected, "{text}");
        }
    }
}
