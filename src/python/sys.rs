//! The calls of the C library for which there is no safe form.

use std::ffi::{CStr, c_int, c_void};
use std::io;

/// Ends the process at once: nothing that was registered for its end runs.
pub(super) fn exit_now(code: c_int) -> ! {
    // SAFETY: _exit(2) touches no memory of the process, and does not return.
    unsafe { libc::_exit(code) }
}

/// Has `handler` called in each child that fork(2) makes. Neither vfork(2) nor posix_spawn(3), whose child shares the
/// worker's memory, calls it.
pub(super) fn on_fork(handler: extern "C" fn()) {
    let child: unsafe extern "C" fn() = handler;
    // SAFETY: the handler is a function of this module, which is never unloaded.
    let registered = unsafe { libc::pthread_atfork(None, None, Some(child)) };
    debug_assert_eq!(registered, 0, "pthread_atfork fails only without memory");
}

/// Has `handler` called by exit(3), with its argument. Only glibc has on_exit(3): with another C library nothing
/// happens.
pub(super) fn on_exit(handler: extern "C" fn(c_int, *mut c_void)) {
    type OnExit = unsafe extern "C" fn(extern "C" fn(c_int, *mut c_void), *mut c_void) -> c_int;

    let Some(found) = symbol(libc::RTLD_DEFAULT, c"on_exit") else { return };
    // SAFETY: this is the type of glibc's on_exit.
    let on_exit = unsafe { std::mem::transmute::<*mut c_void, OnExit>(found) };
    // SAFETY: the handler is a function of this module, which is never unloaded; it ignores the null.
    unsafe { on_exit(handler, std::ptr::null_mut()) };
}

/// Has `handler` called by quick_exit(3), if the C library has that.
pub(super) fn on_quick_exit(handler: extern "C" fn()) {
    type AtQuickExit = unsafe extern "C" fn(extern "C" fn()) -> c_int;

    let Some(found) = symbol(libc::RTLD_DEFAULT, c"at_quick_exit") else { return };
    // SAFETY: this is the type of at_quick_exit(3), which is C11's.
    let at_quick_exit = unsafe { std::mem::transmute::<*mut c_void, AtQuickExit>(found) };
    // SAFETY: the handler is a function of this module, which is never unloaded.
    unsafe { at_quick_exit(handler) };
}

/// Has something else than the C library the symbol `name` in this process? True if the C library is not found.
pub(super) fn is_replaced(name: &CStr) -> bool {
    // SAFETY: the name ends in NUL, and with RTLD_NOLOAD nothing is loaded, so no constructor runs. The handle is
    // left open: this is asked twice in a process.
    let libc = unsafe { libc::dlopen(c"libc.so.6".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) };
    libc.is_null() || symbol(libc, name) != symbol(libc::RTLD_DEFAULT, name)
}

/// `library`: what dlopen(3) gave and nobody has closed, or RTLD_DEFAULT.
fn symbol(library: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the caller gives a handle that is open; the name ends in NUL.
    let found = unsafe { libc::dlsym(library, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Does the process's first thread call?
pub(super) fn is_first_thread() -> bool {
    // SAFETY: two system calls without arguments.
    unsafe { libc::gettid() == libc::getpid() }
}

/// Gives the calling thread, and those that it starts from now on, a umask and a current directory apart from those
/// of the other threads.
pub(super) fn unshare_directory() -> io::Result<()> {
    // SAFETY: CLONE_FS concerns the umask, the current and the root directory, and no memory.
    match unsafe { libc::unshare(libc::CLONE_FS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the umask of the calling thread, and of those with which it shares it.
pub(super) fn set_umask(umask: u32) {
    // SAFETY: umask(2) touches no memory, and cannot fail.
    unsafe { libc::umask(umask) };
}

/// Puts the calling thread's priority back to the usual one if it is higher.
pub(super) fn give_up_priority() {
    // SAFETY: gettid(2) has no arguments.
    let thread = unsafe { libc::gettid() } as libc::id_t;
    // SAFETY: a system call about numbers. On Linux it is about one thread (setpriority(2), "C library/kernel
    // differences").
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, thread) };
    if nice < 0 {
        // SAFETY: as above. To lower one's own priority is always allowed.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread, 0) };
    }
}

/// The time as nginx's error log has it.
pub(super) fn local_time() -> String {
    // SAFETY: time(2) takes null, and writes nothing then.
    let now = unsafe { libc::time(std::ptr::null_mut()) };
    // SAFETY: all fields of a tm are numbers, but for its zone's name, which may be null.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both structures are this function's own.
    unsafe { libc::localtime_r(&raw const now, &raw mut parts) };
    let mut time = [0; 32];
    let format = c"%Y/%m/%d %H:%M:%S".as_ptr();
    // SAFETY: strftime is told how much room there is; the format ends in NUL.
    let len =
        unsafe { libc::strftime(time.as_mut_ptr().cast(), time.len(), format, &raw const parts) };
    String::from_utf8_lossy(time.get(..len).unwrap_or_default()).into_owned()
}

/// Sends the calling thread a signal, and has it delivered now.
pub(super) fn signal_own_thread(signal: c_int) {
    // SAFETY: all fields of a sigset_t are numbers.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is this function's own, and the signal is one for threads that may be handled.
    unsafe {
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::pthread_kill(libc::pthread_self(), signal);
        // It is delivered before this returns.
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}
