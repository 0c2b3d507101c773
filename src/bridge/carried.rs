//! What the queues, the gates and the worker know of the exchanges that they carry.
//!
//! An exchange names its worker, and a worker's parts carry exchanges. So these parts are generic over what they
//! carry, and [`exchange`](super::exchange), which stands above all of them, names the types.

use std::fmt;

use super::config::LocationConfig;

/// An exchange, seen from below. Two are equal if they are about the same request.
pub(crate) trait Carried: fmt::Debug + PartialEq + Send + Sync + 'static {
    fn location(&self) -> &LocationConfig;

    /// Who imports: the request has waited for that at its [`Gate`](super::gate::Gate).
    fn set_waited(&self);

    /// Has the application ended?
    fn is_done(&self) -> bool;
}
