//! The response's body: what the application has returned, block by block (PEP 3333, "Specification
//! Details", "Handling the Content-Length Header", "Buffering and Streaming").

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};

use super::file_wrapper::FileWrapper;
use super::prepared::Prepared;
use crate::bridge::code::Code;
use crate::bridge::exchange::Exchange;
use crate::http::framing::ShortBody;
use crate::python::app::App;
use crate::python::block::share;
use crate::python::debug;
use crate::python::fault::log_raised;
use crate::python::logging;
use crate::python::response::{Response, Sent, Unsent};
use crate::python::shim::Shim;
use crate::python::type_name::type_name;

/// Why a response is not complete.
enum Fault {
    /// The application has raised.
    Raised(PyErr),
    /// The client is gone, or has been answered. That is no error of the application.
    Gone,
    /// The application breaks a rule of PEP 3333.
    Broken(String),
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<Unsent> for Fault {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Gone => Self::Gone,
            Unsent::NotStarted => Self::Broken(
                "did not call start_response before its body (PEP 3333, \"The start_response() Callable\")"
                    .to_owned(),
            ),
            Unsent::Broken => Self::Broken(
                "goes on with its response, of which a write() that raised is missing; the connection is cut"
                    .to_owned(),
            ),
            Unsent::Busy => Self::Broken(
                "sends its response from two threads at once: write() of another thread waits for the \
                 client"
                    .to_owned(),
            ),
        }
    }
}

/// Sends what the application has returned, and calls `close()` once, whatever happens. Inline, the response may be
/// suspended.
pub(super) fn respond(
    py: Python<'_>,
    wsgi: &Prepared,
    shim: &Shim,
    app: &App,
    response: Arc<Response>,
    result: PyResult<Bound<'_, PyAny>>,
) -> Option<Suspended> {
    let (begun, iterable) = match result {
        Ok(iterable) => (begin(py, wsgi, app, &response, &iterable), Some(iterable.unbind())),
        Err(error) => (Err(Fault::Raised(error)), None),
    };
    let whole = Suspended { response, iterable, blocks: None };
    match begun {
        Ok(Some(blocks)) => Suspended { blocks: Some(blocks), ..whole }.resume(py, shim, app),
        Ok(None) => whole.end(py, shim, app, Ok(())),
        Err(fault) => whole.end(py, shim, app, Err(fault)),
    }
}

/// A response in the middle of its iteration.
pub(in crate::python) struct Suspended {
    response: Arc<Response>,
    /// What the application has returned, until it is closed.
    iterable: Option<Py<PyAny>>,
    blocks: Option<Blocks>,
}

/// The blocks that are still to come.
struct Blocks {
    iterator: Py<PyIterator>,
    /// Their length in all, if the application has returned a list or tuple.
    total: Option<u64>,
}

/// How far [`Suspended::send_blocks`] has come.
enum Flow {
    /// Inline: the client must take what there is first.
    Suspended,
    Complete,
}

impl Suspended {
    /// A response without a further block, if the pipe still has no room for all of it.
    pub(super) fn of(py: Python<'_>, response: Arc<Response>) -> Option<Self> {
        response.has_rest(py).then_some(Self { response, iterable: None, blocks: None })
    }

    /// Resumes the response; it may be suspended again.
    pub(in crate::python) fn resume(
        mut self,
        py: Python<'_>,
        shim: &Shim,
        app: &App,
    ) -> Option<Self> {
        match self.send_blocks(py, app) {
            Ok(Flow::Suspended) => Some(self),
            Ok(Flow::Complete) => self.end(py, shim, app, Ok(())),
            Err(fault) => self.end(py, shim, app, Err(fault)),
        }
    }

    fn send_blocks(&mut self, py: Python<'_>, app: &App) -> Result<Flow, Fault> {
        let response = &*self.response;
        if !response.send_rest(py)? {
            return Ok(Flow::Suspended);
        }
        let Some(Blocks { iterator, total }) = &self.blocks else {
            finish(py, response)?;
            return Ok(Flow::Complete);
        };
        // The blocks of a list or tuple are sent in one go. Of anything else each block is sent before the next one is
        // asked for (PEP 3333, "Buffering and Streaming").
        let suspends = response.exchange().is_inline() && total.is_none();
        if suspends && response.is_abandoned(py) {
            return Err(Fault::Gone);
        }
        for block in iterator.bind(py).clone() {
            let block = block?;
            let bytes = bytes_of(&block)?;
            if bytes.as_bytes().is_empty() {
                // An application may yield empty blocks while it waits for something. This is how it learns that
                // its client has left.
                if response.is_abandoned(py) {
                    return Err(Fault::Gone);
                }
            } else {
                match send_block(py, app, response, bytes, *total, false)? {
                    // Stop: Content-Length is exceeded, or no body is wanted.
                    Sent::Cut => break,
                    Sent::Complete if response.sends_no_body(py) => break,
                    Sent::Complete | Sent::More => {}
                }
            }
            if suspends || response.has_rest(py) {
                return Ok(Flow::Suspended);
            }
        }
        self.blocks = None;
        if self.response.has_rest(py) {
            return Ok(Flow::Suspended);
        }
        finish(py, &self.response)?;
        Ok(Flow::Complete)
    }

    /// The application yields no further block: logs what was wrong, and closes what it has returned. The response is
    /// suspended if the pipe has no room for the page that shows the fault.
    fn end(self, py: Python<'_>, shim: &Shim, app: &App, sent: Result<(), Fault>) -> Option<Self> {
        let Self { response, iterable, .. } = self;
        if let Err(fault) = sent {
            let shown = say(py, shim, app, response.exchange(), fault).is_some_and(|report| {
                debug::show(py, shim, response.exchange(), &response, &report)
            });
            if !shown {
                response.fail(py);
            }
        }
        if let Some(dropped) = response.take_dropped(py) {
            app.say_dropped(py, &dropped);
        }
        if let Some(iterable) = iterable {
            close(py, shim, app, response.exchange(), iterable.bind(py));
        }
        Self::of(py, response)
    }
}

/// Begins to send what the application has returned. Returns the blocks that are left, if any.
fn begin(
    py: Python<'_>,
    wsgi: &Prepared,
    app: &App,
    response: &Response,
    iterable: &Bound<'_, PyAny>,
) -> Result<Option<Blocks>, Fault> {
    // The length of a list or tuple is Content-Length, if the application has not set one.
    let total = if let Ok(list) = iterable.cast_exact::<PyList>() {
        if list.len() == 1 {
            send_one(py, app, response, &list.get_item(0)?)?;
            return Ok(None);
        }
        total(list.iter())
    } else if let Ok(tuple) = iterable.cast_exact::<PyTuple>() {
        if tuple.len() == 1 {
            send_one(py, app, response, &tuple.get_item(0)?)?;
            return Ok(None);
        }
        total(tuple.iter())
    } else if let Ok(wrapper) = iterable.cast_exact::<FileWrapper>() {
        if let Some(part) = wrapper.get().part(py, &wsgi.real_file)? {
            say_cut(py, app, response.send_file(py, part, true)?);
            finish(py, response)?;
            return Ok(None);
        }
        None
    } else if iterable.is_none() {
        return Err(Fault::Broken(
            "returned None; it must return an iterable of bytes (PEP 3333, \"Specification Details\")"
                .to_owned(),
        ));
    } else {
        None
    };
    Ok(Some(Blocks { iterator: iterable.try_iter()?.unbind(), total }))
}

/// The common response: one block.
fn send_one(
    py: Python<'_>,
    app: &App,
    response: &Response,
    block: &Bound<'_, PyAny>,
) -> Result<(), Fault> {
    let bytes = bytes_of(block)?;
    if !bytes.as_bytes().is_empty() {
        let total = Some(bytes.as_bytes().len() as u64);
        send_block(py, app, response, bytes, total, true)?;
    }
    if response.has_rest(py) {
        // `Suspended` finishes it when that has been sent.
        return Ok(());
    }
    finish(py, response)
}

fn send_block(
    py: Python<'_>,
    app: &App,
    response: &Response,
    bytes: &Bound<'_, PyBytes>,
    total: Option<u64>,
    last: bool,
) -> Result<Sent, Fault> {
    let sent = response.send(py, share(bytes), total, last)?;
    say_cut(py, app, sent);
    Ok(sent)
}

fn say_cut(py: Python<'_>, app: &App, sent: Sent) {
    if sent == Sent::Cut {
        let text = format!(
            "application \"{}\" sends more bytes than its Content-Length; the response was cut there",
            app.target
        );
        logging::write(py, Code::TooLong, &text);
    }
}

fn finish(py: Python<'_>, response: &Response) -> Result<(), Fault> {
    match response.finish(py)? {
        Ok(()) => Ok(()),
        Err(ShortBody { total, sent }) => Err(Fault::Broken(format!(
            "ended its body after {sent} bytes, but its Content-Length is {total} (PEP 3333, \"Handling \
             the Content-Length Header\")"
        ))),
    }
}

/// The bytes of a list or tuple. `None` if it holds anything else, which its iteration will find.
fn total<'py>(blocks: impl Iterator<Item = Bound<'py, PyAny>>) -> Option<u64> {
    let mut total = 0;
    for block in blocks {
        total += block.cast::<PyBytes>().ok()?.as_bytes().len() as u64;
    }
    Some(total)
}

fn bytes_of<'a, 'py>(block: &'a Bound<'py, PyAny>) -> Result<&'a Bound<'py, PyBytes>, Fault> {
    block.cast::<PyBytes>().map_err(|_| {
        Fault::Broken(format!(
            "yielded {} where bytes are wanted (PEP 3333, \"Specification Details\")",
            type_name(block)
        ))
    })
}

fn close(py: Python<'_>, shim: &Shim, app: &App, exchange: &Exchange, iterable: &Bound<'_, PyAny>) {
    // These have no `close`; the lookup would cost an AttributeError.
    if iterable.is_exact_instance_of::<PyList>() || iterable.is_exact_instance_of::<PyTuple>() {
        return;
    }
    let closed = match iterable.getattr_opt(intern!(py, "close")) {
        Ok(None) => return,
        Ok(Some(close)) => close.call0(),
        Err(error) => Err(error),
    };
    if let Err(error) = closed {
        if is_interruption(py, shim, app, exchange, &error) {
            return;
        }
        exchange.set_exception(type_name(error.value(py)));
        let what = format!("application \"{}\": close() raised", app.target);
        logging::exception(py, shim, Code::CloseRaised, &what, &error);
    }
}

/// Logs what is wrong. Returns what a page can show of it.
fn say(
    py: Python<'_>,
    shim: &Shim,
    app: &App,
    exchange: &Exchange,
    fault: Fault,
) -> Option<String> {
    match fault {
        // nginx logs that, at its own level.
        Fault::Gone => None,
        Fault::Raised(error) if is_interruption(py, shim, app, exchange, &error) => None,
        Fault::Raised(error) => log_raised(py, shim, app, exchange, &error),
        Fault::Broken(what) => {
            let text = format!("application \"{}\" {what}", app.target);
            logging::write(py, Code::RuleBroken, &text);
            Some(text)
        }
    }
}

/// Is it the exception by which the application was interrupted? Logs that at the level at which nginx logs that a
/// client has left: a deadline that has passed is in the log already, with the application's stack.
fn is_interruption(
    py: Python<'_>,
    shim: &Shim,
    app: &App,
    exchange: &Exchange,
    error: &PyErr,
) -> bool {
    if error.is_instance(py, shim.disconnected.bind(py)) {
        let text = format!(
            "application \"{}\" was interrupted with ClientDisconnected (wsgi_client_abort cancel)",
            app.target
        );
        logging::write(py, Code::ClientDisconnected, &text);
        return true;
    }
    // One that the application raises itself is its own.
    if exchange.is_interrupted() && error.is_instance(py, shim.timed_out.bind(py)) {
        let what = format!(
            "application \"{}\" was interrupted with RequestTimeout (wsgi_interrupt_timeout)",
            app.target
        );
        logging::exception(py, shim, Code::RequestTimeout, &what, error);
        return true;
    }
    false
}
