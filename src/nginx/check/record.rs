//! What the checker and the supervisor report, on its way through a pipe.
//!
//! A record is its kind, a number, the length of its text (one, four and four bytes), and the text.

use std::io::{self, ErrorKind, Write};

use crate::bridge::log::{self, Level};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The checker: a line that the applications, or the module, have logged.
    Line(Level, String),
    /// The checker: this limit of its group (`python_process`) cannot be put on it.
    Unconfined(String),
    /// The checker: that application cannot be started; with the traceback.
    Failed(usize, String),
    /// The checker: the start of that application has not ended in time.
    Late(usize),
    /// The checker: all starts have ended, or the time is over, and what has failed has been said.
    Checked,
    /// The supervisor: the checker has ended with this status (wait(2)), and nothing is left of it.
    Ended(i32),
}

/// The longest text that is accepted; what is sent is bounded by [`log::LONGEST`], and a few words.
const LONGEST: usize = 2 * log::LONGEST;

const HEAD: usize = 9;

impl Record {
    pub(super) fn write(&self, pipe: &mut impl Write) -> io::Result<()> {
        let (kind, number, text) = match self {
            Self::Line(level, text) => (b'l', *level as u32, text.as_str()),
            Self::Unconfined(what) => (b'u', 0, what.as_str()),
            Self::Failed(app, report) => (b'f', *app as u32, report.as_str()),
            Self::Late(app) => (b't', *app as u32, ""),
            Self::Checked => (b'c', 0, ""),
            Self::Ended(status) => (b'e', *status as u32, ""),
        };
        let text = log::bounded(text);
        let mut bytes = Vec::with_capacity(HEAD + text.len());
        bytes.push(kind);
        bytes.extend_from_slice(&number.to_ne_bytes());
        bytes.extend_from_slice(&(text.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(text.as_bytes());
        pipe.write_all(&bytes)
    }

    fn of(kind: u8, number: u32, text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text).into_owned();
        Some(match kind {
            b'l' => Self::Line(Level::from_number(u8::try_from(number).ok()?), text),
            b'u' => Self::Unconfined(text),
            b'f' => Self::Failed(number as usize, text),
            b't' => Self::Late(number as usize),
            b'c' => Self::Checked,
            b'e' => Self::Ended(number as i32),
            _ => return None,
        })
    }
}

/// The records of a pipe, as its bytes come.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<u8>);

impl Records {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next one; `None` if it is not complete. An error: an import has written to the pipe.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        let Some((head, rest)) = self.0.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, n0, n1, n2, n3, l0, l1, l2, l3] = *head;
        let number = u32::from_ne_bytes([n0, n1, n2, n3]);
        let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let garbled = || io::Error::from(ErrorKind::InvalidData);
        if length > LONGEST {
            return Err(garbled());
        }
        let Some(text) = rest.get(..length) else { return Ok(None) };
        let record = Record::of(kind, number, text).ok_or_else(garbled)?;
        self.0.drain(..HEAD + length);
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in_however_they_are_cut() {
        let all = [
            Record::Line(Level::Warn, "größer".to_owned()),
            Record::Line(Level::Emerg, String::new()),
            Record::Failed(3, "Traceback …\nImportError: no".to_owned()),
            Record::Unconfined("nice=3: no".to_owned()),
            Record::Late(70_000),
            Record::Checked,
            Record::Ended(-1),
        ];
        let mut bytes = Vec::new();
        all.iter().for_each(|record| record.write(&mut bytes).unwrap());
        for step in 1..bytes.len() {
            let (mut records, mut found) = (Records::default(), Vec::new());
            for piece in bytes.chunks(step) {
                records.push(piece);
                while let Some(record) = records.next().unwrap() {
                    found.push(record);
                }
            }
            assert_eq!(found, all);
            assert!(records.0.is_empty());
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut bytes = Vec::new();
        Record::Failed(0, "x".repeat(5 * log::LONGEST)).write(&mut bytes).unwrap();
        let mut records = Records::default();
        records.push(&bytes);
        let Some(Record::Failed(0, text)) = records.next().unwrap() else { panic!("a failure") };
        assert!(text.ends_with("more characters are cut]") && text.len() < LONGEST);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in
            [&b"Hello, this is a print"[..], b"x\0\0\0\0\0\0\0\0", b"l\xff\xff\xff\xff\0\0\0\0"]
        {
            let mut records = Records::default();
            records.push(bytes);
            assert!(records.next().is_err(), "{bytes:?}");
        }
    }
}
