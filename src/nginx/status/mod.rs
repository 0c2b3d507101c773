//! `python_status`: the numbers of all workers, in memory that the master shares with them.

mod access;
pub(super) mod board;
pub(super) mod handler;
mod reply;
pub(super) mod stacks;
mod threads;
