//! What a call keeps of its WebSocket.

use std::cell::RefMut;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use pyo3::prelude::*;

use crate::http::websocket::close::Close;
use crate::http::websocket::deflate::Deflaters;
use crate::http::websocket::message::Assembly;
use crate::python::attached::Attached;

/// The compressors of a loop.
pub(super) type Compressors = Arc<Mutex<Deflaters>>;

/// How far a WebSocket has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client waits for the answer to its handshake.
    #[default]
    Connecting,
    Open,
    /// The application has sent `websocket.close`.
    Closed,
    /// The client gets an ordinary response, whose phase the call has.
    Denied,
}

/// What a call has if it is one of a WebSocket.
pub(super) struct WebSocket {
    /// The number by which the compressors know it.
    pub(super) number: u64,
    pub(super) compressors: Compressors,
    state: Attached<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) phase: Phase,
    /// `websocket.connect` has been received.
    pub(super) connected: bool,
    /// A message that has begun; it is not here while a part is added.
    pub(super) assembly: Assembly,
    pub(super) assembling: bool,
    /// A frame for which there was no room.
    pub(super) rest: Option<Bytes>,
    /// What `websocket.disconnect` says. It is said again at each receive.
    pub(super) disconnect: Option<Close>,
}

impl WebSocket {
    pub(super) fn new(number: u64, compressors: &Compressors) -> Self {
        Self { number, compressors: Arc::clone(compressors), state: Attached::default() }
    }

    /// Whether the application has accepted it.
    pub(super) fn is_accepted(&self, py: Python<'_>) -> bool {
        matches!(self.state(py).phase, Phase::Open | Phase::Closed)
    }

    /// Whether a frame waits for room.
    pub(super) fn has_rest(&self, py: Python<'_>) -> bool {
        self.state(py).rest.is_some()
    }

    pub(super) fn state<'a>(&'a self, py: Python<'a>) -> RefMut<'a, State> {
        self.state.borrow(py)
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let mut compressors = self.compressors.lock().unwrap_or_else(PoisonError::into_inner);
        compressors.forget(self.number);
    }
}
