//! Who runs an application, and on which thread.

pub(super) mod asyncio;
mod calls;
pub(super) mod dispatch;
pub(super) mod inline;
pub(super) mod interrupt;
pub(super) mod loops;
mod startups;
mod steps;
pub(super) mod threads;
