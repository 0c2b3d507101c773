//! The `python_*` directives about how a worker's Python starts: what it imports first, and where from.

use std::ffi::OsString;
use std::path::Path;

use super::reader::{Directive, setter};
use crate::bridge::changes::touched::Touched;
use crate::bridge::changes::watch::Reload;
use crate::nginx::conf::checks::access::Need;
use crate::nginx::conf::checks::target::is_dotted_name;
use crate::nginx::conf::env_file::{self, FileVariable};
use crate::nginx::conf::{ConfError, MainConf, Place, Variable};

setter!(import, MainConf, |directive| {
    for at in 1..directive.words.len() {
        let name = directive.text(at)?.to_owned();
        if let Some(what) = fault_of_module(&name) {
            return Err(directive.error(format!("\"{name}\" {what}")));
        }
        let place = directive.reading.place();
        let own_name = directive.lossy(0);
        directive.conf.add_import(name, &own_name, &place);
    }
    Ok(())
});

/// What is wrong with the name of a module, if anything.
pub(super) fn fault_of_module(name: &str) -> Option<&'static str> {
    if name.contains('/') || name.ends_with(".py") {
        Some(
            "is a file; write the module's name, such as package.module, and its folder in python_path",
        )
    } else if !is_dotted_name(name) {
        Some("is not the name of a module; write one such as package.module")
    } else {
        None
    }
}

setter!(reload, MainConf, |directive| {
    directive.once(&directive.conf.reload)?;
    let (name, place) = (directive.lossy(0), directive.reading.place());
    let reload = match (directive.bytes(1), directive.words.len()) {
        (b"off", 2) => Reload::Off,
        (b"touch", 3) => {
            let file = directive.path(2)?;
            let Some(folder) = file.parent().filter(|folder| folder.is_dir()) else {
                return Err(directive.error(format!(
                    "touch \"{}\" is in no directory that is there; the file itself may be made later",
                    file.display()
                )));
            };
            directive.conf.need(name, folder.to_path_buf(), Need::Search, &place);
            Reload::Touch(Touched::new(file))
        }
        (b"touch", _) => return Err(directive.error("touch takes one file; write touch FILE")),
        (b"watch", _) => {
            let folders: Vec<_> = (2..directive.words.len())
                .map(|at| directive.path(at))
                .collect::<Result<_, _>>()?;
            for folder in &folders {
                if !folder.is_dir() {
                    return Err(directive.error(format!(
                        "watch \"{}\" is not a directory; write one whose files the applications use",
                        folder.display()
                    )));
                }
                directive.conf.need(name.clone(), folder.clone(), Need::List, &place);
            }
            Reload::Watch(folders)
        }
        _ => {
            let words: Vec<_> = (1..directive.words.len()).map(|at| directive.lossy(at)).collect();
            return Err(directive.error(format!(
                "has \"{}\"; write off, touch FILE, or watch [DIRECTORY…]",
                words.join(" ")
            )));
        }
    };
    directive.conf.reload = Some(reload);
    Ok(())
});

setter!(working_directory, MainConf, |directive| {
    directive.once(&directive.conf.directory)?;
    let path = directive.path(1)?;
    if !path.is_dir() {
        return Err(directive.error(format!(
            "\"{}\" is not a directory; write one that the workers' user can search",
            path.display()
        )));
    }
    let (name, place) = (directive.lossy(0), directive.reading.place());
    directive.conf.need(name, path.clone(), Need::Search, &place);
    directive.conf.directory = Some(path);
    Ok(())
});

setter!(resolve_symlinks, MainConf, |directive| {
    directive.once(&directive.conf.resolve_symlinks)?;
    directive.conf.resolve_symlinks = Some(directive.on_or_off(directive.bytes(1))?);
    Ok(())
});

// The file is read now, as the user who reads the configuration: it may hold what nobody else should read, not even the
// workers' user.
setter!(env_file, MainConf, |directive| {
    let path = directive.path(1)?;
    for variable in variables_of_file(&directive, &path)? {
        let (name, line) = (variable.name.to_string_lossy().into_owned(), variable.place.line);
        if let Err(Place { file, line: first }) = directive.conf.environment.add_of_file(variable) {
            // The values are left out: the message is logged, and one may be a secret.
            return Err(directive.error(format!(
                "\"{}\", line {line}, has another value for \"{name}\" than in {file}:{first}; all applications of \
                 a worker share one environment: give it one value, or another one to a python_process",
                path.display()
            )));
        }
    }
    Ok(())
});

/// The variables of a file.
pub(super) fn variables_of_file<C>(
    directive: &Directive<'_, C>,
    path: &Path,
) -> Result<Vec<Variable>, ConfError> {
    let variable = |FileVariable { name, value, line }| Variable {
        name: OsString::from(name),
        value: Some(OsString::from(value)),
        place: Place { file: path.display().to_string(), line },
    };
    Ok(read_env_file(directive, path)?.into_iter().map(variable).collect())
}

fn read_env_file<C>(
    directive: &Directive<'_, C>,
    path: &Path,
) -> Result<Vec<FileVariable>, ConfError> {
    if path.exists() && !path.is_file() {
        return Err(directive.error(format!(
            "\"{}\" is not a file; write the path of one with lines such as NAME=VALUE",
            path.display()
        )));
    }
    if path.metadata().is_ok_and(|file| file.len() > LARGEST_ENV_FILE) {
        return Err(directive.error(format!(
            "\"{}\" is larger than 1 MB; write the path of a file with lines such as NAME=VALUE",
            path.display()
        )));
    }
    let file = std::fs::read(path).map_err(|error| {
        directive.error(format!(
            "\"{}\" cannot be read: {error}; write the path of a file that is there, and that who starts nginx can \
             read",
            path.display()
        ))
    })?;
    env_file::parse(&file).map_err(|fault| {
        directive.error(format!("\"{}\", line {}, {}", path.display(), fault.line, fault.what))
    })
}

/// The environment of a program is limited by much less (execve(2)).
const LARGEST_ENV_FILE: u64 = 1024 * 1024;
