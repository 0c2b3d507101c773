//! An application's bytes, as a message shows them.

use std::ascii;
use std::fmt;

const QUOTED_BYTES: usize = 80;

/// A byte that is not allowed in its place, as a message shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Octet(pub(crate) u8);

impl fmt::Display for Octet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\0' => f.write_str("NUL"),
            b'\t' => f.write_str("HTAB"),
            b'\n' => f.write_str("LF"),
            b'\r' => f.write_str("CR"),
            b' ' => f.write_str("a space"),
            0x7f => f.write_str("DEL"),
            byte @ 0x21..=0x7e => write!(f, "'{}'", char::from(byte)),
            byte => write!(f, "byte 0x{byte:02x}"),
        }
    }
}

/// An application's bytes as a message shows them: in quotes, escaped and on one line. They are cut (with "..." after
/// the quotes) if they would take more than 80 bytes.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in bytes {
        let from = text.len();
        match byte {
            b'\'' => text.push('\''),
            _ => text.extend(ascii::escape_default(byte).map(char::from)),
        }
        if text.len() > QUOTED_BYTES + 1 {
            text.truncate(from);
            text.push_str("\"...");
            return text;
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets() {
        let table = [
            (0x00, "NUL"),
            (0x01, "byte 0x01"),
            (0x09, "HTAB"),
            (0x0a, "LF"),
            (0x0d, "CR"),
            (0x1f, "byte 0x1f"),
            (0x20, "a space"),
            (0x3a, "':'"),
            (0x7e, "'~'"),
            (0x7f, "DEL"),
            (0x80, "byte 0x80"),
            (0xff, "byte 0xff"),
        ];
        for (byte, text) in table {
            assert_eq!(Octet(byte).to_string(), text);
        }
    }

    #[test]
    fn quotes() {
        let table: &[(&[u8], &str)] = &[
            (b"", r#""""#),
            (b"it's", r#""it's""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\r\n\t\0\x1b\x7f\x80\xff", r#""\r\n\t\x00\x1b\x7f\x80\xff""#),
        ];
        for &(bytes, text) in table {
            assert_eq!(quoted(bytes), text);
        }

        let eighty = "x".repeat(80);
        assert_eq!(quoted(eighty.as_bytes()), format!("\"{eighty}\""));
        assert_eq!(quoted(format!("{eighty}x").as_bytes()), format!("\"{eighty}\"..."));
        // An escape is either shown whole or left out.
        assert_eq!(quoted(&[0xff; 1000]), format!("\"{}\"...", r"\xff".repeat(20)));
        assert_eq!(
            quoted(&[&[b'x'; 78][..], b"\xff"].concat()),
            format!("\"{}\"...", "x".repeat(78))
        );
    }
}
