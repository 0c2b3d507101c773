//! Python's side: the interpreter of a worker, its threads, and what PEP 3333 asks of a server.

mod app;
mod attached;
mod attempts;
mod attendant;
mod block;
mod builtin;
mod child;
mod client_gone;
mod debug;
mod exit;
mod fault;
mod file_part;
mod fork;
mod guard;
mod hooks;
mod import_queue;
mod imports;
mod interp;
mod libraries;
mod logging;
mod main_thread;
mod once;
mod protocol;
mod response;
mod run;
mod runtime;
mod shim;
mod signals;
mod spawn;
mod sys;
mod thread_state;
mod type_name;
mod wsgi;

pub(crate) use main_thread::start;
