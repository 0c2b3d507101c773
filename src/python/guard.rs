//! The one guard of Python's side: a panic ends here, and is a line of the log.

use super::logging;
use crate::bridge::panics::{self, Panicked};

/// Runs `act`, on any thread. A panic is logged, with its place and with the request that the thread runs, if there
/// is one: it is either caught here, or PyO3's trampoline has caught it as Python called Rust (then Python saw a
/// `PanicException`, with which it did what it liked).
pub(super) fn run<T>(act: impl FnOnce() -> T) -> Result<T, Panicked> {
    let ran = panics::catch(act);
    if let Err(panicked) = &ran {
        logging::write_panic(panicked);
    }
    if let Some(panicked) = panics::take() {
        logging::write_panic(&panicked);
    }
    ran
}
