//! The rules of HTTP, PEP 3333 and ASGI, as pure functions over bytes: no nginx, no Python, no threads.

#![forbid(unsafe_code)]

pub(crate) mod asgi;
pub(crate) mod authority;
pub(crate) mod base64;
pub(crate) mod field;
pub(crate) mod framing;
pub(crate) mod header;
pub(crate) mod names;
pub(crate) mod path;
pub(crate) mod quoted;
#[cfg(test)]
pub(crate) mod random;
pub(crate) mod request_head;
pub(crate) mod response_head;
pub(crate) mod status;
pub(crate) mod tls;
pub(crate) mod trailer;
pub(crate) mod websocket;
pub(crate) mod wsgi;
