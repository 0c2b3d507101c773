//! environ: the dict of a request (PEP 3333, "environ Variables").

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::early_hints::EarlyHints;
use super::kit::Kit;
use super::native;
use super::prepared::Prepared;
use super::template::{Common, METHOD, PROTOCOL};
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::http::path;
use crate::http::request_head::RequestHead;
use crate::http::wsgi::environ::{self, HeaderKey};
use crate::python::app::App;
use crate::python::logging;

/// The environ of a request.
pub(super) fn make<'py>(
    py: Python<'py>,
    wsgi: &Prepared,
    app: &App,
    exchange: &Arc<Exchange>,
    kit: &mut Kit,
) -> PyResult<Bound<'py, PyDict>> {
    let head = &exchange.head;
    let environ = kit.environ(py, wsgi, exchange)?;
    if head.get(head.method) != METHOD.as_bytes() {
        set(&environ, intern!(py, "REQUEST_METHOD"), head.get(head.method))?;
    }
    target(&environ, app, exchange)?;
    if head.get(head.protocol) != PROTOCOL.as_bytes() {
        set(&environ, intern!(py, "SERVER_PROTOCOL"), head.get(head.protocol))?;
    }
    for (common, key, value) in [
        (Common::ServerName, intern!(py, "SERVER_NAME"), head.server_name),
        (Common::ServerPort, intern!(py, "SERVER_PORT"), head.server_port),
        (Common::RemoteAddr, intern!(py, "REMOTE_ADDR"), head.remote_addr),
    ] {
        kit.set_common(&environ, common, key, head.get(value))?;
    }
    set(&environ, intern!(py, "REMOTE_PORT"), head.get(head.remote_port))?;
    if let Some(length) = head.content_length {
        set(&environ, intern!(py, "CONTENT_LENGTH"), length.to_string().as_bytes())?;
    }
    if head.https {
        environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
    }
    headers(&environ, wsgi, head, kit)?;
    params(py, &environ, exchange)?;
    kit.template()?.set_own(&environ, exchange)?;
    if head.takes_hints && exchange.location.early_hints {
        let early_hints = Bound::new(py, EarlyHints::new(exchange))?;
        environ.set_item(intern!(py, "wsgi.early_hints"), early_hints)?;
    }
    Ok(environ)
}

fn set(environ: &Bound<'_, PyDict>, key: &Bound<'_, PyString>, value: &[u8]) -> PyResult<()> {
    environ.set_item(key, native::decode(environ.py(), value)?)
}

/// Sets the variables of the request's target.
fn target(environ: &Bound<'_, PyDict>, app: &App, exchange: &Exchange) -> PyResult<()> {
    let (py, head) = (environ.py(), &exchange.head);
    let path = head.get(head.path);
    let target = native::decode(py, head.get(head.target))?;
    let mounted =
        exchange.location.script_name.as_deref().map(|name| (name, path::mount(name, path)));
    match mounted {
        Some((_, Some(mounted))) => {
            set(environ, intern!(py, "SCRIPT_NAME"), mounted.script_name)?;
            set(environ, intern!(py, "PATH_INFO"), mounted.path_info)?;
        }
        Some((script_name, None)) => {
            say_not_mounted(py, app, path, script_name);
            set(environ, intern!(py, "PATH_INFO"), path)?;
        }
        // Most targets are a path, and nothing else.
        None if path == head.get(head.target) => {
            environ.set_item(intern!(py, "PATH_INFO"), &target)?;
        }
        None => set(environ, intern!(py, "PATH_INFO"), path)?,
    }
    if !head.get(head.query).is_empty() {
        set(environ, intern!(py, "QUERY_STRING"), head.get(head.query))?;
    }
    environ.set_item(intern!(py, "REQUEST_URI"), &target)?;
    environ.set_item(intern!(py, "RAW_URI"), target)
}

/// Sets the variables of the header fields.
fn headers(
    environ: &Bound<'_, PyDict>,
    wsgi: &Prepared,
    head: &RequestHead,
    kit: &mut Kit,
) -> PyResult<()> {
    let py = environ.py();
    let mut failed = Ok(());
    environ::headers(head, |key, value| {
        let result = match key {
            HeaderKey::Known(index) => match wsgi.header_keys.get(index) {
                Some(key) if environ::is_often_the_same(index) => kit
                    .memo
                    .decode(py, index, &value)
                    .and_then(|value| environ.set_item(key, value)),
                Some(key) => {
                    native::decode(py, &value).and_then(|value| environ.set_item(key, value))
                }
                None => Ok(()),
            },
            HeaderKey::Other(name, hash) => native::decode(py, &value)
                .and_then(|value| environ.set_item(kit.keys.get(py, name, hash)?, value)),
        };
        if result.is_err() {
            failed = result;
        }
    });
    failed?;
    match environ::content_type(head) {
        Some(content_type) => set(environ, intern!(py, "CONTENT_TYPE"), content_type),
        None => Ok(()),
    }
}

/// Sets the `wsgi_param`s. They come last, so that they override what the client has sent, as `uwsgi_param` does. The
/// scheme comes after them, unless it is among them.
fn params<'py>(py: Python<'py>, environ: &Bound<'py, PyDict>, exchange: &Exchange) -> PyResult<()> {
    let (url_scheme, request_scheme) =
        (intern!(py, "wsgi.url_scheme"), intern!(py, "REQUEST_SCHEME"));
    let mut set = [false; 2];
    for (name, value) in exchange.params() {
        match name {
            b"wsgi.url_scheme" => set[0] = true,
            b"REQUEST_SCHEME" => set[1] = true,
            _ => {}
        }
        environ.set_item(native::decode(py, name)?, native::decode(py, value)?)?;
    }
    if exchange.head.https {
        for (key, set) in [url_scheme, request_scheme].into_iter().zip(set) {
            if !set {
                environ.set_item(key, intern!(py, "https"))?;
            }
        }
    }
    Ok(())
}

/// Says once that a path does not start with `wsgi_script_name`.
fn say_not_mounted(py: Python<'_>, app: &App, path: &[u8], script_name: &[u8]) {
    if app.not_mounted_said.first() {
        let text = format!(
            "application \"{}\": the path \"{}\" does not start with wsgi_script_name \"{}\" and is \
             left as it is, with an empty SCRIPT_NAME; this is said once",
            app.target,
            path.escape_ascii(),
            script_name.escape_ascii(),
        );
        logging::write(py, Code::NotMounted, &text);
    }
}
