//! The scope of a call: the dict that an application gets first ("HTTP Connection Scope" of the ASGI specification).

use std::sync::Arc;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::headers::Headers;
use super::socket::{Compressors, WebSocket};
use super::tls::Described;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::http::asgi::scope::{http_version, offered_subprotocols, raw_path};
use crate::http::{path, trailer};
use crate::python::app::App;
use crate::python::logging;

/// The version of the specification that this module implements.
const SPEC_VERSION: &str = "2.5";

/// What a loop's thread keeps from one scope to the next.
pub(in crate::python) struct Kit {
    /// What the requests of a location share, by its id.
    templates: Vec<Option<Template>>,
    headers: Headers,
    client: Address,
    server: Address,
    /// What compresses the messages of all WebSockets, and how many there were.
    compressors: Compressors,
    sockets: u64,
    tls: Described,
}

/// What the requests of a location share.
struct Template {
    scope: Py<PyDict>,
    asgi: Py<PyDict>,
    /// Their names.
    extensions: Vec<Py<PyString>>,
}

/// An address as the last request had it: those of one connection have it in common.
#[derive(Default)]
struct Address {
    text: Vec<u8>,
    port: Vec<u8>,
    pair: Option<Py<PyAny>>,
}

impl Kit {
    pub(in crate::python) fn new() -> Self {
        Self {
            templates: Vec::new(),
            headers: Headers::new(),
            client: Address::default(),
            server: Address::default(),
            compressors: Compressors::default(),
            sockets: 0,
            tls: Described::default(),
        }
    }

    fn template(&mut self, py: Python<'_>, exchange: &Exchange) -> PyResult<&Template> {
        let id = exchange.location.id;
        if self.templates.len() <= id {
            self.templates.resize_with(id + 1, || None);
        }
        let place = self.templates.get_mut(id).ok_or_else(no_template)?;
        if place.is_none() {
            *place = Some(Template::new(py, exchange)?);
        }
        place.as_ref().ok_or_else(no_template)
    }

    /// The scope of a request for HTTP. `state`: what the application's lifespan has put there.
    pub(super) fn http<'py>(
        &mut self,
        py: Python<'py>,
        app: &App,
        exchange: &Arc<Exchange>,
        state: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let head = &exchange.head;
        let template = self.template(py, exchange)?;
        let scope = template.begin(py)?;
        let extensions = PyDict::new(py);
        for name in &template.extensions {
            // Each scope has its own: a middleware may add to them.
            extensions.set_item(name, PyDict::new(py))?;
        }
        if head.get(head.protocol) != b"HTTP/1.1" {
            let version = http_version(head.get(head.protocol));
            scope.set_item(intern!(py, "http_version"), version)?;
        }
        if head.get(head.method) != b"GET" {
            scope.set_item(intern!(py, "method"), utf8(py, head.get(head.method))?)?;
        }
        if head.https {
            scope.set_item(intern!(py, "scheme"), intern!(py, "https"))?;
        }
        if trailer::are_taken(head) {
            extensions.set_item(intern!(py, "http.response.trailers"), PyDict::new(py))?;
        }
        if head.takes_hints && exchange.location.early_hints {
            extensions.set_item(intern!(py, "http.response.early_hint"), PyDict::new(py))?;
        }
        self.fill(py, &scope, &extensions, app, exchange, state)?;
        Ok(scope)
    }

    /// The scope of a request for a WebSocket.
    pub(super) fn websocket<'py>(
        &mut self,
        py: Python<'py>,
        app: &App,
        exchange: &Arc<Exchange>,
        state: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.template(py, exchange)?.begin(py)?;
        scope.set_item(intern!(py, "type"), intern!(py, "websocket"))?;
        scope.del_item(intern!(py, "method"))?;
        scope.set_item(intern!(py, "scheme"), if exchange.head.https { "wss" } else { "ws" })?;
        let subprotocols = PyList::empty(py);
        for name in offered_subprotocols(&exchange.head) {
            subprotocols.append(utf8(py, name)?)?;
        }
        scope.set_item(intern!(py, "subprotocols"), subprotocols)?;
        let extensions = PyDict::new(py);
        extensions.set_item(intern!(py, "websocket.http.response"), PyDict::new(py))?;
        self.fill(py, &scope, &extensions, app, exchange, state)?;
        Ok(scope)
    }

    /// What the call of a WebSocket keeps.
    pub(super) fn socket(&mut self) -> WebSocket {
        self.sockets += 1;
        WebSocket::new(self.sockets, &self.compressors)
    }

    /// What all kinds of scopes of a request have.
    fn fill<'py>(
        &mut self,
        py: Python<'py>,
        scope: &Bound<'py, PyDict>,
        extensions: &Bound<'py, PyDict>,
        app: &App,
        exchange: &Exchange,
        state: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<()> {
        let head = &exchange.head;
        target(py, scope, app, exchange)?;
        scope.set_item(intern!(py, "headers"), self.headers.list(py, head)?)?;
        let client =
            self.client.pair(py, head.get(head.remote_addr), head.get(head.remote_port))?;
        scope.set_item(intern!(py, "client"), client)?;
        let server = self.server.pair(py, head.get(head.local_addr), head.get(head.server_port))?;
        scope.set_item(intern!(py, "server"), server)?;
        if let Some(tls) = &head.tls {
            extensions.set_item(intern!(py, "tls"), self.tls.dict(py, tls)?)?;
        }
        params(py, extensions, exchange)?;
        scope.set_item(intern!(py, "extensions"), extensions)?;
        if let Some(state) = state {
            scope.set_item(intern!(py, "state"), state.copy()?)?;
        }
        Ok(())
    }
}

impl Template {
    fn new(py: Python<'_>, exchange: &Exchange) -> PyResult<Self> {
        let asgi = PyDict::new(py);
        asgi.set_item("version", "3.0")?;
        asgi.set_item("spec_version", SPEC_VERSION)?;
        let scope = PyDict::new(py);
        scope.set_item("type", "http")?;
        scope.set_item("asgi", &asgi)?;
        scope.set_item("http_version", "1.1")?;
        scope.set_item("method", "GET")?;
        scope.set_item("scheme", "http")?;
        scope.set_item("root_path", "")?;
        scope.set_item("query_string", PyBytes::new(py, b""))?;
        let of_files = ["http.response.pathsend", "http.response.zerocopysend"];
        let extensions = of_files
            .into_iter()
            .filter(|_| exchange.location.file_wrapper)
            .map(|name| PyString::intern(py, name).unbind())
            .collect();
        Ok(Self { scope: scope.unbind(), asgi: asgi.unbind(), extensions })
    }

    /// A new scope with what all requests of the location share.
    fn begin<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let scope = self.scope.bind(py).copy()?;
        scope.set_item(intern!(py, "asgi"), self.asgi.bind(py).copy()?)?;
        Ok(scope)
    }
}

impl Address {
    /// `(address, port)`; `(path, None)` for a Unix socket that has a path; None if it has none.
    fn pair<'py>(
        &mut self,
        py: Python<'py>,
        text: &[u8],
        port: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(pair) = self.pair.as_ref().filter(|_| self.text == text && self.port == port) {
            return Ok(pair.bind(py).clone());
        }
        let pair = match text.strip_prefix(b"unix:") {
            Some(b"") => py.None().into_bound(py),
            Some(path) => {
                PyTuple::new(py, [utf8(py, path)?.into_any(), py.None().into_bound(py)])?.into_any()
            }
            None => {
                let number =
                    std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
                let number = number.unwrap_or_default().into_pyobject(py)?.into_any();
                PyTuple::new(py, [utf8(py, text)?.into_any(), number])?.into_any()
            }
        };
        self.text = text.to_vec();
        self.port = port.to_vec();
        self.pair = Some(pair.clone().unbind());
        Ok(pair)
    }
}

/// Sets what the request's target says.
fn target(
    py: Python<'_>,
    scope: &Bound<'_, PyDict>,
    app: &App,
    exchange: &Exchange,
) -> PyResult<()> {
    let head = &exchange.head;
    let path = head.get(head.path);
    scope.set_item(intern!(py, "path"), utf8(py, path)?)?;
    scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, raw_path(head.get(head.target))))?;
    if !head.get(head.query).is_empty() {
        scope.set_item(intern!(py, "query_string"), PyBytes::new(py, head.get(head.query)))?;
    }
    let Some(name) = exchange.location.script_name.as_deref() else { return Ok(()) };
    match path::mount(name, path) {
        Some(mounted) => scope.set_item(intern!(py, "root_path"), utf8(py, mounted.script_name)?),
        None => {
            if app.not_mounted_said.first() {
                let text = format!(
                    "application \"{}\": the path \"{}\" does not start with asgi_script_name \"{}\", so that \
                     root_path is empty; this is said once",
                    app.target,
                    path.escape_ascii(),
                    name.escape_ascii(),
                );
                logging::write(py, Code::NotMounted, &text);
            }
            Ok(())
        }
    }
}

/// Sets the `asgi_param`s, as one dict of the extensions.
fn params(py: Python<'_>, extensions: &Bound<'_, PyDict>, exchange: &Exchange) -> PyResult<()> {
    let mut params = exchange.params().peekable();
    if params.peek().is_none() {
        return Ok(());
    }
    let dict = PyDict::new(py);
    for (name, value) in params {
        dict.set_item(utf8(py, name)?, utf8(py, value)?)?;
    }
    extensions.set_item(intern!(py, "pywsgi.params"), dict)
}

/// Bytes as a str: UTF-8, in which what is invalid becomes U+FFFD.
fn utf8<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let (start, len) = (bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t);
    // SAFETY: attached; the bytes are readable for their length, and the name of the handler ends in NUL.
    let text = unsafe { ffi::PyUnicode_DecodeUTF8(start, len, c"replace".as_ptr()) };
    // SAFETY: it is a new reference to a str, or null with an exception set.
    unsafe { Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked()) }
}

#[cold]
fn no_template() -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err("no scope was begun")
}
