//! The executor `inline`: Python, called on the event loop's own thread.
//!
//! Nobody else sends such a response, and nobody else can wait for its client: an application that has more
//! to say than the pipe has room for is left in the middle of its iteration, as a [`Suspended`], and is
//! gone on with when the client has taken what there was.

use std::fmt;

use super::exchange::Job;

/// Python, as the event loop calls it. No call waits for a client.
pub(crate) trait Inline: fmt::Debug + Send + Sync {
    /// Runs the application for a job that waits; for one that is done, what is left to do after its
    /// response. What is left of a response comes back.
    fn run(&self, job: &Job) -> Option<Box<dyn Suspended>>;
}

/// A response in the middle of its iteration.
pub(crate) trait Suspended: fmt::Debug + Send {
    /// Goes on with the response, by one block at most; ends it where its pipe is closed.
    fn resume(self: Box<Self>) -> Option<Box<dyn Suspended>>;
}
