//! The event loop's side of a worker process: its start in `init_process`, its turns, and its end in `exit_process`.

pub(super) mod aging;
pub(super) mod bell;
pub(super) mod calls;
pub(super) mod drain;
pub(super) mod exit;
pub(super) mod handover;
pub(super) mod limits;
mod listening;
pub(super) mod replace;
mod stage;
pub(super) mod start;
pub(super) mod state;
pub(super) mod turn;
