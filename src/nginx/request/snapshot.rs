//! The snapshot of a request's head that is passed to the thread.

use std::ptr;

use nginx_sys::{
    NGX_HTTP_HEAD, ngx_connection_local_sockaddr, ngx_http_complex_value, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_request_t, ngx_inet_get_port, ngx_list_part_t, ngx_str_t,
    ngx_table_elt_t,
};

use super::Request;
use super::early_hints;
use super::tls;
use crate::http::authority;
use crate::http::path;
use crate::http::request_head::{RequestHead, Span};
use crate::nginx::conf::{Location, ParamValue};
use crate::nginx::sys::{self, HTTP_2};

/// Room for the text that a common request has besides its target and its headers.
const OTHER_TEXT: usize = 192;

/// Longer than any address as text (`NGX_SOCKADDR_STRLEN`).
const ADDRESS: usize = 256;

/// Takes the snapshot into an empty `head`. Returns false if nginx is out of memory. `content_length` is the body's
/// actual length, if it is known.
pub(super) fn snapshot(
    request: &Request<'_>,
    content_length: Option<u64>,
    head: &mut RequestHead,
) -> bool {
    let (r, conf) = (request.raw(), request.conf());
    // SAFETY: the request lives as long as the `Request`. The reference is used before any call of an nginx function
    // that could change the request.
    let request = unsafe { &*r };
    begin(request, head);
    put_request_line(request, conf, head);
    put_fields(request, conf, head);
    put_connection(request, head);
    // SAFETY: as above.
    unsafe { put_server(head, request, conf) };
    head.head_only = request.header_only() != 0 || request.method == NGX_HTTP_HEAD as usize;
    head.content_length = content_length;
    put_tls(request, conf, head) && put_params(r, conf, head)
}

/// Reserves room for everything that will be copied.
fn begin(request: &ngx_http_request_t, head: &mut RequestHead) {
    let mut fields = 0;
    let mut size = request.request_line.len + request.uri.len + OTHER_TEXT;
    // SAFETY: the list is the request's own.
    for field in unsafe { Headers::of(request) } {
        fields += 1;
        size += field.key.len + field.value.len;
    }
    head.begin(size, fields);
}

/// Copies the method, path, query and protocol.
fn put_request_line(request: &ngx_http_request_t, conf: &Location, head: &mut RequestHead) {
    // SAFETY: nginx's strings are valid as long as the request.
    let text = |text: ngx_str_t| unsafe { sys::bytes(text) };
    head.method = head.put(text(request.method_name));
    // A subrequest has its own path; the client's target belongs to the main request.
    head.path = if conf.raw_path && ptr::eq(request, request.main) {
        head.put(&path::raw(text(request.unparsed_uri)))
    } else {
        head.put(text(request.uri))
    };
    head.query = head.put(text(request.args));
    head.target = head.put(text(request.unparsed_uri));
    // An HTTP/0.9 request has no version.
    let protocol = Some(text(request.http_protocol)).filter(|protocol| !protocol.is_empty());
    head.protocol = head.put(protocol.unwrap_or(b"HTTP/0.9"));
}

/// Copies the header fields that the location passes on, in the order in which they arrived.
fn put_fields(request: &ngx_http_request_t, conf: &Location, head: &mut RequestHead) {
    // SAFETY: nginx's strings are valid as long as the request.
    let text = |text: ngx_str_t| unsafe { sys::bytes(text) };
    let host = if request.host_end.is_null() {
        None
    } else if request.http_version < HTTP_2 {
        authority::of_request_line(text(request.request_line))
    } else {
        // The :authority of HTTP/2 and HTTP/3, which comes before all fields. nginx makes a Host field from it behind
        // the others, or none; it refuses a request in which both are and differ.
        let len = request.host_end.addr().saturating_sub(request.host_start.addr());
        Some(text(ngx_str_t { len, data: request.host_start }))
    };
    if let Some(host) = host.filter(|_| conf.passes_in(b"host")) {
        head.push_field(b"Host", host);
    }
    // SAFETY: the list is the request's own; a field with hash 0 has been removed by nginx.
    for field in unsafe { Headers::of(request) }.filter(|field| field.hash != 0) {
        let (name, value) = (text(field.key), text(field.value));
        let replaced = host.is_some() && name.eq_ignore_ascii_case(b"host");
        if !replaced && conf.passes_in(name) {
            head.push_field(name, value);
        }
    }
}

/// Copies the client's address and the other data of the connection.
fn put_connection(request: &ngx_http_request_t, head: &mut RequestHead) {
    // SAFETY: the connection outlives its requests.
    let connection = unsafe { &*request.connection };
    // SAFETY: nginx's string is valid as long as the connection.
    head.remote_addr = head.put(unsafe { sys::bytes(connection.addr_text) });
    // SAFETY: a client's connection has an address.
    let port = unsafe { ngx_inet_get_port(connection.sockaddr) };
    if port != 0 {
        head.remote_port = head.put_number(u64::from(port));
    }
    head.takes_hints = early_hints::can_be_sent(request);
    head.connection = connection.number;
    head.connection_requests = connection.requests;
    head.https = !connection.ssl.is_null();
}

/// Describes the connection's TLS, for the applications that are told of it. Returns false if nginx is out of memory.
fn put_tls(request: &ngx_http_request_t, conf: &Location, head: &mut RequestHead) -> bool {
    if head.https && conf.config.protocol.describes_tls() {
        let Ok(tls) = tls::describe(request) else { return false };
        head.tls = tls;
    }
    true
}

/// Evaluates the `…_param`s whose value depends on the request. Returns false if nginx is out of memory. From here on
/// `head.https` is what the application is told, and no longer whether the connection has TLS.
fn put_params(r: *mut ngx_http_request_t, conf: &Location, head: &mut RequestHead) -> bool {
    if let Some(https) = conf.https {
        head.https = https;
    }
    for param in &conf.request_params {
        let ParamValue::Complex(compiled) = param.value else { continue };
        let mut value = ngx_str_t::empty();
        // SAFETY: the caller's `Request` keeps the request live, and the value was compiled with its configuration.
        if unsafe { ngx_http_complex_value(r, compiled, &raw mut value) } != sys::OK {
            return false;
        }
        if value.len > 0 || !param.if_not_empty {
            // SAFETY: the value is in the request's pool.
            head.push_param(&param.name, unsafe { sys::bytes(value) });
        }
    }
    true
}

/// Sets SERVER_NAME and SERVER_PORT, neither of which may be empty (PEP 3333, "environ Variables").
///
/// # Safety
///
/// `request` is a live request.
unsafe fn put_server(head: &mut RequestHead, request: &ngx_http_request_t, conf: &Location) {
    if conf.config.protocol.names_local_address() {
        // SAFETY: the request is live, as this function requires.
        head.local_addr = unsafe { put_local_address(head, request) };
    }
    // SAFETY: the core module has a server configuration for every request.
    let server = unsafe {
        let index = (*ptr::addr_of!(ngx_http_core_module)).ctx_index;
        &*(*request.srv_conf.add(index)).cast::<ngx_http_core_srv_conf_t>()
    };
    // SAFETY: nginx's string is valid as long as the configuration.
    let configured = unsafe { sys::bytes(server.server_name) };
    // SAFETY: nginx's string is valid as long as the request.
    let host = unsafe { sys::bytes(request.headers_in.server) };
    let name = [configured, host].into_iter().find(|name| is_name(name));
    head.server_name = match name {
        Some(name) => head.put(name),
        // SAFETY: the request is live, as this function requires.
        None => match unsafe { put_local_address(head, request) } {
            local if is_name(head.get(local)) => local,
            _ => head.put(b"localhost"),
        },
    };
    // SAFETY: nginx determines the address once per connection; if that fails, no address is read.
    let port = unsafe {
        let found = ngx_connection_local_sockaddr(request.connection, ptr::null_mut(), 0);
        let local = (*request.connection).local_sockaddr;
        if found == sys::OK { ngx_inet_get_port(local) } else { 0 }
    };
    head.server_port = match (port, head.https) {
        (0, false) => head.put(b"80"),
        (0, true) => head.put(b"443"),
        (port, _) => head.put_number(u64::from(port)),
    };
}

/// The address that the client has connected to, as text; empty if it is not known.
///
/// # Safety
///
/// `request` is a live request.
unsafe fn put_local_address(head: &mut RequestHead, request: &ngx_http_request_t) -> Span {
    let mut buffer = [0; ADDRESS];
    let mut address = ngx_str_t { len: buffer.len(), data: buffer.as_mut_ptr() };
    // SAFETY: nginx writes at most `len` bytes to the buffer, and sets `len` to the number of bytes written.
    let local = unsafe {
        let found = ngx_connection_local_sockaddr(request.connection, &raw mut address, 0);
        if found == sys::OK { sys::bytes(address) } else { &[] }
    };
    head.put(local)
}

/// Whether `name` is a plain name: not `_`, a wildcard or a regex (the other forms of `server_name`).
fn is_name(name: &[u8]) -> bool {
    !matches!(name, [] | b"_" | [b'*' | b'.' | b'~', ..] | [.., b'*'])
}

/// The fields of a request's header list, in the order in which they arrived.
#[derive(Clone)]
pub(super) struct Headers {
    part: *const ngx_list_part_t,
    at: usize,
}

impl Headers {
    /// # Safety
    ///
    /// The iterator is used only while `request` is live, and nothing changes its headers meanwhile.
    pub(super) unsafe fn of(request: &ngx_http_request_t) -> Self {
        Self { part: &raw const request.headers_in.headers.part, at: 0 }
    }
}

impl Iterator for Headers {
    type Item = ngx_table_elt_t;

    fn next(&mut self) -> Option<ngx_table_elt_t> {
        // SAFETY: `of` requires that the list does not change; each part has `nelts` elements.
        unsafe {
            loop {
                let part = self.part.as_ref()?;
                if self.at < part.nelts {
                    let field = part.elts.cast::<ngx_table_elt_t>().add(self.at);
                    self.at += 1;
                    return Some(*field);
                }
                self.part = part.next;
                self.at = 0;
            }
        }
    }
}
