//! Python's side: the interpreter of a worker, its threads, and what PEP 3333 asks of a server.

mod app;
mod attached;
mod attempts;
mod attendant;
mod dispatch;
mod exit;
mod fork;
mod hooks;
mod imports;
mod inline;
mod interp;
mod libraries;
mod logging;
mod main_thread;
mod runtime;
mod shim;
mod signals;
mod spawn;
mod threads;
mod wsgi;

pub(crate) use main_thread::start;
