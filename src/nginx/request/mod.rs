//! One request on the event loop's side: from the content handler to the end.

pub(super) mod accel;
pub(super) mod body;
pub(super) mod call;
pub(super) mod context;
pub(super) mod early_hints;
pub(super) mod event_loop;
pub(super) mod files;
pub(super) mod finalize;
pub(super) mod handler;
pub(super) mod inline;
pub(super) mod lines;
pub(super) mod output;
pub(super) mod response;
pub(super) mod snapshot;
pub(super) mod watch;
