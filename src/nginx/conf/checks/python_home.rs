//! Checks that `python_home` exists, and that it belongs to the Python that this module was built with.

use std::path::Path;

/// The Python that this module was built with, such as `3.11`.
pub(in crate::nginx) const BUILT_FOR: &str = env!("PYWSGI_PYTHON_VERSION");

/// What is wrong with a home, as the end of the sentence `python_home "DIR" …`.
pub(in crate::nginx) fn check(home: &Path) -> Result<(), String> {
    if !home.is_dir() {
        return Err(
            "is not a directory; name a virtual environment or the prefix of a Python".into()
        );
    }
    match version(home) {
        Some(version) if version == BUILT_FOR => Ok(()),
        Some(version) => Err(format!(
            "is of Python {version}, but this module was built for Python {BUILT_FOR}; recreate \
             the virtual environment with python{BUILT_FOR} -m venv"
        )),
        None => Err(format!(
            "is neither a virtual environment (it has no pyvenv.cfg that says a version) nor the \
             prefix of a Python {BUILT_FOR} (it has no lib/python{BUILT_FOR})"
        )),
    }
}

/// The major and minor version of a virtual environment or prefix.
fn version(home: &Path) -> Option<String> {
    if let Ok(config) = std::fs::read_to_string(home.join("pyvenv.cfg")) {
        return config.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            // venv writes `version`, virtualenv `version_info`.
            matches!(key.trim(), "version" | "version_info").then(|| major_minor(value.trim()))?
        });
    }
    let is_prefix = home.join("lib").join(format!("python{BUILT_FOR}")).join("os.py").is_file();
    is_prefix.then(|| BUILT_FOR.to_owned())
}

fn major_minor(version: &str) -> Option<String> {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next()?, parts.next()?);
    Some(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_of_another_version_is_told_apart() {
        let home = std::env::temp_dir().join(format!("pywsgi-home-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        assert!(check(&home).unwrap_err().contains("neither"));
        let config = home.join("pyvenv.cfg");
        for (text, good) in [
            (format!("home = /usr/bin\nversion = {BUILT_FOR}.2\n"), true),
            (format!("home = /usr/bin\nversion_info = {BUILT_FOR}.2.final.0\n"), true),
            ("home = /usr/bin\nversion = 2.7.18\n".to_owned(), false),
            ("home = /usr/bin\n".to_owned(), false),
        ] {
            std::fs::write(&config, &text).unwrap();
            assert_eq!(check(&home).is_ok(), good, "{text}");
        }
        std::fs::write(&config, "version = 2.7.18\n").unwrap();
        let message = check(&home).unwrap_err();
        assert!(message.contains("2.7") && message.contains(BUILT_FOR), "{message}");
        std::fs::remove_dir_all(&home).unwrap();
        assert!(check(&home).unwrap_err().contains("not a directory"));
    }
}
