//! What the configuration has nginx call for requests. `module.rs` gives it: the files that have these stand above.

use nginx_sys::{ngx_http_request_t, ngx_int_t};

/// A function that nginx calls with a live request.
pub(in crate::nginx) type RequestHandler =
    unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

#[derive(Clone, Copy, Debug)]
pub(in crate::nginx) struct Handlers {
    /// The content handler of a location with an application.
    pub(in crate::nginx) content: RequestHandler,
    /// That of a location with `python_status`.
    pub(in crate::nginx) status: RequestHandler,
    /// Called first for each request, whoever serves it.
    pub(in crate::nginx) post_read: RequestHandler,
}
