//! The applications of a worker: each is imported once, and again only after a failure.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::prelude::*;

use super::logging;
use super::runtime::Runtime;
use super::shim;
use crate::bridge::config::AppConfig;
use crate::bridge::events::Level;
use crate::http::response::Dropped;

pub(super) struct App {
    pub(super) target: String,
    /// `pywsgi._loader.Application`
    loader: Py<PyAny>,
    callable: OnceLock<Py<PyAny>>,
    /// The same, checked by `wsgi_debug validate`.
    validated: OnceLock<Py<PyAny>>,
    /// The traceback of the last import, where that has failed.
    failure: Mutex<String>,
    import: Import,
    hop_by_hop_said: AtomicBool,
    repeated_said: AtomicBool,
    mount_said: AtomicBool,
}

impl App {
    pub(super) fn new(py: Python<'_>, config: &AppConfig) -> PyResult<Self> {
        let loader = shim::function(py, "pywsgi._loader", "Application")?
            .call1((&config.target, &config.callables))?;
        Ok(Self {
            target: config.target.clone(),
            loader: loader.unbind(),
            callable: OnceLock::new(),
            validated: OnceLock::new(),
            failure: Mutex::default(),
            import: Import::default(),
            hop_by_hop_said: AtomicBool::new(false),
            repeated_said: AtomicBool::new(false),
            mount_said: AtomicBool::new(false),
        })
    }

    /// Imports it for the first time; a failure is in the log.
    pub(super) fn load(&self, py: Python<'_>, runtime: &Runtime) {
        match self.loader.call_method0(py, "load") {
            Ok(callable) => {
                // Only one thread imports at a time.
                let _first = self.callable.set(callable);
            }
            Err(error) => {
                let what = format!(
                    "application \"{}\" cannot be imported; its locations answer 500 until one of the \
                     files concerned has changed",
                    self.target
                );
                let report = logging::exception(py, runtime, &what, &error);
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = report;
            }
        }
    }

    /// Why it could not be imported.
    pub(super) fn failure(&self) -> String {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `callable` within the checks of `wsgi_debug validate`.
    pub(super) fn validated<'a>(
        &'a self,
        py: Python<'_>,
        callable: &Py<PyAny>,
    ) -> PyResult<&'a Py<PyAny>> {
        if let Some(validated) = self.validated.get() {
            return Ok(validated);
        }
        let validator = shim::function(py, "pywsgi._validate", "validator")?;
        let validated = validator.call1((callable,))?.unbind();
        Ok(self.validated.get_or_init(|| validated))
    }

    /// The callable; after a failed import it is tried again where a file concerned has changed.
    pub(super) fn callable(&self, py: Python<'_>, runtime: &Runtime) -> Option<&Py<PyAny>> {
        if let Some(callable) = self.callable.get() {
            return Some(callable);
        }
        let Some(importing) = self.import.begin() else {
            // Detached: the importing thread needs the interpreter.
            py.detach(|| self.import.wait());
            return self.callable.get();
        };
        // Another thread may have done so meanwhile.
        if let Some(callable) = self.callable.get() {
            return Some(callable);
        }
        let changed = self
            .loader
            .call_method0(py, "changed")
            .and_then(|changed| changed.is_truthy(py))
            .unwrap_or(true);
        if changed {
            self.load(py, runtime);
        }
        drop(importing);
        if self.callable.get().is_none() && !changed {
            let text = format!("application \"{}\" was not imported, see above", self.target);
            logging::write(py, Level::Error, &text);
        }
        self.callable.get()
    }

    /// Says once for each reason that a header is not sent.
    pub(super) fn say_dropped(&self, py: Python<'_>, dropped: &Dropped) {
        let said = match dropped {
            Dropped::HopByHop(_) => &self.hop_by_hop_said,
            Dropped::Repeated(_) => &self.repeated_said,
        };
        if !said.swap(true, Ordering::Relaxed) {
            let text = format!("application \"{}\" {dropped}, and this is said once", self.target);
            logging::write(py, Level::Warn, &text);
        }
    }

    /// Says once that a path does not start with wsgi_script_name.
    pub(super) fn say_not_mounted(&self, py: Python<'_>, path: &[u8], script_name: &[u8]) {
        if !self.mount_said.swap(true, Ordering::Relaxed) {
            let text = format!(
                "application \"{}\": the path \"{}\" does not start with wsgi_script_name \"{}\" and is \
                 left as it is, with an empty SCRIPT_NAME; this is said once",
                self.target,
                path.escape_ascii(),
                script_name.escape_ascii(),
            );
            logging::write(py, Level::Warn, &text);
        }
    }
}

/// Who imports an application: one thread at a time.
#[derive(Default)]
struct Import {
    running: Mutex<bool>,
    ended: Condvar,
}

impl Import {
    /// Nobody else imports until what this gives is dropped; `None` where another thread does.
    fn begin(&self) -> Option<Importing<'_>> {
        let already = std::mem::replace(&mut *self.running(), true);
        (!already).then(|| Importing(self))
    }

    /// Waits until nobody imports.
    fn wait(&self) {
        let mut running = self.running();
        while *running {
            running = self.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn running(&self) -> MutexGuard<'_, bool> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This thread imports. It ends with a panic as well: the other threads would wait for ever.
struct Importing<'a>(&'a Import);

impl Drop for Importing<'_> {
    fn drop(&mut self) {
        let Self(import) = *self;
        *import.running() = false;
        import.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic;
    use std::thread;

    use super::*;

    #[test]
    fn one_thread_imports_and_the_others_wait() {
        let import = Import::default();
        let importing = import.begin().unwrap();
        assert!(import.begin().is_none());
        assert!(import.begin().is_none(), "who is refused ends nothing");
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                import.wait();
                import.begin().is_some()
            });
            drop(importing);
            assert!(other.join().unwrap());
        });
    }

    #[test]
    fn an_import_that_panics_is_over() {
        let import = Import::default();
        let panicked = panic::catch_unwind(|| {
            let _importing = import.begin().unwrap();
            panic!("in the import");
        });
        assert!(panicked.is_err());
        import.wait();
        assert!(import.begin().is_some());
    }
}
