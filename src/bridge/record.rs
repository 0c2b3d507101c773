//! What an application has said, as `python_log … json` writes it: a line of JSON (RFC 8259) for each record.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::log::Level;

/// What an application has said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) level: Level,
    /// The name of the logger; `stdout` or `stderr` of what was printed.
    pub(crate) logger: &'a str,
    pub(crate) said: Said<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Said<'a> {
    /// Lines that were printed: each is a record of its own.
    Lines(&'a str),
    /// One record.
    Message { message: &'a str, traceback: Option<&'a str> },
}

/// What a record is about.
#[derive(Debug)]
pub(crate) struct Circumstances<'a> {
    pub(crate) time: SystemTime,
    pub(crate) process: u32,
    /// Which process of a `python_process` it is, if it is one.
    pub(crate) python_process: Option<&'a str>,
    pub(crate) application: Option<&'a str>,
    /// The request's id, and its method and target.
    pub(crate) request: Option<(String, String)>,
}

/// The record as lines of JSON, each with its newline. What a text of it takes is at most `longest` bytes: what is
/// beyond is cut, and said.
pub(crate) fn json(record: &Record<'_>, about: &Circumstances<'_>, longest: usize) -> String {
    let mut out = String::new();
    match record.said {
        Said::Lines(lines) => {
            for line in lines.split('\n') {
                object(&mut out, record, about, longest, (line, None));
            }
        }
        Said::Message { message, traceback } => {
            object(&mut out, record, about, longest, (message, traceback));
        }
    }
    out
}

fn object(
    out: &mut String,
    record: &Record<'_>,
    about: &Circumstances<'_>,
    longest: usize,
    (message, traceback): (&str, Option<&str>),
) {
    out.push_str("{\"time\":\"");
    out.push_str(&timestamp(about.time));
    out.push('"');
    let mut field = |name: &str, text: &str| {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":\"");
        escape(out, text, longest);
        out.push('"');
    };
    field("level", record.level.name());
    field("logger", record.logger);
    field("message", message);
    if let Some(traceback) = traceback {
        field("traceback", traceback);
    }
    if let Some(application) = about.application {
        field("application", application);
    }
    if let Some((id, request)) = &about.request {
        field("request_id", id);
        field("request", request);
    }
    if let Some(process) = about.python_process {
        field("python_process", process);
    }
    // Writing to a string cannot fail.
    let _written = writeln!(out, ",\"process\":{}}}", about.process);
}

/// Adds what stands between the quotes of a JSON string: at most `longest` bytes of the text.
fn escape(out: &mut String, text: &str, longest: usize) {
    let end = out.len() + longest;
    for (at, character) in text.char_indices() {
        let before = out.len();
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // DEL and C1 are allowed, but control a terminal; the separators end a line in JavaScript.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _written = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => out.push(character),
        }
        if out.len() > end {
            out.truncate(before);
            let cut = text.get(at..).map_or(0, |rest| rest.chars().count());
            let _written = write!(out, " [{cut} more characters are cut]");
            return;
        }
    }
}

/// RFC 3339, in UTC, with microseconds.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// The date of a day, counted from 1970-01-01: in eras of 400 years, each of which begins on a 1st of March, so that a
/// leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    /// 0000-03-01 to 1970-01-01
    const BEFORE: u64 = 719_468;
    let (era, day) = ((days + BEFORE) / DAYS_OF_ERA, (days + BEFORE) % DAYS_OF_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // March is 0.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::time::Duration;

    use super::*;

    fn circumstances<'a>() -> Circumstances<'a> {
        Circumstances {
            time: UNIX_EPOCH + Duration::from_micros(1_709_210_096_000_042),
            process: 7,
            python_process: None,
            application: None,
            request: None,
        }
    }

    fn record(said: Said<'_>) -> Record<'_> {
        Record { level: Level::Warn, logger: "shop", said }
    }

    #[test]
    fn a_record_is_one_line() {
        let message =
            Said::Message { message: "a \"b\"\\\n\u{1}\u{2028}é", traceback: Some("T\n") };
        let about = Circumstances {
            application: Some("shop.py"),
            request: Some(("7-1-2".to_owned(), "GET /".to_owned())),
            python_process: Some("shop/0"),
            ..circumstances()
        };
        assert_eq!(
            json(&record(message), &about, 100),
            "{\"time\":\"2024-02-29T12:34:56.000042Z\",\"level\":\"warn\",\"logger\":\"shop\",\"message\":\
             \"a \\\"b\\\"\\\\\\n\\u0001\\u2028é\",\"traceback\":\"T\\n\",\"application\":\"shop.py\",\
             \"request_id\":\"7-1-2\",\"request\":\"GET /\",\"python_process\":\"shop/0\",\"process\":7}\n"
        );
    }

    #[test]
    fn a_printed_line_is_a_record() {
        let lines = json(&record(Said::Lines("one\n\ntwo")), &circumstances(), 100);
        let messages = lines.lines().map(|line| line.split("\"message\":").nth(1).unwrap());
        let expected = ["\"one\"", "\"\"", "\"two\""].map(|text| format!("{text},\"process\":7}}"));
        assert!(messages.eq(expected.iter()));
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let mut out = String::new();
        escape(&mut out, "ab\ncé", 6);
        assert_eq!(out, "ab\\nc [1 more characters are cut]");
        out.clear();
        escape(&mut out, "ab\ncé", 7);
        assert_eq!(out, "ab\\ncé");
        out.clear();
        escape(&mut out, "abc\n\n", 4);
        assert_eq!(out, "abc [2 more characters are cut]");
    }

    #[test]
    fn days_have_dates() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (58, (1970, 2, 28)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_787, (2026, 11, 30)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
