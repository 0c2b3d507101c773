//! The end of a request: why it is over, and what each side is told.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::time::Duration;

use nginx_sys::{
    ngx_http_block_reading, ngx_http_cleanup_add, ngx_http_discard_request_body,
    ngx_http_finalize_request, ngx_http_request_empty_handler, ngx_http_request_t,
    ngx_pool_cleanup_add,
};
use rustix::fd::BorrowedFd;
use rustix::net::sockopt::set_socket_linger;

use super::context::{Body, Context};
use super::event_loop;
use super::response;
use crate::bridge::callbacks::Gone;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::output::parts::Block;
use crate::nginx::sys::{self, HTTP_2};
use crate::nginx::trampoline::{EventThread, guard};

/// Why a request is over.
///
/// | ending | the client gets | the application is told (`on_disconnect`, `wsgi.input`) |
/// |---|---|---|
/// | `Answered` | what nginx makes of the code: the response is complete, or nginx answers by itself | nothing; its next block is dropped |
/// | `Elsewhere` | another location's answer | nothing |
/// | `Failed` | 500 | nothing: it has failed itself, or never begins |
/// | `Unavailable` | 503 with Retry-After | it never begins |
/// | `TimedOut` | 504 | its request is answered |
/// | `Draining` | 503 | its request is answered |
/// | `BodyRefused` | nginx's code for the body, if the client is there | its request is answered, or the client is gone; `read()` raises |
/// | `ClientGone` | nothing, or nginx's code | the client is gone |
/// | `Panicked` | a closed connection | nothing |
/// | `Dropped` | nginx has ended the request by itself, or has it elsewhere (`post_action`) | the client is gone |
/// | `Exiting` | the process ends, and nginx closes what it has | nothing |
///
/// `Failed`, `TimedOut` and `Draining` cut the response if its head has gone ([`reset_with_connection`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) enum Ending {
    /// With nginx's code, which is a status, or what its filters have answered.
    Answered(isize),
    Elsewhere,
    Failed,
    /// No thread was free in time, the queue is full, or the import is not done.
    Unavailable,
    /// `wsgi_timeout`.
    TimedOut,
    /// The worker exits, and `python_drain_timeout` is over.
    Draining,
    /// The rest of the body is too large or malformed, or its client is gone: nginx's code.
    BodyRefused(isize),
    /// It is gone, or too slow: nginx's code.
    ClientGone(isize),
    Panicked,
    Dropped,
    Exiting,
}

const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;
const GATEWAY_TIME_OUT: isize = nginx_sys::NGX_HTTP_GATEWAY_TIME_OUT as isize;
const SERVICE_UNAVAILABLE: isize = nginx_sys::NGX_HTTP_SERVICE_UNAVAILABLE as isize;

/// Seconds after which a client may try again if there was no thread for it.
const RETRY_AFTER: &CStr = c"1";

/// Ends this module's part in a request, once. nginx gets it back unless it has it already (`Elsewhere`, `Dropped`,
/// `Exiting`); then the request, and the context with it, may be gone.
///
/// # Safety
///
/// `context` lives.
pub(in crate::nginx) unsafe fn end(token: EventThread, context: *mut Context, ending: Ending) {
    // SAFETY: the request lives as long as its context; nothing of either is used once nginx has the request back.
    unsafe {
        if matches!(ending, Ending::Dropped | Ending::Exiting) {
            detach(token, context, ending);
            return;
        }
        if (*context).finished {
            return;
        }
        let r = (*context).request;
        if let Some(exchange) = &(*context).exchange {
            match ending {
                Ending::TimedOut | Ending::Draining => exchange.set_gone(Gone::Answered),
                Ending::ClientGone(_) => exchange.set_gone(Gone::Client),
                Ending::BodyRefused(_) if (*(*r).connection).error() != 0 => {
                    exchange.input.fail(InputError::ClientGone);
                    exchange.set_gone(Gone::Client);
                }
                Ending::BodyRefused(_) => {
                    exchange.input.fail(InputError::Refused);
                    exchange.set_gone(Gone::Answered);
                }
                _ => {}
            }
        }
        let code = match ending {
            Ending::Failed | Ending::TimedOut | Ending::Draining if (*context).head_sent => {
                reset_with_connection(r);
                sys::ERROR
            }
            Ending::Failed => INTERNAL_SERVER_ERROR,
            Ending::TimedOut => GATEWAY_TIME_OUT,
            Ending::Draining => SERVICE_UNAVAILABLE,
            Ending::Unavailable => {
                add_retry_after(r);
                SERVICE_UNAVAILABLE
            }
            Ending::Answered(code) | Ending::BodyRefused(code) | Ending::ClientGone(code) => code,
            Ending::Panicked | Ending::Elsewhere | Ending::Dropped | Ending::Exiting => sys::ERROR,
        };
        let body = (*context).body;
        detach(token, context, ending);
        // The request may be redirected, and the context no longer be its own.
        (*r).read_event_handler = Some(ngx_http_block_reading);
        (*r).write_event_handler = Some(ngx_http_request_empty_handler);
        if ending == Ending::Elsewhere {
            return;
        }
        if body == Body::Expected {
            (*r).set_keepalive(0);
            (*r).set_lingering_close(1);
        } else {
            // What nobody has read must not be taken for the next request. What discarding itself
            // thinks of the body does not change the answer.
            let _discarded = ngx_http_discard_request_body(r);
        }
        ngx_http_finalize_request(r, code);
    }
}

/// Ends what is shared with the thread: it notices at its next read or push.
///
/// # Safety
///
/// `context` lives.
unsafe fn detach(token: EventThread, context: *mut Context, ending: Ending) {
    // SAFETY: the context lives; no reference into it is held while other code of the module is called.
    unsafe {
        (*context).finished = true;
        (*context).timer.stop(token);
        let event_loop = event_loop::current(token);
        if (*context).next_turn.is_posted() {
            (*context).next_turn.take_back(token);
            event_loop.inspect(|event_loop| event_loop.remove_continuing());
        }
        if let Some(id) = (*context).id.take() {
            event_loop.inspect(|event_loop| event_loop.remove(id));
        }
        if let Some(exchange) = (*context).exchange.take() {
            if ending == Ending::Dropped {
                exchange.set_gone(Gone::Client);
                exchange.close(InputError::ClientGone);
            } else {
                exchange.close(InputError::Answered);
            }
            (*context).ended = Some(exchange);
        }
        if let Some(suspended) = (*context).suspended.take() {
            event_loop.inspect(|event_loop| event_loop.end(suspended));
        }
    }
}

/// Ties a context to its request: both end when nginx frees the request. `None` if memory is out.
///
/// # Safety
///
/// `r` is a live request, in its content handler.
pub(in crate::nginx) unsafe fn attach(
    r: *mut ngx_http_request_t,
    context: Box<Context>,
) -> Option<*mut Context> {
    // SAFETY: nginx calls each cleanup once; the context lives until the second.
    unsafe {
        let cleanup = ngx_http_cleanup_add(r, 0);
        let pool_cleanup = ngx_pool_cleanup_add((*r).pool, 0);
        if cleanup.is_null() || pool_cleanup.is_null() {
            return None;
        }
        let context = Box::into_raw(context);
        (*pool_cleanup).data = context.cast::<c_void>();
        (*pool_cleanup).handler = Some(on_pool_cleanup);
        (*cleanup).data = context.cast::<c_void>();
        (*cleanup).handler = Some(on_cleanup);
        Context::set(r, context);
        Some(context)
    }
}

/// The cleanup of a main request: it ends, or is terminated and may still be sent from.
unsafe extern "C" fn on_cleanup(data: *mut c_void) {
    let context = data.cast::<Context>();
    // SAFETY: nginx calls it once, before the pool's; the context is the one that `attach` has set.
    unsafe { guard(ptr::null_mut(), || (), |token| end(token, context, Ending::Dropped)) };
}

/// The cleanup of a request's pool: nothing of its contexts is used afterwards.
unsafe extern "C" fn on_pool_cleanup(data: *mut c_void) {
    let context = data.cast::<Context>();
    // SAFETY: as for `on_cleanup`; this is the last that nginx does with the request.
    unsafe { guard(ptr::null_mut(), || (), |token| free(token, context)) };
}

/// Frees a context: nginx frees the request, and no longer reads what the context holds.
///
/// # Safety
///
/// nginx's cleanup of the request's pool, with the context that [`attach`] has set.
unsafe fn free(token: EventThread, context: *mut Context) {
    // SAFETY: nobody else has the context any more.
    let mut context = unsafe {
        detach(token, context, Ending::Dropped);
        Box::from_raw(context)
    };
    if let Some(exchange) = context.ended.take() {
        exchange.over();
    }
    let shared = context.held.iter().any(Block::is_shared);
    drop(context);
    if let Some(event_loop) = event_loop::current(token).filter(|_| shared) {
        event_loop.worker().collect();
    }
}

/// Ends what this module still does for a request that nginx has redirected: `post_action` does so when the client
/// is gone, without a word to the handler of before.
///
/// # Safety
///
/// `r` is a live request, in its content handler, which has made no context yet.
pub(in crate::nginx) unsafe fn end_superseded(token: EventThread, r: *mut ngx_http_request_t) {
    // SAFETY: the cleanups with this handler are those of `attach`, whose contexts live as long as the request's
    // pool. Ending one adds no cleanup and takes none away.
    unsafe {
        let mut next = (*(*r).main).cleanup;
        while let Some(cleanup) = next.as_ref() {
            let ours = cleanup.handler.is_some_and(|handler| {
                ptr::fn_addr_eq(handler, on_cleanup as unsafe extern "C" fn(*mut c_void))
            });
            let context = cleanup.data.cast::<Context>();
            if ours && (*context).request == r && !(*context).finished {
                end(token, context, Ending::Dropped);
            }
            next = cleanup.next;
        }
    }
}

/// Has a response that is not complete end so that the client can tell: chunks are not ended and HTTP/2's
/// stream is reset; if only the connection's end would end the body, that is a reset.
///
/// # Safety
///
/// `r` is a live request whose head has gone.
unsafe fn reset_with_connection(r: *mut ngx_http_request_t) {
    // SAFETY: the connection is the request's, and the descriptor the connection's own.
    unsafe {
        let connection = (*r).connection;
        let by_close = (*r).chunked() == 0 && (*r).headers_out.content_length_n < 0;
        if by_close
            && (*connection).ssl.is_null()
            && (*r).http_version < HTTP_2
            && (*connection).fd >= 0
        {
            let fd = BorrowedFd::borrow_raw((*connection).fd);
            // A socket that is gone needs no reset.
            let _gone = set_socket_linger(fd, Some(Duration::ZERO));
        }
    }
}

/// # Safety
///
/// `r` is a live request whose head has not gone.
unsafe fn add_retry_after(r: *mut ngx_http_request_t) {
    // SAFETY: the list is the request's own, and the texts are static.
    unsafe {
        // If memory is out, the answer goes without it.
        let _added = response::push(
            &raw mut (*r).headers_out.headers,
            sys::string(c"Retry-After"),
            sys::string(RETRY_AFTER),
        );
    }
}
