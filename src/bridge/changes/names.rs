//! Which files and folders count, by their names.

/// What a folder is watched for. A folder that has several is watched for the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// It has modules that are imported, and are installed (`site-packages`): its own code.
    Installed,
    /// It has modules that are imported: its code, and that of the packages below.
    Code,
    /// `python_reload watch` names it: all files in it and below.
    Named,
}

/// Whether a file of that name counts.
pub(super) fn file_counts(kind: Kind, name: &[u8]) -> bool {
    !is_temporary(name) && (kind == Kind::Named && !is_compiled(name) || is_code(name))
}

/// Whether what is in a folder of that name counts.
pub(super) fn folder_counts(kind: Kind, name: &[u8]) -> bool {
    kind != Kind::Installed
        && !name.starts_with(b".")
        && !matches!(name, b"__pycache__" | b"node_modules")
}

/// Whether that is the name of a module's source or of an extension module.
pub(super) fn is_code(name: &[u8]) -> bool {
    name.ends_with(b".py") || name.ends_with(b".so")
}

fn is_compiled(name: &[u8]) -> bool {
    name.ends_with(b".pyc") || name.ends_with(b".pyo")
}

/// What editors write beside a file: hidden ones (vim's `.x.swp`, Emacs's `.#x`), backups (`x~`), what Emacs saves
/// (`#x#`), how vim finds out whether it may write (`4913`), and JetBrains' copies.
fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(b".")
        || name.starts_with(b"#")
        || name.ends_with(b"~")
        || name == b"4913"
        || name.ends_with(b"___jb_tmp___")
        || name.ends_with(b"___jb_old___")
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn code_counts_everywhere() {
        for kind in [Kind::Installed, Kind::Code, Kind::Named] {
            for name in ["app.py", "fast.cpython-313-x86_64-linux-gnu.so"] {
                assert!(file_counts(kind, name.as_bytes()), "{name}");
            }
            for name in ["app.pyc", ".app.py.swp", ".#app.py", "#app.py#", "app.py~", "4913"] {
                assert!(!file_counts(kind, name.as_bytes()), "{name}");
            }
            for name in ["app.py___jb_tmp___", "app.py___jb_old___", ".hidden.py"] {
                assert!(!file_counts(kind, name.as_bytes()), "{name}");
            }
        }
    }

    #[test]
    fn other_files_count_where_the_folder_is_named() {
        for name in ["page.html", "messages.po", "settings.toml"] {
            assert!(file_counts(Kind::Named, name.as_bytes()));
            assert!(!file_counts(Kind::Code, name.as_bytes()));
            assert!(!file_counts(Kind::Installed, name.as_bytes()));
        }
    }

    #[test]
    fn folders_below() {
        for kind in [Kind::Code, Kind::Named] {
            assert!(folder_counts(kind, b"shop"));
            for name in ["__pycache__", ".git", ".venv", "node_modules"] {
                assert!(!folder_counts(kind, name.as_bytes()), "{name}");
            }
        }
        assert!(!folder_counts(Kind::Installed, b"shop"));
    }
}
