//! A worker that is about to leave: its clients are told with each response to come back on another connection.
//!
//! nginx closes the idle connections of a worker that exits, and a request that crosses that on its way is lost. A client
//! that has been told does not send one.

use nginx_sys::ngx_http_request_t;

use super::trampoline::{EventThread, OfEventThread};

static PARTING: OfEventThread<bool> = OfEventThread::new(false);

/// Whether each response is the last one of its connection from now on.
pub(super) fn set(token: EventThread, parting: bool) {
    PARTING.set(token, parting);
}

/// A request begins, whichever module serves it, or its header is about to be sent: HTTP/1's connection ends with its
/// response if the worker is about to leave. (Those of HTTP/2 and HTTP/3 get a GOAWAY when it does.)
///
/// # Safety
///
/// `r` is a live request whose header has not been sent.
pub(super) unsafe fn end_connection(token: EventThread, r: *mut ngx_http_request_t) {
    if PARTING.get(token) {
        // SAFETY: the request is live, and its main request lives longer.
        unsafe { (*(*r).main).set_keepalive(0) };
    }
}
