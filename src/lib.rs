//! `ngx_http_pywsgi_module`: Python web applications inside nginx's own workers.
//!
//! The path of a request: [`nginx`]'s content handler takes a snapshot of it and submits it through [`bridge`] to a
//! thread of [`python`]. That thread makes environ by the rules of [`http`], calls the application and sends the
//! response back through `bridge`. `nginx` passes the response on to the client. docs/architecture.md describes this
//! in detail.
//!
//! | folder | may name | runs on | unsafe |
//! |---|---|---|---|
//! | `http` | std, `thiserror`, `smallvec`, `flate2`, `sha1_smol` | anywhere | forbidden |
//! | `metrics` | std, `serde_json` | anywhere | forbidden |
//! | `bridge` | std, `http`, `metrics` | anywhere | forbidden |
//! | `nginx` | `nginx_sys`, `http`, `metrics`, `bridge` | the event loop's thread | with its `SAFETY` |
//! | `python` | `pyo3`, `http`, `metrics`, `bridge` | Python's threads; inline, the event loop's | where CPython's C API is called |
//!
//! `nginx` and `python` do not name each other. The only call that joins them is [`start_python`].

#[cfg_attr(feature = "loom", allow(dead_code))]
mod bridge;
#[cfg_attr(feature = "loom", allow(dead_code))]
mod http;
#[cfg_attr(feature = "loom", allow(dead_code))]
mod metrics;
#[cfg(not(feature = "loom"))] // loom checks only the bridge and the metrics
#[cfg_attr(test, allow(dead_code))] // a test binary has no nginx: nothing calls its entry points
mod nginx;
#[cfg(not(feature = "loom"))]
mod python;

#[cfg(not(feature = "loom"))]
use std::{io, sync::Arc};

/// Starts Python's threads in a worker process.
#[cfg(not(feature = "loom"))]
fn start_python(worker: Arc<bridge::exchange::Worker>) -> io::Result<()> {
    python::start(&worker)
}
