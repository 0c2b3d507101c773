//! The options of `python_xoption`, which are those of Python's `-X`: `NAME` or `NAME=VALUE`.
//!
//! An application may have options of its own (`sys._xoptions`), so that names are not checked; but with some values
//! CPython does not start.

/// The part before `=`.
pub(in crate::nginx) fn name(option: &str) -> &str {
    option.split('=').next().unwrap_or_default()
}

/// What is wrong with an option, as the end of the sentence `python_xoption "OPTION" …`.
pub(in crate::nginx) fn check(option: &str) -> Result<(), String> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    let number = value.and_then(|value| {
        value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse::<i32>().ok())?
    });
    let what = match name {
        "" => "has no name; write NAME or NAME=VALUE",
        // PyPreConfig.utf8_mode
        "utf8" => "has no effect: Python always runs in UTF-8 mode; remove it",
        // CPython looks for it on its command line and in the environment (`_PyPreCmdline_Read`).
        "warn_default_encoding" => "has no effect; write python_env PYTHONWARNDEFAULTENCODING=1",
        "tracemalloc" if value.is_some() && number.is_none_or(|frames| frames == 0) => {
            "has no number of frames; write tracemalloc=5, for example"
        }
        "int_max_str_digits" if number.is_none_or(|digits| (1..640).contains(&digits)) => {
            "has no number of digits; write int_max_str_digits=N with N at least 640, or 0 for no limit"
        }
        "frozen_modules" if !matches!(value, Some("on" | "off")) => {
            "must be frozen_modules=on or frozen_modules=off"
        }
        _ => return Ok(()),
    };
    Err(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_with_which_python_starts() {
        for good in [
            "dev",
            "faulthandler",
            "tracemalloc",
            "tracemalloc=25",
            "int_max_str_digits=0",
            "int_max_str_digits=640",
            "frozen_modules=off",
            "pycache_prefix=/var/cache/pyc",
            "own=a=b",
            "own",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "=1",
            "utf8",
            "utf8=0",
            "warn_default_encoding",
            "tracemalloc=",
            "tracemalloc=0",
            "tracemalloc=-1",
            "tracemalloc=x",
            "tracemalloc=99999999999",
            "int_max_str_digits",
            "int_max_str_digits=639",
            "int_max_str_digits=-1",
            "frozen_modules",
            "frozen_modules=maybe",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_name_ends_at_the_first_equals_sign() {
        assert_eq!((name("own=a=b"), name("dev"), name("")), ("own", "dev", ""));
    }
}
