//! Lines for nginx's error log and for syslogs, on their way to the event loop, which alone writes there.

use std::borrow::Cow;

use super::code::Code;
pub(crate) use super::level::Level;
use super::sync::Arc;

/// The longest message of an application, a traceback or a line of its own, in bytes. What is beyond is
/// cut, and said.
pub(crate) const LONGEST: usize = 64 * 1024;

/// A line for nginx's error log, or several that stay together.
#[derive(Debug)]
pub(crate) struct LogLine<X> {
    pub(crate) level: Level,
    pub(crate) about: About<X>,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

impl<X> LogLine<X> {
    /// A message of the module, or a text that its message begins.
    pub(crate) fn new(code: Code, about: About<X>, text: &str) -> Self {
        let text = format!("{code}: {text}");
        Self { level: code.level(), about, kind: Kind::Message, text }
    }
}

/// Whose line it is, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The module's own: to the error log, if its level is high enough for it.
    Message,
    /// An application's: to the error log, whatever its level (`python_log`).
    Output,
    /// An application's: a record for the syslog of that number.
    Syslog(usize),
}

/// What a line is about: that decides which log gets it, and with which context.
#[derive(Debug)]
pub(crate) enum About<X> {
    /// The worker's: nginx's main log.
    Worker,
    /// That application's: the logs of its locations.
    App(usize),
    /// A request's: the log of its location. The line has its context.
    Request(Arc<X>),
}

// A derived one would want `X` to be `Clone`.
impl<X> Clone for About<X> {
    fn clone(&self) -> Self {
        match self {
            Self::Worker => Self::Worker,
            Self::App(app) => Self::App(*app),
            Self::Request(exchange) => Self::Request(Arc::clone(exchange)),
        }
    }
}

/// `text`, or its first [`LONGEST`] bytes and how many characters more there were, as the shim's `_log.py` cuts.
pub(crate) fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST {
        return Cow::Borrowed(text);
    }
    let (kept, cut) = text.split_at(end_within(text, LONGEST));
    Cow::Owned(format!("{kept} [{} more characters are cut]", cut.chars().count()))
}

/// Where the longest part of at most `longest` bytes ends between two characters.
fn end_within(text: &str, longest: usize) -> usize {
    let most = longest.min(text.len());
    (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// `text` in parts of at most `longest` bytes, which is room for a character at least. An empty text is one part.
pub(crate) fn parts(text: &str, longest: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = end_within(text, longest);
        let (part, more) = text.split_at(end);
        rest = Some(more).filter(|more| !more.is_empty() && end > 0);
        Some(part)
    })
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_parts_of_whole_characters() {
        let of = |text: &'static str| parts(text, 4).collect::<Vec<_>>();
        assert_eq!(of(""), [""]);
        assert_eq!(of("abcd"), ["abcd"]);
        assert_eq!(of("abcde"), ["abcd", "e"]);
        assert_eq!(of("abc\u{e9}fghi"), ["abc", "\u{e9}fg", "hi"]);
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let whole = "x".repeat(LONGEST);
        assert_eq!(bounded(&whole), whole);
        let long = format!("x{}", "\u{e9}".repeat(LONGEST));
        let cut = bounded(&long);
        assert!(cut.ends_with("\u{e9} [32769 more characters are cut]"), "{}", &cut[LONGEST - 9..]);
        assert!(cut.starts_with(&long[..LONGEST - 1]));
    }
}
