//! The executor `inline`: Python, called on the event loop's own thread.
//!
//! Nobody else sends such a response, and nobody else can wait for its client: an application that has more
//! to say than the pipe has room for is left in the middle of its iteration, as a [`Suspended`], and is
//! gone on with when the client has taken what there was.

use std::fmt;
use std::time::Duration;

use smallvec::SmallVec;

use crate::bridge::exchange::Exchange;
use crate::bridge::sync::Arc;

/// Python, as the event loop calls it. No call waits for a client.
pub(crate) trait Inline: fmt::Debug + Send + Sync {
    /// Runs the application for each exchange that waits; for one whose application has ended, what is left to do after its
    /// response. It comes back when it has run one at least: where the next call may be slow, after `limit`,
    /// and where there is no exchange left. Quick ones gain by being run together: neither Python's code nor the
    /// kernel's has to be fetched into the processor's caches anew for each.
    fn run(
        &self,
        exchanges: &mut dyn Iterator<Item = Arc<Exchange>>,
        limit: Duration,
        ran: &mut Returned,
    );
}

/// Requests whose applications are called in one turn of the event loop: others want their turn, too.
pub(crate) const CALLS: usize = 16;

/// What a turn of the event loop is to run.
pub(crate) type Calls = SmallVec<[Arc<Exchange>; CALLS]>;

/// What it has run.
pub(crate) type Returned = SmallVec<[Ran; CALLS]>;

/// An exchange that [`Inline::run`] has run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exchange: Arc<Exchange>,
    /// What is left of its response.
    pub(crate) suspended: Option<Box<dyn Suspended>>,
}

/// A response in the middle of its iteration.
pub(crate) trait Suspended: fmt::Debug + Send {
    /// Goes on with the response, by one block at most; ends it where its pipe is closed.
    fn resume(self: Box<Self>) -> Option<Box<dyn Suspended>>;
}
