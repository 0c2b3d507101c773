//! The TARGET of `…_app`, as far as it can be checked without an import.

use std::path::Path;

/// A target's two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) struct Target<'a> {
    /// A file's absolute path, or a module's dotted name.
    pub(in crate::nginx) place: &'a str,
    /// `callable`, `attribute.attribute` or `factory(…)`
    pub(in crate::nginx) callable: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Splits at the first colon that only a callable follows: a path may have colons, and so may the arguments of a
    /// factory.
    pub(in crate::nginx) fn split(target: &'a str) -> Self {
        let whole = Self { place: target, callable: None };
        if target.starts_with('/') && Path::new(target).exists() {
            return whole;
        }
        target
            .match_indices(':')
            .map(|(at, _)| (target.get(..at), target.get(at + 1..)))
            .find_map(|(place, callable)| {
                let (place, callable) = (place?, callable?);
                is_callable(callable).then_some(Self { place, callable: Some(callable) })
            })
            .unwrap_or(whole)
    }

    /// The file, if the target names one.
    pub(in crate::nginx) fn file(&self) -> Option<&'a Path> {
        self.place.starts_with('/').then(|| Path::new(self.place))
    }

    /// What is wrong with it, if anything, as the end of the sentence `…_app "TARGET" …`.
    pub(in crate::nginx) fn check(&self) -> Result<(), String> {
        if self.place.is_empty() {
            return Err(
                "names no application; write a file such as /srv/app/wsgi.py, or a module such \
                        as package.module:callable"
                    .to_owned(),
            );
        }
        if let Some(file) = self.file() {
            return check_file(file, self.place);
        }
        let (module, callable) = match self.place.split_once(':') {
            Some((module, callable)) => (module, Some(callable)),
            None => (self.place, None),
        };
        if module.contains('/') || module.ends_with(".py") {
            return Err("is a relative path; write the file's absolute path, or a module such as \
                        package.module:callable"
                .to_owned());
        }
        if !is_dotted_name(module) {
            return Err(
                "is neither the absolute path of a file nor the dotted name of a module".to_owned()
            );
        }
        callable.map_or(Ok(()), |callable| Err(no_callable(callable)))
    }
}

fn check_file(file: &Path, place: &str) -> Result<(), String> {
    if file.is_file() {
        return Ok(());
    }
    if let Some((before, callable)) = place.rsplit_once(':') {
        if Path::new(before).exists() {
            return Err(no_callable(callable));
        }
    }
    Err(if file.exists() {
        "is not a file; write the path of a Python file"
    } else {
        "is not there; write the path of a file that exists"
    }
    .to_owned())
}

fn no_callable(callable: &str) -> String {
    format!(
        "ends with \"{callable}\", which is not the name of a callable; write a name, \
         attribute.attribute or factory(arguments)"
    )
}

/// `name`, `name.name`, and either with arguments in parentheses.
fn is_callable(text: &str) -> bool {
    match text.split_once('(') {
        Some((name, arguments)) => is_dotted_name(name) && arguments.ends_with(')'),
        None => is_dotted_name(text),
    }
}

/// Identifiers with dots between them. Which letters beyond ASCII an identifier may have is left to Python.
pub(in crate::nginx) fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| {
        let mut characters = part.chars();
        characters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
            && characters.all(|character| character == '_' || character.is_alphanumeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callable_is_split_off() {
        for (target, place, callable) in [
            ("/srv/app.py", "/srv/app.py", None),
            ("/srv/app.py:app", "/srv/app.py", Some("app")),
            ("/srv/a:b/app.py:app", "/srv/a:b/app.py", Some("app")),
            ("/srv/app.py:create('a/b')", "/srv/app.py", Some("create('a/b')")),
            ("/srv/app.py:create('a:b')", "/srv/app.py", Some("create('a:b')")),
            ("/srv/app.py:create(", "/srv/app.py:create(", None),
            ("package.module:app", "package.module", Some("app")),
            ("mysite.wsgi:application", "mysite.wsgi", Some("application")),
        ] {
            assert_eq!(Target::split(target), Target { place, callable }, "{target}");
        }
    }

    #[test]
    fn only_a_file_has_a_path() {
        assert_eq!(Target::split("/srv/app.py:app").file(), Some(Path::new("/srv/app.py")));
        assert_eq!(Target::split("package.module:app").file(), None);
    }

    #[test]
    fn forms_are_checked() {
        for good in
            ["pkg", "pkg.mod:app", "_a.b1:make(1, \"x\")", "é.b:app", "mysite.wsgi:application"]
        {
            assert_eq!(Target::split(good).check(), Ok(()), "{good}");
        }
        for bad in [
            "",
            "app.py",
            "dir/app.py",
            "app.py:app",
            "a..b:c",
            "1a:b",
            ".a",
            "a b:c",
            ":app",
            "a:",
            "a:1st",
            "a:b..c",
            "a:.b",
            "a:b-c",
            "a:b c",
            "a:b(",
            "a:b)",
            "a:b()c",
            "/nowhere/app.py",
        ] {
            assert!(Target::split(bad).check().is_err(), "{bad}");
        }
    }
}
