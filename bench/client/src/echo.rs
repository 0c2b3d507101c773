//! WebSockets: one message at a time, whose echo is waited for; or idle.

use std::io;
use std::time::Instant;

use crate::arguments::Message;
use crate::clients::{Kind, Wire};
use crate::figures::Figures;
use crate::frames::{Frames, Received, message, pong};

pub(crate) struct Echo {
    path: String,
    /// The frame to send; empty if the connections idle.
    frame: Vec<u8>,
    /// Of an echo's payload; None if it is compressed.
    length: Option<u64>,
    deflate: bool,
}

#[derive(Default)]
pub(crate) struct State {
    frames: Frames,
    sent: Option<Instant>,
}

impl Echo {
    pub(crate) fn new(sent: &Message, path: &str) -> Self {
        Self {
            path: path.to_owned(),
            frame: message(&sent.payload, sent.text, sent.deflate),
            length: (!sent.deflate).then_some(sent.payload.len() as u64),
            deflate: sent.deflate,
        }
    }

    pub(crate) fn idle(path: &str, deflate: bool) -> Self {
        Self { path: path.to_owned(), frame: Vec::new(), length: None, deflate }
    }

    fn send(&self, state: &mut State, wire: &mut Wire) -> io::Result<()> {
        state.sent = Some(Instant::now());
        wire.send(&self.frame)
    }
}

impl Kind for Echo {
    type State = State;

    fn request(&self) -> String {
        let extensions = if self.deflate {
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        } else {
            ""
        };
        // The key is an example in RFC 6455. What it makes of the key is the server's tests' business.
        format!(
            "GET {} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             {extensions}\r\n",
            self.path
        )
    }

    fn opened(&self, head: &str) -> Result<(), String> {
        let line = head.lines().next().unwrap_or_default();
        if !line.starts_with("HTTP/1.1 101 ") {
            return Err(format!("no WebSocket: {line}"));
        }
        if self.deflate && !head.to_ascii_lowercase().contains("permessage-deflate") {
            return Err("no permessage-deflate".into());
        }
        Ok(())
    }

    fn begin(&self, state: &mut State, wire: &mut Wire) -> io::Result<()> {
        self.send(state, wire)
    }

    fn received(
        &self,
        state: &mut State,
        mut data: &[u8],
        wire: &mut Wire,
        mut figures: Option<&mut Figures>,
    ) -> Result<(), String> {
        while let Some(received) = state.frames.next(&mut data) {
            match received {
                Received::Message { length, compressed } => {
                    if self.length.is_some_and(|expected| expected != length) {
                        return Err(format!("an echo of {length} bytes"));
                    }
                    let sent = state.sent.take().ok_or("a message that nobody has asked for")?;
                    // After the measurement, the last echoes end it.
                    if let Some(figures) = &mut figures {
                        let latency = sent.elapsed().as_nanos() as u64;
                        figures.add(latency, length, compressed);
                        self.send(state, wire).map_err(|error| error.to_string())?;
                    }
                }
                Received::Ping(payload) => {
                    wire.send(&pong(&payload)).map_err(|error| error.to_string())?;
                }
                Received::Close(code) => return Err(format!("closed with {code}")),
            }
        }
        Ok(())
    }
}
