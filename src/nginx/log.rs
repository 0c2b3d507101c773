//! Lines for nginx's error log: `say!(of, Code::…, "…")` for anything that has a log.

use std::fmt;
use std::sync::OnceLock;

use nginx_sys::{ngx_log_error_core, ngx_log_t, ngx_uint_t};

use crate::bridge::code::{self, Code};
use crate::bridge::log::Level;

/// The longest text of one line. nginx cuts a line at `NGX_MAX_ERROR_STR` (2048), which must also hold nginx's own
/// prefix and the request's context.
const LINE: usize = 1400;

/// What each line of this process ends with: which process of a `python_process` writes it.
static ENDING: OnceLock<String> = OnceLock::new();

/// From now on each line names this process of a group.
pub(super) fn name_process(name: &str) {
    ENDING.get_or_init(|| format!(", process: \"{name}\""));
}

/// Something that has a log: a request, or the event loop's side of the process.
///
/// # Safety
///
/// `log` returns null or a valid log, and is called on nginx's thread only.
pub(in crate::nginx) unsafe trait HasLog {
    fn log(&self) -> *mut ngx_log_t;

    /// The application that its messages are about, as its directive names it.
    fn application(&self) -> Option<&str> {
        None
    }
}

/// `say!(of, Code::…, "format", …)`: a message of the module, whose level is its code's.
macro_rules! say {
    ($of:expr, $code:expr, $($text:tt)+) => {
        $crate::nginx::log::say_of($of, $code, format_args!($($text)+))
    };
}

pub(in crate::nginx) use say;

/// Writes a message to the log of `of`; the macro calls it.
pub(in crate::nginx) fn say_of(of: &impl HasLog, code: Code, text: fmt::Arguments<'_>) {
    let text = code::with_application(of.application(), &text.to_string()).into_owned();
    // SAFETY: `HasLog` returns a valid log or null, and is called on nginx's thread.
    unsafe { message(of.log(), code, text) }
}

/// Writes a message.
///
/// # Safety
///
/// `log` is null or a valid log, and this is nginx's thread.
pub(super) unsafe fn message(log: *mut ngx_log_t, code: Code, text: impl fmt::Display) {
    // SAFETY: the caller's.
    unsafe { write_lines(log, number(code.level()), &format!("{code}: {text}")) }
}

/// Writes one line. A text that is too long for one line of nginx's log is split into several.
///
/// # Safety
///
/// `log` is null or a valid log, and this is nginx's thread.
pub(super) unsafe fn write(log: *mut ngx_log_t, level: ngx_uint_t, text: &str) {
    // SAFETY: a log that is not null is valid.
    if log.is_null() || unsafe { (*log).log_level } < level {
        return;
    }
    let ending = ENDING.get().map_or("", String::as_str);
    let mut rest = text;
    loop {
        let (line, more) = rest.split_at(boundary(rest));
        let format = c"%*s%*s".as_ptr();
        let (length, end) = (line.len(), ending.len());
        // SAFETY: "%*s" takes a size_t and a pointer to that many bytes.
        unsafe {
            ngx_log_error_core(level, log, 0, format, length, line.as_ptr(), end, ending.as_ptr());
        }
        if more.is_empty() {
            return;
        }
        rest = more;
    }
}

/// Writes the lines of an application's output, which the level of the error log does not leave out.
///
/// # Safety
///
/// As for [`write`].
pub(super) unsafe fn write_output(log: *mut ngx_log_t, level: ngx_uint_t, text: &str) {
    // SAFETY: a log that is not null is valid. The copy is local to this function, and points to what the original
    // points to. The first log of a chain has the highest level (ngx_log_insert): if that is too low, so are the others.
    unsafe {
        if log.is_null() {
            return;
        }
        if (*log).log_level >= level {
            return write_lines(log, level, text);
        }
        let mut log = log.read();
        log.log_level = level;
        log.next = std::ptr::null_mut();
        write_lines(&raw mut log, level, text);
    }
}

/// Writes each line of a text.
///
/// # Safety
///
/// As for [`write`].
pub(super) unsafe fn write_lines(log: *mut ngx_log_t, level: ngx_uint_t, text: &str) {
    for line in text.split('\n') {
        // SAFETY: the caller's.
        unsafe { write(log, level, line) };
    }
}

/// Calls `act` with the log of a connection that may already be closed, made of one that belongs to no connection.
///
/// # Safety
///
/// `log` is null or a valid log, and this is nginx's thread.
pub(super) unsafe fn of_connection(
    log: *const ngx_log_t,
    connection: u64,
    act: impl FnOnce(*mut ngx_log_t),
) {
    if log.is_null() {
        return;
    }
    // SAFETY: a log that is not null is valid. The copy is local to this function, and points to what the original
    // points to.
    let mut log = unsafe { log.read() };
    log.connection = connection as nginx_sys::ngx_atomic_uint_t;
    act(&raw mut log);
}

/// Whether both logs write to the same place, with the same level.
///
/// # Safety
///
/// Both are logs of the configuration.
pub(super) unsafe fn is_same(one: *const ngx_log_t, other: *const ngx_log_t) -> bool {
    // SAFETY: both are logs of the configuration.
    let (a, b) = unsafe { (&*one, &*other) };
    one == other
        || (!a.file.is_null() && a.file == b.file && a.log_level == b.log_level && a.next == b.next)
}

pub(super) fn number(level: Level) -> ngx_uint_t {
    level as ngx_uint_t
}

/// The length of the first line: at most [`LINE`] bytes, ending between two characters.
fn boundary(text: &str) -> usize {
    let mut at = text.len().min(LINE);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
