//! The lifespans of a loop's applications: each begins as soon as its application is imported, and the requests that
//! come before its startup is over wait.

use std::sync::{Arc, Weak};

use pyo3::intern;
use pyo3::prelude::*;

use super::LoopThread;
use crate::bridge::code::Code;
use crate::bridge::config::{AppConfig, Purpose};
use crate::bridge::exchange::Exchange;
use crate::bridge::executor::asyncio::Message;
use crate::bridge::log::About;
use crate::bridge::pipe::output::parts::End;
use crate::python::app::App;
use crate::python::guard;
use crate::python::logging;
use crate::python::protocol::{Lifespan, Stage};
use crate::python::run::startups::{Readiness, Startup, Wait};
use crate::python::runtime::Runtime;

impl LoopThread {
    /// A request waits for its application's startup.
    pub(super) fn wait(&self, py: Python<'_>, exchange: &Arc<Exchange>) {
        let Wait { refused, ended } = self.state(py).startups.wait(exchange);
        for exchange in ended {
            self.bridge.finished(&exchange);
        }
        if refused {
            // A request that has ended meanwhile wants no answer.
            let _gone = exchange.end(None, End::Refused);
            self.bridge.finished(exchange);
        }
    }

    /// Whether an application's startup is over, and what it has kept for its requests. Begins it, if nobody has.
    pub(super) fn readiness<'py>(
        self: &Arc<Self>,
        py: Python<'py>,
        runtime: &Arc<Runtime>,
        app: &App,
        callable: &Py<PyAny>,
    ) -> Readiness<'py> {
        if let Some(readiness) = self.readiness_now(py, runtime, app) {
            return readiness;
        }
        self.begin_lifespan(py, runtime, app, callable);
        let readiness = self.readiness_now(py, runtime, app);
        readiness.unwrap_or_else(|| Readiness::Failed("its lifespan cannot be begun".to_owned()))
    }

    /// The same; `None` if nobody has begun it.
    fn readiness_now<'py>(
        &self,
        py: Python<'py>,
        runtime: &Runtime,
        app: &App,
    ) -> Option<Readiness<'py>> {
        let startup = self.state(py).startups.of(py, app.at);
        let object = match startup {
            Startup::NotBegun => return None,
            Startup::Running => return Some(Readiness::Wait),
            Startup::Over(object) => object,
        };
        Some(Lifespan::state_of(py, &object).map_or_else(
            |error| {
                let what = "a lifespan's state cannot be read";
                Readiness::Failed(logging::exception(
                    py,
                    &runtime.shim,
                    Code::LoopFault,
                    what,
                    &error,
                ))
            },
            Readiness::Ready,
        ))
    }

    fn begin_lifespan(
        self: &Arc<Self>,
        py: Python<'_>,
        runtime: &Arc<Runtime>,
        app: &App,
        callable: &Py<PyAny>,
    ) {
        let config = runtime.worker.config.apps.get(app.at).and_then(AppConfig::lifespan);
        let (Some(config), Some(objects)) = (config, self.objects.get()) else {
            return;
        };
        let lifespan = match Lifespan::new(py, callable, config, &app.target) {
            Ok(lifespan) => lifespan,
            Err(error) => {
                let what = "a lifespan cannot be made";
                let report = logging::exception(py, &runtime.shim, Code::LoopFault, what, &error);
                runtime.worker.end_start(app.at, Err(report));
                return;
            }
        };
        let object = lifespan.object().clone_ref(py);
        let begins = matches!(lifespan.stage, Stage::Starting);
        self.state(py).startups.begin(app.at, lifespan);
        if !begins {
            runtime.worker.end_start(app.at, Ok(()));
            return;
        }
        let _about = logging::begin(About::App(app.at));
        let begun = Bound::new(py, Done(Weak::clone(&self.own), app.at)).and_then(|done| {
            object.bind(py).call_method1(intern!(py, "start"), (&objects.event_loop, done))
        });
        if let Err(error) = begun {
            let report =
                logging::exception(py, &runtime.shim, Code::LoopFault, "asgi_lifespan", &error);
            self.end_startup(py, runtime, app.at, Some(report));
        }
    }

    /// An application's startup is over; `failure` is what went wrong. Those who waited for it are started.
    fn end_startup(
        self: &Arc<Self>,
        py: Python<'_>,
        runtime: &Arc<Runtime>,
        at: usize,
        failure: Option<String>,
    ) {
        let worker = &runtime.worker;
        // The message is there before the worker counts as serving: who sees that knows how the startup went.
        if let Some(report) = &failure {
            if worker.config.purpose == Purpose::Serve {
                let text = format!(
                    "application \"{}\" has not started: its locations answer 500 until one of its files has \
                     changed, or nginx is reloaded: {report}",
                    worker.target(at)
                );
                logging::write_about(py, Code::NotStarted, &About::App(at), &text);
            }
            if let Some(app) = runtime.apps.get(at) {
                app.fail_startup(py, &runtime.shim, report);
            }
        }
        worker.end_start(at, failure.clone().map_or(Ok(()), Err));
        let (waiting, ended) = self.state(py).startups.end(at, failure.is_some());
        drop(ended);
        for exchange in waiting {
            let _panicked = guard::run(|| self.deal(py, runtime, Message::Start(exchange)));
        }
    }
}

/// The startup of the application of that number has ended.
#[pyclass(frozen, module = "pywsgi")]
struct Done(Weak<LoopThread>, usize);

#[pymethods]
impl Done {
    fn __call__(&self, py: Python<'_>, failure: Option<String>) {
        let Self(thread, at) = self;
        let Some(thread) = thread.upgrade() else { return };
        let Some(runtime) = thread.runtime.upgrade() else { return };
        thread.end_startup(py, &runtime, *at, failure);
    }
}
