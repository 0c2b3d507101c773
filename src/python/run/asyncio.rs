//! The executor `asyncio`: a thread that runs a loop, on which each request is a task.
//!
//! The loop watches the descriptor of its doorbell ([`Loop`]), as it does sockets. One callback takes all that has come
//! since the last time, and starts or resumes its calls.

use std::cell::RefMut;
use std::sync::{Arc, OnceLock, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::calls::Calls;
use super::dispatch;
use super::startups::{Startup, Startups, Wait};
use super::steps::Steps;
use crate::bridge::config::{AppConfig, LoopKind};
use crate::bridge::exchange::{Exchange, Loop};
use crate::bridge::executor::asyncio::Message;
use crate::bridge::log::{About, Level};
use crate::bridge::pipe::output::parts::End;
use crate::python::app::{Admission, App};
use crate::python::attached::Attached;
use crate::python::guard;
use crate::python::hooks::Hooks;
use crate::python::protocol::{Call, Callee, Host, Lifespan, LoopKit, Stage};
use crate::python::runtime::{self, Runtime};
use crate::python::{child, imports, logging, shim};

/// A callback takes what has come at most so often, before the loop has a turn for others.
const ROUNDS: usize = 4;

/// Seconds for which applications are waited for at nginx's fast shutdown.
const FAST: f64 = 0.3;

/// One loop and its thread.
pub(in crate::python) struct LoopThread {
    bridge: Arc<Loop>,
    runtime: Weak<Runtime>,
    own: Weak<LoopThread>,
    /// What the thread has made as it started.
    objects: OnceLock<Objects>,
    state: Attached<State>,
}

/// The loop's own, looked up once.
struct Objects {
    event_loop: Py<PyAny>,
    create_future: Py<PyAny>,
    call_soon: Py<PyAny>,
    steps: Steps,
    /// `threading.get_ident()` of the thread.
    ident: u64,
}

#[derive(Default)]
struct State {
    batch: Vec<Message<Arc<Exchange>>>,
    calls: Calls,
    kit: Option<Box<LoopKit>>,
    hooks: Hooks,
    startups: Startups,
    /// Calls whose head has been given, and no part of the body.
    unflushed: Vec<Py<Call>>,
    /// They will be flushed: at the end of this callback, or by one of their own.
    flushes: bool,
    closing: bool,
}

impl LoopThread {
    pub(in crate::python) fn new(runtime: &Arc<Runtime>, bridge: &Arc<Loop>) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            bridge: Arc::clone(bridge),
            runtime: Arc::downgrade(runtime),
            own: Weak::clone(own),
            objects: OnceLock::new(),
            state: Attached::default(),
        })
    }

    /// The name of its `python_event_loop`.
    pub(super) fn name(&self) -> &str {
        &self.bridge.config.name
    }

    /// The loop's thread, before it runs: makes the loop. An error is logged, and requests are answered 500.
    pub(in crate::python) fn prepare(self: &Arc<Self>, py: Python<'_>) -> bool {
        let Err(error) = self.make(py) else { return true };
        if let Some(runtime) = self.runtime.upgrade() {
            let what = format!(
                "python_event_loop \"{}\" cannot be made; its applications answer 500",
                self.bridge.config.name
            );
            logging::exception_at(py, &runtime.shim, Level::Crit, &what, &error);
        }
        self.refuse_all();
        false
    }

    fn make(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let kind = match self.bridge.config.kind {
            LoopKind::Auto => "auto",
            LoopKind::Asyncio => "asyncio",
            LoopKind::Uvloop => "uvloop",
        };
        let event_loop = shim::function(py, "pywsgi._event_loop", "new_loop")?.call1((kind,))?;
        let ready = Bound::new(py, Ready(Arc::downgrade(self)))?;
        event_loop.call_method1("add_reader", (self.bridge.fd(), ready))?;
        let ident = shim::function(py, "pywsgi._threads", "get_ident")?.call0()?.extract()?;
        let objects = Objects {
            create_future: event_loop.getattr("create_future")?.unbind(),
            call_soon: event_loop.getattr("call_soon")?.unbind(),
            steps: Steps::new(&event_loop)?,
            ident,
            event_loop: event_loop.unbind(),
        };
        if self.objects.set(objects).is_err() {
            return Err(PyRuntimeError::new_err("a loop is made once"));
        }
        let mut state = self.state(py);
        state.kit = Some(Box::new(LoopKit::new()));
        Ok(())
    }

    /// The loop's thread: runs the loop until the worker ends, and closes it.
    pub(in crate::python) fn run(&self, py: Python<'_>) {
        let Some(objects) = self.objects.get() else { return };
        self.bridge.started();
        self.call_shim(py, "run", (&objects.event_loop,));
        let left = self.runtime.upgrade().map_or(1.0, |runtime| {
            runtime.worker.config.python.finalize_timeout.as_secs_f64() / 4.0
        });
        self.call_shim(py, "close", (&objects.event_loop, left));
        self.drop_all(py);
        self.refuse_all();
    }

    fn call_shim<'py>(
        &self,
        py: Python<'py>,
        name: &str,
        arguments: impl pyo3::call::PyCallArgs<'py>,
    ) {
        let called = shim::function(py, "pywsgi._event_loop", name)
            .and_then(|function| function.call1(arguments));
        if let (Err(error), Some(runtime)) = (called, self.runtime.upgrade()) {
            let what = format!("python_event_loop \"{}\" ({name})", self.bridge.config.name);
            logging::exception(py, &runtime.shim, &what, &error);
        }
    }

    /// The thread has left the loop, or could not enter it.
    pub(super) fn refuse_all(&self) {
        for exchange in self.bridge.ended() {
            dispatch::fail(&exchange);
        }
    }

    fn drop_all(&self, py: Python<'_>) {
        let state = std::mem::take(&mut *self.state(py));
        for exchange in state.startups.waiting() {
            dispatch::fail(exchange);
            self.bridge.finished(exchange);
        }
        drop(state);
    }

    /// A call of this loop, by the number that its exchange has.
    fn call(&self, py: Python<'_>, number: usize) -> Option<Py<Call>> {
        self.state(py).calls.get(number).map(|call| call.clone_ref(py))
    }

    /// Something has come.
    fn turn(self: &Arc<Self>, py: Python<'_>) {
        let Some(runtime) = self.runtime.upgrade() else { return };
        self.bridge.hush();
        if let Some(stalled) = self.bridge.turned(runtime.worker.now()) {
            let text = format!(
                "python_event_loop \"{}\" turns again, after {} ms",
                self.bridge.config.name,
                stalled.as_millis()
            );
            logging::write_about(py, Level::Warn, &About::Worker, &text);
        }
        for _ in 0..ROUNDS {
            let mut batch = {
                let mut state = self.state(py);
                // A call that ends in its first step costs no turn of the loop.
                state.flushes = true;
                std::mem::take(&mut state.batch)
            };
            self.bridge.take(&mut batch);
            for message in batch.drain(..) {
                // A panic is in the log; the other requests do not suffer from it.
                let _panicked = guard::run(|| self.deal(py, &runtime, message));
            }
            self.state(py).batch = batch;
            if let Err(error) = self.flush(py) {
                logging::exception(py, &runtime.shim, "a response's head cannot be sent", &error);
            }
            if !self.bridge.rest() {
                return;
            }
        }
        self.bridge.ring_again();
    }

    fn deal(
        self: &Arc<Self>,
        py: Python<'_>,
        runtime: &Arc<Runtime>,
        message: Message<Arc<Exchange>>,
    ) {
        match message {
            Message::Start(exchange) => {
                logging::enter(&exchange);
                self.start(py, runtime, &exchange);
                logging::leave_task();
            }
            Message::Resume(exchange) => {
                let call = exchange.call().and_then(|number| self.call(py, number));
                let Some(call) = call else { return };
                if exchange.is_overdue() {
                    self.log_stack(py, runtime, &exchange);
                }
                let Some(objects) = self.objects.get() else { return };
                let go_on = |future: &Bound<'_, PyAny>| objects.steps.resolve(future);
                if let Err(error) = call.get().resume(py, go_on) {
                    self.call_shim(py, "log_stopped", (error.into_value(py),));
                }
                call.get().send_left(py);
                self.release(py, call.get());
            }
            Message::Close => self.close(py, runtime),
        }
    }

    /// Logs where a task is that is beyond its deadline, before it is cancelled, unless the attendant was faster.
    fn log_stack(&self, py: Python<'_>, runtime: &Runtime, exchange: &Arc<Exchange>) {
        match runtime::Loop::stack(self, py, exchange) {
            Ok(Some(stack)) => {
                let about = About::Request(Arc::clone(exchange));
                let text = format!("its task is at:\n{stack}");
                logging::write_about(py, Level::Error, &about, &text);
            }
            Ok(None) => {}
            Err(error) => drop(logging::exception(py, &runtime.shim, "no stack", &error)),
        }
    }

    /// Starts a request, if its application is ready for it.
    fn start(self: &Arc<Self>, py: Python<'_>, runtime: &Arc<Runtime>, exchange: &Arc<Exchange>) {
        let Some(app) = runtime.apps.get(exchange.location.app) else {
            dispatch::fail(exchange);
            return self.bridge.finished(exchange);
        };
        match app.admit(py, exchange) {
            Admission::Ready(callable) => self.start_ready(py, runtime, app, &callable, exchange),
            Admission::Refused => self.refuse(py, runtime, exchange, &app.report()),
            Admission::Waits => self.bridge.finished(exchange),
            Admission::Begins => {
                imports::import_again(runtime, app.at);
                self.bridge.finished(exchange);
            }
        }
    }

    fn start_ready(
        self: &Arc<Self>,
        py: Python<'_>,
        runtime: &Arc<Runtime>,
        app: &App,
        callable: &Py<PyAny>,
        exchange: &Arc<Exchange>,
    ) {
        let callee = match self.readiness(py, runtime, app, callable) {
            Readiness::Ready(state) => Callee { app, callable, state },
            Readiness::Wait => return self.wait(py, exchange),
            Readiness::Failed(report) => return self.refuse(py, runtime, exchange, &report),
        };
        let Some(objects) = self.objects.get() else { return self.bridge.finished(exchange) };
        if !exchange.start(objects.ident) {
            return self.bridge.finished(exchange);
        }
        let mut hooks = std::mem::take(&mut self.state(py).hooks);
        hooks.take_on(py, &runtime.shim);
        self.state(py).hooks = hooks;
        let begun = self.begin(py, runtime, &callee, exchange, objects);
        if let Err(error) = begun {
            let what = format!("application \"{}\" cannot be called", app.target);
            logging::exception(py, &runtime.shim, &what, &error);
            dispatch::fail(exchange);
            if let Some(number) = exchange.take_call() {
                let call = self.state(py).calls.remove(number);
                drop(call);
            }
            drop(exchange.done());
            self.bridge.finished(exchange);
        }
    }

    fn begin(
        self: &Arc<Self>,
        py: Python<'_>,
        runtime: &Runtime,
        callee: &Callee<'_, '_>,
        exchange: &Arc<Exchange>,
        objects: &Objects,
    ) -> PyResult<()> {
        let host: Weak<dyn Host> = self.own.clone();
        let mut kit = self.state(py).kit.take().unwrap_or_else(|| Box::new(LoopKit::new()));
        let made = runtime.protocols.call_in_loop(py, callee, exchange, host, &mut kit);
        self.state(py).kit = Some(kit);
        let (call, coroutine) = made?;
        exchange.set_call(self.state(py).calls.insert(call.clone().unbind()));
        let task = runtime.protocols.within(py, &call, || objects.steps.start(coroutine))?;
        call.get().set_task(py, task.unbind());
        if !exchange.enter_application() {
            call.get().cancel(py)?;
        }
        Ok(())
    }

    /// Forgets a call whose application has returned, once all that it has sent is in the pipe.
    fn release(&self, py: Python<'_>, call: &Call) {
        if !call.is_done(py) {
            return;
        }
        let exchange = call.exchange();
        let Some(number) = exchange.take_call() else { return };
        let removed = self.state(py).calls.remove(number);
        drop(removed);
        // Nothing is called after an ASGI response.
        drop(exchange.done());
        self.bridge.finished(exchange);
    }

    /// Answers a request whose application is not there.
    fn refuse(&self, py: Python<'_>, runtime: &Runtime, exchange: &Arc<Exchange>, report: &str) {
        let ident = self.objects.get().map_or(0, |objects| objects.ident);
        if exchange.start(ident) {
            runtime.protocols.refuse_in_loop(py, &runtime.shim, exchange, report);
            drop(exchange.done());
        }
        self.bridge.finished(exchange);
    }

    /// A request waits for its application's startup.
    fn wait(&self, py: Python<'_>, exchange: &Arc<Exchange>) {
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
    fn readiness<'py>(
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
                Readiness::Failed(logging::exception(py, &runtime.shim, what, &error))
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
                logging::exception(py, &runtime.shim, "a lifespan cannot be made", &error);
                return;
            }
        };
        let object = lifespan.object().clone_ref(py);
        let begins = matches!(lifespan.stage, Stage::Starting);
        self.state(py).startups.begin(app.at, lifespan);
        if !begins {
            return;
        }
        let _about = logging::begin(About::App(app.at));
        let begun = Bound::new(py, Done(Weak::clone(&self.own), app.at)).and_then(|done| {
            object.bind(py).call_method1(intern!(py, "start"), (&objects.event_loop, done))
        });
        if let Err(error) = begun {
            let report = logging::exception(py, &runtime.shim, "asgi_lifespan", &error);
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
        if let Some(report) = &failure {
            let text = format!(
                "application \"{}\" has not started: its locations answer 500 until one of its files has changed, \
                 or nginx is reloaded: {report}",
                runtime.worker.target(at)
            );
            logging::write_about(py, Level::Error, &About::App(at), &text);
            if let Some(app) = runtime.apps.get(at) {
                app.fail_startup(py, &runtime.shim, report);
            }
        }
        let (waiting, ended) = self.state(py).startups.end(at, failure.is_some());
        drop(ended);
        for exchange in waiting {
            let _panicked = guard::run(|| self.deal(py, runtime, Message::Start(exchange)));
        }
    }

    /// The worker ends: cancels what runs, ends the lifespans, and leaves the loop.
    fn close(self: &Arc<Self>, py: Python<'_>, runtime: &Runtime) {
        let (calls, lifespans) = {
            let mut state = self.state(py);
            if std::mem::replace(&mut state.closing, true) {
                return;
            }
            let (calls, lifespans) = (state.calls.all(py), state.startups.objects(py));
            (calls, lifespans)
        };
        let tasks: Vec<Bound<'_, PyAny>> =
            calls.iter().filter_map(|call| call.get().task(py)).collect();
        for call in &calls {
            if let Err(error) = call.get().cancel(py) {
                logging::exception(py, &runtime.shim, "a task cannot be cancelled", &error);
            }
        }
        let ended = PyList::new(py, tasks).and_then(|tasks| {
            let limit = runtime.worker.is_fast().then_some(FAST);
            let end =
                shim::function(py, "pywsgi._asgi", "end")?.call1((tasks, lifespans, limit))?;
            let objects = self
                .objects
                .get()
                .ok_or_else(|| PyRuntimeError::new_err("the loop was not made"))?;
            let event_loop = objects.event_loop.bind(py);
            let task = event_loop.call_method1("create_task", (end,))?;
            let stop = Bound::new(py, Stop(Weak::clone(&self.own)))?;
            task.call_method1("add_done_callback", (stop,))
        });
        if let Err(error) = ended {
            logging::exception(py, &runtime.shim, "the loop cannot end its applications", &error);
            self.stop(py);
        }
    }

    fn stop(&self, py: Python<'_>) {
        if let Some(objects) = self.objects.get() {
            self.call_shim(py, "stop", (&objects.event_loop,));
        }
    }

    /// The loop's turn has ended: sends the heads that have no body yet.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        let mut unflushed = {
            let mut state = self.state(py);
            state.flushes = false;
            std::mem::take(&mut state.unflushed)
        };
        let flushed = unflushed.drain(..).try_for_each(|call| call.get().flush(py));
        let mut state = self.state(py);
        if state.unflushed.capacity() == 0 {
            // Its memory is used again.
            state.unflushed = unflushed;
        }
        flushed
    }

    fn state<'a>(&'a self, py: Python<'a>) -> RefMut<'a, State> {
        self.state.borrow(py)
    }
}

/// Whether an application's requests can be started.
enum Readiness<'py> {
    /// With what the lifespan has kept for them.
    Ready(Option<Bound<'py, PyDict>>),
    Wait,
    /// Its startup has failed, for this reason.
    Failed(String),
}

impl runtime::Loop for LoopThread {
    fn imported(&self, py: Python<'_>, at: usize) -> PyResult<()> {
        let Some(objects) = self.objects.get() else { return Ok(()) };
        let begin = Bound::new(py, Begin(Weak::clone(&self.own), at))?;
        let event_loop = objects.event_loop.bind(py);
        event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (begin,)).map(drop)
    }

    fn place(&self, py: Python<'_>) -> PyResult<(Option<Arc<Exchange>>, String)> {
        let Some(objects) = self.objects.get() else { return Ok((None, String::new())) };
        let stack: String = shim::function(py, "pywsgi._stacks", "format_stack")?
            .call1((objects.ident,))?
            .extract()?;
        let current = py
            .import("asyncio")?
            .call_method1("current_task", (&objects.event_loop,))
            .ok()
            .filter(|task| !task.is_none());
        let calls = self.state(py).calls.all(py);
        let running = current.and_then(|current| {
            let runs = |call: &&Py<Call>| call.get().task(py).is_some_and(|task| task.is(&current));
            calls.iter().find(runs).map(|call| Arc::clone(call.get().exchange()))
        });
        Ok((running, stack))
    }

    fn stack(&self, py: Python<'_>, exchange: &Exchange) -> PyResult<Option<String>> {
        let call = exchange.call().and_then(|number| self.call(py, number));
        let call = call.filter(|call| call.get().take_stack(py));
        let Some(task) = call.and_then(|call| call.get().task(py)) else { return Ok(None) };
        shim::function(py, "pywsgi._tasks", "format_task")?.call1((task,))?.extract().map(Some)
    }
}

impl Host for LoopThread {
    fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let objects = self.objects.get();
        let objects = objects.ok_or_else(|| PyRuntimeError::new_err("the loop was not made"))?;
        objects.create_future.bind(py).call0()
    }

    fn flush_later(&self, py: Python<'_>, call: &Bound<'_, Call>) -> PyResult<()> {
        let first = {
            let mut state = self.state(py);
            state.unflushed.push(call.clone().unbind());
            !std::mem::replace(&mut state.flushes, true)
        };
        let Some(objects) = self.objects.get().filter(|_| first) else { return Ok(()) };
        let flush = Bound::new(py, Flush(Weak::clone(&self.own)))?;
        objects.call_soon.bind(py).call1((flush,)).map(drop)
    }

    fn ended(&self, py: Python<'_>, call: &Call, error: Option<PyErr>) {
        let Some(runtime) = self.runtime.upgrade() else { return };
        child::end_here(py, &runtime.shim, error.as_ref());
        let exchange = call.exchange();
        if let Some(app) = runtime.apps.get(exchange.location.app) {
            runtime.protocols.end_in_loop(py, &runtime.shim, app, call, error.as_ref());
        }
        logging::end_task(py, &runtime.shim);
        self.release(py, call);
    }
}

/// The loop's doorbell was rung.
#[pyclass(frozen, module = "pywsgi")]
struct Ready(Weak<LoopThread>);

#[pymethods]
impl Ready {
    fn __call__(&self, py: Python<'_>) {
        if let Some(thread) = self.0.upgrade() {
            thread.turn(py);
        }
    }
}

/// The application of that number has been imported.
#[pyclass(frozen, module = "pywsgi")]
struct Begin(Weak<LoopThread>, usize);

#[pymethods]
impl Begin {
    fn __call__(&self, py: Python<'_>) {
        let Self(thread, at) = self;
        let Some(thread) = thread.upgrade() else { return };
        let Some(runtime) = thread.runtime.upgrade() else { return };
        let Some(app) = runtime.apps.get(*at) else { return };
        if let Some(callable) = app.callable(py) {
            thread.readiness(py, &runtime, app, &callable);
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

/// The loop's turn has ended.
#[pyclass(frozen, module = "pywsgi")]
struct Flush(Weak<LoopThread>);

#[pymethods]
impl Flush {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        self.0.upgrade().map_or(Ok(()), |thread| thread.flush(py))
    }
}

/// The applications have ended.
#[pyclass(frozen, module = "pywsgi")]
struct Stop(Weak<LoopThread>);

#[pymethods]
impl Stop {
    fn __call__(&self, py: Python<'_>, _task: &Bound<'_, PyAny>) {
        if let Some(thread) = self.0.upgrade() {
            thread.stop(py);
        }
    }
}
