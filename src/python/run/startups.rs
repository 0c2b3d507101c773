//! The startups of a loop's applications (`asgi_lifespan`), and the requests that wait for them.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bridge::exchange::{Exchange, Progress};
use crate::python::protocol::{Lifespan, Stage};

/// So many requests wait for a startup.
const MAX_WAITING: usize = 1024;

#[derive(Default)]
pub(super) struct Startups {
    /// By application; `None` before its startup has begun.
    lifespans: Vec<Option<Lifespan>>,
    waiting: Vec<Arc<Exchange>>,
}

/// How far an application's startup is.
pub(super) enum Startup {
    NotBegun,
    Running,
    /// With the lifespan's object.
    Over(Py<PyAny>),
}

/// Whether an application's requests can be started.
pub(super) enum Readiness<'py> {
    /// With what the lifespan has kept for them.
    Ready(Option<Bound<'py, PyDict>>),
    Wait,
    /// Its startup has failed, for this reason.
    Failed(String),
}

/// What becomes of a request that has to wait.
#[derive(Default)]
pub(super) struct Wait {
    /// It cannot: too many wait.
    pub(super) refused: bool,
    /// Those that have ended while they waited.
    pub(super) ended: Vec<Arc<Exchange>>,
}

impl Startups {
    pub(super) fn of(&self, py: Python<'_>, app: usize) -> Startup {
        match self.lifespans.get(app).and_then(Option::as_ref) {
            None => Startup::NotBegun,
            Some(Lifespan { stage: Stage::Starting, .. }) => Startup::Running,
            Some(lifespan) => Startup::Over(lifespan.object().clone_ref(py)),
        }
    }

    /// The startup of an application begins, unless it has none.
    pub(super) fn begin(&mut self, app: usize, lifespan: Lifespan) {
        if self.lifespans.len() <= app {
            self.lifespans.resize_with(app + 1, || None);
        }
        if let Some(place) = self.lifespans.get_mut(app) {
            *place = Some(lifespan);
        }
    }

    /// A request waits for the startup of its application.
    pub(super) fn wait(&mut self, exchange: &Arc<Exchange>) -> Wait {
        let mut wait = Wait::default();
        if self.waiting.len() >= MAX_WAITING {
            let waiting = std::mem::take(&mut self.waiting);
            (self.waiting, wait.ended) =
                waiting.into_iter().partition(|one| one.progress() == Progress::Waiting);
        }
        wait.refused = self.waiting.len() >= MAX_WAITING;
        if !wait.refused {
            self.waiting.push(Arc::clone(exchange));
        }
        wait
    }

    /// The startup of an application is over. Gives back those who waited for it; and, if it has failed, the lifespan,
    /// because another import is followed by another startup.
    pub(super) fn end(
        &mut self,
        app: usize,
        failed: bool,
    ) -> (Vec<Arc<Exchange>>, Option<Lifespan>) {
        let place = self.lifespans.get_mut(app);
        let ended = place.and_then(|place| {
            if failed {
                return place.take();
            }
            if let Some(lifespan) = place {
                lifespan.stage = Stage::Started;
            }
            None
        });
        let waiting = std::mem::take(&mut self.waiting);
        let (own, others) = waiting.into_iter().partition(|one| one.location.app == app);
        self.waiting = others;
        (own, ended)
    }

    /// The objects of all lifespans that there are.
    pub(super) fn objects(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.lifespans.iter().flatten().map(|lifespan| lifespan.object().clone_ref(py)).collect()
    }

    /// Those who wait, whatever for.
    pub(super) fn waiting(&self) -> &[Arc<Exchange>] {
        &self.waiting
    }
}
