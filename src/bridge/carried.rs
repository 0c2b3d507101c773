//! What the queues, the gates and the worker know of the exchanges that they carry.
//!
//! An exchange names its worker, and a worker's parts carry exchanges. So these parts are generic over what they
//! carry, and [`exchange`](super::exchange), which stands above all of them, names the types.

use std::fmt;
use std::time::Duration;

use super::config::LocationConfig;

/// An exchange, seen from below. Two are equal if they are about the same request.
pub(crate) trait Carried: fmt::Debug + PartialEq + Send + Sync + 'static {
    fn location(&self) -> &LocationConfig;

    /// Who imports: the request has waited for that at its [`Gate`](super::gate::Gate).
    fn set_waited(&self);

    /// Has the application ended?
    fn is_done(&self) -> bool;

    /// Nobody waits for it any more: how far is its application from its deadline?
    fn course(&self) -> Course;
}

/// How far a request is that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It has ended, or has no deadline any more.
    Over,
    /// Its deadline is over after this time at the earliest.
    InTime(Duration),
    /// It goes on after its deadline.
    Late,
}
