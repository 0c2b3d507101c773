//! The end of a request: why it has ended, and what each side is told.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use nginx_sys::{
    ngx_http_block_reading, ngx_http_cleanup_add, ngx_http_discard_request_body,
    ngx_http_finalize_request, ngx_http_request_empty_handler, ngx_http_request_t,
    ngx_pool_cleanup_add,
};
use rustix::fd::BorrowedFd;
use rustix::net::sockopt::set_socket_linger;

use super::Request;
use super::account;
use super::context::{Body, Context};
use super::event_loop;
use super::response;
use crate::bridge::callbacks::Gone;
use crate::bridge::exchange::Exchange;
use crate::bridge::pipe::input::InputError;
use crate::bridge::pipe::output::parts::Block;
use crate::nginx::sys::{self, HTTP_2};
use crate::nginx::trampoline::{EventThread, guard};

/// Why a request has ended.
///
/// | ending | the client gets | the application is told (`on_disconnect`, `wsgi.input`) |
/// |---|---|---|
/// | `Answered` | what nginx makes of the code: the response is complete, or nginx answers by itself | nothing; its next block is dropped |
/// | `Elsewhere` | another location's answer | nothing |
/// | `Failed` | 500 | nothing: it has failed itself, or never begins |
/// | `Unavailable` | 503 with Retry-After | it never begins |
/// | `Lost` | 502 | nothing: its process has ended |
/// | `TimedOut` | 504 | its request is answered |
/// | `Draining` | 503 | its request is answered |
/// | `BodyRefused` | nginx's code for the body, if the client is there | its request is answered, or the client is gone; `read()` raises |
/// | `ClientGone` | nothing, or nginx's code | the client is gone |
/// | `Panicked` | a closed connection | nothing |
/// | `Dropped` | nginx has ended the request by itself, or has it elsewhere (`post_action`) | the client is gone |
/// | `Exiting` | the process ends, and nginx closes what it has | nothing |
///
/// `Failed`, `Unavailable`, `Lost`, `TimedOut` and `Draining` cut the response if its head has been sent ([`reset_with_connection`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) enum Ending {
    /// With nginx's code, which is a status or the result of its filters.
    Answered(isize),
    Elsewhere,
    Failed,
    /// No thread was free in time, the queue is full, or the import is not done.
    Unavailable,
    /// The process that ran the application has ended.
    Lost,
    /// `wsgi_timeout`.
    TimedOut,
    /// The worker is exiting, and `python_drain_timeout` has expired.
    Draining,
    /// The rest of the body is too large or malformed, or its client is gone. With nginx's code.
    BodyRefused(isize),
    /// The client is gone, or too slow. With nginx's code.
    ClientGone(isize),
    Panicked,
    Dropped,
    Exiting,
}

const INTERNAL_SERVER_ERROR: isize = nginx_sys::NGX_HTTP_INTERNAL_SERVER_ERROR as isize;
const BAD_GATEWAY: isize = nginx_sys::NGX_HTTP_BAD_GATEWAY as isize;
const GATEWAY_TIME_OUT: isize = nginx_sys::NGX_HTTP_GATEWAY_TIME_OUT as isize;
const SERVICE_UNAVAILABLE: isize = nginx_sys::NGX_HTTP_SERVICE_UNAVAILABLE as isize;

/// Seconds after which a client may try again if no thread was free for it.
const RETRY_AFTER: &CStr = c"1";

impl Ending {
    /// nginx's code, if nginx gets the request back with one.
    fn code(self, head_sent: bool) -> Option<isize> {
        Some(match self {
            cut if cut.cuts() && head_sent => sys::ERROR,
            Ending::Failed => INTERNAL_SERVER_ERROR,
            Ending::Lost => BAD_GATEWAY,
            Ending::TimedOut => GATEWAY_TIME_OUT,
            Ending::Draining | Ending::Unavailable => SERVICE_UNAVAILABLE,
            Ending::Answered(code) | Ending::BodyRefused(code) | Ending::ClientGone(code) => code,
            Ending::Panicked => sys::ERROR,
            Ending::Elsewhere | Ending::Dropped | Ending::Exiting => return None,
        })
    }

    /// Whether the client sees that the response is incomplete, if its head has been sent.
    fn cuts(self) -> bool {
        matches!(
            self,
            Ending::Failed
                | Ending::Unavailable
                | Ending::Lost
                | Ending::TimedOut
                | Ending::Draining
        )
    }
}

/// Ends this module's part in a request, once. nginx gets the request back, unless it already has it (`Elsewhere`,
/// `Dropped`, `Exiting`). The request and its context may then be gone.
pub(in crate::nginx) fn end(request: Request<'_>, ending: Ending) {
    if matches!(ending, Ending::Dropped | Ending::Exiting) {
        detach(&request, ending);
        return;
    }
    if request.finished.get() {
        return;
    }
    tell(&request, ending);
    let r = request.raw();
    if ending.cuts() && request.head_sent.get() {
        reset_with_connection(&request);
    }
    if ending == Ending::Unavailable && !request.head_sent.get() {
        add_retry_after(&request);
    }
    detach(&request, ending);
    // SAFETY: the request lives as long as its context, also if nginx has redirected it and the context is no longer
    // its own.
    unsafe {
        (*r).read_event_handler = Some(ngx_http_block_reading);
        (*r).write_event_handler = Some(ngx_http_request_empty_handler);
    }
    let Some(code) = ending.code(request.head_sent.get()) else { return };
    if request.body.get() == Body::Expected {
        request.close_after();
    } else {
        // The unread rest of the body must not be parsed as the next request. The result of discarding it does not
        // change the response.
        // SAFETY: the request lives as long as `request`.
        let _discarded = unsafe { ngx_http_discard_request_body(r) };
    }
    // SAFETY: nothing of the request or of its context is used afterwards.
    unsafe { ngx_http_finalize_request(r, code) };
}

/// Tells the application why the request has ended, if it must know more than that its response is no longer read.
fn tell(request: &Request<'_>, ending: Ending) {
    let Some(exchange) = request.exchange() else { return };
    match ending {
        Ending::TimedOut => exchange.set_gone(Gone::TimedOut),
        Ending::Draining => exchange.set_gone(Gone::Answered),
        Ending::ClientGone(_) => exchange.set_gone(Gone::Client),
        Ending::BodyRefused(_) => {
            // SAFETY: a live request has a connection.
            let client_gone = unsafe { (*request.connection()).error() != 0 };
            let (why, gone) = if client_gone {
                (InputError::ClientGone, Gone::Client)
            } else {
                (InputError::Refused, Gone::Answered)
            };
            exchange.fail_input(why);
            exchange.set_gone(gone);
        }
        _ => {}
    }
}

/// Ends what is shared with the thread. The thread notices at its next read or push.
fn detach(request: &Request<'_>, ending: Ending) {
    let token = request.token();
    let event_loop = event_loop::current(token);
    let exchange = request.exchange();
    request.finished.set(true);
    request.timer.stop(token);
    if request.next_turn.is_posted() {
        request.next_turn.take_back(token);
        event_loop.inspect(|event_loop| event_loop.remove_continuing());
    }
    let id = request.id.take();
    if let Some(id) = id {
        event_loop.inspect(|event_loop| event_loop.remove(id));
    }
    if let Some(exchange) = exchange {
        let why = if ending == Ending::Dropped {
            exchange.set_gone(Gone::Client);
            InputError::ClientGone
        } else {
            InputError::Answered
        };
        if id.is_some() {
            account::ended(request, exchange, status(request, ending));
        }
        exchange.close(why);
    }
    let suspended = request.suspended.take();
    if let Some((event_loop, suspended)) = event_loop.zip(suspended) {
        event_loop.end(suspended);
    }
}

/// The status of the response: the application's, or nginx's if there is none; `None` if the client gets none.
fn status(request: &Request<'_>, ending: Ending) -> Option<u16> {
    if let Some(status) = request.status.get() {
        return Some(status);
    }
    let code = ending.code(request.head_sent.get())?;
    let is_answer = code >= sys::SPECIAL_RESPONSE && !matches!(ending, Ending::ClientGone(_));
    u16::try_from(code).ok().filter(|_| is_answer)
}

/// Ties a context to its request: both end when nginx frees the request. `None` if nginx is out of memory.
///
/// # Safety
///
/// `r` is a live request, in its content handler, and the context was made for it.
pub(super) unsafe fn attach<'ev>(
    token: EventThread,
    r: *mut ngx_http_request_t,
    context: Box<Context>,
) -> Option<Request<'ev>> {
    // SAFETY: nginx calls each cleanup once, and the context lives until the second one.
    unsafe {
        let cleanup = ngx_http_cleanup_add(r, 0);
        let pool_cleanup = ngx_pool_cleanup_add((*r).pool, 0);
        if cleanup.is_null() || pool_cleanup.is_null() {
            return None;
        }
        let context = NonNull::from(Box::leak(context));
        (*pool_cleanup).data = context.as_ptr().cast::<c_void>();
        (*pool_cleanup).handler = Some(on_pool_cleanup);
        (*cleanup).data = context.as_ptr().cast::<c_void>();
        (*cleanup).handler = Some(on_cleanup);
        Context::set(r, context);
        Some(Request::new(token, context))
    }
}

/// The cleanup of a main request: the request ends, or it is terminated and nginx may still send from it.
unsafe extern "C" fn on_cleanup(data: *mut c_void) {
    let Some(context) = NonNull::new(data.cast::<Context>()) else { return };
    // SAFETY: nginx calls this once, before the pool's cleanup. The context is the one that `attach` has set.
    unsafe {
        let drop = |token| {
            let request = Request::new(token, context);
            tell_unsent(&request);
            if let Some(exchange) = request.exchange_or_ended() {
                account::sent(&request, exchange);
            }
            end(request, Ending::Dropped);
        };
        guard(ptr::null_mut(), || (), drop);
    }
}

/// Tells the application that its client is gone, if nginx had the whole response but the client left, or was too slow,
/// before it had taken it.
fn tell_unsent(request: &Request<'_>) {
    // SAFETY: the request is live, and has a connection.
    let unsent = unsafe {
        let connection = &*request.connection();
        connection.error() != 0 || connection.timedout() != 0
    };
    if let Some(exchange) = request.exchange_or_ended().filter(|_| unsent) {
        exchange.set_gone(Gone::Client);
    }
}

/// The cleanup of a request's pool. Nothing of its contexts is used afterwards.
unsafe extern "C" fn on_pool_cleanup(data: *mut c_void) {
    let Some(context) = NonNull::new(data.cast::<Context>()) else { return };
    // SAFETY: as for `on_cleanup`; this is the last thing that nginx does with the request.
    unsafe {
        guard(
            ptr::null_mut(),
            || (),
            |token| {
                detach(&Request::new(token, context), Ending::Dropped);
                free(Box::from_raw(context.as_ptr()));
            },
        );
    }
}

/// Frees a context. nginx is freeing the request, and no longer reads what the context holds.
fn free(context: Box<Context>) {
    let exchange = context.exchange_or_ended();
    if let Some(exchange) = exchange {
        account::over(exchange);
        exchange.over();
    }
    let is_shared = context.held.borrow().iter().any(Block::is_shared);
    let exchange = exchange.filter(|_| is_shared).cloned();
    drop(context);
    if let Some(exchange) = exchange {
        exchange.collect();
    }
}

/// The exchange of the application that has `r`, or has had it last.
///
/// # Safety
///
/// `r` is a live request; its pool has not been destroyed.
pub(in crate::nginx) unsafe fn last_exchange(r: *mut ngx_http_request_t) -> Option<Arc<Exchange>> {
    // SAFETY: the cleanups with this handler are those of `attach`, and their contexts live as long as the pool. The last
    // one that was added is the first.
    unsafe {
        let mut next = (*(*r).pool).cleanup;
        while let Some(cleanup) = next.as_ref() {
            let ours = cleanup.handler.is_some_and(|handler| {
                ptr::fn_addr_eq(handler, on_pool_cleanup as unsafe extern "C" fn(*mut c_void))
            });
            let context = NonNull::new(cleanup.data.cast::<Context>()).filter(|_| ours);
            if let Some(context) = context.map(|context| context.as_ref()) {
                if context.raw() == r {
                    return context.exchange_or_ended().cloned();
                }
            }
            next = cleanup.next;
        }
        None
    }
}

/// Ends what this module still does for a request that nginx has redirected. `post_action` redirects a request when
/// the client is gone, without telling the previous handler.
///
/// # Safety
///
/// `r` is a live request, in its content handler, which has made no context yet.
pub(super) unsafe fn end_superseded(token: EventThread, r: *mut ngx_http_request_t) {
    // SAFETY: the cleanups with this handler are those of `attach`, and their contexts live as long as the request's
    // pool. Ending a request neither adds nor removes a cleanup.
    unsafe {
        let mut next = (*(*r).main).cleanup;
        while let Some(cleanup) = next.as_ref() {
            let ours = cleanup.handler.is_some_and(|handler| {
                ptr::fn_addr_eq(handler, on_cleanup as unsafe extern "C" fn(*mut c_void))
            });
            if let Some(context) = NonNull::new(cleanup.data.cast::<Context>()).filter(|_| ours) {
                let before = Request::new(token, context);
                if before.raw() == r && !before.finished.get() {
                    end(before, Ending::Dropped);
                }
            }
            next = cleanup.next;
        }
    }
}

/// Makes an incomplete response, whose head has been sent, end so that the client can tell that it is incomplete:
/// chunks are left without their end, and HTTP/2's stream is reset. If the body would end only with the connection,
/// the connection is reset.
fn reset_with_connection(request: &Request<'_>) {
    // SAFETY: the connection belongs to the request, and the descriptor belongs to the connection.
    unsafe {
        let (r, connection) = (request.raw(), request.connection());
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

fn add_retry_after(request: &Request<'_>) {
    // SAFETY: the list is the request's own, and the texts are static. If nginx is out of memory, the response is
    // sent without this field.
    unsafe {
        let _added = response::push(
            &raw mut (*request.raw()).headers_out.headers,
            sys::string(c"Retry-After"),
            sys::string(RETRY_AFTER),
        );
    }
}
