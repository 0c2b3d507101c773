//! The filters of `python_warnings`, which are those of Python's option `-W`:
//! `action:message:category:module:lineno`, of which all but the action may be missing.
//!
//! CPython itself only prints "Invalid -W option ignored" as it starts.

/// Those that any beginning of may be written (`warnings._getaction`).
const ACTIONS: [&str; 7] = ["default", "always", "all", "ignore", "module", "once", "error"];

/// The categories that need no module's name before them.
const CATEGORIES: [&str; 12] = [
    "Warning",
    "BytesWarning",
    "DeprecationWarning",
    "EncodingWarning",
    "FutureWarning",
    "ImportWarning",
    "PendingDeprecationWarning",
    "ResourceWarning",
    "RuntimeWarning",
    "SyntaxWarning",
    "UnicodeWarning",
    "UserWarning",
];

/// What is wrong with a filter, as the end of the sentence `python_warnings "FILTER" …`.
pub(in crate::nginx) fn check(filter: &str) -> Result<(), String> {
    let mut fields = filter.split(':').map(str::trim);
    let mut next = || fields.next().unwrap_or_default();
    let (action, _message, category, _module, line) = (next(), next(), next(), next(), next());
    if fields.next().is_some() {
        return Err(
            "has more than five fields; write action:message:category:module:lineno".to_owned()
        );
    }
    if action.is_empty() || !ACTIONS.iter().any(|known| known.starts_with(action)) {
        return Err(format!(
            "has the unknown action \"{action}\"; write default, error, ignore, always, module or once"
        ));
    }
    // Python imports the module of a category with a dot.
    if !category.is_empty() && !category.contains('.') && !CATEGORIES.contains(&category) {
        return Err(format!(
            "has the unknown category \"{category}\"; write one of {}, or module.Category",
            CATEGORIES.join(", ")
        ));
    }
    if !line.is_empty() && !line.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("has the line \"{line}\"; it must be a number, or be left out"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_python() {
        for good in [
            "error",
            "e",
            "all",
            "ignore::DeprecationWarning",
            "default:some text:UserWarning:shop.models:12",
            "error::shop.errors.Old",
            "once:::shop",
            "ignore: spaces : UserWarning",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            ("", "action"),
            (":text", "action"),
            ("loud", "\"loud\""),
            ("Error", "\"Error\""),
            ("errors", "\"errors\""),
            ("ignore::DepreciationWarning", "DeprecationWarning"),
            ("ignore::shop", "\"shop\""),
            ("ignore::::x", "\"x\""),
            ("ignore::::-1", "\"-1\""),
            ("ignore::::1:", "five fields"),
            ("a:b:c:d:1:e", "five fields"),
        ] {
            let what = check(bad).unwrap_err();
            assert!(what.contains(word), "{bad}: {what}");
        }
    }
}
