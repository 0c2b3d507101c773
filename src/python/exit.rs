//! A worker that an application ends: nginx is kept from never starting it again, and the log says who did it.
//!
//! nginx's master does not start a worker again that has exited with code 2 (ngx_process_get_status). `os._exit` is
//! guarded in the shim (_start.py); here is exit(3), whatever library calls it, and quick_exit(3). What nobody can
//! see before it has happened is _exit(2) called from C, and the system call itself (a Go runtime's panic).

use std::ffi::{c_int, c_void};

use super::fork;
use super::logging;
use super::sys;

/// The code after which nginx does not start a worker again.
const NEVER_AGAIN: c_int = 2;

/// The code that it has instead.
const INSTEAD: c_int = 1;

/// From here on exit(3) is watched in this process; not in its children.
pub(super) fn watch() {
    sys::on_exit(at_exit);
    sys::on_quick_exit(at_quick_exit);
}

/// What is left of exit(3) as it reaches this: the handlers that were registered before Python's start.
extern "C" fn at_exit(status: c_int, _: *mut c_void) {
    if !is_an_application() {
        return;
    }
    // What wait(2) gives the master.
    let code = status & 0xff;
    if code == NEVER_AGAIN {
        logging::write_last(&format!(
            "exit({status}) was called: exit code 2 would keep nginx from starting this worker again, so that \
             it exits with {INSTEAD} instead"
        ));
        sys::exit_now(INSTEAD)
    }
    logging::write_last(&format!("exit({status}) was called: it ends this worker"));
}

/// quick_exit(3) does not tell its handlers the code.
extern "C" fn at_quick_exit() {
    if is_an_application() {
        logging::write_last(&format!(
            "quick_exit() was called: it ends this worker, with exit code {INSTEAD} lest nginx does not start it \
             again"
        ));
        sys::exit_now(INSTEAD)
    }
}

/// An application has closed a descriptor that it shares with nginx's thread, and with it any others perhaps: nothing
/// wakes that thread any more. Nobody can mend this process.
pub(super) fn descriptor_lost() {
    logging::write_last(
        "descriptors of nginx's have been closed (os.closerange(), or os.close() of a number that is not the \
         application's own?): nginx does not hear of this worker's applications any more; the worker exits, and \
         nginx starts another",
    );
    sys::exit_now(INSTEAD)
}

/// Is it an application that ends this process? It may be nginx itself (its workers exit with 0, and with 2 where
/// another module's start has failed), or a child.
fn is_an_application() -> bool {
    // A process's first thread is nginx's.
    let on_event_loop = sys::is_first_thread();
    !fork::is_child() && (!on_event_loop || logging::is_in_application())
}
