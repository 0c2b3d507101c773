//! The event loop's side of a worker process: its start in `init_process`, its turns, and its end in `exit_process`.

pub(super) mod aging;
pub(super) mod application;
mod arrival;
pub(super) mod bell;
pub(super) mod calls;
mod channel;
mod condemned;
mod departure;
mod dormancy;
pub(super) mod drain;
pub(super) mod exit;
pub(super) mod generation;
mod keeping;
mod killing;
mod lazy;
pub(super) mod limits;
mod listening;
mod main_thread;
mod others;
mod outputs;
pub(super) mod reload;
mod renewal;
mod renewals;
mod stage;
pub(super) mod start;
pub(super) mod state;
pub(super) mod turn;
