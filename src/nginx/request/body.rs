//! The request's body: all of it before the thread starts, or piece by piece.

use std::collections::VecDeque;
use std::fs::File;
use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_read_client_request_body,
    ngx_http_read_unbuffered_request_body, ngx_http_request_t,
};
use rustix::fd::{AsFd, BorrowedFd};

use super::call::{Handler, on_request};
use super::context::{Body, Context};
use super::event_loop;
use super::finalize::{self, Ending};
use crate::bridge::pipe::buffers::Buffers;
use crate::bridge::pipe::input::{InputError, Segment};
use crate::nginx::children;
use crate::nginx::log::info;
use crate::nginx::sys::{self, HTTP_2};
use crate::nginx::trampoline::EventThread;

/// Bytes that are read at once at the least; where `client_body_buffer_size` is more, as many as that.
const LEAST: usize = 64 * 1024;

const REQUEST_TIME_OUT: isize = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as isize;

/// Has the body of `r` been handed on as it arrived, by this module or another one? What is left of it then
/// is not a body.
///
/// # Safety
///
/// `r` is a live request, in its content handler.
pub(in crate::nginx) unsafe fn is_taken(r: *mut ngx_http_request_t) -> bool {
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
pub(in crate::nginx) unsafe fn mark_taken(r: *mut ngx_http_request_t) {
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
pub(in crate::nginx) unsafe fn take_buffered(
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
                        children::close_on_exec((*buffer.file).fd);
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
pub(in crate::nginx) unsafe fn wanted(token: EventThread, context: *mut Context) {
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
                let writable = (*r).write_event_handler;
                (*main).set_count((*main).count() - 1);
                let rc = ngx_http_read_client_request_body(r, Some(on_request::<Started>));
                if rc >= sys::SPECIAL_RESPONSE {
                    // In this case nginx has given the count back, and called nobody.
                    (*main).set_count((*main).count() + 1);
                    finalize::end(token, context, Ending::BodyRefused(rc));
                } else if id.is_some_and(|id| event_loop::is_in_flight(token, id)) {
                    // nginx has put its own there, for a request that does not write yet. (What it has
                    // called may have ended the request: then nothing of it is left to look at.)
                    (*r).write_event_handler = writable;
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
struct Started;

impl Handler for Started {
    unsafe fn call(token: EventThread, context: *mut Context) {
        // SAFETY: `wanted` has registered it for this request.
        unsafe { started(token, context) }
    }
}

/// The same, if it was asked for before the submit.
///
/// # Safety
///
/// As for [`wanted`].
pub(in crate::nginx) unsafe fn started(token: EventThread, context: *mut Context) {
    // SAFETY: the request is in flight.
    unsafe { forward(token, context, false) }
}

/// nginx's read handler while the body is streamed.
struct Readable;

impl Handler for Readable {
    unsafe fn call(token: EventThread, context: *mut Context) {
        // SAFETY: nginx's handlers are others when a request is no longer in flight.
        unsafe { readable(token, context) }
    }
}

/// The client's connection is readable while the body is streamed.
///
/// # Safety
///
/// As for [`wanted`].
unsafe fn readable(token: EventThread, context: *mut Context) {
    // SAFETY: the caller's.
    unsafe {
        let r = (*context).request;
        let connection = &mut *(*r).connection;
        if (*connection.read).timedout() != 0 {
            info!(&*context, "client timed out (client_body_timeout)");
            connection.set_timedout(1);
            if let Some(exchange) = &(*context).exchange {
                exchange.input.fail(InputError::TimedOut);
            }
            finalize::end(token, context, Ending::ClientGone(REQUEST_TIME_OUT));
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
            let (bytes, any) = if read {
                match read_into(context, &exchange.worker.buffers) {
                    Ok(part) => part,
                    Err(rc) => {
                        finalize::end(token, context, Ending::BodyRefused(rc));
                        return;
                    }
                }
            } else {
                take_bufs(r)
            };
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
                exchange.input.notify();
                (*r).read_event_handler = Some(on_request::<Readable>);
                return;
            }
            read = true;
        }
    }
}

/// Reads on, at best straight into one of `buffers`; the next block, and whether nginx had any buffer, or
/// nginx's code where it refuses the body.
unsafe fn read_into(context: *mut Context, buffers: &Buffers) -> Result<(Bytes, bool), isize> {
    // SAFETY: the callers'. nginx reads to where its buffer ends, and its own memory is put back before
    // anybody else sees the buffer, but where something in it is still to be read: then it stays with the
    // request.
    unsafe {
        let r = (*context).request;
        let buffer = (*(*r).request_body).buf;
        // HTTP/2 and 3 have read the body before; and what nginx has not looked at yet must stay.
        if (*r).http_version >= HTTP_2 || buffer.is_null() || holds_any(r) {
            let rc = ngx_http_read_unbuffered_request_body(r);
            let part = take_bufs(r);
            return if refuses(rc) { Err(rc) } else { Ok(part) };
        }
        let (start, end) = ((*buffer).start, (*buffer).end);
        let mut memory = buffers.take((end.addr() - start.addr()).max(LEAST));
        let own = memory.as_mut_ptr();
        set_memory(buffer, own, own.add(memory.capacity()));
        let rc = ngx_http_read_unbuffered_request_body(r);
        let filled = (*buffer).last.addr() - own.addr();
        let part = match take_lent(r, &mut memory, filled) {
            Some(block) => {
                set_memory(buffer, start, end);
                (block, true)
            }
            None => {
                let part = take_bufs(r);
                if holds_any(r) {
                    (*context).lent.push(memory);
                } else {
                    set_memory(buffer, start, end);
                    buffers.keep(memory);
                }
                part
            }
        };
        if refuses(rc) { Err(rc) } else { Ok(part) }
    }
}

/// Is that nginx's word that it wants no more of the body?
fn refuses(rc: isize) -> bool {
    rc >= sys::SPECIAL_RESPONSE || rc == sys::ERROR
}

/// Gives nginx's buffer other memory, all of it free.
unsafe fn set_memory(buffer: *mut ngx_buf_t, start: *mut u8, end: *mut u8) {
    // SAFETY: the callers': nothing in the buffer is to be kept.
    unsafe {
        (*buffer).start = start;
        (*buffer).pos = start;
        (*buffer).last = start;
        (*buffer).end = end;
    }
}

/// Is something in nginx's buffer still to be read, or held back by a filter (`filter_need_buffering`)?
unsafe fn holds_any(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the callers'; the links are nginx's.
    unsafe {
        let body = &*(*r).request_body;
        let mut link = body.busy;
        while let Some(part) = link.as_ref() {
            if (*part.buf).pos != (*part.buf).last {
                return true;
            }
            link = part.next;
        }
        (*body.buf).pos != (*body.buf).last
    }
}

/// What nginx has read into the first `filled` bytes of `memory`, with `memory` itself. None where that is not
/// the body as it is, as with chunks, which are copied out of their framing; nor where it is small, for a slow
/// client's few bytes would keep a whole buffer until they are read.
unsafe fn take_lent(
    r: *mut ngx_http_request_t,
    memory: &mut Vec<u8>,
    filled: usize,
) -> Option<Bytes> {
    // SAFETY: the callers'; nginx has written so many bytes, and all parts lie in them.
    unsafe {
        let mut link = (*(*r).request_body).bufs;
        let mut next = memory.as_ptr();
        while let Some(part) = link.as_ref() {
            if !ptr::eq((*part.buf).pos, next) {
                return None;
            }
            next = (*part.buf).last;
            link = part.next;
        }
        let whole = next.addr() - memory.as_ptr().addr() == filled;
        if !whole || filled < memory.capacity() / 4 {
            return None;
        }
        memory.set_len(filled);
        drop_bufs(r);
        Some(Bytes::from(std::mem::take(memory)))
    }
}

/// Copies what nginx has read into one block; and says whether nginx had any buffer.
unsafe fn take_bufs(r: *mut ngx_http_request_t) -> (Bytes, bool) {
    // SAFETY: the callers'.
    unsafe {
        let mut bytes = Vec::new();
        let mut link = (*(*r).request_body).bufs;
        while let Some(part) = link.as_ref() {
            bytes.extend_from_slice(memory(&*part.buf));
            link = part.next;
        }
        (Bytes::from(bytes), drop_bufs(r))
    }
}

/// Has nginx's buffers be used up; says whether there was any.
unsafe fn drop_bufs(r: *mut ngx_http_request_t) -> bool {
    // SAFETY: the callers'; the links are of the request's pool and nobody else's once taken out.
    unsafe {
        let body = &mut *(*r).request_body;
        let mut link: *mut ngx_chain_t = std::mem::replace(&mut body.bufs, ptr::null_mut());
        let any = !link.is_null();
        while !link.is_null() {
            let next = (*link).next;
            let buffer = &mut *(*link).buf;
            buffer.pos = buffer.last;
            sys::free_chain((*r).pool, link);
            link = next;
        }
        any
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
