//! The event loop's side of a worker process: its start in `init_process`, its turns, and its end in `exit_process`.

pub(super) mod aging;
pub(super) mod application;
mod arrival;
pub(super) mod bell;
pub(super) mod calls;
mod channel;
mod departure;
pub(super) mod drain;
pub(super) mod exit;
pub(super) mod generation;
pub(super) mod limits;
mod listening;
mod outputs;
pub(super) mod reload;
mod stage;
pub(super) mod start;
pub(super) mod state;
pub(super) mod turn;
