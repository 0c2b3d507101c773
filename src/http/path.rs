//! The mount point of an application: how the path of a request is split into SCRIPT_NAME and PATH_INFO (PEP 3333,
//! "environ Variables").

use thiserror::Error;

use super::quoted::{Octet, quoted};

/// The path of a request, split in two. Both parts joined are the path again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mounted<'a> {
    /// Empty at the root, never "/".
    pub(crate) script_name: &'a [u8],
    /// Empty, or begins with "/". It is not empty if `script_name` is empty, unless the path is empty.
    pub(crate) path_info: &'a [u8],
}

/// Splits `path` if it begins with `script_name`, followed by "/" or by nothing. `None` if it does not: PATH_INFO is
/// then the whole path.
pub(crate) fn mount<'a>(script_name: &'a [u8], path: &'a [u8]) -> Option<Mounted<'a>> {
    if script_name.ends_with(b"/") {
        return None;
    }
    let path_info = path.strip_prefix(script_name)?;
    let whole_segments = script_name.is_empty() || matches!(path_info, [] | [b'/', ..]);
    whole_segments.then_some(Mounted { script_name, path_info })
}

/// What is wrong with the value of `wsgi_script_name`, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum PathError {
    #[error("{0} is the root: write \"off\" (PEP 3333: at the root it is empty)")]
    Root(String),

    #[error("{value} contains {octet}: write it without")]
    ControlCharacter { value: String, octet: Octet },

    #[error("{value} does not begin with \"/\": write {instead}")]
    NoLeadingSlash { value: String, instead: String },

    #[error("{value} ends with \"/\": write {instead}")]
    TrailingSlash { value: String, instead: String },

    #[error("{value} contains \"//\", which no normalized path does: write {instead}")]
    DoubledSlash { value: String, instead: String },

    #[error(
        "{0} contains a \".\" or \"..\" segment, which no normalized path does: \
         write the path that it leads to"
    )]
    DotSegment(String),

    #[error(
        "{0} is percent-encoded, and it is compared with a path that is decoded: \
         write it decoded"
    )]
    PercentEncoded(String),
}

/// Rejects a script name that no path could begin with, or that PEP 3333 forbids.
pub(crate) fn check_script_name(value: &[u8]) -> Result<(), PathError> {
    let shown = || quoted(value);
    let instead = || quoted(&canonical(value));

    if value.iter().all(|&byte| byte == b'/') {
        return Err(PathError::Root(shown()));
    }
    if let Some(&byte) = value.iter().find(|byte| byte.is_ascii_control()) {
        return Err(PathError::ControlCharacter { value: shown(), octet: Octet(byte) });
    }
    if value.windows(3).any(is_percent_encoded) {
        return Err(PathError::PercentEncoded(shown()));
    }
    if value.split(|&byte| byte == b'/').any(|segment| matches!(segment, b"." | b"..")) {
        return Err(PathError::DotSegment(shown()));
    }
    if !value.starts_with(b"/") {
        return Err(PathError::NoLeadingSlash { value: shown(), instead: instead() });
    }
    if value.ends_with(b"/") {
        return Err(PathError::TrailingSlash { value: shown(), instead: instead() });
    }
    if value.windows(2).any(|pair| pair == b"//") {
        return Err(PathError::DoubledSlash { value: shown(), instead: instead() });
    }
    Ok(())
}

/// The value with one slash before each of its segments and no slash at its end.
fn canonical(value: &[u8]) -> Vec<u8> {
    let segments = value.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty());
    segments.flat_map(|segment| [&b"/"[..], segment]).flatten().copied().collect()
}

fn is_percent_encoded(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

/// The path of a request target as it was sent, only percent-decoded (`wsgi_path_info raw`): `//` and the decoded
/// `%2F` stay. A `%` without two hex digits stays unchanged.
pub(crate) fn raw(target: &[u8]) -> Vec<u8> {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        match after {
            [high, low, tail @ ..] if byte == b'%' => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    decoded.push(high << 4 | low);
                    rest = tail;
                    continue;
                }
                _ => decoded.push(byte),
            },
            _ => decoded.push(byte),
        }
        rest = after;
    }
    decoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounted() {
        type Parts = (&'static str, &'static str);
        let table: &[(&str, &str, Option<Parts>)] = &[
            ("/app", "/app", Some(("/app", ""))),
            ("/app", "/app/", Some(("/app", "/"))),
            ("/app", "/app/x", Some(("/app", "/x"))),
            ("/app", "/app//x/", Some(("/app", "//x/"))),
            ("/app", "/app/app", Some(("/app", "/app"))),
            ("/a/b", "/a/b/c", Some(("/a/b", "/c"))),
            ("/caf\u{e9}", "/caf\u{e9}/x", Some(("/caf\u{e9}", "/x"))),
            ("/app", "/apple", None),
            ("/app", "/app.x", None),
            ("/app", "/ap", None),
            ("/app", "/", None),
            ("/app", "", None),
            ("/app", "/App/x", None),
            ("/app", "//app/x", None),
            ("/app", "/x/app", None),
            // At the root, SCRIPT_NAME is empty and never "/".
            ("", "/", Some(("", "/"))),
            ("", "/x", Some(("", "/x"))),
            ("", "", Some(("", ""))),
            ("", "*", Some(("", "*"))),
            ("/", "/", None),
            ("/", "/x", None),
            ("/app/", "/app/x", None),
            ("/app/", "/app//x", None),
        ];
        for &(script_name, path, expected) in table {
            let expected = expected.map(|(script_name, path_info)| Mounted {
                script_name: script_name.as_bytes(),
                path_info: path_info.as_bytes(),
            });
            let found = mount(script_name.as_bytes(), path.as_bytes());
            assert_eq!(found, expected, "{script_name:?} on {path:?}");
        }
    }

    #[test]
    fn the_two_parts_are_the_path() {
        let pieces = ["", "/", "/a", "/a/", "/ab", "/a/b", "//a", "/a//b", "a"];
        for script_name in pieces {
            for path in pieces {
                if let Some(found) = mount(script_name.as_bytes(), path.as_bytes()) {
                    assert_eq!([found.script_name, found.path_info].concat(), path.as_bytes());
                    assert_ne!(found.script_name, b"/");
                }
            }
        }
    }

    #[test]
    fn script_names_that_may_be() {
        for value in [
            "/app",
            "/a/b",
            "/a.b",
            "/a/.b",
            "/a/...",
            "/~user",
            "/a b",
            "/caf\u{e9}",
            "/100%",
            "/%zz",
            "/%0z",
            "/%z0",
            "/?",
            "/off",
        ] {
            assert_eq!(check_script_name(value.as_bytes()), Ok(()), "{value}");
        }
    }

    #[test]
    fn script_names_that_may_not() {
        let table: &[(&[u8], &str)] = &[
            (b"", r#""" is the root: write "off" (PEP 3333: at the root it is empty)"#),
            (b"/", r#""/" is the root: write "off" (PEP 3333: at the root it is empty)"#),
            (b"//", r#""//" is the root: write "off" (PEP 3333: at the root it is empty)"#),
            (b"app", r#""app" does not begin with "/": write "/app""#),
            (b"app/", r#""app/" does not begin with "/": write "/app""#),
            (b"/app/", r#""/app/" ends with "/": write "/app""#),
            (b"/a//b//", r#""/a//b//" ends with "/": write "/a/b""#),
            (b"/a//b", r#""/a//b" contains "//", which no normalized path does: write "/a/b""#),
            (b"//a", r#""//a" contains "//", which no normalized path does: write "/a""#),
            (b"/a\r\n", r#""/a\r\n" contains CR: write it without"#),
            (b"/a\0b", r#""/a\x00b" contains NUL: write it without"#),
            (b"/a\tb", r#""/a\tb" contains HTAB: write it without"#),
            (b"/a\x7f", r#""/a\x7f" contains DEL: write it without"#),
            (
                b"/a/../b",
                r#""/a/../b" contains a "." or ".." segment, which no normalized path does: write the path that it leads to"#,
            ),
            (
                b"./a",
                r#""./a" contains a "." or ".." segment, which no normalized path does: write the path that it leads to"#,
            ),
            (
                b"/my%20app",
                r#""/my%20app" is percent-encoded, and it is compared with a path that is decoded: write it decoded"#,
            ),
        ];
        for &(value, text) in table {
            let found = check_script_name(value).map_err(|error| error.to_string());
            assert_eq!(found, Err(text.to_owned()));
        }
    }

    #[test]
    fn what_to_write_instead_is_accepted() {
        for value in ["app", "app/", "/app/", "/a//b", "//a//", "a//b"] {
            assert!(check_script_name(value.as_bytes()).is_err(), "{value}");
            assert_eq!(check_script_name(&canonical(value.as_bytes())), Ok(()), "{value}");
        }
    }

    #[test]
    fn a_raw_path_is_decoded_and_not_normalized() {
        for (target, expected) in [
            ("/a%2Fb//c/../d?x=%2F", "/a/b//c/../d"),
            ("/%e2%82%ac", "/\u{20ac}"),
            ("/100%", "/100%"),
            ("/%4", "/%4"),
            ("/%zz%41", "/%zzA"),
            ("*", "*"),
            ("?a", ""),
        ] {
            assert_eq!(raw(target.as_bytes()), expected.as_bytes(), "{target}");
        }
    }
}
