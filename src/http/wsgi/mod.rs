//! What WSGI (PEP 3333) makes of a request's head.

pub(crate) mod environ;
