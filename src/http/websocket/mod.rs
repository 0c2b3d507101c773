//! The rules of WebSockets (RFC 6455) and of their compression (RFC 7692).

pub(crate) mod close;
pub(crate) mod deflate;
pub(crate) mod extension;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod message;
