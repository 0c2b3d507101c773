//! Server-sent events, each with the time when it was made.

use std::io;

use crate::clients::{Kind, Wire};
use crate::figures::{Figures, monotonic};

pub(crate) struct Events {
    path: String,
}

/// The event that has arrived in part.
#[derive(Default)]
pub(crate) struct State {
    text: Vec<u8>,
}

impl Events {
    pub(crate) fn new(path: &str) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Kind for Events {
    type State = State;

    fn request(&self) -> String {
        format!("GET {} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n", self.path)
    }

    fn opened(&self, head: &str) -> Result<(), String> {
        let line = head.lines().next().unwrap_or_default();
        if !line.starts_with("HTTP/1.1 200 ") {
            return Err(format!("no events: {line}"));
        }
        Ok(())
    }

    fn begin(&self, _state: &mut State, _wire: &mut Wire) -> io::Result<()> {
        Ok(())
    }

    fn received(
        &self,
        state: &mut State,
        data: &[u8],
        _wire: &mut Wire,
        mut figures: Option<&mut Figures>,
    ) -> Result<(), String> {
        state.text.extend(data);
        let mut begin = 0;
        // An event ends with an empty line, which the heads of chunks never do: theirs have CRLF.
        while let Some(size) = state.text[begin..].windows(2).position(|end| end == b"\n\n") {
            let event = &state.text[begin..begin + size];
            begin += size + 2;
            if let (Some(made), Some(figures)) = (time_of(event), &mut figures) {
                figures.add(monotonic().saturating_sub(made), size as u64 + 2, false);
            }
        }
        state.text.drain(..begin);
        Ok(())
    }
}

/// The number after `data: `, in nanoseconds of the monotonic clock; None for the first comment.
fn time_of(event: &[u8]) -> Option<u64> {
    let begin = event.windows(6).position(|name| name == b"data: ")? + 6;
    let digits = event[begin..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.map(|digit| u64::from(digit - b'0')).reduce(|number, digit| number * 10 + digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_behind_the_chunks_head() {
        assert_eq!(time_of(b"64\r\ndata: 123456789 ..."), Some(123_456_789));
        assert_eq!(time_of(b": hello"), None);
        assert_eq!(time_of(b"data: x"), None);
    }
}
