//! One request on the event loop's side: from the content handler to the end.

pub(super) mod accel;
mod account;
pub(super) mod body;
pub(super) mod call;
pub(super) mod context;
pub(super) mod early_hints;
pub(super) mod event_loop;
mod field_lists;
pub(super) mod files;
pub(super) mod finalize;
pub(super) mod handler;
mod handshake;
pub(super) mod inline;
pub(super) mod lines;
pub(super) mod output;
pub(super) mod response;
pub(super) mod snapshot;
mod socket;
mod socket_close;
mod socket_read;
mod socket_write;
mod tls;
pub(super) mod upgrade;
pub(super) mod watch;

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use nginx_sys::ngx_log_t;

use self::context::Context;
use crate::nginx::log::HasLog;
use crate::nginx::trampoline::EventThread;

/// A request that this module is handling, with its [`Context`]. It is valid during `'ev`, which is one call from
/// nginx.
///
/// A function that may end the request takes it by value, because nginx may free a request as soon as it gets it
/// back. A caller that must know whether the request is still live gets it back as an `Option`, or looks up its id
/// ([`event_loop::find`](self::event_loop::find)).
pub(in crate::nginx) struct Request<'ev> {
    context: NonNull<Context>,
    token: EventThread,
    call: PhantomData<&'ev Context>,
}

impl Request<'_> {
    /// # Safety
    ///
    /// The context is live. While the `Request` exists, only a function that it is passed to ends the request.
    pub(super) unsafe fn new(token: EventThread, context: NonNull<Context>) -> Self {
        Self { context, token, call: PhantomData }
    }

    pub(super) fn token(&self) -> EventThread {
        self.token
    }
}

impl Deref for Request<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        // SAFETY: the context lives as long as this `Request`, and is modified only through its cells.
        unsafe { self.context.as_ref() }
    }
}

// SAFETY: the log is that of the context, which lives as long as the `Request`.
unsafe impl HasLog for Request<'_> {
    fn log(&self) -> *mut ngx_log_t {
        (**self).log()
    }

    fn application(&self) -> Option<&str> {
        self.exchange().map(|exchange| exchange.worker.target(exchange.location.app))
    }
}
