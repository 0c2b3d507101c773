//! The event loop's side: all that names nginx. It runs on nginx's own thread and never waits.

mod access;
mod children;
mod conf;
mod directives;
mod field_lists;
mod log;
mod module;
mod needed;
mod own_event;
mod process;
mod python_home;
mod request;
mod shared;
mod signals;
mod sys;
mod target;
mod trampoline;
