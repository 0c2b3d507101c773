//! The event loop's side: all that names nginx. It runs on nginx's own thread and never waits.

mod accel;
mod access;
mod body;
mod children;
mod conf;
mod context;
mod directives;
mod early_hints;
mod entry;
mod field_lists;
mod files;
mod finalize;
mod handler;
mod inline;
mod lines;
mod log;
mod module;
mod output;
mod process;
mod python_home;
mod request;
mod response;
mod signals;
mod sys;
mod target;
mod wake;
