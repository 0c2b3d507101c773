//! The request's body: read completely before the thread starts, or piece by piece.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use nginx_sys::{
    ngx_buf_t, ngx_chain_t, ngx_http_read_client_request_body,
    ngx_http_read_unbuffered_request_body,
};
use rustix::fd::BorrowedFd;

use super::Request;
use super::call::{Handler, on_request};
use super::context::Body;
use super::event_loop;
use super::finalize::{self, Ending};
use crate::bridge::code::Code;
use crate::bridge::pipe::buffers::Buffers;
use crate::bridge::pipe::input::{InputError, Segment};
use crate::nginx::children;
use crate::nginx::log::say;
use crate::nginx::sys::{self, HTTP_2};

/// The minimum number of bytes that are read at once. If `client_body_buffer_size` is larger, it is used instead.
const LEAST: usize = 64 * 1024;

const REQUEST_TIME_OUT: isize = nginx_sys::NGX_HTTP_REQUEST_TIME_OUT as isize;

/// Whether this module or another one has already passed the body on as it arrived. What is left of it then is not a
/// body.
pub(super) fn is_taken(request: &Request<'_>) -> bool {
    // SAFETY: the request lives as long as `request`. A subrequest shares its main request's body.
    unsafe {
        let main = &*(*request.raw()).main;
        !main.request_body.is_null()
            && (main.request_body_no_buffering() != 0 || main.reading_body() != 0)
    }
}

/// Makes [`is_taken`] true for a body that has arrived completely: nginx clears its own flag if the body came with
/// the head, and at each redirect (`ngx_http_read_client_request_body`).
pub(super) fn mark_taken(request: &Request<'_>) {
    // SAFETY: the request lives as long as `request`.
    unsafe {
        let main = (*request.raw()).main;
        // While the rest of the body is still to arrive, `reading_body` is set, and HTTP/2 drops that rest.
        if (*main).reading_body() == 0 {
            (*main).set_request_body_no_buffering(1);
        }
    }
}

/// The buffered body as owned parts, and its length. nginx has read all of it. Its temporary file is shared through a
/// duplicate of its descriptor; the thread reads the file.
pub(super) fn take_buffered(request: &Request<'_>) -> io::Result<(VecDeque<Segment>, u64)> {
    let mut segments = VecDeque::new();
    let mut length = 0;
    let mut file: Option<Arc<File>> = None;
    for buffer in buffers(request) {
        if buffer.in_file() != 0 {
            let shared = match &file {
                Some(file) => Arc::clone(file),
                None => Arc::clone(file.insert(Arc::new(share(buffer)?))),
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
    }
    Ok((segments, length))
}

/// Duplicates the descriptor of a buffer that is in a file.
fn share(buffer: &ngx_buf_t) -> io::Result<File> {
    // SAFETY: a buffer that is in a file has an `ngx_file_t`, which is open as long as its request lives.
    let nginxs = unsafe { BorrowedFd::borrow_raw((*buffer.file).fd) };
    children::close_on_exec(nginxs.as_raw_fd());
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(nginxs, 0)?))
}

/// The buffers that hold what nginx has read.
fn buffers<'r>(request: &'r Request<'_>) -> impl Iterator<Item = &'r ngx_buf_t> {
    // SAFETY: the request lives as long as `request`, and nothing changes its buffers meanwhile, because nginx is not
    // called.
    let mut link = unsafe {
        let body = (*request.raw()).request_body;
        if body.is_null() { ptr::null_mut() } else { (*body).bufs }
    };
    std::iter::from_fn(move || {
        // SAFETY: as above; each link has a buffer.
        unsafe {
            let part = link.as_ref()?;
            link = part.next;
            Some(&*part.buf)
        }
    })
}

/// The thread asks for the body, or for more of it.
pub(in crate::nginx) fn wanted(request: Request<'_>) {
    match request.body.get() {
        Body::Expected => start(request),
        Body::Paused => {
            request.body.set(Body::Streaming);
            forward(request, true);
        }
        Body::Buffered | Body::Streaming | Body::Complete | Body::Taken => {}
    }
}

/// Makes nginx begin to read the body. The client is waiting for that.
fn start(request: Request<'_>) {
    request.body.set(Body::Streaming);
    let (token, id, r) = (request.token(), request.id.get(), request.raw());
    // SAFETY: the request lives as long as `request`. nginx takes a count for itself; this request already holds one.
    let writable = unsafe {
        if request.head_sent.get() {
            // It is too late for 100: the final response is being sent (RFC 9110, 10.1.1).
            (*r).set_expect_tested(1);
        }
        (*r).set_request_body_no_buffering(1);
        let main = (*r).main;
        let writable = (*r).write_event_handler;
        (*main).set_count((*main).count() - 1);
        let rc = ngx_http_read_client_request_body(r, Some(on_request::<Started>));
        if rc >= sys::SPECIAL_RESPONSE {
            // In this case nginx has released the count, and has called no handler.
            (*main).set_count((*main).count() + 1);
            finalize::end(request, Ending::BodyRefused(rc));
            return;
        }
        writable
    };
    // The handler that nginx called may have ended the request.
    if let Some(request) = id.and_then(|id| event_loop::find(token, id)) {
        // SAFETY: `find` returns live requests only. nginx has set its own handler, for a request that does not write
        // yet.
        unsafe { (*request.raw()).write_event_handler = writable };
    }
}

/// nginx has read the first part of the unbuffered body, or nothing yet.
pub(super) struct Started;

impl Handler for Started {
    fn call(request: Request<'_>) {
        forward(request, false);
    }
}

/// nginx's read handler while the body is streamed.
struct Readable;

impl Handler for Readable {
    fn call(request: Request<'_>) {
        // SAFETY: the event is that of a live request's connection.
        if unsafe { (*request.read_event()).timedout() } == 0 {
            forward(request, true);
            return;
        }
        say!(&request, Code::ClientTooSlow, "client timed out (client_body_timeout)");
        // SAFETY: a live request has a connection.
        unsafe { (*request.connection()).set_timedout(1) };
        if let Some(exchange) = request.exchange() {
            exchange.fail_input(InputError::TimedOut);
        }
        finalize::end(request, Ending::ClientGone(REQUEST_TIME_OUT));
    }
}

/// Passes on what nginx has read, and reads more until the client has no more or the pipe is full. Marks nginx's
/// buffers as consumed, as `ngx_http_upstream_send_request_body` does: nginx reuses them at the next read.
fn forward(request: Request<'_>, mut read: bool) {
    let Some(exchange) = request.exchange().cloned() else { return };
    let r = request.raw();
    loop {
        let (bytes, any) = if read {
            match read_on(&request, &exchange.worker.buffers) {
                Ok(part) => part,
                Err(rc) => {
                    finalize::end(request, Ending::BodyRefused(rc));
                    return;
                }
            }
        } else {
            take_bufs(&request)
        };
        let room = bytes.is_empty() || exchange.push_input(bytes);
        // SAFETY: the request lives as long as `request`.
        if unsafe { (*r).reading_body() } == 0 {
            mark_taken(&request);
            exchange.end_input();
            request.body.set(Body::Complete);
            request.watch();
            return;
        }
        if !room {
            // The client does not cause this wait: client_body_timeout starts again at the next read.
            // SAFETY: the event is that of a live request's connection.
            unsafe { sys::delete_timer(request.read_event()) };
            request.body.set(Body::Paused);
            request.watch();
            return;
        }
        if read && !any {
            exchange.notify_input();
            // SAFETY: the request lives as long as `request`.
            unsafe { (*r).read_event_handler = Some(on_request::<Readable>) };
            return;
        }
        read = true;
    }
}

/// Reads more. Returns the next block, and whether nginx had any buffer; or nginx's code if it refuses the body.
fn read_on(request: &Request<'_>, buffers: &Buffers) -> Result<(Bytes, bool), isize> {
    // SAFETY: the request lives as long as `request`, and nginx has begun to read its body.
    let (version, buffer) =
        unsafe { ((*request.raw()).http_version, (*(*request.raw()).request_body).buf) };
    // HTTP/2 and HTTP/3 have already read the body. Data that nginx has not parsed yet must stay in its buffer.
    if version >= HTTP_2 || buffer.is_null() || holds_any(request) {
        read_unbuffered(request)?;
        Ok(take_bufs(request))
    } else {
        read_into(request, buffer, buffers)
    }
}

/// Reads directly into one of `buffers`. nginx's `buffer` points to that memory meanwhile, because nginx reads up to
/// the end of its buffer. nginx's own memory is restored before anything else sees the buffer. If something in the
/// buffer is still to be read, the other memory stays with the request instead.
fn read_into(
    request: &Request<'_>,
    buffer: *mut ngx_buf_t,
    buffers: &Buffers,
) -> Result<(Bytes, bool), isize> {
    // SAFETY: the buffer belongs to a live request's body, and nothing in it is still needed.
    let (start, end) = unsafe { ((*buffer).start, (*buffer).end) };
    let mut memory = buffers.take((end.addr() - start.addr()).max(LEAST));
    let own = memory.as_mut_ptr();
    let room = memory.capacity();
    // SAFETY: as above; the memory has `room` bytes, and is kept until nginx's buffer no longer points to it.
    let (read, filled) = unsafe {
        set_memory(buffer, own, own.add(room));
        let read = read_unbuffered(request);
        (read, (*buffer).last.addr() - own.addr())
    };
    let part = match take_lent(request, &mut memory, filled) {
        Some(block) => {
            // SAFETY: everything that nginx has read is in the block.
            unsafe { set_memory(buffer, start, end) };
            (block, true)
        }
        None => {
            let part = take_bufs(request);
            if holds_any(request) {
                request.lent.borrow_mut().push(memory);
            } else {
                // SAFETY: nothing is left in the buffer.
                unsafe { set_memory(buffer, start, end) };
                buffers.keep(memory);
            }
            part
        }
    };
    read.map(|()| part)
}

/// Calls `ngx_http_read_unbuffered_request_body`. Returns nginx's code if nginx refuses the rest of the body.
fn read_unbuffered(request: &Request<'_>) -> Result<(), isize> {
    // SAFETY: the request lives as long as `request`, and nginx has begun to read its body.
    let rc = unsafe { ngx_http_read_unbuffered_request_body(request.raw()) };
    if rc >= sys::SPECIAL_RESPONSE || rc == sys::ERROR { Err(rc) } else { Ok(()) }
}

/// Points nginx's buffer to other memory, all of it free.
///
/// # Safety
///
/// The buffer is valid, and nothing in it is still needed.
unsafe fn set_memory(buffer: *mut ngx_buf_t, start: *mut u8, end: *mut u8) {
    // SAFETY: the buffer is valid.
    unsafe {
        (*buffer).start = start;
        (*buffer).pos = start;
        (*buffer).last = start;
        (*buffer).end = end;
    }
}

/// Whether nginx's buffer has data that is still to be read, or that a filter holds back (`filter_need_buffering`).
fn holds_any(request: &Request<'_>) -> bool {
    // SAFETY: the request lives as long as `request`, and nginx has begun to read its body; each link has a buffer.
    unsafe {
        let body = &*(*request.raw()).request_body;
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

/// Takes what nginx has read into the first `filled` bytes of `memory`, together with `memory` itself. `None` if
/// those bytes are not exactly the body: chunks, for example, are copied out of their framing. Also `None` if the
/// data is small: a slow client's few bytes would keep a whole buffer in use until they are read.
fn take_lent(request: &Request<'_>, memory: &mut Vec<u8>, filled: usize) -> Option<Bytes> {
    let mut next = memory.as_ptr();
    for buffer in buffers(request) {
        if !ptr::eq(buffer.pos, next) {
            return None;
        }
        next = buffer.last;
    }
    let whole = next.addr() - memory.as_ptr().addr() == filled;
    if !whole || filled < memory.capacity() / 4 {
        return None;
    }
    // SAFETY: nginx has written `filled` bytes, and all buffers lie within them.
    unsafe { memory.set_len(filled) };
    drop_bufs(request);
    Some(Bytes::from(std::mem::take(memory)))
}

/// Copies what nginx has read into one block. Also returns whether nginx had any buffer.
fn take_bufs(request: &Request<'_>) -> (Bytes, bool) {
    let mut bytes = Vec::new();
    for buffer in buffers(request) {
        bytes.extend_from_slice(memory(buffer));
    }
    (Bytes::from(bytes), drop_bufs(request))
}

/// Marks nginx's buffers as consumed. Returns whether there were any.
fn drop_bufs(request: &Request<'_>) -> bool {
    // SAFETY: the request lives as long as `request`. The links are from its pool, and nothing else uses them once
    // they are taken out.
    unsafe {
        let r = request.raw();
        let Some(body) = (*r).request_body.as_mut() else { return false };
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

/// The part of the request's body that a buffer holds in memory.
fn memory(buffer: &ngx_buf_t) -> &[u8] {
    let len = buffer.last.addr().saturating_sub(buffer.pos.addr());
    if len == 0 {
        return &[];
    }
    // SAFETY: nginx's buffer is in memory, and its bytes are `pos..last`.
    unsafe { std::slice::from_raw_parts(buffer.pos, len) }
}
