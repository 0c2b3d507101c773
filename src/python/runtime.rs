//! What all of Python's threads in a worker share.

use std::sync::{Arc, OnceLock};

use pyo3::prelude::*;

use super::app::App;
use super::import_queue::ImportQueue;
use super::logging;
use super::protocol::Protocols;
use super::shim::Shim;
use crate::bridge::code::Code;
use crate::bridge::exchange::{Exchange, Worker};
use crate::bridge::log::About;

pub(super) struct Runtime {
    pub(super) worker: Arc<Worker>,
    pub(super) shim: Shim,
    pub(super) protocols: Protocols,
    /// In the order of the configuration's applications.
    pub(super) apps: Vec<App>,
    pub(super) imports: ImportQueue,
    /// In the order of the configuration's loops, once the main thread has made them.
    pub(super) loops: OnceLock<Vec<Arc<dyn Loop>>>,
}

/// A loop, as others know it.
pub(super) trait Loop: Send + Sync {
    /// Who imports: application `at`, which runs on this loop, can be called now.
    fn imported(&self, py: Python<'_>, at: usize) -> PyResult<()>;

    /// Where the loop's thread is, and for which request, if it is a request's task that runs.
    fn place(&self, py: Python<'_>) -> PyResult<(Option<Arc<Exchange>>, String)>;

    /// Where the task of a request is; `None` if it has ended, or if this has been asked before for its deadline.
    fn stack(&self, py: Python<'_>, exchange: &Exchange, late: Late) -> PyResult<Option<String>>;
}

/// Why it is logged where a request's application is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    /// `…_slow_request`
    Slow,
    /// `…_timeout`
    Overdue,
}

impl Late {
    /// What the stack is logged as.
    pub(super) fn stack_code(self) -> Code {
        match self {
            Self::Slow => Code::StackOfSlow,
            Self::Overdue => Code::StackOfTimedOut,
        }
    }
}

impl Runtime {
    /// Prepares the interpreter for its applications; imports none of them.
    pub(super) fn new(py: Python<'_>, worker: &Arc<Worker>) -> PyResult<Arc<Self>> {
        let config = &worker.config;
        let has_loops = !config.loops.is_empty();
        let shim = Shim::start(py, &config.python, has_loops)?;
        let has_home = config.python.home.is_some();
        let apps = config
            .apps
            .iter()
            .enumerate()
            .map(|(at, app)| App::new(py, at, app, has_home, config.purpose))
            .collect::<PyResult<Vec<_>>>()?;
        let protocols = Protocols::prepare(py, &shim, apps.len(), !worker.loops.is_empty())?;
        Ok(Arc::new(Self {
            worker: Arc::clone(worker),
            protocols,
            shim,
            apps,
            imports: ImportQueue::default(),
            loops: OnceLock::new(),
        }))
    }

    /// The loop of application `at`, if it runs on one.
    pub(super) fn loop_of(&self, at: usize) -> Option<&Arc<dyn Loop>> {
        let number = self.worker.config.apps.get(at)?.event_loop()?;
        self.loops.get()?.get(number)
    }

    /// Logs where the task of a request is; once for its deadline, and not if it has ended. False if the request's
    /// application runs on no loop.
    pub(super) fn log_task_stack(
        &self,
        py: Python<'_>,
        exchange: &Arc<Exchange>,
        late: Late,
    ) -> bool {
        let Some(owner) = self.loop_of(exchange.location.app) else { return false };
        let text = match owner.stack(py, exchange, late) {
            Ok(Some(stack)) => format!("its task is at:\n{stack}"),
            Ok(None) => return true,
            Err(error) => format!("its task's stack cannot be shown: {error}"),
        };
        let about = About::Request(Arc::clone(exchange));
        logging::write_about(py, late.stack_code(), &about, &text);
        true
    }
}
