//! `python_reload`: finds out that an application has changed.
//!
//! A thread of each worker waits for that ([`Changes::wait`]). It knows neither Python nor nginx: the attendant tells it
//! which folders have modules that are imported ([`Imported`]), and it tells the event loop of a [`Change`].

mod bytecode;
mod change;
mod folders;
mod imported;
mod names;
mod quiet;
mod touched;
mod watch;

pub(crate) use self::change::Change;
pub(crate) use self::imported::Imported;
pub(crate) use self::names::Kind;
pub(crate) use self::touched::Touched;
pub(crate) use self::watch::{Changes, Reload};
