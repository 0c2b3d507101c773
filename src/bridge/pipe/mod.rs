//! The pipes of an exchange, and what they keep their bytes in.

pub(crate) mod buffers;
pub(crate) mod input;
pub(crate) mod loan;
pub(crate) mod messages;
pub(crate) mod output;
pub(crate) mod spill;
