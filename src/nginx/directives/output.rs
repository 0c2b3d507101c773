//! `python_log`, for http, server and location.

use std::mem::offset_of;
use std::sync::Arc;

use nginx_sys::{NGX_CONF_TAKE123, ngx_command_t};

use super::command::{ANY, location};
use super::reader::{Directive, setter};
use crate::bridge::log::Level;
use crate::bridge::output_log::{Destination, OutputLog};
use crate::nginx::conf::{ConfError, LocConf, MainConf, Output};

/// How many there are.
pub(super) const OUTPUT: usize = 1;

pub(super) const fn output() -> [ngx_command_t; OUTPUT] {
    const CONF: usize = offset_of!(LocConf, output);
    [location("python_log\0", ANY, NGX_CONF_TAKE123, log, CONF)]
}

setter!(log, Option<Output>, |directive| {
    directive.once(directive.conf)?;
    let (mut json, mut level) = (false, None);
    for at in 2..directive.words.len() {
        match directive.bytes(at) {
            b"json" if !json => json = true,
            word if level.is_none() => match Directive::<Option<Output>>::option(word, "level") {
                Some(name) => level = Some(directive.level(name)?),
                None => return Err(unknown(&directive, at)),
            },
            _ => return Err(unknown(&directive, at)),
        }
    }
    let target = directive.bytes(1).to_vec();
    let place = directive.reading.place();
    // SAFETY: this setter is not one of the main configuration: nobody else refers to that.
    let outputs = unsafe { &raw mut MainConf::of(directive.reading).outputs };
    // SAFETY: as above; reading this directive, which `directive.reading` is needed for, does not touch it.
    let outputs = unsafe { &mut *outputs };
    let to = match target.as_slice() {
        b"" => return Err(directive.error("has an empty name; write a file, or off")),
        b"off" => Destination::Nowhere,
        b"error_log" if json => {
            return Err(directive.error(
                "cannot write json to the error_log, to whose lines nginx adds its own text; write a file, a syslog \
                 or stderr",
            ));
        }
        b"error_log" => Destination::ErrorLog,
        b"stderr" => outputs.standard_error(),
        name if name.starts_with(b"syslog:") => {
            outputs.syslog(directive.reading)?.ok_or_else(|| {
                directive.error(format!("has the invalid syslog \"{}\"", directive.lossy(1)))
            })?
        }
        name => outputs.file(directive.reading, name)?,
    };
    let log = Arc::new(OutputLog { to, json, level: level.unwrap_or(Level::Debug) });
    let output = Output { log, place };
    if directive.reading.is_http() {
        outputs.of_http = Some(output.clone());
    }
    *directive.conf = Some(output);
    Ok(())
});

fn unknown<C>(directive: &Directive<'_, C>, at: usize) -> ConfError {
    let word = directive.lossy(at);
    directive.error(format!("has \"{word}\"; only json and level=LEVEL may follow, each once"))
}
