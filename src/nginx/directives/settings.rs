//! How Python starts, lives and ends in a process: `python_NAME` in http, and `NAME=` of a `python_process`. One function
//! reads the words of either.

use std::mem::offset_of;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_TAKE1, NGX_CONF_TAKE12, NGX_CONF_TAKE123, ngx_command_t, ngx_str_t,
};

use self::Value::{Word, Words};
use super::reader::{Directive, setter};
use super::{command, interpreter, lifetime};
use crate::nginx::conf::{ConfError, Group, MainConf, Settings};

/// How many there are.
pub(super) const SETTINGS: usize = 14;

/// What a parameter's value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// One word of the directive, in one of several such parameters.
    Word,
    /// The directive's words with commas between them, at most so many.
    Words(usize),
}

struct Parameter {
    key: &'static str,
    value: Value,
    read: fn(Directive<'_, Settings>) -> Result<(), ConfError>,
}

/// Makes the directives and the parameters of what reads their words.
macro_rules! settings {
    ($(setting($name:literal, $arguments:expr, $value:expr, $module:ident::$key:ident);)+) => {
        mod setters {
            use super::*;

            $(setter!($key, Settings, $module::$key);)+
        }

        pub(super) const fn settings() -> [ngx_command_t; SETTINGS] {
            let at = offset_of!(MainConf, settings);
            [$(command::main_at($name, $arguments, setters::$key, at)),+]
        }

        const PARAMETERS: [Parameter; SETTINGS] =
            [$(Parameter { key: stringify!($key), value: $value, read: $module::$key }),+];
    };
}

settings! {
    setting("python_optimize\0", NGX_CONF_TAKE1, Words(1), interpreter::optimize);
    setting("python_dont_write_bytecode\0", NGX_CONF_TAKE1, Words(1), interpreter::dont_write_bytecode);
    setting("python_hash_seed\0", NGX_CONF_TAKE1, Words(1), interpreter::hash_seed);
    setting("python_warnings\0", NGX_CONF_1MORE, Word, interpreter::warnings);
    setting("python_xoption\0", NGX_CONF_1MORE, Word, interpreter::xoption);
    setting("python_switch_interval\0", NGX_CONF_TAKE1, Words(1), interpreter::switch_interval);
    setting("python_gc_freeze\0", NGX_CONF_TAKE1, Words(1), interpreter::gc_freeze);
    setting("python_finalize\0", NGX_CONF_TAKE12, Words(2), lifetime::finalize);
    setting("python_drain_timeout\0", NGX_CONF_TAKE1, Words(1), lifetime::drain_timeout);
    setting("python_max_stuck_threads\0", NGX_CONF_TAKE1, Words(1), lifetime::max_stuck_threads);
    setting("python_deadlock_timeout\0", NGX_CONF_TAKE1, Words(1), lifetime::deadlock_timeout);
    setting("python_max_requests\0", NGX_CONF_TAKE12, Words(2), lifetime::max_requests);
    setting("python_max_lifetime\0", NGX_CONF_TAKE12, Words(2), lifetime::max_lifetime);
    setting("python_memory_limit\0", NGX_CONF_TAKE123, Words(3), lifetime::memory_limit);
}

/// The keys of all, for a message.
pub(super) fn keys() -> String {
    PARAMETERS.map(|parameter| format!("{}=", parameter.key)).join(", ")
}

/// Whether a parameter of that name may be given more than once.
pub(super) fn is_repeated(key: &str) -> bool {
    PARAMETERS.iter().any(|parameter| parameter.key == key && parameter.value == Word)
}

/// Reads a parameter; false if there is none of that name.
pub(super) fn read(
    directive: &mut Directive<'_, MainConf>,
    group: &mut Group,
    key: &str,
    value: &str,
) -> Result<bool, ConfError> {
    let Some(parameter) = PARAMETERS.iter().find(|parameter| parameter.key == key) else {
        return Ok(false);
    };
    let subject = format!("{} {key}=", directive.lossy(0));
    let mut words = vec![word(&subject)];
    match parameter.value {
        Word => words.push(word(value)),
        Words(most) => {
            words.extend(value.split(',').map(word));
            if words.len() > 1 + most {
                return Err(directive.error(format!(
                    "{key}= has \"{value}\", which are {} words; it takes {most}",
                    words.len() - 1
                )));
            }
        }
    }
    let reading = &mut *directive.reading;
    (parameter.read)(Directive { reading, words: &words, conf: &mut group.settings })?;
    Ok(true)
}

/// As nginx gives one, for as long as the text lives.
fn word(text: &str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}
