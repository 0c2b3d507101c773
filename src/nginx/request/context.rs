//! What the event loop knows about one request: from the content handler to the request's cleanup.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use nginx_sys::{
    ngx_chain_t, ngx_http_block_reading, ngx_http_request_t, ngx_http_test_reading, ngx_log_t,
    ngx_msec_t,
};

use super::files::Files;
use crate::bridge::config::{ClientAbort, LocationConfig};
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::inline::Suspended;
use crate::bridge::id::RequestId;
use crate::bridge::pipe::output::parts::Block;
use crate::nginx::log::HasLog;
use crate::nginx::own_event::{EventHandler, OwnEvent};
use crate::nginx::sys::{self, HTTP_2};

/// Lives on the heap, and ends in two steps (`finalize.rs`). nginx's cleanup of the main request detaches it from its
/// thread: `ngx_http_terminate_request` runs that at once, while HTTP/2 or an nginx thread may still send from what
/// is `held`. It is freed with the request's pool, which nginx destroys when nothing reads from the request any more.
/// A subrequest's pool is its main request's.
pub(crate) struct Context {
    pub(in crate::nginx) request: *mut ngx_http_request_t,
    /// What is shared with the thread; none before the submit and after the end.
    pub(in crate::nginx) exchange: Option<Arc<Exchange>>,
    /// The same after its end, until nginx has let go of the request.
    pub(in crate::nginx) ended: Option<Arc<Exchange>>,
    pub(in crate::nginx) id: Option<RequestId>,
    pub(in crate::nginx) location: Arc<LocationConfig>,
    pub(in crate::nginx) queue_timeout: ngx_msec_t,
    pub(in crate::nginx) timeout: ngx_msec_t,
    /// Milliseconds of the worker's clock.
    pub(in crate::nginx) submitted: u64,
    /// Armed from the submit to the end: a draining worker stays for it.
    pub(in crate::nginx) timer: OwnEvent,
    pub(in crate::nginx) body: Body,
    /// Memory that a filter of another module's still reads the request's body from.
    pub(in crate::nginx) lent: Vec<Vec<u8>>,
    pub(in crate::nginx) head_sent: bool,
    /// Inline: the application, in the middle of its response.
    pub(in crate::nginx) suspended: Option<Box<dyn Suspended>>,
    /// Posted where the response goes on in the event loop's next turn.
    pub(in crate::nginx) next_turn: OwnEvent,
    /// nginx has got the request back.
    pub(in crate::nginx) finished: bool,
    /// nginx's chains of buffers: to be used again, and not sent yet.
    pub(in crate::nginx) free: *mut ngx_chain_t,
    pub(in crate::nginx) busy: *mut ngx_chain_t,
    /// What the buffers of `busy` point into, in their order.
    pub(in crate::nginx) held: VecDeque<Block>,
    pub(in crate::nginx) files: Files,
}

/// Where the request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) enum Body {
    /// nginx reads it all before the submit, or there is none.
    Buffered,
    /// It is read when the thread asks for it: the client waits for `100 Continue`.
    Expected,
    Streaming,
    /// The pipe is full.
    Paused,
    Complete,
    /// It was streamed to another location, from which nginx has redirected the request.
    Taken,
}

impl Context {
    /// Of `r`, which is about to be submitted. nginx calls `timer` and `next_turn` with the context in `data`.
    ///
    /// # Safety
    ///
    /// `r` is a live request, in its content handler.
    pub(in crate::nginx) unsafe fn new(
        r: *mut ngx_http_request_t,
        location: Arc<LocationConfig>,
        queue_timeout: ngx_msec_t,
        timeout: ngx_msec_t,
        timer: EventHandler,
        next_turn: EventHandler,
    ) -> Box<Context> {
        let mut context = Box::new(Context {
            request: r,
            exchange: None,
            ended: None,
            id: None,
            location,
            queue_timeout,
            timeout,
            submitted: 0,
            timer: OwnEvent::new(timer),
            body: Body::Buffered,
            lent: Vec::new(),
            head_sent: false,
            suspended: None,
            next_turn: OwnEvent::new(next_turn),
            finished: false,
            free: ptr::null_mut(),
            busy: ptr::null_mut(),
            held: VecDeque::new(),
            files: Files::default(),
        });
        let data = ptr::from_mut::<Context>(&mut context).cast::<c_void>();
        context.timer.set_data(data);
        context.next_turn.set_data(data);
        context
    }

    /// No body is read now: has nginx notice when the client is gone, or, with `wsgi_client_abort
    /// ignore`, nothing.
    ///
    /// # Safety
    ///
    /// The request lives.
    pub(in crate::nginx) unsafe fn watch(&self) {
        // SAFETY: the caller's, as ngx_http_upstream_init_request does.
        unsafe {
            let r = self.request;
            // The client of a `post_action` has its response, or is gone (ngx_http_upstream_init_request).
            if self.location.client_abort == ClientAbort::Ignore || (*r).post_action() != 0 {
                (*r).read_event_handler = Some(ngx_http_block_reading);
                return;
            }
            (*r).read_event_handler = Some(ngx_http_test_reading);
            // A client that has left already is no event any more. (HTTP/2's connection speaks up for
            // its streams by itself.)
            let event = (*(*r).connection).read;
            if (*event).ready() != 0 && (*r).http_version != HTTP_2 {
                sys::post_event(event);
            }
        }
    }

    /// `ngx_http_set_ctx`.
    ///
    /// # Safety
    ///
    /// `r` is a live request.
    pub(in crate::nginx) unsafe fn set(r: *mut ngx_http_request_t, context: *mut Context) {
        // SAFETY: r.ctx has a place for every HTTP module.
        unsafe {
            let index = sys::own_module().ctx_index;
            *(*r).ctx.add(index) = context.cast();
        }
    }

    /// The context that the content handler made for this request and location
    /// (`ngx_http_get_module_ctx`). nginx forgets it with an internal redirect; before all but that of
    /// `post_action` the request has been given back.
    ///
    /// # Safety
    ///
    /// `r` is a live request.
    pub(in crate::nginx) unsafe fn of(r: *mut ngx_http_request_t) -> *mut Context {
        // SAFETY: as for `set`.
        unsafe {
            let index = sys::own_module().ctx_index;
            (*(*r).ctx.add(index)).cast()
        }
    }
}

// SAFETY: a context is freed with its request's pool, and a live request has a connection with a log. It does not
// leave the event loop's thread.
unsafe impl HasLog for Context {
    fn log(&self) -> *mut ngx_log_t {
        // SAFETY: as above.
        unsafe { (*(*self.request).connection).log }
    }
}
