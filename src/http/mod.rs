//! What HTTP and PEP 3333 say, as pure functions over bytes: no nginx, no Python, no threads.

#![forbid(unsafe_code)]

pub(crate) mod authority;
pub(crate) mod environ;
pub(crate) mod framing;
pub(crate) mod head;
pub(crate) mod header;
pub(crate) mod names;
pub(crate) mod path;
pub(crate) mod response;
pub(crate) mod status;
pub(crate) mod trailer;
