//! The `python_*` directives, for http.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_2MORE, NGX_CONF_TAKE1, NGX_CONF_TAKE12, NGX_CONF_TAKE123,
    ngx_command_t, ngx_parse_size, ngx_str_t,
};

use super::reader::{Directive, setter};
use super::{command, startup};
use crate::bridge::code::Code;
use crate::bridge::config::{LoopConfig, LoopKind, PoolConfig};
use crate::nginx::conf::checks::access::Need;
use crate::nginx::conf::checks::python_home;
use crate::nginx::conf::{
    Check, ConfError, DEFAULT_CHECK, DEFAULT_MAX_QUEUE, MainConf, Place, Variable,
};

/// How many there are.
pub(super) const MAIN: usize = 14;

pub(super) const fn main() -> [ngx_command_t; MAIN] {
    [
        command::main("python_home\0", NGX_CONF_TAKE1, home),
        command::main("python_path\0", NGX_CONF_1MORE, path),
        command::main("python_executable\0", NGX_CONF_TAKE1, executable),
        command::main("python_env\0", NGX_CONF_1MORE, env),
        command::main("python_env_file\0", NGX_CONF_TAKE1, startup::env_file),
        command::main("python_working_directory\0", NGX_CONF_TAKE1, startup::working_directory),
        command::main("python_resolve_symlinks\0", NGX_CONF_TAKE1, startup::resolve_symlinks),
        command::main("python_import\0", NGX_CONF_1MORE, startup::import),
        command::main("python_check\0", NGX_CONF_TAKE123, check),
        command::main("python_thread_pool\0", NGX_CONF_2MORE, thread_pool),
        command::main("python_event_loop\0", NGX_CONF_TAKE12, event_loop),
        command::main("python_reload\0", NGX_CONF_1MORE, startup::reload),
        command::main("python_stdout_log_level\0", NGX_CONF_TAKE1, stdout_log_level),
        command::main("python_stderr_log_level\0", NGX_CONF_TAKE1, stderr_log_level),
    ]
}

setter!(home, MainConf, |directive| {
    directive.once(&directive.conf.home)?;
    let home = directive.path(1)?;
    python_home::check(&home)
        .map_err(|what| directive.error(format!("\"{}\" {what}", home.display())))?;
    let place = directive.reading.place();
    directive.conf.need("python_home", home.clone(), Need::List, &place);
    directive.conf.home = Some(home);
    Ok(())
});

setter!(path, MainConf, |directive| {
    for at in 1..directive.words.len() {
        let path = directive.path(at)?;
        if !path.is_dir() {
            return Err(directive.error(format!(
                "\"{}\" is not a directory; write one that has modules or packages",
                path.display()
            )));
        }
        let place = directive.reading.place();
        directive.conf.need("python_path", path.clone(), Need::List, &place);
        directive.conf.path.push(path);
    }
    Ok(())
});

setter!(executable, MainConf, |directive| {
    directive.once(&directive.conf.executable)?;
    let path = directive.path(1)?;
    if !is_executable(&path) {
        return Err(directive.error(format!(
            "\"{}\" is not an executable file; write the path of a Python",
            path.display()
        )));
    }
    let place = directive.reading.place();
    directive.conf.need("python_executable", path.clone(), Need::Execute, &place);
    directive.conf.executable = Some(path);
    Ok(())
});

pub(super) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

setter!(env, MainConf, |directive| {
    for at in 1..directive.words.len() {
        let variable = variable(&directive, directive.bytes(at))?;
        let name = variable.name.to_string_lossy().into_owned();
        // The values are left out: the message is logged, and one may be a secret.
        directive.conf.environment.add(variable).map_err(|Place { file, line }| {
            ConfError::new(Code::EnvironmentTwice, format!(
                "python_env has another value for \"{name}\" than in {file}:{line}; all applications of a \
                 worker share one environment: give it one value, or another one to a python_process"
            ))
        })?;
    }
    Ok(())
});

/// A variable of the environment, as `NAME` or `NAME=VALUE`.
pub(super) fn variable(
    directive: &Directive<'_, MainConf>,
    word: &[u8],
) -> Result<Variable, ConfError> {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default();
    if name.is_empty() || name.contains(&0) {
        let word = String::from_utf8_lossy(word);
        return Err(directive.error(format!("\"{word}\" has no name; write NAME or NAME=VALUE")));
    }
    Ok(Variable {
        name: OsStr::from_bytes(name).to_owned(),
        value: parts.next().map(|value| OsStr::from_bytes(value).to_owned()),
        place: directive.reading.place(),
    })
}

setter!(check, MainConf, |directive| {
    directive.once(&directive.conf.check)?;
    let mut check = Check { enabled: directive.on_or_off(directive.bytes(1))?, ..DEFAULT_CHECK };
    for at in 2..directive.words.len() {
        let word = directive.bytes(at);
        if let Some(value) = Directive::<MainConf>::option(word, "timeout") {
            check.timeout = match directive.time(value)? {
                0 => return Err(directive.error("has a timeout of 0; write a time such as 60s")),
                time => Duration::from_millis(time as u64),
            };
        } else if let Some(value) = Directive::<MainConf>::option(word, "lifespan") {
            check.lifespan = directive.on_or_off(value)?;
        } else {
            let word = directive.lossy(at);
            return Err(directive.error(format!(
                "has the unknown parameter \"{word}\"; it takes timeout=TIME and lifespan=on|off"
            )));
        }
    }
    directive.conf.check = Some(check);
    Ok(())
});

setter!(thread_pool, MainConf, |directive| {
    let name = directive.text(1)?.to_owned();
    if name == "inline" || name.is_empty() {
        return Err(directive.error(format!("cannot be named \"{name}\"; write another name")));
    }
    if directive.conf.pools.iter().any(|pool| pool.name == name) {
        return Err(
            directive.error(format!("\"{name}\" is defined twice; give each pool its own name"))
        );
    }
    let mut threads = None;
    let mut max_queue = DEFAULT_MAX_QUEUE;
    let mut stack = None;
    for at in 2..directive.words.len() {
        let word = directive.bytes(at).to_vec();
        if let Some(value) = Directive::<MainConf>::option(&word, "threads") {
            threads = Some(directive.number("threads", value, 1)?);
        } else if let Some(value) = Directive::<MainConf>::option(&word, "max_queue") {
            max_queue = directive.number("max_queue", value, 0)?;
        } else if let Some(value) = Directive::<MainConf>::option(&word, "stack") {
            stack = Some(stack_size(&directive, value)?);
        } else {
            let word = directive.lossy(at);
            return Err(directive.error(format!(
                "has the unknown parameter \"{word}\"; it takes threads=N, max_queue=M and stack=SIZE"
            )));
        }
    }
    let Some(threads) = threads else {
        return Err(
            directive.error(format!("\"{name}\" has no threads=N; write threads=8, for example"))
        );
    };
    directive.conf.pools.push(PoolConfig { name, threads, max_queue, stack });
    Ok(())
});

/// Python itself uses some hundred kilobytes before it calls an application.
const LEAST_STACK: isize = 256 * 1024;

fn stack_size<C>(directive: &Directive<'_, C>, value: &[u8]) -> Result<usize, ConfError> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: the value is readable for its length.
    let size = unsafe { ngx_parse_size(&raw mut text) };
    if size < LEAST_STACK {
        let value = String::from_utf8_lossy(value);
        return Err(
            directive.error(format!("has stack={value}; it must be a size of at least 256k"))
        );
    }
    usize::try_from(size).map_err(|_| ConfError::out_of_memory())
}

setter!(event_loop, MainConf, |directive| {
    let name = directive.text(1)?.to_owned();
    if name.is_empty() {
        return Err(directive.error("has an empty name; write NAME, and asyncio, uvloop or auto"));
    }
    if directive.conf.loops.iter().any(|known| known.name == name) {
        return Err(directive
            .error(format!("\"{name}\" is defined twice; give each event loop its own name")));
    }
    let kind = match directive.bytes(2) {
        b"auto" => LoopKind::Auto,
        b"asyncio" => LoopKind::Asyncio,
        b"uvloop" => LoopKind::Uvloop,
        _ if directive.words.len() == 2 => LoopKind::Auto,
        _ => {
            let word = directive.lossy(2);
            return Err(
                directive.error(format!("has \"{word}\"; it must be asyncio, uvloop or auto"))
            );
        }
    };
    directive.conf.loops.push(LoopConfig { name, kind });
    Ok(())
});

setter!(stdout_log_level, MainConf, |directive| {
    directive.once(&directive.conf.stdout_level)?;
    directive.conf.stdout_level = Some(directive.level(directive.bytes(1))?);
    Ok(())
});

setter!(stderr_log_level, MainConf, |directive| {
    directive.once(&directive.conf.stderr_level)?;
    directive.conf.stderr_level = Some(directive.level(directive.bytes(1))?);
    Ok(())
});
