//! `python_env_file`: variables in a file, in the syntax that is known from `.env` files.
//!
//! There is no standard for it. The parser is adotenv's, with its rules for files that several programs read. No
//! variable is put in for `$NAME`: half of a password might be gone.

use adotenv::{BareKeys, Diagnostic, DiagnosticCode, Dialect, Entry, Quote};

/// A variable of such a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::nginx) struct FileVariable {
    pub(in crate::nginx) name: String,
    pub(in crate::nginx) value: String,
    pub(in crate::nginx) line: usize,
}

/// What is wrong with such a file, as the end of the sentence `line N …`. It contains no value, because it is logged.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::nginx) struct Fault {
    pub(in crate::nginx) line: usize,
    pub(in crate::nginx) what: String,
}

/// The variables of a file, in its order.
pub(in crate::nginx) fn parse(file: &[u8]) -> Result<Vec<FileVariable>, Fault> {
    let text = std::str::from_utf8(file).map_err(|error| {
        let before = file.get(..error.valid_up_to()).unwrap_or_default();
        fault(line_after(before), "is not UTF-8; save the file as UTF-8")
    })?;
    if let Some((before, _)) = text.split_once('\0') {
        let line = line_after(before.as_bytes());
        return Err(fault(line, "contains a NUL, which no environment variable can"));
    }
    let dialect = Dialect::PORTABLE.with_bare_keys(BareKeys::Error);
    let document = adotenv::parse_strict_with(text, dialect).map_err(|found| explain(&found))?;
    document.entries().map(variable).collect()
}

fn variable(entry: Entry<'_>) -> Result<FileVariable, Fault> {
    let (name, line) = (entry.key(), entry.line());
    // Others would replace it, and this file may have been theirs.
    if has_reference(entry) {
        let what = format!(
            "has a reference such as ${{NAME}} in the value of {name}; references are not replaced: write the value \
             itself, or put it in single quotes if it contains these characters"
        );
        return Err(Fault { line, what });
    }
    let value = entry.value().unwrap_or_default().to_owned();
    Ok(FileVariable { name: name.to_owned(), value, line })
}

/// Whether it has a `${NAME}` that is neither escaped nor in single quotes. A `$NAME` is not taken for one: passwords
/// have dollars.
fn has_reference(entry: Entry<'_>) -> bool {
    entry.quote() != Quote::Single
        && entry.references().iter().any(|reference| reference.braced && !reference.escaped)
}

fn explain(found: &Diagnostic) -> Fault {
    let what = match found.code() {
        DiagnosticCode::UnterminatedQuote => "has a quote that is not closed",
        DiagnosticCode::TrailingText => {
            "has something behind a closing quote; only a comment may follow, behind a space: put the whole value in \
             quotes"
        }
        _ => "is not NAME=VALUE; a name has letters, digits, \"_\", \".\" and \"-\"",
    };
    fault(found.line(), what)
}

fn fault(line: usize, what: &str) -> Fault {
    Fault { line, what: what.to_owned() }
}

/// The number of the line that follows, if there is no end of a line before it.
fn line_after(before: &[u8]) -> usize {
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let variables = parse(text.as_bytes()).unwrap();
        variables.into_iter().map(|each| (each.name, each.value)).collect()
    }

    /// The value of `NAME=written`.
    fn value(written: &str) -> String {
        let mut values = values(&format!("NAME={written}\n"));
        assert_eq!(values.len(), 1, "{written}");
        values.remove(0).1
    }

    #[test]
    fn the_forms_of_a_value() {
        for (written, read) in [
            ("plain", "plain"),
            ("", ""),
            ("  spaces around and between  ", "spaces around and between"),
            ("'single \"quotes\" \\n # \\'", "single \"quotes\" \\n # \\"),
            ("\"double 'quotes' \\\" \\\\ \\n #\"", "double 'quotes' \" \\ \n #"),
            ("\"C:\\dir\"", "C:\\dir"),
            ("C:\\new\\dir\\", "C:\\new\\dir\\"),
            ("it's", "it's"),
            ("a#b", "a#b"),
            ("a # a comment", "a"),
            ("a  # it's a comment", "a"),
            ("'a' # it's a comment", "a"),
            ("a=b=c", "a=b=c"),
            ("https://example.com/?a=1&b=2", "https://example.com/?a=1&b=2"),
            ("ü", "ü"),
            ("'two\nlines'", "two\nlines"),
            ("\"two\nlines\"", "two\nlines"),
        ] {
            assert_eq!(value(written), read, "{written}");
        }
    }

    #[test]
    fn what_stands_around_variables() {
        let text = "\u{feff}# it's a comment\n\nexport A=1\r\n  B = 2\n\t\nC=3 # it's one\nD='4\n5' # \"\nE.e-e=6 ";
        let expected = [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4\n5"), ("E.e-e", "6")];
        assert_eq!(values(text), expected.map(|(name, value)| (name.into(), value.into())));
        assert!(values("").is_empty() && values("\n").is_empty() && values("# A=1").is_empty());
    }

    #[test]
    fn a_dollar_stays() {
        for (written, read) in [
            ("pa$PATH", "pa$PATH"),
            ("\"a $PATH\"", "a $PATH"),
            ("'a $PATH ${PATH}'", "a $PATH ${PATH}"),
            ("$$1$", "$$1$"),
            ("\"\\${PATH}\"", "${PATH}"),
            ("$(date)", "$(date)"),
        ] {
            assert_eq!(value(written), read, "{written}");
        }
    }

    #[test]
    fn a_reference_is_refused() {
        for written in [
            "${HOST}",
            "\"http://${HOST}/\"",
            "$x${HOST}",
            "${HOST:-x}",
            "\\${HOST}",
            "\"\\\\${HOST}\"",
        ] {
            let text = format!("A=1\nB={written}\nC=1");
            let Fault { line, what } = parse(text.as_bytes()).unwrap_err();
            assert_eq!(line, 2, "{written}");
            assert!(what.contains("value of B") && !what.contains("HOST"), "{what}");
        }
    }

    #[test]
    fn faults_have_their_line_and_no_value() {
        for (text, line, word) in [
            ("A=1\nnothing-secret\n", 2, "NAME=VALUE"),
            ("A=1\nSecret", 2, "NAME=VALUE"),
            ("A=1\n\n# x\n=secret\n", 4, "NAME=VALUE"),
            ("A B=secret", 1, "NAME=VALUE"),
            ("export\nA=1", 1, "NAME=VALUE"),
            ("A=1\nB='a'secret\n", 2, "behind a closing quote"),
            ("A='x\ny'\nB=\"a\nb\" secret\nC=1\n", 4, "behind a closing quote"),
            ("A=1\nB='secret\nC=1\n", 2, "not closed"),
            ("A=1\nB=\"secret\nC=1", 2, "not closed"),
            ("A=1\nB='secret\n\n\n", 2, "not closed"),
            ("A=1\nB=sec\0ret\n", 2, "NUL"),
        ] {
            let Fault { line: at, what } = parse(text.as_bytes()).unwrap_err();
            assert_eq!(at, line, "{text:?}: {what}");
            assert!(what.contains(word) && !what.to_lowercase().contains("secret"), "{what}");
        }
        let Fault { line, what } = parse(b"A=1\nB=\xff\n").unwrap_err();
        assert_eq!(line, 2);
        assert!(what.contains("UTF-8"), "{what}");
    }

    #[test]
    fn variables_have_their_line() {
        let text = "\n# a comment\nA=1\nB='two\nlines'\nC=3\nC=3";
        let variables = parse(text.as_bytes()).unwrap();
        let lines: Vec<_> = variables.iter().map(|each| (&*each.name, each.line)).collect();
        assert_eq!(lines, [("A", 3), ("B", 4), ("C", 6), ("C", 7)]);
    }
}
