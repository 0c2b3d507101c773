//! The settings of CPython itself ([`settings`](super::settings)).

use std::time::Duration;

use super::reader::Directive;
use crate::bridge::config::HashSeed;
use crate::nginx::conf::checks::{warning_filter, xoption};
use crate::nginx::conf::{ConfError, Settings};

pub(super) fn optimize(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.interpreter.optimize)?;
    directive.conf.interpreter.optimize = Some(match directive.bytes(1) {
        b"0" => 0,
        b"1" => 1,
        b"2" => 2,
        _ => {
            let word = directive.lossy(1);
            return Err(directive.error(format!(
                "has \"{word}\"; it must be 0, 1 (without assert) or 2 (without docstrings, too)"
            )));
        }
    });
    Ok(())
}

pub(super) fn dont_write_bytecode(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.interpreter.dont_write_bytecode)?;
    directive.conf.interpreter.dont_write_bytecode = Some(directive.on_or_off(directive.bytes(1))?);
    Ok(())
}

pub(super) fn hash_seed(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.interpreter.hash_seed)?;
    let seed = match directive.bytes(1) {
        b"random" => Some(HashSeed::Random),
        word if word.iter().all(u8::is_ascii_digit) => {
            let number = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
            number.map(HashSeed::Fixed)
        }
        _ => None,
    };
    let Some(seed) = seed else {
        let word = directive.lossy(1);
        return Err(directive.error(format!(
            "has \"{word}\"; it must be random, or a number from 0 to {}",
            u32::MAX
        )));
    };
    directive.conf.interpreter.hash_seed = Some(seed);
    Ok(())
}

pub(super) fn warnings(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    for at in 1..directive.words.len() {
        let filter = directive.text(at)?.to_owned();
        warning_filter::check(&filter).map_err(|what| about(&directive, &filter, &what))?;
        directive.conf.interpreter.warnings.push(filter);
    }
    Ok(())
}

pub(super) fn xoption(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    for at in 1..directive.words.len() {
        let option = directive.text(at)?.to_owned();
        xoption::check(&option).map_err(|what| about(&directive, &option, &what))?;
        let known = &mut directive.conf.interpreter.xoptions;
        let name = xoption::name(&option);
        match known.iter().find(|known| xoption::name(known) == name) {
            Some(other) if *other != option => {
                let what =
                    format!("contradicts \"{other}\", which stands before it; give it one value");
                return Err(about(&directive, &option, &what));
            }
            Some(_) => {}
            None => known.push(option),
        }
    }
    Ok(())
}

pub(super) fn switch_interval(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.interpreter.switch_interval)?;
    let value = directive.bytes(1).to_vec();
    let time = directive.time(&value)?;
    if time == 0 {
        return Err(directive.error("must be at least 1ms"));
    }
    directive.conf.interpreter.switch_interval = Some(Duration::from_millis(time as u64));
    Ok(())
}

pub(super) fn gc_freeze(directive: Directive<'_, Settings>) -> Result<(), ConfError> {
    directive.once(&directive.conf.interpreter.gc_freeze)?;
    directive.conf.interpreter.gc_freeze = Some(directive.on_or_off(directive.bytes(1))?);
    Ok(())
}

fn about<C>(directive: &Directive<'_, C>, word: &str, what: &str) -> ConfError {
    directive.error(format!("\"{word}\" {what}"))
}
