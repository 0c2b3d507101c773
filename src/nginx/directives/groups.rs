//! `python_process`: a group of processes that run applications beside the workers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nginx_sys::{NGX_CONF_1MORE, ngx_command_t, ngx_parse_size, ngx_str_t};

use super::command;
use super::confinement;
use super::main::{is_executable, variable};
use super::reader::{Directive, setter};
use super::{settings, startup};
use crate::bridge::code::Code;
use crate::bridge::process::ring;
use crate::nginx::conf::checks::access::Need;
use crate::nginx::conf::checks::python_home;
use crate::nginx::conf::groups::{Lazy, MOST_PROCESSES};
use crate::nginx::conf::{ConfError, Group, MainConf};

/// How many there are.
pub(super) const GROUPS: usize = 1;

pub(super) const fn groups() -> [ngx_command_t; GROUPS] {
    [command::main("python_process\0", NGX_CONF_1MORE, process)]
}

/// A part of a request or a response has up to 64 KiB.
const LEAST_RING: usize = ring::SMALLEST;
const LARGEST_RING: usize = 64 * 1024 * 1024;

/// Milliseconds: Python starts anew after each.
const LEAST_IDLE: usize = 1000;

/// The parameters that may be given more than once, those of [`settings`] aside.
const REPEATED: [&str; 5] = ["path", "env", "env_file", "import", "writable"];

setter!(process, MainConf, |mut directive| {
    let name = directive.text(1)?.to_owned();
    if !is_name(&name) {
        return Err(directive.error(format!(
            "cannot be named \"{name}\"; write letters, digits, \"_\", \"-\" and \".\", and not off"
        )));
    }
    let mut group = Group::new(name, directive.reading.place());
    let mut seen = Vec::new();
    let (mut start, mut idle) = (None, None);
    for at in 2..directive.words.len() {
        let word = directive.text(at)?.to_owned();
        let (key, value) = word.split_once('=').ok_or_else(|| unknown(&directive, &word))?;
        let is_repeated = REPEATED.contains(&key) || settings::is_repeated(key);
        if !is_repeated && seen.iter().any(|known| known == key) {
            return Err(directive.error(format!("has {key}= twice; remove one of both")));
        }
        seen.push(key.to_owned());
        match key {
            "start" => start = Some(value.to_owned()),
            "idle" => idle = Some(value.to_owned()),
            _ => {}
        }
        if !read(&mut directive, &mut group, key, value)? {
            return Err(unknown(&directive, &word));
        }
    }
    confinement::check(&directive, &group)?;
    group.lazy = lazy(&directive, start, idle)?;
    let name = group.name.clone();
    directive.conf.groups.add(group).map_err(|first| {
        directive.refuse(
            Code::GroupTwice,
            format!(
                "\"{name}\" is defined twice, first in {}:{}; give each group its own name",
                first.file, first.line
            ),
        )
    })
});

/// A name becomes a part of the title of a process, and of messages.
fn is_name(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty() && name != "off" && name.bytes().all(is_good)
}

fn unknown(directive: &Directive<'_, MainConf>, word: &str) -> ConfError {
    directive.error(format!(
        "has the unknown parameter \"{word}\"; it takes processes=N, threads=N, queue=N, home=DIRECTORY, \
         path=DIRECTORY, executable=FILE, working_directory=DIRECTORY, env=NAME=VALUE, env_file=FILE, import=MODULE, \
         ring=SIZE, start=lazy, idle=TIME, keep=on|off, {}, {}",
        settings::keys(),
        confinement::PARAMETERS
    ))
}

/// Reads a parameter; false if there is none of that name.
fn read(
    directive: &mut Directive<'_, MainConf>,
    group: &mut Group,
    key: &str,
    value: &str,
) -> Result<bool, ConfError> {
    match key {
        "processes" => {
            let number = directive.number(key, value.as_bytes(), 1)?;
            if number > MOST_PROCESSES {
                return Err(directive.error(format!(
                    "has processes={value}; it must be a number of at most {MOST_PROCESSES}"
                )));
            }
            group.processes = number;
        }
        "threads" => group.threads = Some(directive.number(key, value.as_bytes(), 1)?),
        "queue" => group.max_queue = Some(directive.number(key, value.as_bytes(), 0)?),
        "ring" => group.ring = ring(directive, value)?,
        "keep" => {
            group.keep = match value {
                "on" => true,
                "off" => false,
                _ => {
                    return Err(
                        directive.error(format!("has keep={value}; write keep=on or keep=off"))
                    );
                }
            }
        }
        // Both are read together.
        "start" | "idle" => {}
        "home" => {
            let home = absolute(directive, key, value)?;
            python_home::check(&home)
                .map_err(|what| directive.error(format!("has home={value}, which {what}")))?;
            need(directive, group, key, &home, Need::List);
            group.home = Some(home);
        }
        "path" => {
            let path = folder(directive, key, value, "write one that has modules or packages")?;
            need(directive, group, key, &path, Need::List);
            group.path.push(path);
        }
        "working_directory" => {
            let what = "write one that the workers' user can search";
            let path = folder(directive, key, value, what)?;
            need(directive, group, key, &path, Need::Search);
            group.directory = Some(path);
        }
        "executable" => {
            let path = absolute(directive, key, value)?;
            if !is_executable(&path) {
                return Err(directive.error(format!(
                    "has executable={value}, which is not an executable file; write the path of a Python"
                )));
            }
            need(directive, group, key, &path, Need::Execute);
            group.executable = Some(path);
        }
        "import" => {
            let imports = group.imports.get_or_insert_default();
            if value != "off" {
                if let Some(what) = startup::fault_of_module(value) {
                    return Err(directive.error(format!("has import={value}, which {what}")));
                }
                imports.push((value.to_owned(), group.place.clone()));
            }
        }
        "env_file" => {
            let path = absolute(directive, key, value)?;
            for variable in startup::variables_of_file(directive, &path)? {
                let name = variable.name.to_string_lossy().into_owned();
                group.add_variable_of_file(variable).map_err(|_| {
                    directive.refuse(
                        Code::EnvironmentTwice,
                        format!("has two values for {name} in env_file={value}; give it one value"),
                    )
                })?;
            }
        }
        "env" => {
            let variable = variable(directive, value.as_bytes())?;
            let name = variable.name.to_string_lossy().into_owned();
            // The values are left out: the message is logged, and one may be a secret.
            group.add_variable(variable).map_err(|_| {
                directive.refuse(
                    Code::EnvironmentTwice,
                    format!("has two values for env={name}; give it one value"),
                )
            })?;
        }
        _ => {
            return Ok(settings::read(directive, group, key, value)?
                || confinement::read(directive, group, key, value)?);
        }
    }
    Ok(true)
}

/// `start=` and `idle=`
fn lazy(
    directive: &Directive<'_, MainConf>,
    start: Option<String>,
    idle: Option<String>,
) -> Result<Option<Lazy>, ConfError> {
    if let Some(start) = start.as_ref().filter(|start| *start != "lazy") {
        return Err(directive.error(format!(
            "has start={start}; write start=lazy, or remove it: processes start at once by default"
        )));
    }
    let Some(idle) = idle else { return Ok(start.map(|_| Lazy { idle: None })) };
    if start.is_none() {
        return Err(directive.error(format!(
            "has idle={idle} without start=lazy, and a process that ended would start again at once; write both"
        )));
    }
    let time = directive.time(idle.as_bytes())?;
    if time < LEAST_IDLE {
        return Err(directive.error(format!("has idle={idle}; it must be a time of at least 1s")));
    }
    Ok(Some(Lazy { idle: Some(time) }))
}

fn absolute(
    directive: &Directive<'_, MainConf>,
    key: &str,
    value: &str,
) -> Result<PathBuf, ConfError> {
    let path = Path::new(OsStr::from_bytes(value.as_bytes()));
    if path.is_absolute() {
        return Ok(path.to_path_buf());
    }
    Err(directive.error(format!(
        "has {key}={value}, which is not an absolute path; write one that begins with /"
    )))
}

fn folder(
    directive: &Directive<'_, MainConf>,
    key: &str,
    value: &str,
    remedy: &str,
) -> Result<PathBuf, ConfError> {
    let path = absolute(directive, key, value)?;
    if path.is_dir() {
        return Ok(path);
    }
    Err(directive.error(format!("has {key}={value}, which is not a directory; {remedy}")))
}

/// Notes that the workers' user must be able to use it.
pub(super) fn need(
    directive: &mut Directive<'_, MainConf>,
    group: &Group,
    key: &str,
    path: &Path,
    need: Need,
) {
    directive.conf.need_as(group.needed(key, path.to_path_buf(), need));
}

fn ring(directive: &Directive<'_, MainConf>, value: &str) -> Result<usize, ConfError> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: the value is readable for its length.
    let size = unsafe { ngx_parse_size(&raw mut text) };
    let size = usize::try_from(size).ok();
    size.filter(|size| (LEAST_RING..=LARGEST_RING).contains(size)).ok_or_else(|| {
        directive.error(format!("has ring={value}; it must be a size from 64k to 64m"))
    })
}
