//! The event loop's side: all code that names nginx. It runs on nginx's own thread and never waits.

mod check;
mod children;
mod conf;
mod confinement;
mod directives;
mod keep;
mod log;
mod meetings;
mod module;
mod openssl;
mod own_event;
mod parting;
mod process;
mod request;
mod shared_words;
mod signals;
mod status;
mod sys;
mod trampoline;
mod variables;
mod wall;
