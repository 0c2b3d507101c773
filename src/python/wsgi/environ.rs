//! environ: the dict of a request (PEP 3333, "environ Variables").

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::early_hints::EarlyHints;
use super::file_wrapper::FileWrapper;
use super::input::Input;
use super::request::Request;
use crate::bridge::config::{Executor, LocationConfig};
use crate::bridge::exchange::Job;
use crate::http::environ::{self, HeaderKey};
use crate::http::path;
use crate::python::app::App;
use crate::python::runtime::Runtime;

const SERVER_SOFTWARE: &str = concat!("pywsgi/", env!("CARGO_PKG_VERSION"));

/// What all requests of a location share.
pub(in crate::python) fn template<'py>(
    py: Python<'py>,
    runtime: &Runtime,
    location: &LocationConfig,
) -> PyResult<Bound<'py, PyDict>> {
    let environ = PyDict::new(py);
    let threads = match location.executor {
        Executor::Threads(pool) => {
            runtime.worker.config.pools.get(pool).map_or(1, |pool| pool.threads)
        }
        Executor::Inline => 1,
    };
    environ.set_item(intern!(py, "wsgi.version"), (1, 0))?;
    environ.set_item(intern!(py, "wsgi.errors"), &runtime.errors)?;
    environ.set_item(intern!(py, "wsgi.multithread"), threads > 1)?;
    environ.set_item(intern!(py, "wsgi.multiprocess"), true)?;
    environ.set_item(intern!(py, "wsgi.run_once"), false)?;
    environ.set_item(intern!(py, "wsgi.input_terminated"), true)?;
    if location.file_wrapper {
        environ.set_item(intern!(py, "wsgi.file_wrapper"), py.get_type::<FileWrapper>())?;
    }
    environ.set_item(intern!(py, "SERVER_SOFTWARE"), SERVER_SOFTWARE)?;
    environ.set_item(intern!(py, "SCRIPT_NAME"), "")?;
    Ok(environ)
}

/// The environ of a request.
pub(super) fn make<'py>(
    py: Python<'py>,
    runtime: &Runtime,
    app: &App,
    job: &Job,
) -> PyResult<Bound<'py, PyDict>> {
    let head = &job.head;
    let environ = runtime.environ(py, &job.location)?;
    let set = |key: &Bound<'py, PyString>, value: &[u8]| environ.set_item(key, native(py, value)?);

    set(intern!(py, "REQUEST_METHOD"), head.get(head.method))?;
    let path = head.get(head.path);
    let mounted = job.location.script_name.as_deref().map(|name| (name, path::mount(name, path)));
    match mounted {
        Some((_, Some(mounted))) => {
            set(intern!(py, "SCRIPT_NAME"), mounted.script_name)?;
            set(intern!(py, "PATH_INFO"), mounted.path_info)?;
        }
        Some((script_name, None)) => {
            app.say_not_mounted(py, path, script_name);
            set(intern!(py, "PATH_INFO"), path)?;
        }
        None => set(intern!(py, "PATH_INFO"), path)?,
    }
    set(intern!(py, "QUERY_STRING"), head.get(head.query))?;
    let target = native(py, head.get(head.target))?;
    environ.set_item(intern!(py, "REQUEST_URI"), &target)?;
    environ.set_item(intern!(py, "RAW_URI"), target)?;
    set(intern!(py, "SERVER_PROTOCOL"), head.get(head.protocol))?;
    set(intern!(py, "SERVER_NAME"), head.get(head.server_name))?;
    set(intern!(py, "SERVER_PORT"), head.get(head.server_port))?;
    set(intern!(py, "REMOTE_ADDR"), head.get(head.remote_addr))?;
    set(intern!(py, "REMOTE_PORT"), head.get(head.remote_port))?;
    if let Some(length) = head.content_length {
        set(intern!(py, "CONTENT_LENGTH"), length.to_string().as_bytes())?;
    }
    if head.https {
        environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
    }

    let mut failed = Ok(());
    environ::headers(head, |key, value| {
        let result = native(py, &value).and_then(|value| match key {
            HeaderKey::Known(index) => match runtime.header_keys.get(index) {
                Some(key) => environ.set_item(key, value),
                None => Ok(()),
            },
            HeaderKey::Other(name) => {
                environ.set_item(native(py, &environ::variable_name(name))?, value)
            }
        });
        if result.is_err() {
            failed = result;
        }
    });
    failed?;
    if let Some(content_type) = environ::content_type(head) {
        set(intern!(py, "CONTENT_TYPE"), content_type)?;
    }

    // Last, so that they override what the client has sent, as uwsgi_param does.
    let mut https = head.https;
    let constant = job.location.params.iter().map(|(name, value)| (&**name, &**value));
    for (name, value) in constant.chain(head.params()) {
        if name == b"HTTPS" {
            https = value.eq_ignore_ascii_case(b"on") || value == b"1";
        }
        environ.set_item(native(py, name)?, native(py, value)?)?;
    }
    let scheme = if https { intern!(py, "https") } else { intern!(py, "http") };
    let (url_scheme, request_scheme) =
        (intern!(py, "wsgi.url_scheme"), intern!(py, "REQUEST_SCHEME"));
    for key in [url_scheme, request_scheme] {
        if !environ.contains(key)? {
            environ.set_item(key, scheme)?;
        }
    }
    environ.set_item(intern!(py, "wsgi.input"), Bound::new(py, Input::new(job))?)?;
    if head.takes_hints && job.location.early_hints {
        environ.set_item(intern!(py, "wsgi.early_hints"), Bound::new(py, EarlyHints::new(job))?)?;
    }
    environ.set_item(intern!(py, "pywsgi.request"), Bound::new(py, Request::new(job))?)?;
    Ok(environ)
}

/// A native string: each byte becomes the code point of its number (PEP 3333, "A Note On String Types").
fn native<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: attached; the bytes are readable for their length, and a new reference comes back.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(
            bytes.as_ptr().cast(),
            bytes.len() as ffi::Py_ssize_t,
            std::ptr::null(),
        );
        Bound::from_owned_ptr_or_err(py, text)
    }
}
