//! Who runs an application, and on which thread.

pub(super) mod asyncio;
pub(super) mod dispatch;
pub(super) mod inline;
pub(super) mod interrupt;
mod task;
pub(super) mod threads;
