//! `python_reload`: finds out that an application has changed.
//!
//! A thread of each worker waits for that ([`Changes`](watch::Changes)). It knows neither Python nor nginx: the attendant
//! tells it which folders have modules that are imported ([`Imported`](imported::Imported)), and it tells the event loop
//! of a [`Change`](change::Change).

pub(crate) mod beginning;
mod bytecode;
pub(crate) mod change;
mod folders;
pub(crate) mod imported;
pub(crate) mod names;
mod quiet;
pub(crate) mod touched;
pub(crate) mod watch;
