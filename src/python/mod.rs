//! Python's side: the interpreter of a worker, its threads, and what PEP 3333 asks of a server.

mod app;
mod attached;
mod attempts;
mod attendant;
mod exit;
mod fork;
mod hooks;
mod imports;
mod interp;
mod libraries;
mod logging;
mod main_thread;
mod run;
mod runtime;
mod shim;
mod signals;
mod spawn;
mod wsgi;

pub(crate) use main_thread::start;
