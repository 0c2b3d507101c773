//! The wall between the event loop and Python's threads: owned data, bounded pipes, one wake-up per
//! batch. It knows neither nginx nor Python.
//!
//! Who may touch what:
//!
//! | what | the event loop | a Python thread |
//! |---|---|---|
//! | [`Exchange`](exchange::Exchange) | makes it, expires it, closes it, ends it | starts it, leaves it |
//! | [`Callbacks`](callbacks::Callbacks) | `set_gone`, `set_over` | all else |
//! | [`Output`](pipe::output::Output) | `take`, `drained`, `close` | `try_*`, `push_waiting`, `poll_*` |
//! | [`Input`](pipe::input::Input) | `push`, `end`, `fail` | `try_read`, `read_waiting`, `poll_read` |
//! | [`Pool`](executor::pool::Pool) | `submit`, `look`, `forget`, `close` | `submit_now`, `take`, `sleep` |
//! | [`Loop`](executor::asyncio::Loop) | `submit`, `look`, `resume`, `forget`, `close` | `submit_now`; its own: all else |
//! | [`Events`](events::Events) | `take` | `push`, `log` |
//! | [`Callers`](callers::Callers) | | all |
//! | [`Generations`](generations::Generations) | all | |
//! | [`Marks`](marks::Marks) | `take_over` | all else |
//! | [`Starts`](starts::Starts) | `wait`, `have_ended`, `all` | `end`, `give_up` |
//! | [`Imported`](changes::imported::Imported) | | `answer`, on the attendant's thread; who waits for changes: all else |
//! | [`Gil`](gil::Gil) | | `answer`, on the attendant's thread; the watchdog: all else |
//! | [`Baton`](baton::Baton) | all | |
//! | [`Lingering`](lingering::Lingering) | all | |
//! | [`RecordFile`](output_log::RecordFile) | `open`, `descriptor` | `write`; inline, the event loop as well |
//! | [`Reports`](reports::Reports) | all else | `want`, `next`, `take_dropped`, `end` |
//! | [`Timings`](timings::Timings) | `begin`, `queue`, `application`, `elapsed` | all else |
//! | [`Tasks`](tasks::Tasks) | `push` | `next`, on the attendant's thread alone |
//! | [`Inline`](executor::inline::Inline) | all else, as a Python thread | `set_runner` |
//! | [`Sender`](process::channel::Sender), [`Receiver`](process::channel::Receiver) | all, in either process | |
//!
//! Each file names only files below it: the order is in `.ci/layers.toml`. Whatever carries exchanges is generic
//! over them ([`carried`]); [`exchange`] is on top.
//!
//! The event loop never waits here: every lock is held for a few instructions, never while a file is
//! written, a log line is formatted or the other side is called. Only the calls named `*_waiting`,
//! `sleep`, `next` and `log` wait, and [`RecordFile::write`](output_log::RecordFile::write) for its file; a Python
//! thread makes them detached from the interpreter.

#![forbid(unsafe_code)]

pub(crate) mod baton;
pub(crate) mod begun;
mod bell;
pub(crate) mod callbacks;
pub(crate) mod callers;
pub(crate) mod carriage;
mod carried;
pub(crate) mod changes;
mod client_wait;
pub(crate) mod clock;
pub(crate) mod code;
pub(crate) mod config;
mod doorbell;
pub(crate) mod events;
pub(crate) mod exchange;
pub(crate) mod executor;
#[cfg(test)]
mod fixture;
pub(crate) mod gate;
pub(crate) mod generations;
pub(crate) mod gil;
pub(crate) mod id;
#[cfg(not(feature = "loom"))]
pub(crate) mod in_flight;
mod level;
mod lines;
pub(crate) mod lingering;
pub(crate) mod log;
pub(crate) mod marks;
pub(crate) mod memory;
pub(crate) mod output_log;
pub(crate) mod panics;
pub(crate) mod pipe;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod replacement;
pub(crate) mod reports;
mod stall;
pub(crate) mod starts;
pub(crate) mod streak;
mod sync;
pub(crate) mod tasks;
mod timings;
pub(crate) mod trays;
pub(crate) mod worker;
