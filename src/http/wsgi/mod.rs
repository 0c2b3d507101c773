//! The WSGI (PEP 3333) representation of a request's head.

pub(crate) mod environ;
