//! The files and folders that the workers' user needs, and the error for one that it cannot use.
//!
//! Python says of a package in a folder that it cannot search that there is no such module.

use std::path::{Path, PathBuf};

use super::super::error::{ConfError, Place};
use super::access::{self, Need, Unusable, User};
use super::python_home::BUILT_FOR;
use crate::bridge::code::Code;

/// A file or folder, and the directive that wants it.
#[derive(Clone, Debug)]
pub(in crate::nginx) struct Needed {
    pub(in crate::nginx) directive: String,
    pub(in crate::nginx) path: PathBuf,
    pub(in crate::nginx) need: Need,
    pub(in crate::nginx) place: Place,
}

/// Checks that the workers' user can use each as it needs to.
pub(in crate::nginx) fn check(user: Option<User>, all: &[Needed]) -> Result<(), ConfError> {
    let files: Vec<_> = all.iter().map(|needed| (needed.path.as_path(), needed.need)).collect();
    let Some(Unusable { at, error }) = access::check(user, &files).map_err(unchecked)? else {
        return Ok(());
    };
    let Some(Needed { directive, path, need, place }) = all.get(at) else { return Ok(()) };
    let who = match user {
        Some(user) => format!("the workers' user (uid {})", user.uid),
        None => "this user".to_owned(),
    };
    let done = match need {
        Need::Read | Need::List => "read",
        Need::Search => "searched",
        Need::Execute => "executed",
        Need::Write => "written",
    };
    let remedy = match access::blocking_folder(user, path).map_err(unchecked)? {
        Some(folder) => format!(
            "the folder \"{}\" is in the way: let that user search it (chmod o+x)",
            folder.display()
        ),
        None => match need {
            Need::Execute if !path.exists() => {
                format!("recreate the virtual environment with python{BUILT_FOR} -m venv")
            }
            Need::Read => "let that user read it".to_owned(),
            Need::List => "let that user read and search it (chmod o+rx)".to_owned(),
            Need::Search => "let that user search it (chmod o+x)".to_owned(),
            Need::Execute => "let that user execute it".to_owned(),
            Need::Write => "let that user write to it".to_owned(),
        },
    };
    let text =
        format!("{directive} \"{}\" cannot be {done} by {who}: {error}; {remedy}", path.display());
    Err(ConfError::at(Code::FileUnusable, text, place))
}

fn unchecked(error: std::io::Error) -> ConfError {
    ConfError::new(
        Code::FilesUnchecked,
        format!("the files that the workers use cannot be checked: {error}"),
    )
}

/// The folder in which a virtual environment or prefix has its packages.
pub(in crate::nginx) fn site_packages(home: &Path) -> PathBuf {
    home.join("lib").join(format!("python{BUILT_FOR}")).join("site-packages")
}

/// A folder of installed packages, and the packages' own folders. Packages that were installed under a umask of 077
/// can be read by their owner only.
pub(in crate::nginx) fn installed(site: &Path) -> Vec<(PathBuf, Need)> {
    let mut all = vec![(site.to_path_buf(), Need::List)];
    // A folder that cannot be read here cannot be read by the workers' user: the check says so.
    let entries = std::fs::read_dir(site).into_iter().flatten().flatten();
    let mut packages: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_package_name))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    packages.sort();
    all.extend(packages.into_iter().map(|package| (package, Need::List)));
    all
}

/// Not `__pycache__` or `flask-3.0.dist-info`, nor the `~lask` that an interrupted pip leaves behind.
fn is_package_name(name: &str) -> bool {
    name != "__pycache__"
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|each| each.is_alphanumeric() || each == '_')
}

/// Whether it is a folder of installed packages, by its name.
pub(in crate::nginx) fn is_site(folder: &Path) -> bool {
    folder.ends_with("site-packages") || folder.ends_with("dist-packages")
}

/// The folders and files of a module's packages, in the first of `folders` that has it; nothing if none has.
pub(in crate::nginx) fn of_module(module: &str, folders: &[PathBuf]) -> Vec<(PathBuf, Need)> {
    folders
        .iter()
        .map(|folder| parts(module, folder))
        .find(|all| !all.is_empty())
        .unwrap_or_default()
}

fn parts(module: &str, folder: &Path) -> Vec<(PathBuf, Need)> {
    let mut all = Vec::new();
    let mut folder = folder.to_path_buf();
    for name in module.split('.') {
        let file = folder.join(format!("{name}.py"));
        folder.push(name);
        let init = folder.join("__init__.py");
        if init.exists() {
            all.extend([(folder.clone(), Need::List), (init, Need::Read)]);
        } else {
            if file.exists() {
                all.push((file, Need::Read));
            }
            break;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_package() {
        for name in ["flask", "_yaml", "Crypto", "pkg_2", "größe"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in ["__pycache__", "flask-3.0.dist-info", "~lask", "numpy.libs", "2to3", ".git"] {
            assert!(!is_package_name(name), "{name}");
        }
    }

    #[test]
    fn a_module_is_found_as_python_finds_it() {
        let root = std::env::temp_dir().join(format!("pywsgi-needed-{}", std::process::id()));
        let (one, two) = (root.join("one"), root.join("two"));
        std::fs::create_dir_all(one.join("shop")).unwrap();
        std::fs::create_dir_all(two.join("shop/web")).unwrap();
        for file in ["shop/__init__.py", "shop/web/__init__.py", "shop/web/wsgi.py", "single.py"] {
            std::fs::write(two.join(file), "").unwrap();
        }
        let folders = [one, two.clone()];
        let found = |module| -> Vec<String> {
            let all = of_module(module, &folders).into_iter();
            all.map(|(path, _)| path.strip_prefix(&two).unwrap().display().to_string()).collect()
        };
        let expected =
            ["shop", "shop/__init__.py", "shop/web", "shop/web/__init__.py", "shop/web/wsgi.py"];
        assert_eq!(found("shop.web.wsgi"), expected);
        assert_eq!(found("shop.missing.wsgi"), expected.get(..2).unwrap());
        assert_eq!(found("single"), ["single.py"]);
        assert!(found("missing.wsgi").is_empty());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
