//! The executor `asyncio`: a thread that runs a loop, on which each request is a task.
//!
//! The loop watches the descriptor of its doorbell ([`Loop`]), as it does sockets. One callback takes all that has come
//! since the last time, and starts or resumes its calls.

mod closing;
mod lifespans;
mod outside;

use std::cell::RefMut;
use std::sync::{Arc, OnceLock, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::calls::Calls;
use super::dispatch;
use super::startups::{Readiness, Startups};
use super::steps::Steps;
use crate::bridge::code::Code;
use crate::bridge::config::LoopKind;
use crate::bridge::exchange::{Exchange, Loop};
use crate::bridge::executor::asyncio::Message;
use crate::bridge::log::About;
use crate::python::app::{Admission, App};
use crate::python::attached::Attached;
use crate::python::guard;
use crate::python::hooks::Hooks;
use crate::python::protocol::{Call, Callee, Host, LoopKit};
use crate::python::runtime::{Late, Runtime};
use crate::python::{child, imports, logging, shim};

/// A callback takes what has come at most so often, before the loop has a turn for others.
const ROUNDS: usize = 4;

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
            logging::exception(py, &runtime.shim, Code::LoopNotMade, &what, &error);
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
            logging::exception(py, &runtime.shim, Code::LoopFault, &what, &error);
        }
    }

    /// The thread has left the loop, or could not enter it.
    pub(super) fn refuse_all(&self) {
        for exchange in self.bridge.ended() {
            dispatch::fail(&exchange);
        }
        let Some(runtime) = self.runtime.upgrade() else { return };
        let worker = &runtime.worker;
        let is_own =
            |number| worker.loops.get(number).is_some_and(|it| Arc::ptr_eq(it, &self.bridge));
        for (at, app) in worker.config.apps.iter().enumerate() {
            if app.event_loop().is_some_and(is_own) {
                worker.give_up_start(at, "its python_event_loop does not run");
            }
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
            logging::write_about(py, Code::LoopTurnsAgain, &About::Worker, &text);
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
            self.flush(py);
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
                    // Before it is cancelled, unless the attendant was faster.
                    runtime.log_task_stack(py, &exchange, Late::Overdue);
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
            logging::exception(py, &runtime.shim, Code::NotCallable, &what, &error);
            dispatch::fail(exchange);
            self.forget(py, exchange);
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
        if call.is_done(py) {
            self.forget(py, call.exchange());
        }
    }

    /// Forgets the call of a request, once.
    fn forget(&self, py: Python<'_>, exchange: &Arc<Exchange>) {
        if exchange.is_done() {
            return;
        }
        if let Some(number) = exchange.take_call() {
            let removed = self.state(py).calls.remove(number);
            drop(removed);
        }
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

    /// The loop's turn has ended: sends the heads that have no body yet.
    fn flush(&self, py: Python<'_>) {
        let mut unflushed = {
            let mut state = self.state(py);
            state.flushes = false;
            std::mem::take(&mut state.unflushed)
        };
        unflushed.drain(..).for_each(|call| call.get().flush(py));
        let mut state = self.state(py);
        if state.unflushed.capacity() == 0 {
            // Its memory is used again.
            state.unflushed = unflushed;
        }
    }

    fn state<'a>(&'a self, py: Python<'a>) -> RefMut<'a, State> {
        self.state.borrow(py)
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

/// The loop's turn has ended.
#[pyclass(frozen, module = "pywsgi")]
struct Flush(Weak<LoopThread>);

#[pymethods]
impl Flush {
    fn __call__(&self, py: Python<'_>) {
        if let Some(thread) = self.0.upgrade() {
            thread.flush(py);
        }
    }
}
