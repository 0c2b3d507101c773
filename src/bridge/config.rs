//! The configuration, as far as Python's threads need it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::log::Level;

/// What each worker process has once.
#[derive(Clone, Debug)]
pub(crate) struct WorkerConfig {
    pub(crate) python: PythonConfig,
    pub(crate) apps: Vec<AppConfig>,
    pub(crate) pools: Vec<PoolConfig>,
}

/// The `python_*` directives.
#[derive(Clone, Debug)]
pub(crate) struct PythonConfig {
    pub(crate) home: Option<PathBuf>,
    pub(crate) path: Vec<PathBuf>,
    pub(crate) executable: Option<PathBuf>,
    /// The file mode creation mask (umask(2)) of Python's threads.
    pub(crate) umask: u32,
    /// The signals that nginx leaves to applications.
    pub(crate) signals: Vec<i32>,
    pub(crate) stdout_level: Level,
    pub(crate) stderr_level: Level,
    pub(crate) finalize: bool,
    pub(crate) finalize_timeout: Duration,
}

/// What is said to an application. Its directives are called after it, and its name is what [`fmt::Display`]
/// writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Wsgi,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wsgi => "wsgi",
        })
    }
}

/// An application: what `…_app` and `…_callable` say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppConfig {
    pub(crate) target: String,
    pub(crate) callables: Vec<String>,
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

/// The directives of a location, as its requests take them along. A name such as `…_timeout` stands for that of the
/// location's protocol (`wsgi_timeout`).
#[derive(Clone, Debug)]
pub(crate) struct LocationConfig {
    /// Unique among the locations of a configuration.
    pub(crate) id: usize,
    /// An index into [`WorkerConfig::apps`].
    pub(crate) app: usize,
    pub(crate) protocol: Protocol,
    pub(crate) executor: ExecutorId,
    /// `…_script_name`
    pub(crate) script_name: Option<Vec<u8>>,
    /// `…_timeout`; `None`: no limit.
    pub(crate) timeout: Option<Duration>,
    pub(crate) client_abort: ClientAbort,
    pub(crate) debug: Debug,
    /// `…_early_hints`
    pub(crate) early_hints: bool,
    /// `…_file_wrapper`
    pub(crate) file_wrapper: bool,
    /// `X-Accel-Buffering` is obeyed (`…_accel`, `…_ignore_headers`).
    pub(crate) accel_buffering: bool,
    /// The `…_param`s that do not depend on the request.
    pub(crate) params: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) buffering: Buffering,
}

/// Which executor runs the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecutorId {
    /// The threads of a pool: an index into [`WorkerConfig::pools`].
    Pool(usize),
    /// The event loop's own thread.
    Inline,
}

impl ExecutorId {
    /// Whether the event loop runs the application itself.
    pub(crate) fn is_inline(self) -> bool {
        self == Self::Inline
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
