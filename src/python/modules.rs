//! The modules of `python_import`. They are imported on Python's main thread, one after another, before the
//! applications.

use std::time::Instant;

use pyo3::prelude::*;

use super::child;
use super::guard;
use super::logging;
use super::registration::Registration;
use super::runtime::Runtime;
use super::shim;
use crate::bridge::code::Code;
use crate::bridge::config::Purpose;
use crate::bridge::log::About;

/// Imports all of them. One that fails is logged.
pub(super) fn import(runtime: &Runtime) {
    let config = &runtime.worker.config;
    for (at, name) in config.python.imports.iter().enumerate() {
        // Their numbers are behind those of the applications.
        let number = config.apps.len() + at;
        let imported = match runtime.worker.marks.died(number) {
            Some(died) if died.times >= MOST_DEATHS => Err(leave_out(name, died.times)),
            _ => import_one(runtime, number, name),
        };
        runtime.worker.end_start(number, imported);
    }
}

/// An error is the traceback, or what else is known.
fn import_one(runtime: &Runtime, number: usize, name: &str) -> Result<(), String> {
    runtime.worker.marks.begin(number);
    let imported = guard::run(|| Python::attach(|py| try_import(py, runtime, name)));
    runtime.worker.marks.end(number);
    imported.unwrap_or_else(|panicked| Err(panicked.to_string()))
}

fn try_import(py: Python<'_>, runtime: &Runtime, name: &str) -> Result<(), String> {
    let began = Instant::now();
    let registration = Registration::begin(py, &runtime.shim, runtime.worker.config.purpose);
    let imported = py.import(name);
    if imported.is_ok() {
        registration.take_effect();
    }
    child::end_here(py, &runtime.shim, imported.as_ref().err());
    match imported {
        Ok(_) => {
            let text = format!(
                "python_import \"{name}\" imported in {:.2} s",
                began.elapsed().as_secs_f64()
            );
            logging::write(py, Code::ModuleImported, &text);
            Ok(())
        }
        Err(error) => {
            let mut report = logging::traceback(py, &runtime.shim, &error);
            let advice = advice(py, runtime, name, &error);
            if runtime.worker.config.purpose == Purpose::Serve {
                let advice = advice.map(|advice| format!(": {advice}")).unwrap_or_default();
                let what = format!(
                    "python_import \"{name}\" cannot be imported{advice}; the applications do without it until nginx \
                     is reloaded"
                );
                logging::report(py, Code::ModuleFailed, &About::Worker, &what, &report);
            } else if let Some(advice) = advice {
                report.push('\n');
                report.push_str(&advice);
            }
            Err(report)
        }
    }
}

/// How to mend it, if that is known.
fn advice(py: Python<'_>, runtime: &Runtime, name: &str, error: &PyErr) -> Option<String> {
    let has_home = runtime.worker.config.python.home.is_some();
    let advice = shim::function(py, "pywsgi._advice", "advice")
        .and_then(|advice| advice.call1((name, error.value(py), has_home)))
        .and_then(|advice| advice.extract::<String>());
    advice.ok().filter(|advice| !advice.is_empty())
}

/// The import has killed worker after worker. This one must live, to serve the applications.
fn leave_out(name: &str, times: u32) -> String {
    let text = format!(
        "python_import \"{name}\" is left out until nginx is reloaded: {times} workers in a row died while they \
         imported it"
    );
    Python::attach(|py| logging::write(py, Code::ModuleLeftOut, &text));
    text
}

/// One may have died of something else.
const MOST_DEATHS: u32 = 2;
