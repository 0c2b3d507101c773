//! The part of `wsgi_app`'s TARGET that the configuration can check: the file.

use std::path::Path;

/// The file that a target names, if it names one: `/path/app.py`, `/path/app.py:callable`.
pub(super) fn file(target: &str) -> Option<&Path> {
    if !target.starts_with('/') {
        return None;
    }
    let name = target.rfind('/').map_or(0, |slash| slash + 1);
    // A factory's arguments may hold anything, a slash too: the callable begins at the first colon
    // behind a whole file name.
    let file = match target.find(':') {
        Some(colon) if colon < name => target.get(..colon),
        _ => target
            .get(name..)
            .and_then(|last| last.find(':'))
            .and_then(|at| target.get(..name + at)),
    };
    Some(Path::new(file.unwrap_or(target)))
}

/// What is wrong with a target's form, if anything; Python's part of it is checked at import.
pub(super) fn check(target: &str) -> Result<(), &'static str> {
    if target.is_empty() {
        return Err(
            "names no application; write a file such as /srv/app/wsgi.py or a module such as \
                    package.module:callable",
        );
    }
    if target.starts_with('/') {
        return Ok(());
    }
    let module = target.split(':').next().unwrap_or_default();
    if module.contains('/') || module.ends_with(".py") || module.ends_with(".wsgi") {
        return Err("is a relative path; write the file's absolute path, or a module such as \
                    package.module:callable");
    }
    let part = |part: &str| {
        let mut characters = part.chars();
        characters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
            && characters.all(|character| character == '_' || character.is_alphanumeric())
    };
    if !module.split('.').all(part) {
        return Err("is neither the absolute path of a file nor the dotted name of a module");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_ends_at_the_callable() {
        for (target, expected) in [
            ("/srv/app.py", Some("/srv/app.py")),
            ("/srv/app.py:app", Some("/srv/app.py")),
            ("/srv/app.py:create('a/b')", Some("/srv/app.py")),
            ("/srv/app.py:create('a:b')", Some("/srv/app.py")),
            ("package.module:app", None),
        ] {
            assert_eq!(file(target), expected.map(Path::new), "{target}");
        }
    }

    #[test]
    fn forms_are_checked() {
        for good in ["/a.py", "pkg", "pkg.mod:app", "_a.b1:make(1, \"x\")", "é.b:app"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in
            ["", "app.py", "dir/app.py", "app.py:app", "a..b:c", "1a:b", ".a", "a b:c", ":app"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
