//! CPython uses bytecode if the source's size, and its time in whole seconds, are those that it notes. A file that is
//! saved twice within a second would not be read again.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Removes the bytecode of a source file, as far as this user may.
pub(super) fn remove(source: &Path) {
    let (Some(folder), Some(stem)) = (source.parent(), source.file_stem()) else { return };
    if source.extension() != Some(OsStr::new("py")) {
        return;
    }
    let prefix = [stem.as_bytes(), b"."].concat();
    for entry in fs::read_dir(folder.join("__pycache__")).into_iter().flatten().flatten() {
        if entry.file_name().as_bytes().starts_with(&prefix) {
            // Bytecode that this user may not remove is not of the worker's making.
            let _not_ours = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn that_of_one_source() {
        let root = std::env::temp_dir().join(format!("pywsgi-bytecode-{}", std::process::id()));
        let cache = root.join("__pycache__");
        fs::create_dir_all(&cache).unwrap();
        for name in ["app.cpython-313.pyc", "app.cpython-313.opt-1.pyc", "apples.cpython-313.pyc"] {
            fs::write(cache.join(name), "").unwrap();
        }
        remove(&root.join("app.so"));
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 3);
        remove(&root.join("app.py"));
        let left: Vec<_> =
            fs::read_dir(&cache).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(left, ["apples.cpython-313.pyc"]);
        remove(&root.join("nowhere/app.py"));
        fs::remove_dir_all(&root).unwrap();
    }
}
