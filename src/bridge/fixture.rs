//! What the tests of this folder begin with.

use std::sync::Arc;
use std::time::Duration;

use super::baton::Baton;
use super::changes::watch::Reload;
use super::config::{
    AppConfig, Buffering, ClientAbort, Debug, ExecutorId, InterpreterConfig, LocationConfig,
    LoopConfig, LoopKind, OutputConfig, PoolConfig, Protocol, Purpose, PythonConfig, Role,
    WorkerConfig,
};
use super::exchange::{Exchange, Worker};
use super::id::{RequestId, Table};
use super::log::Level;
use super::marks::Marks;
use super::pipe::input::Input;
use crate::metrics::board::Meters;

pub(super) fn pool_config(threads: usize, max_queue: usize) -> PoolConfig {
    PoolConfig { name: "default".into(), threads, max_queue, stack: None }
}

/// No buffering: as much as `memory` at once, and no file.
pub(super) fn unbuffered(memory: usize) -> Buffering {
    Buffering { enabled: false, memory, file: 0, directory: std::env::temp_dir().into() }
}

pub(super) fn buffered(memory: usize, file: u64) -> Buffering {
    Buffering { enabled: true, memory, file, directory: std::env::temp_dir().into() }
}

/// One application, one pool.
pub(super) fn worker(threads: usize, max_queue: usize) -> Arc<Worker> {
    worker_of(vec![pool_config(threads, max_queue)])
}

/// One application, these pools.
pub(super) fn worker_of(pools: Vec<PoolConfig>) -> Arc<Worker> {
    Arc::new(
        Worker::new(
            worker_config(pools),
            Marks::take_over(None, 0),
            Baton::new(None, 0),
            Meters::default(),
            0,
        )
        .unwrap(),
    )
}

/// One application, in a process of a group, for such a process or a web worker.
#[cfg(not(feature = "loom"))]
pub(super) fn worker_as(
    role: Role,
    pools: Vec<PoolConfig>,
    groups: Vec<super::config::ProcessGroup>,
) -> Arc<Worker> {
    let mut config = WorkerConfig { role, groups, ..worker_config(pools) };
    config.apps[0].group = Some(0);
    Arc::new(
        Worker::new(config, Marks::take_over(None, 0), Baton::new(None, 0), Meters::default(), 0)
            .unwrap(),
    )
}

pub(super) fn loop_config() -> LoopConfig {
    LoopConfig { name: "main".into(), kind: LoopKind::Asyncio }
}

/// Two applications, one loop.
pub(super) fn loop_worker() -> Arc<Worker> {
    let mut config = worker_config(Vec::new());
    let other = AppConfig { target: "other.py".into(), ..config.apps[0].clone() };
    config.apps.push(other);
    config.loops.push(loop_config());
    Arc::new(
        Worker::new(config, Marks::take_over(None, 0), Baton::new(None, 0), Meters::default(), 0)
            .unwrap(),
    )
}

fn worker_config(pools: Vec<PoolConfig>) -> WorkerConfig {
    WorkerConfig {
        purpose: Purpose::Serve,
        role: Role::Web,
        python: PythonConfig {
            home: None,
            path: Vec::new(),
            executable: None,
            directory: None,
            imports: Vec::new(),
            interpreter: InterpreterConfig::default(),
            umask: 0o022,
            signals: Vec::new(),
            stdout_level: Level::Info,
            stderr_level: Level::Warn,
            finalize: true,
            finalize_timeout: Duration::from_secs(1),
        },
        apps: vec![AppConfig {
            protocol: Protocol::Wsgi,
            target: "app.py".into(),
            resolved: "app.py".into(),
            callables: vec!["application".into()],
            asgi: None,
            group: None,
        }],
        groups: Vec::new(),
        pools,
        loops: Vec::new(),
        stall_warning: None,
        deadlock_timeout: None,
        max_stuck_threads: 2,
        output: OutputConfig::default(),
        measures_cpu: false,
        reload: Reload::Off,
    }
}

pub(super) fn ids<const N: usize>() -> [RequestId; N] {
    let mut table = Table::new();
    std::array::from_fn(|_| table.insert(()))
}

/// A request of `worker` for its only application.
pub(super) fn exchange(worker: &Arc<Worker>, id: RequestId, input: Input) -> Arc<Exchange> {
    exchange_at(location(ExecutorId::Pool(0)), worker, id, input)
}

pub(super) fn exchange_at(
    location: LocationConfig,
    worker: &Arc<Worker>,
    id: RequestId,
    input: Input,
) -> Arc<Exchange> {
    Exchange::new(id, Arc::new(location), Arc::clone(worker), input)
}

pub(super) fn location(executor: ExecutorId) -> LocationConfig {
    LocationConfig {
        id: 0,
        in_group: 0,
        app: 0,
        output: Arc::default(),
        protocol: Protocol::Wsgi,
        group: None,
        executor,
        script_name: None,
        timeout: None,
        interrupt: None,
        kill: None,
        slow: None,
        client_abort: ClientAbort::Notify,
        debug: Debug::Off,
        early_hints: true,
        file_wrapper: true,
        max_in_flight: None,
        websocket: None,
        accel_buffering: true,
        params: Vec::new(),
        buffering: unbuffered(4),
    }
}

/// `N` requests without a body for the only loop. Those of a location number beyond 0 have at most so many in flight
/// as that says.
pub(super) fn loop_exchanges<const N: usize>(
    worker: &Arc<Worker>,
    locations: [usize; N],
) -> [Arc<Exchange>; N] {
    let mut ids = ids::<N>().into_iter();
    locations.map(|id| {
        let max_in_flight = (id > 0).then_some(id);
        let location = LocationConfig { id, max_in_flight, ..location(ExecutorId::Loop(0)) };
        exchange_at(location, worker, ids.next().unwrap(), Input::buffered([].into()))
    })
}

/// `N` requests without a body.
pub(super) fn exchanges<const N: usize>(worker: &Arc<Worker>) -> [Arc<Exchange>; N] {
    ids().map(|id| exchange(worker, id, Input::buffered([].into())))
}

/// The same for the executor `inline`.
#[cfg(not(feature = "loom"))]
pub(super) fn inline_exchanges<const N: usize>(worker: &Arc<Worker>) -> [Arc<Exchange>; N] {
    ids()
        .map(|id| exchange_at(location(ExecutorId::Inline), worker, id, Input::buffered([].into())))
}

/// Waits until another thread has come so far.
#[cfg(not(feature = "loom"))]
pub(super) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `model` in every order of its threads' steps in which at most `preemptions` times a thread is
/// stopped that could go on. A thread that waits for ever is a failure.
#[cfg(feature = "loom")]
pub(super) fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}
