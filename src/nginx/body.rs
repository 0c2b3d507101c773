//! The request's body: all of it before the thread starts, or piece by piece.

use std::collections::VecDeque;
use std::fs::File;
use std::ptr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_read_client_request_body,
    ngx_http_read_unbuffered_request_body, ngx_http_request_t,
};
use rustix::fd::{AsFd, BorrowedFd};

use super::context::{Body, Context};
use super::entry;
use super::finalize;
use super::log;
use super::process;
use super::sys::{self, EventThread};
use crate::bridge::callbacks::Gone;
use crate::bridge::input::{InputError, Segment};

const REQUEST_TIME_OUT: isize = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as isize;

/// Has the body of `r` been handed on as it arrived, by this module or another one? What is left of it then
/// is not a body.
///
/// # Safety
///
/// `r` is a live request, in its content handler.
pub(super) unsafe fn is_taken(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the caller's. A subrequest shares its main request's body.
    unsafe {
        let main = &*(*r).main;
        !main.request_body.is_null()
            && (main.request_body_no_buffering() != 0 || main.reading_body() != 0)
    }
}

/// Has [`is_taken`] hold for a body that has come whole: nginx takes its own mark away where the body came
/// with the head, and with each redirect (`ngx_http_read_client_request_body`).
///
/// # Safety
///
/// As for [`is_taken`].
pub(super) unsafe fn mark_taken(r: *mut ngx_http_request_t) {
    // SAFETY: the caller's.
    unsafe {
        let main = (*r).main;
        // While the rest is to come, `reading_body` says it, and HTTP/2 drops that rest.
        if (*main).reading_body() == 0 {
            (*main).set_request_body_no_buffering(1);
        }
    }
}

/// The buffered body as owned parts, and its length. nginx's temporary file is shared by a duplicate of
/// its descriptor; the thread reads it.
///
/// # Safety
///
/// nginx has read the whole body of `r`.
pub(super) unsafe fn take_buffered(
    _token: EventThread,
    r: *mut ngx_http_request_t,
) -> std::io::Result<(VecDeque<Segment>, u64)> {
    let mut segments = VecDeque::new();
    let mut length = 0;
    let mut file: Option<Arc<File>> = None;
    // SAFETY: the caller's; the links are nginx's, and each buffer is in memory or in the file.
    unsafe {
        let body = (*r).request_body;
        let mut link = if body.is_null() { ptr::null_mut() } else { (*body).bufs };
        while let Some(part) = link.as_ref() {
            let buffer = &*part.buf;
            if buffer.in_file() != 0 {
                let shared = match &file {
                    Some(file) => Arc::clone(file),
                    None => {
                        let nginxs = BorrowedFd::borrow_raw((*buffer.file).fd);
                        let own = rustix::io::fcntl_dupfd_cloexec(nginxs.as_fd(), 0)?;
                        Arc::clone(file.insert(Arc::new(File::from(own))))
                    }
                };
                let (start, end) = (buffer.file_pos as u64, buffer.file_last as u64);
                if end > start {
                    length += end - start;
                    segments.push_back(Segment::File { file: shared, start, end });
                }
            } else {
                let bytes = memory(buffer);
                if !bytes.is_empty() {
                    length += bytes.len() as u64;
                    segments.push_back(Segment::Memory(Bytes::copy_from_slice(bytes)));
                }
            }
            link = part.next;
        }
    }
    Ok((segments, length))
}

/// The thread wants (more of) the body.
///
/// # Safety
///
/// `context` is one of a request in flight.
pub(super) unsafe fn wanted(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let r = (*context).request;
        match (*context).body {
            Body::Expected => {
                (*context).body = Body::Streaming;
                if (*context).head_sent {
                    // Too late for 100: the final response is on its way (RFC 9110, 10.1.1).
                    (*r).set_expect_tested(1);
                }
                (*r).set_request_body_no_buffering(1);
                // It takes a count for itself; this request holds one already.
                let main = (*r).main;
                let id = (*context).id;
                (*main).set_count((*main).count() - 1);
                let rc = ngx_http_read_client_request_body(r, Some(entry::body_started));
                if rc >= sys::SPECIAL_RESPONSE {
                    // In this case nginx has given the count back, and called nobody.
                    (*main).set_count((*main).count() + 1);
                    refused(token, context, rc);
                } else if id.is_some_and(|id| process::is_in_flight(token, id)) {
                    // nginx has put its own there, for a request that does not write yet. (What it has
                    // called may have ended the request: then nothing of it is left to look at.)
                    (*r).write_event_handler = Some(entry::writable);
                }
            }
            Body::Paused => {
                (*context).body = Body::Streaming;
                forward(token, context, true);
            }
            Body::Buffered | Body::Streaming | Body::Complete | Body::Taken => {}
        }
    }
}

/// nginx has a first part of the unbuffered body, or none yet.
///
/// # Safety
///
/// As for [`wanted`].
pub(super) unsafe fn started(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe { forward(token, context, false) }
}

/// The client's connection is readable while the body is streamed.
///
/// # Safety
///
/// As for [`wanted`].
pub(super) unsafe fn readable(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let r = (*context).request;
        let connection = &mut *(*r).connection;
        if (*connection.read).timedout() != 0 {
            log::write(connection.log, log::INFO, "client timed out (client_body_timeout)");
            connection.set_timedout(1);
            if let Some(exchange) = &(*context).exchange {
                exchange.input.fail(InputError::TimedOut);
            }
            finalize::lose(token, context, REQUEST_TIME_OUT);
            return;
        }
        forward(token, context, true);
    }
}

/// Passes on what nginx has, and reads on, until the client has no more or the pipe is full.
///
/// # Safety
///
/// As for [`wanted`].
unsafe fn forward(token: EventThread, context: *mut Context, mut read: bool) {
    // SAFETY: the caller's. nginx's buffers are used up here, as ngx_http_upstream_send_request_body
    // does: it makes new ones of them with the next read.
    unsafe {
        let Some(exchange) = (*context).exchange.clone() else { return };
        let r = (*context).request;
        loop {
            if read {
                let rc = ngx_http_read_unbuffered_request_body(r);
                if rc >= sys::SPECIAL_RESPONSE {
                    refused(token, context, rc);
                    return;
                }
                if rc == sys::ERROR {
                    refused(token, context, sys::ERROR);
                    return;
                }
            }
            let (bytes, any) = take_bufs(r, exchange.input.buffer());
            let room = bytes.is_empty() || exchange.input.push(bytes);
            if (*r).reading_body() == 0 {
                mark_taken(r);
                exchange.input.end();
                (*context).body = Body::Complete;
                (*context).watch();
                return;
            }
            if !room {
                // Not the client's time: client_body_timeout begins again with the next read.
                sys::delete_timer((*(*r).connection).read);
                (*context).body = Body::Paused;
                (*context).watch();
                return;
            }
            if read && !any {
                (*r).read_event_handler = Some(entry::body_readable);
                return;
            }
            read = true;
        }
    }
}

/// nginx refuses the rest of the body: too large, malformed, or the client is gone.
unsafe fn refused(token: EventThread, context: *mut Context, rc: isize) {
    // SAFETY: the callers'.
    unsafe {
        if let Some(exchange) = &(*context).exchange {
            let client_gone = (*(*(*context).request).connection).error() != 0;
            let (why, gone) = if client_gone {
                (InputError::ClientGone, Gone::Client)
            } else {
                (InputError::Refused, Gone::Answered)
            };
            exchange.input.fail(why);
            exchange.set_gone(gone);
        }
        finalize::finish(token, context, rc);
    }
}

/// Takes what nginx has read as one block, in the memory of `bytes`; and says whether nginx had any buffer.
unsafe fn take_bufs(r: *mut ngx_http_request_t, mut bytes: BytesMut) -> (Bytes, bool) {
    // SAFETY: the callers'; the links are of the request's pool and nobody else's once taken out.
    unsafe {
        let body = &mut *(*r).request_body;
        let mut link: *mut ngx_chain_t = std::mem::replace(&mut body.bufs, ptr::null_mut());
        let any = !link.is_null();
        while !link.is_null() {
            let next = (*link).next;
            let buffer = &mut *(*link).buf;
            bytes.extend_from_slice(memory(buffer));
            buffer.pos = buffer.last;
            sys::free_chain((*r).pool, link);
            link = next;
        }
        (bytes.freeze(), any)
    }
}

/// What a buffer holds in memory.
unsafe fn memory(buffer: &ngx_buf_t) -> &[u8] {
    let len = buffer.last.addr().saturating_sub(buffer.pos.addr());
    if len == 0 {
        return &[];
    }
    // SAFETY: the callers' buffers lie in memory: their bytes are pos..last.
    unsafe { std::slice::from_raw_parts(buffer.pos, len) }
}
