//! The snapshot of a request's head that goes to the thread.

use std::ptr;

use nginx_sys::{
    NGX_HTTP_HEAD, ngx_connection_local_sockaddr, ngx_http_complex_value, ngx_http_core_module,
    ngx_http_core_srv_conf_t, ngx_http_request_t, ngx_inet_get_port, ngx_list_part_t, ngx_str_t,
    ngx_table_elt_t,
};

use super::Request;
use super::early_hints;
use crate::http::authority;
use crate::http::path;
use crate::http::request_head::{RequestHead, Span};
use crate::nginx::conf::{Location, ParamValue};
use crate::nginx::sys::{self, HTTP_2};

/// Room for what a common request has beside its target and its headers.
const OTHER_TEXT: usize = 192;

/// Longer than any address as text (`NGX_SOCKADDR_STRLEN`).
const ADDRESS: usize = 256;

/// Takes the snapshot into an empty `head`; false if memory is out. `content_length` is the body's true
/// length, if that is known.
pub(super) fn snapshot(
    request: &Request<'_>,
    content_length: Option<u64>,
    head: &mut RequestHead,
) -> bool {
    let (r, conf) = (request.raw(), request.conf());
    // SAFETY: the request is there; the reference is used before anything of nginx's is called that could
    // change it.
    let request = unsafe { &*r };
    begin(request, head);
    put_request_line(request, conf, head);
    put_fields(request, conf, head);
    put_connection(request, head);
    // SAFETY: the request is there.
    unsafe { put_server(head, request) };
    head.head_only = request.header_only() != 0 || request.method == NGX_HTTP_HEAD as usize;
    head.content_length = content_length;
    put_params(r, conf, head)
}

/// Makes room for all that will be copied.
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

/// Method, path, query and protocol.
fn put_request_line(request: &ngx_http_request_t, conf: &Location, head: &mut RequestHead) {
    // SAFETY: nginx's strings are valid as long as the request.
    let text = |text: ngx_str_t| unsafe { sys::bytes(text) };
    head.method = head.put(text(request.method_name));
    // A subrequest's path is its own; the client's target is the main request's.
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

/// The header fields that the location passes on, in the order in which they came.
fn put_fields(request: &ngx_http_request_t, conf: &Location, head: &mut RequestHead) {
    // SAFETY: nginx's strings are valid as long as the request.
    let text = |text: ngx_str_t| unsafe { sys::bytes(text) };
    let host = if request.host_end.is_null() {
        None
    } else if request.http_version < HTTP_2 {
        authority::of_request_line(text(request.request_line))
    } else if request.headers_in.host.is_null() {
        // HTTP/3's :authority, of which nginx makes no Host as it does of HTTP/2's.
        let len = request.host_end.addr().saturating_sub(request.host_start.addr());
        Some(text(ngx_str_t { len, data: request.host_start }))
    } else {
        None
    };
    if let Some(host) = host.filter(|_| conf.passes_in(b"host")) {
        head.push_field(b"Host", host);
    }
    // SAFETY: the list is the request's own; a field with hash 0 is one that nginx has taken away.
    for field in unsafe { Headers::of(request) }.filter(|field| field.hash != 0) {
        let (name, value) = (text(field.key), text(field.value));
        let replaced = host.is_some() && name.eq_ignore_ascii_case(b"host");
        if !replaced && conf.passes_in(name) {
            head.push_field(name, value);
        }
    }
}

/// The client's address, and what else is the connection's.
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

/// The `…_param`s whose value depends on the request; false if memory is out.
fn put_params(r: *mut ngx_http_request_t, conf: &Location, head: &mut RequestHead) -> bool {
    for param in &conf.request_params {
        let ParamValue::Complex(compiled) = param.value else { continue };
        let mut value = ngx_str_t::empty();
        // SAFETY: the request is there, and the value is compiled with its configuration.
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

/// SERVER_NAME and SERVER_PORT, neither of which may be empty (PEP 3333, "environ Variables").
///
/// # Safety
///
/// `request` is a live one.
unsafe fn put_server(head: &mut RequestHead, request: &ngx_http_request_t) {
    // SAFETY: the core module has a server configuration for every request.
    let server = unsafe {
        let index = (*ptr::addr_of!(ngx_http_core_module)).ctx_index;
        &*(*request.srv_conf.add(index)).cast::<ngx_http_core_srv_conf_t>()
    };
    // SAFETY: nginx's strings.
    let configured = unsafe { sys::bytes(server.server_name) };
    // SAFETY: as above.
    let host = unsafe { sys::bytes(request.headers_in.server) };
    let name = [configured, host].into_iter().find(|name| is_name(name));
    head.server_name = match name {
        Some(name) => head.put(name),
        // SAFETY: the request is there, as this function asks for.
        None => unsafe { put_local_address(head, request) },
    };
    // SAFETY: nginx finds the address once per connection; if it cannot, there is none to read.
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

/// The address that the connection was made to, as text.
///
/// # Safety
///
/// `request` is a live one.
unsafe fn put_local_address(head: &mut RequestHead, request: &ngx_http_request_t) -> Span {
    let mut buffer = [0; ADDRESS];
    let mut address = ngx_str_t { len: buffer.len(), data: buffer.as_mut_ptr() };
    // SAFETY: nginx writes at most len bytes of the buffer, and says how many.
    let local = unsafe {
        let found = ngx_connection_local_sockaddr(request.connection, &raw mut address, 0);
        if found == sys::OK { sys::bytes(address) } else { &[] }
    };
    head.put(if is_name(local) { local } else { b"localhost" })
}

/// Not `_`, a wildcard or a regex (`server_name`'s other forms).
fn is_name(name: &[u8]) -> bool {
    !matches!(name, [] | b"_" | [b'*' | b'.' | b'~', ..] | [.., b'*'])
}

/// The fields of a request's header list, in the order in which they came.
struct Headers {
    part: *const ngx_list_part_t,
    at: usize,
}

impl Headers {
    /// # Safety
    ///
    /// The iterator is used while `request` lives, and nothing changes its headers meanwhile.
    unsafe fn of(request: &ngx_http_request_t) -> Self {
        Self { part: &raw const request.headers_in.headers.part, at: 0 }
    }
}

impl Iterator for Headers {
    type Item = ngx_table_elt_t;

    fn next(&mut self) -> Option<ngx_table_elt_t> {
        // SAFETY: `of` asks for a list that stays as it is; each part has nelts elements.
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
