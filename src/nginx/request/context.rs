//! What the event loop knows about one request, from the content handler to the request's cleanup.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use nginx_sys::{
    ngx_chain_t, ngx_connection_t, ngx_event_t, ngx_http_block_reading, ngx_http_core_loc_conf_t,
    ngx_http_request_t, ngx_http_test_reading, ngx_log_t, ngx_msec_t,
};

use super::files::Files;
use super::socket::Upgraded;
use crate::bridge::config::{ClientAbort, LocationConfig};
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::inline::Suspended;
use crate::bridge::id::RequestId;
use crate::bridge::pipe::output::parts::Block;
use crate::http::websocket::handshake::Handshake;
use crate::nginx::conf::Location;
use crate::nginx::log::HasLog;
use crate::nginx::own_event::{EventHandler, OwnEvent};
use crate::nginx::sys::{self, HTTP_2};

/// Lives on the heap, and ends in two steps (`finalize.rs`). First, nginx's cleanup of the main request detaches it
/// from its thread: `ngx_http_terminate_request` runs that cleanup at once, while HTTP/2 or an nginx thread may still
/// send from what is `held`. Second, it is freed with the request's pool, which nginx destroys when nothing reads
/// from the request any more. A subrequest uses its main request's pool. So nginx's request lives as long as its
/// context.
///
/// nginx's filters may call back into this module. So every field that changes is a cell, and no borrow is held while
/// nginx is called.
pub(in crate::nginx) struct Context {
    request: *mut ngx_http_request_t,
    exchange: OnceCell<Arc<Exchange>>,
    /// The id in the table of requests in flight; `None` before the submit and after the end.
    pub(super) id: Cell<Option<RequestId>>,
    conf: NonNull<Location>,
    pub(super) location: Arc<LocationConfig>,
    pub(super) queue_timeout: ngx_msec_t,
    pub(super) timeout: ngx_msec_t,
    /// The time of the submit, in milliseconds of the worker's clock.
    pub(super) submitted: Cell<u64>,
    /// Runs from the submit to the end. A draining worker waits for it.
    pub(super) timer: OwnEvent,
    pub(super) body: Cell<Body>,
    /// When nginx began to read the body, in nanoseconds of the monotonic clock; 0: there is none.
    pub(super) body_since: Cell<u64>,
    /// Memory that another module's filter still reads the request's body from.
    pub(super) lent: RefCell<Vec<Vec<u8>>>,
    /// That of the application's response, once it has sent its head.
    pub(super) status: Cell<Option<u16>>,
    pub(super) head_sent: Cell<bool>,
    /// Executor `inline`: the application, suspended in the middle of its response.
    pub(in crate::nginx) suspended: RefCell<Option<Box<dyn Suspended>>>,
    /// Posted if the response continues in the event loop's next turn.
    pub(super) next_turn: OwnEvent,
    /// nginx has the request back.
    pub(super) finished: Cell<bool>,
    /// nginx's chains of buffers: those of `free` can be reused, those of `busy` are not sent yet.
    pub(super) free: Cell<*mut ngx_chain_t>,
    pub(super) busy: Cell<*mut ngx_chain_t>,
    /// The blocks that the buffers of `busy` point into, in the same order.
    pub(super) held: RefCell<VecDeque<Block>>,
    pub(super) files: RefCell<Files>,
    /// A request for a WebSocket, until it is submitted.
    pub(super) handshake: Cell<Option<Handshake>>,
    /// The connection of an open WebSocket.
    pub(super) upgraded: OnceCell<Box<Upgraded>>,
}

/// The state of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// nginx reads all of it before the submit, or there is no body.
    Buffered,
    /// It is read when the thread asks for it: the client waits for `100 Continue`.
    Expected,
    Streaming,
    /// The pipe is full.
    Paused,
    Complete,
    /// It was streamed to another location, and nginx has redirected the request from there.
    Taken,
}

impl Context {
    /// Creates the context of `r`, which is about to be submitted. nginx calls `timer` and `next_turn` with the
    /// context in `data`.
    ///
    /// # Safety
    ///
    /// `r` is a live request, in its content handler, and the context is freed with it.
    pub(super) unsafe fn new(
        r: *mut ngx_http_request_t,
        conf: &Location,
        timer: EventHandler,
        next_turn: EventHandler,
    ) -> Box<Context> {
        let mut context = Box::new(Context {
            request: r,
            exchange: OnceCell::new(),
            id: Cell::new(None),
            conf: NonNull::from(conf),
            location: Arc::clone(&conf.config),
            queue_timeout: conf.queue_timeout,
            timeout: conf.timeout,
            submitted: Cell::new(0),
            timer: OwnEvent::new(timer),
            body: Cell::new(Body::Buffered),
            body_since: Cell::new(0),
            lent: RefCell::default(),
            status: Cell::new(None),
            head_sent: Cell::new(false),
            suspended: RefCell::default(),
            next_turn: OwnEvent::new(next_turn),
            finished: Cell::new(false),
            free: Cell::new(ptr::null_mut()),
            busy: Cell::new(ptr::null_mut()),
            held: RefCell::default(),
            files: RefCell::default(),
            handshake: Cell::new(None),
            upgraded: OnceCell::new(),
        });
        let data = ptr::from_mut::<Context>(&mut context).cast::<c_void>();
        context.timer.set_data(data);
        context.next_turn.set_data(data);
        context
    }

    /// The context that the content handler made for this request and location (`ngx_http_get_module_ctx`). nginx
    /// clears it at an internal redirect. The request has been given back before every redirect except that of
    /// `post_action`.
    ///
    /// # Safety
    ///
    /// `r` is a live request.
    pub(super) unsafe fn of(r: *mut ngx_http_request_t) -> Option<NonNull<Context>> {
        // SAFETY: r.ctx has a place for every HTTP module.
        NonNull::new(unsafe { *(*r).ctx.add(sys::own_module().ctx_index) }.cast())
    }

    /// Sets the context of `r`, as `ngx_http_set_ctx` does.
    ///
    /// # Safety
    ///
    /// `r` is a live request, and the context is freed with it.
    pub(super) unsafe fn set(r: *mut ngx_http_request_t, context: NonNull<Context>) {
        // SAFETY: as for `of`.
        unsafe { *(*r).ctx.add(sys::own_module().ctx_index) = context.as_ptr().cast() }
    }

    /// nginx's request.
    pub(super) fn raw(&self) -> *mut ngx_http_request_t {
        self.request
    }

    /// Whether nginx has redirected the request, so that this context is no longer its own.
    pub(super) fn is_superseded(&self) -> bool {
        // SAFETY: the request lives as long as its context.
        unsafe { Self::of(self.request) != Some(NonNull::from(self)) }
    }

    /// The state that is shared with the thread; `None` before the submit and after the end.
    pub(in crate::nginx) fn exchange(&self) -> Option<&Arc<Exchange>> {
        if self.finished.get() { None } else { self.exchange.get() }
    }

    /// The state that is shared with the thread, also after the end.
    pub(super) fn exchange_or_ended(&self) -> Option<&Arc<Exchange>> {
        self.exchange.get()
    }

    /// Records that the request is submitted. Called once.
    pub(super) fn set_exchange(&self, exchange: Arc<Exchange>, now: u64) {
        self.submitted.set(now);
        let set = self.exchange.set(exchange);
        debug_assert!(set.is_ok(), "a request is submitted once");
    }

    pub(super) fn conf(&self) -> &Location {
        // SAFETY: the configuration lives as long as its cycle, and nginx keeps the cycle while it serves a request
        // of it.
        unsafe { self.conf.as_ref() }
    }

    pub(super) fn core_conf(&self) -> &ngx_http_core_loc_conf_t {
        // SAFETY: the request lives as long as its context, and its configuration lives as long as the request.
        unsafe { sys::core_loc_conf(self.request) }
    }

    pub(super) fn is_main(&self) -> bool {
        // SAFETY: the request lives as long as its context.
        unsafe { self.request == (*self.request).main }
    }

    pub(super) fn connection(&self) -> *mut ngx_connection_t {
        // SAFETY: as for `is_main`.
        unsafe { (*self.request).connection }
    }

    pub(super) fn write_event(&self) -> *mut ngx_event_t {
        // SAFETY: as for `is_main`; a connection has both events.
        unsafe { (*self.connection()).write }
    }

    pub(super) fn read_event(&self) -> *mut ngx_event_t {
        // SAFETY: as for `write_event`.
        unsafe { (*self.connection()).read }
    }

    /// Whether a rate limit holds back nginx's write event, or one of nginx's threads holds the request.
    pub(super) fn is_delayed(&self) -> bool {
        // SAFETY: as for `write_event`.
        unsafe { (*self.write_event()).delayed() != 0 || (*self.request).aio() != 0 }
    }

    pub(super) fn is_writable(&self) -> bool {
        // SAFETY: as for `write_event`.
        unsafe { (*self.write_event()).ready() != 0 }
    }

    /// Whether nginx has a part of this response that it has not sent.
    pub(super) fn has_unsent(&self) -> bool {
        // SAFETY: as for `is_main`.
        !self.busy.get().is_null()
            || (self.is_main() && unsafe { sys::is_buffered(self.connection()) })
    }

    /// Whether a filter of nginx's reads the response's body. All others, and what sends it, only pass it on.
    pub(super) fn filters_look(&self) -> bool {
        let request = self.raw();
        // SAFETY: as for `is_main`.
        unsafe {
            (*request).filter_need_in_memory() != 0 || (*request).main_filter_need_in_memory() != 0
        }
    }

    /// How many bytes nginx has sent on the client's connection.
    pub(super) fn bytes_sent(&self) -> i64 {
        // SAFETY: as for `is_main`.
        unsafe { (*self.connection()).sent }
    }

    /// How many bytes of the response's body the client has got (`$body_bytes_sent`).
    pub(super) fn body_bytes_sent(&self) -> u64 {
        // SAFETY: as for `is_main`.
        let head = unsafe { (*self.request).header_size };
        u64::try_from(self.bytes_sent()).unwrap_or_default().saturating_sub(head as u64)
    }

    /// Closes the client's connection after this response. What the client sends until then is read.
    pub(super) fn close_after(&self) {
        // SAFETY: as for `is_main`.
        unsafe {
            (*self.request).set_keepalive(0);
            (*self.request).set_lingering_close(1);
        }
    }

    /// Tells nginx that fields may follow the body.
    pub(super) fn expect_trailers(&self) {
        // SAFETY: as for `is_main`.
        unsafe { (*self.request).set_expect_trailers(1) };
    }

    /// Called when no body is being read. Makes nginx notice when the client is gone. With `wsgi_client_abort
    /// ignore`, nginx notices nothing.
    pub(super) fn watch(&self) {
        // SAFETY: as for `is_main`. The order is that of `ngx_http_upstream_init_request`.
        unsafe {
            let r = self.request;
            // The client of a `post_action` already has its response, or is gone (ngx_http_upstream_init_request).
            if self.location.client_abort == ClientAbort::Ignore || (*r).post_action() != 0 {
                (*r).read_event_handler = Some(ngx_http_block_reading);
                return;
            }
            (*r).read_event_handler = Some(ngx_http_test_reading);
            // If the client has already left, no further event arrives. (HTTP/2's connection notifies its streams
            // itself.)
            let event = self.read_event();
            if (*event).ready() != 0 && (*r).http_version != HTTP_2 {
                sys::post_event(event);
            }
        }
    }
}

// SAFETY: a context is freed with its request's pool, and a live request has a connection with a log. The context
// does not leave the event loop's thread.
unsafe impl HasLog for Context {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: as above.
        unsafe { (*self.connection()).log }
    }
}
