//! The settings of how long a process lives, and of how it ends ([`settings`](super::settings)).

use std::time::Duration;

use nginx_sys::{ngx_parse_offset, ngx_str_t};

use super::reader::{Directive, decimal};
use crate::nginx::conf::{ConfError, Jittered, MemoryLimit, Settings};

pub(super) fn finalize(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.finalize)?;
    let on = directive.on_or_off(directive.bytes(1))?;
    let mut timeout = 2000;
    if directive.words.len() > 2 {
        let word = directive.bytes(2).to_vec();
        let Some(value) = Directive::<Settings>::option(&word, "timeout") else {
            let word = directive.lossy(2);
            return Err(directive.error(format!("has \"{word}\"; only timeout=TIME may follow")));
        };
        timeout = directive.time(value)?;
    }
    directive.conf.finalize = Some((on, Duration::from_millis(timeout as u64)));
    Ok(())
}

pub(super) fn drain_timeout(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.drain_timeout)?;
    let value = directive.bytes(1).to_vec();
    directive.conf.drain_timeout = Some(directive.time(&value)?);
    Ok(())
}

pub(super) fn max_stuck_threads(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.max_stuck_threads)?;
    directive.conf.max_stuck_threads = Some(count(&directive, 0)?);
    Ok(())
}

pub(super) fn deadlock_timeout(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.deadlock_timeout)?;
    directive.conf.deadlock_timeout = Some(directive.time_or_off()?);
    Ok(())
}

pub(super) fn max_requests(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.max_requests)?;
    if is_off(&directive) {
        directive.conf.max_requests = Some(None);
        return Ok(());
    }
    let least = count(&directive, 1)? as u64;
    let jitter = match jitter(&directive)? {
        Some(value) => directive.number("jitter", value, 0)? as u64,
        None => 0,
    };
    directive.conf.max_requests = Some(Some(Jittered { least, jitter }));
    Ok(())
}

pub(super) fn max_lifetime(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.max_lifetime)?;
    if is_off(&directive) {
        directive.conf.max_lifetime = Some(None);
        return Ok(());
    }
    let least = directive.time(directive.bytes(1))? as u64;
    if least == 0 {
        return Err(directive.error("has a time of 0; write a time such as 12h"));
    }
    let jitter = match jitter(&directive)? {
        Some(value) => directive.time(value)? as u64,
        None => 0,
    };
    directive.conf.max_lifetime = Some(Some(Jittered { least, jitter }));
    Ok(())
}

/// `off` alone.
fn is_off(directive: &Directive<'_, Settings>) -> bool {
    directive.words.len() == 2 && directive.bytes(1) == b"off"
}

/// The value of `jitter=`, which may follow the first argument.
fn jitter<'a>(directive: &'a Directive<'_, Settings>) -> Result<Option<&'a [u8]>, ConfError> {
    if directive.words.len() == 2 {
        return Ok(None);
    }
    let value = Directive::<Settings>::option(directive.bytes(2), "jitter");
    value.map(Some).ok_or_else(|| {
        let word = directive.lossy(2);
        directive.error(format!("has the unknown parameter \"{word}\"; it takes jitter="))
    })
}

pub(super) fn memory_limit(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.memory_limit)?;
    if is_off(&directive) {
        directive.conf.memory_limit = Some(None);
        return Ok(());
    }
    let (mut soft, mut hard, mut check) = (None, None, MEMORY_CHECK);
    for at in 1..directive.words.len() {
        let word = directive.bytes(at);
        if let Some(value) = Directive::<Settings>::option(word, "soft") {
            soft = Some(bytes(&directive, "soft", value)?);
        } else if let Some(value) = Directive::<Settings>::option(word, "hard") {
            hard = Some(bytes(&directive, "hard", value)?);
        } else if let Some(value) = Directive::<Settings>::option(word, "check") {
            check = directive.time(value)?;
        } else if at == 1 && !word.contains(&b'=') {
            soft = Some(bytes(&directive, "soft", word)?);
        } else {
            let word = directive.lossy(at);
            return Err(directive.error(format!(
                "has the unknown parameter \"{word}\"; it takes soft=SIZE, hard=SIZE and check=TIME"
            )));
        }
    }
    let Some(soft) = soft else {
        return Err(directive.error("has no soft=SIZE; write soft=500m, for example"));
    };
    if hard.is_some_and(|hard| hard <= soft) {
        return Err(directive.error("has a hard limit that is not above the soft one"));
    }
    if check == 0 {
        return Err(directive.error("has check=0; write a time such as 5s"));
    }
    directive.conf.memory_limit = Some(Some(MemoryLimit { soft, hard, check }));
    Ok(())
}

/// How often the memory is looked at by default, in milliseconds.
const MEMORY_CHECK: usize = 5000;

fn bytes<C>(directive: &Directive<'_, C>, key: &str, value: &[u8]) -> Result<u64, ConfError> {
    let mut text = ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() };
    // SAFETY: the value is readable for its length.
    let size = unsafe { ngx_parse_offset(&raw mut text) };
    u64::try_from(size).ok().filter(|size| *size > 0).ok_or_else(|| {
        let value = String::from_utf8_lossy(value);
        directive.error(format!("has {key}={value}; it must be a size such as 500m"))
    })
}

/// The first argument, a number of at least `least`.
fn count(directive: &Directive<'_, Settings>, least: usize) -> Result<usize, ConfError> {
    decimal(directive.bytes(1)).filter(|number| *number >= least).ok_or_else(|| {
        let word = directive.lossy(1);
        directive.error(format!("has \"{word}\"; it must be a number of at least {least}"))
    })
}
