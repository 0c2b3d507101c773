//! The configuration, as far as Python's threads need it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::changes::watch::Reload;
use super::log::Level;
use super::output_log::OutputLog;

/// What each worker process has once.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) purpose: Purpose,
    pub(crate) role: Role,
    pub(crate) python: PythonConfig,
    /// All of the configuration, so that each process has the same numbers for them; it runs some of them
    /// ([`runs`](Self::runs)).
    pub(crate) apps: Vec<AppConfig>,
    /// Those of `python_process`.
    pub(crate) groups: Vec<ProcessGroup>,
    pub(crate) pools: Vec<PoolConfig>,
    /// Those of `python_event_loop`, `main` first; none if no application runs on one.
    pub(crate) loops: Vec<LoopConfig>,
    /// `asgi_stall_warning`; `None`: no warning.
    pub(crate) stall_warning: Option<Duration>,
    /// `python_deadlock_timeout`; `None`: nobody looks.
    pub(crate) deadlock_timeout: Option<Duration>,
    /// `python_max_stuck_threads`
    pub(crate) max_stuck_threads: usize,
    /// The processor's time of requests is measured, because somebody wants to know it (`$python_cpu_time`).
    pub(crate) measures_cpu: bool,
    pub(crate) output: OutputConfig,
    pub(crate) reload: Reload,
}

impl WorkerConfig {
    /// Whether this process runs that application.
    pub(crate) fn runs(&self, app: usize) -> bool {
        self.apps.get(app).is_some_and(|app| app.group == self.role.group())
    }

    /// What logs call this process, if it is of a group.
    pub(crate) fn process_name(&self) -> Option<String> {
        let Role::Application { group, slot } = self.role else { return None };
        self.groups.get(group).map(|group| process_name(&group.name, slot))
    }

    /// Whether this process may go on when nginx is reloaded.
    pub(crate) fn may_be_kept(&self) -> bool {
        let group = self.role.group().and_then(|at| self.groups.get(at));
        group.is_some_and(|group| group.keep)
    }

    /// Whether changed code replaces the processes of its group alone. A web worker tries it, in a process that it forks;
    /// one with Python cannot, and all of nginx is reloaded.
    pub(crate) fn renews_groups(&self) -> bool {
        matches!(self.reload, Reload::Watch(_)) && self.apps.iter().all(|app| app.group.is_some())
    }

    /// Whether this process runs any application, and so has an interpreter.
    pub(crate) fn runs_python(&self) -> bool {
        self.apps.iter().any(|app| app.group == self.role.group())
    }
}

/// What a worker process of nginx's is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It accepts connections, and runs the applications that are in no group.
    Web,
    /// It is one of the processes of a `python_process`, and runs its applications alone.
    Application {
        /// An index into [`WorkerConfig::groups`].
        group: usize,
        /// Its number among the processes of the group.
        slot: usize,
    },
}

impl Role {
    /// The group whose applications such a process runs; `None`: those that are in no group.
    pub(crate) fn group(self) -> Option<usize> {
        match self {
            Self::Web => None,
            Self::Application { group, .. } => Some(group),
        }
    }

    pub(crate) fn is_web(self) -> bool {
        self == Self::Web
    }
}

/// A `python_process`, as far as the processes that send it requests need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessGroup {
    pub(crate) name: String,
    pub(crate) processes: usize,
    /// How many requests may wait in each of its processes for a thread.
    pub(crate) max_queue: usize,
    /// Bytes of the shared memory for each direction between a web worker and a process.
    pub(crate) ring: usize,
    /// `start=lazy`: a process that runs has so many requests of a web worker before this one wakes a dormant one.
    /// `None`: none is dormant.
    pub(crate) wakes_at: Option<usize>,
    /// `keep=on`: its processes may go on when nginx is reloaded.
    pub(crate) keep: bool,
}

/// A process of a group, as logs name it.
pub(crate) fn process_name(group: &str, slot: usize) -> String {
    format!("{group}/{slot}")
}

/// Where the output of applications goes that belongs to no request (`python_log`).
#[derive(Clone, Debug, Default)]
pub(crate) struct OutputConfig {
    /// That of threads that an application has started.
    pub(crate) worker: Arc<OutputLog>,
    /// That of the import of each application: the logs of its locations, each once.
    pub(crate) apps: Vec<Vec<Arc<OutputLog>>>,
}

impl OutputConfig {
    pub(crate) fn of_app(&self, app: usize) -> &[Arc<OutputLog>] {
        match self.apps.get(app) {
            Some(logs) if !logs.is_empty() => logs,
            _ => std::slice::from_ref(&self.worker),
        }
    }
}

/// What a process runs the applications for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To answer requests.
    Serve,
    /// To find out whether they can be started (`python_check`): who has asked is told, and not the log.
    Check,
}

/// The `python_*` directives.
#[derive(Clone, Debug)]
pub(crate) struct PythonConfig {
    pub(crate) home: Option<PathBuf>,
    pub(crate) path: Vec<PathBuf>,
    pub(crate) executable: Option<PathBuf>,
    /// `python_working_directory`; `None`: nginx's.
    pub(crate) directory: Option<PathBuf>,
    /// `python_import`, in its order, each once.
    pub(crate) imports: Vec<String>,
    pub(crate) interpreter: InterpreterConfig,
    /// The file mode creation mask (umask(2)) of Python's threads.
    pub(crate) umask: u32,
    /// The signals that nginx leaves to applications.
    pub(crate) signals: Vec<i32>,
    pub(crate) stdout_level: Level,
    pub(crate) stderr_level: Level,
    pub(crate) finalize: bool,
    pub(crate) finalize_timeout: Duration,
}

/// What CPython itself is configured with. Where nothing is set its default applies, or that of its environment
/// variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterpreterConfig {
    /// `python_optimize`
    pub(crate) optimize: Option<u8>,
    pub(crate) dont_write_bytecode: Option<bool>,
    pub(crate) hash_seed: Option<HashSeed>,
    /// `python_warnings`, the most important one last.
    pub(crate) warnings: Vec<String>,
    /// `python_xoption`: `NAME` or `NAME=VALUE`.
    pub(crate) xoptions: Vec<String>,
    pub(crate) switch_interval: Option<Duration>,
    /// `python_gc_freeze`
    pub(crate) gc_freeze: Option<bool>,
}

impl InterpreterConfig {
    /// Whether `python_xoption` sets an option of that name, whatever its value.
    pub(crate) fn has_xoption(&self, name: &str) -> bool {
        self.xoptions.iter().any(|option| option.split('=').next() == Some(name))
    }
}

/// `python_hash_seed`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashSeed {
    Random,
    Fixed(u32),
}

/// What is said to an application. Its directives are called after it, and its name is what [`fmt::Display`]
/// writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Wsgi,
    Asgi,
}

impl Protocol {
    /// Whether a thread runs one request at a time.
    pub(crate) fn has_threads(self) -> bool {
        self == Self::Wsgi
    }

    /// Whether an application is told the address to which its client has connected.
    pub(crate) fn names_local_address(self) -> bool {
        self == Self::Asgi
    }

    /// Whether an application is told of its client's TLS connection.
    pub(crate) fn describes_tls(self) -> bool {
        self == Self::Asgi
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wsgi => "wsgi",
            Self::Asgi => "asgi",
        })
    }
}

/// An application: what `…_app` and `…_callable` say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppConfig {
    pub(crate) protocol: Protocol,
    pub(crate) target: String,
    /// The same with the path that a worker imports it from (`python_resolve_symlinks`).
    pub(crate) resolved: String,
    pub(crate) callables: Vec<String>,
    /// What an application of ASGI has once in a worker.
    pub(crate) asgi: Option<AsgiConfig>,
    /// The `python_process` whose processes run it: an index into [`WorkerConfig::groups`]; `None`: the workers that
    /// accept connections do.
    pub(crate) group: Option<usize>,
}

impl AppConfig {
    /// Whether both name the same application.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.protocol, &self.target, &self.callables, self.group)
            == (other.protocol, &other.target, &other.callables, other.group)
    }

    /// The directive that sets for one application what a worker has once of it, and that says something else in
    /// `other`.
    pub(crate) fn contradiction(&self, other: &Self) -> Option<&'static str> {
        let (Some(own), Some(other)) = (&self.asgi, &other.asgi) else { return None };
        if own.event_loop != other.event_loop {
            return Some("asgi_event_loop");
        }
        (own.lifespan != other.lifespan).then_some("asgi_lifespan")
    }

    /// What its lifespan is configured with, if it may have one.
    pub(crate) fn lifespan(&self) -> Option<&LifespanConfig> {
        self.asgi.as_ref().map(|asgi| &asgi.lifespan)
    }

    /// Has it do without a lifespan.
    pub(crate) fn skip_lifespan(&mut self) {
        if let Some(asgi) = &mut self.asgi {
            asgi.lifespan.mode = Lifespan::Off;
        }
    }

    /// How long its shutdown may take, if it may have a lifespan.
    pub(crate) fn shutdown_timeout(&self) -> Option<Duration> {
        let lifespan = self.lifespan().filter(|lifespan| lifespan.mode != Lifespan::Off)?;
        Some(lifespan.shutdown_timeout)
    }

    /// The asyncio event loop that it runs on, if it runs on one: an index into [`WorkerConfig::loops`].
    pub(crate) fn event_loop(&self) -> Option<usize> {
        self.asgi.as_ref().map(|asgi| asgi.event_loop)
    }
}

/// What an application of ASGI has once in a worker, whatever its locations are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AsgiConfig {
    /// An index into [`WorkerConfig::loops`].
    pub(crate) event_loop: usize,
    pub(crate) lifespan: LifespanConfig,
}

/// `asgi_lifespan`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LifespanConfig {
    pub(crate) mode: Lifespan,
    pub(crate) startup_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
}

/// Whether an application is called with the scope `lifespan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifespan {
    /// It is; an application that raises at it does without.
    Auto,
    /// It is; if it raises, its startup has failed.
    On,
    Off,
}

/// A `python_thread_pool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolConfig {
    pub(crate) name: String,
    pub(crate) threads: usize,
    pub(crate) max_queue: usize,
    /// Bytes; `None` is the system's default.
    pub(crate) stack: Option<usize>,
}

/// A `python_event_loop`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoopConfig {
    pub(crate) name: String,
    pub(crate) kind: LoopKind,
}

/// Whose event loop it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoopKind {
    /// uvloop's if it can be imported, otherwise asyncio's.
    Auto,
    Asyncio,
    Uvloop,
}

/// The directives of a location, as its requests take them along. A name such as `…_timeout` stands for that of the
/// location's protocol (`wsgi_timeout`).
#[derive(Clone, Debug)]
pub(crate) struct LocationConfig {
    /// Unique among the locations of a configuration.
    pub(crate) id: usize,
    /// Its number among the locations of its group, by which other processes name it.
    pub(crate) in_group: usize,
    /// An index into [`WorkerConfig::apps`].
    pub(crate) app: usize,
    pub(crate) protocol: Protocol,
    /// That of the application ([`AppConfig::group`]).
    pub(crate) group: Option<usize>,
    pub(crate) executor: ExecutorId,
    /// `python_log`
    pub(crate) output: Arc<OutputLog>,
    /// `…_script_name`
    pub(crate) script_name: Option<Vec<u8>>,
    /// `…_timeout`; `None`: no limit.
    pub(crate) timeout: Option<Duration>,
    /// `wsgi_interrupt_timeout`: so long after its timeout the application is interrupted; `None`: never.
    pub(crate) interrupt: Option<Duration>,
    /// `…_kill_timeout`: so long after that, or after its timeout if it is not interrupted, its process is killed;
    /// `None`: never.
    pub(crate) kill: Option<Duration>,
    /// `…_slow_request`; `None`: none is logged.
    pub(crate) slow: Option<Duration>,
    pub(crate) client_abort: ClientAbort,
    pub(crate) debug: Debug,
    /// `…_early_hints`
    pub(crate) early_hints: bool,
    /// `…_file_wrapper`
    pub(crate) file_wrapper: bool,
    /// `asgi_max_requests_in_flight`; `None`: no limit.
    pub(crate) max_in_flight: Option<usize>,
    /// `None`: a request for a WebSocket is a request like any other (`asgi_websocket off`; WSGI).
    pub(crate) websocket: Option<WebSocketConfig>,
    /// `X-Accel-Buffering` is obeyed (`…_accel`, `…_ignore_headers`).
    pub(crate) accel_buffering: bool,
    /// The `…_param`s that do not depend on the request.
    pub(crate) params: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) buffering: Buffering,
}

/// The directives `asgi_websocket_*` of a location.
#[derive(Clone, Debug)]
pub(crate) struct WebSocketConfig {
    /// Bytes of a message that a client sends, after inflating.
    pub(crate) max_message_size: usize,
    /// `None`: no pings.
    pub(crate) ping_interval: Option<Duration>,
    /// `None`: a client that answers no ping stays.
    pub(crate) ping_timeout: Option<Duration>,
    pub(crate) deflate: bool,
    /// Bytes that wait in each direction.
    pub(crate) queue: usize,
}

/// Which executor runs the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecutorId {
    /// The threads of a pool: an index into [`WorkerConfig::pools`].
    Pool(usize),
    /// The event loop's own thread.
    Inline,
    /// An asyncio event loop with a thread of its own: an index into [`WorkerConfig::loops`].
    Loop(usize),
    /// The processes of a `python_process`: an index into [`WorkerConfig::groups`]. In one of these processes the
    /// location has another executor.
    Process(usize),
}

impl ExecutorId {
    /// Whether a thread runs one request at a time.
    pub(crate) fn has_threads(self) -> bool {
        !matches!(self, Self::Loop(_))
    }

    /// Whether the event loop runs the application itself.
    pub(crate) fn is_inline(self) -> bool {
        self == Self::Inline
    }

    /// Whether another process runs the application.
    pub(crate) fn is_elsewhere(self) -> bool {
        matches!(self, Self::Process(_))
    }
}

/// `…_client_abort`: what happens to an application whose client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAbort {
    /// It runs to its end without being told.
    Ignore,
    /// It is told, and the iteration of its response stops.
    Notify,
    /// `ClientDisconnected` is raised in its thread as well.
    Cancel,
}

/// `…_debug`: what is shown to an application's author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Debug {
    Off,
    /// The 500 page is the traceback.
    Traceback,
    /// What PEP 3333 forbids fails, and is shown as well.
    Validate,
}

/// Where a response waits if the client is slower than the application.
#[derive(Clone, Debug)]
pub(crate) struct Buffering {
    /// `…_buffering`
    pub(crate) enabled: bool,
    /// `…_buffer_size`, bytes in memory.
    pub(crate) memory: usize,
    /// `…_max_temp_file_size`, bytes; 0 means no file.
    pub(crate) file: u64,
    /// `…_temp_path`
    pub(crate) directory: Arc<Path>,
}
