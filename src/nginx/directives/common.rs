//! The directives that each protocol has under a prefix of its own, for http, server and location.

use std::mem::offset_of;
use std::ptr;

use nginx_sys::{
    NGX_CONF_1MORE, NGX_CONF_TAKE1, NGX_CONF_TAKE23, NGX_CONF_TAKE1234, ngx_command_t,
    ngx_conf_set_path_slot, ngx_conf_set_size_slot,
};

use super::command::{ANY, LOCATION, flag, location, milliseconds, size, size_of_at_least};
use super::reader::{Directive, setter};
use crate::bridge::code::Code;
use crate::bridge::config::{ClientAbort, Debug};
use crate::http::{field, header, path};
use crate::nginx::conf::checks::target::{self, Target};
use crate::nginx::conf::{App, CommonConf, ConfError, MainConf, Param, ParamValue};
use crate::nginx::sys;

/// Makes [`Names`] of their fields' names, and `named!(PREFIX)`, which fills them in.
macro_rules! names {
    ($dollar:tt $($name:ident)+) => {
        /// The directives' names under one prefix, each with a NUL.
        pub(super) struct Names {
            $(pub(super) $name: &'static str,)+
        }

        /// How many there are.
        pub(super) const COMMON: usize = [$(stringify!($name)),+].len();

        /// [`Names`] under a prefix, which must be a literal.
        macro_rules! named {
            ($dollar prefix:literal) => {
                $crate::nginx::directives::common::Names {
                    $($name: concat!($dollar prefix, "_", stringify!($name), "\0"),)+
                }
            };
        }

        pub(super) use named;
    };
}

names! { $
    app callable script_name path_info param
    pass_authorization pass_request_headers hide_header pass_header ignore_headers
    queue_timeout timeout slow_request kill_timeout
    request_buffering buffering buffer_size max_temp_file_size temp_path
    file_wrapper force_ranges accel intercept_errors early_hints
    client_abort debug process
}

/// The directives under a prefix. `at` is the offset at which `LocConf` has their [`CommonConf`]. docs/directives has a
/// page for each.
pub(super) const fn common(names: &Names, at: usize) -> [ngx_command_t; COMMON] {
    const TAKE1: u32 = NGX_CONF_TAKE1;
    const MORE: u32 = NGX_CONF_1MORE;
    [
        location(names.app, LOCATION, TAKE1, app, at),
        location(names.callable, ANY, MORE, callable, at),
        location(names.script_name, ANY, TAKE1, script_name, at),
        location(names.path_info, ANY, TAKE1, path_info, at),
        location(names.param, ANY, NGX_CONF_TAKE23, param, at),
        flag(names.pass_authorization, at + offset_of!(CommonConf, pass_authorization)),
        flag(names.pass_request_headers, at + offset_of!(CommonConf, pass_request_headers)),
        location(names.hide_header, ANY, TAKE1, hide_header, at),
        location(names.pass_header, ANY, TAKE1, pass_header, at),
        location(names.ignore_headers, ANY, MORE, ignore_headers, at),
        milliseconds(names.queue_timeout, at + offset_of!(CommonConf, queue_timeout)),
        milliseconds(names.timeout, at + offset_of!(CommonConf, timeout)),
        location(names.slow_request, ANY, TAKE1, slow_request, at),
        location(names.kill_timeout, ANY, TAKE1, kill_timeout, at),
        flag(names.request_buffering, at + offset_of!(CommonConf, request_buffering)),
        flag(names.buffering, at + offset_of!(CommonConf, buffering)),
        size(names.buffer_size, size_of_at_least::<4096>, at + offset_of!(CommonConf, buffer_size)),
        size(
            names.max_temp_file_size,
            ngx_conf_set_size_slot,
            at + offset_of!(CommonConf, max_temp_file_size),
        ),
        location(
            names.temp_path,
            ANY,
            NGX_CONF_TAKE1234,
            ngx_conf_set_path_slot,
            at + offset_of!(CommonConf, temp_path),
        ),
        flag(names.file_wrapper, at + offset_of!(CommonConf, file_wrapper)),
        flag(names.force_ranges, at + offset_of!(CommonConf, force_ranges)),
        flag(names.accel, at + offset_of!(CommonConf, accel)),
        flag(names.intercept_errors, at + offset_of!(CommonConf, intercept_errors)),
        flag(names.early_hints, at + offset_of!(CommonConf, early_hints)),
        location(names.client_abort, ANY, TAKE1, client_abort, at),
        location(names.debug, ANY, TAKE1, debug, at),
        location(names.process, ANY, TAKE1, process, at),
    ]
}

setter!(app, CommonConf, |directive| {
    directive.once(&directive.conf.app)?;
    let value = directive.text(1)?.to_owned();
    if value == "off" {
        directive.conf.app = Some(App::Off);
        return Ok(());
    }
    Target::split(&value).check().map_err(|what| directive.error(format!("\"{value}\" {what}")))?;
    let place = directive.reading.place();
    // SAFETY: this setter is one of a location: nobody refers to the main configuration.
    let content = unsafe { MainConf::of(directive.reading) }.handlers.content;
    let core = directive.reading.core_loc_conf();
    if let Some(handler) = core.handler {
        return Err(if ptr::fn_addr_eq(handler, content) {
            let other = directive.conf.prefix.other;
            directive.refuse(
                Code::ContentHandler,
                format!(
                    "stands beside {other}_app; a location has one application: remove one of them"
                ),
            )
        } else {
            directive.refuse(
                Code::ContentHandler,
                "stands beside another content handler; only one of them can serve a location: remove the other",
            )
        });
    }
    core.handler = Some(content);
    // SAFETY: the location's name is len bytes at data.
    if unsafe { sys::bytes(core.name) }.ends_with(b"/") {
        // As uwsgi_pass does: "/name" is redirected to "/name/".
        core.set_auto_redirect(1);
    }
    directive.conf.app = Some(App::Target(value, place));
    Ok(())
});

setter!(process, CommonConf, |directive| {
    directive.once(&directive.conf.process)?;
    let place = directive.reading.place();
    directive.conf.process = Some(match directive.text(1)? {
        "off" => None,
        name => Some((name.to_owned(), place)),
    });
    Ok(())
});

setter!(callable, CommonConf, |directive| {
    directive.once(&directive.conf.callables)?;
    let mut names = Vec::new();
    for at in 1..directive.words.len() {
        let name = directive.text(at)?;
        if !target::is_dotted_name(name) {
            return Err(directive.error(format!(
                "\"{name}\" is not the name of a callable; write an identifier such as application"
            )));
        }
        names.push(name.to_owned());
    }
    directive.conf.callables = Some(names);
    Ok(())
});

setter!(script_name, CommonConf, |directive| {
    directive.once(&directive.conf.script_name)?;
    let value = directive.bytes(1);
    let script_name = if value == b"off" {
        None
    } else {
        path::check_script_name(value).map_err(|error| directive.error(error.to_string()))?;
        Some(value.to_vec())
    };
    directive.conf.script_name = Some(script_name);
    Ok(())
});

setter!(path_info, CommonConf, |directive| {
    directive.once(&directive.conf.raw_path)?;
    directive.conf.raw_path = Some(match directive.bytes(1) {
        b"normalized" => false,
        b"raw" => true,
        _ => {
            let word = directive.lossy(1);
            return Err(directive.error(format!("has \"{word}\"; it must be normalized or raw")));
        }
    });
    Ok(())
});

setter!(slow_request, CommonConf, |directive| {
    directive.once(&directive.conf.slow_request)?;
    directive.conf.slow_request = Some(directive.time_or_off()?);
    Ok(())
});

setter!(kill_timeout, CommonConf, |directive| {
    directive.once(&directive.conf.kill_timeout)?;
    let time = directive.time_or_off()?;
    directive.conf.kill_timeout = Some((time, directive.reading.place()));
    Ok(())
});

setter!(client_abort, CommonConf, |directive| {
    directive.once(&directive.conf.client_abort)?;
    directive.conf.client_abort = Some(match directive.bytes(1) {
        b"ignore" => ClientAbort::Ignore,
        b"notify" => ClientAbort::Notify,
        b"cancel" => ClientAbort::Cancel,
        _ => {
            let word = directive.lossy(1);
            return Err(
                directive.error(format!("has \"{word}\"; it must be ignore, notify or cancel"))
            );
        }
    });
    Ok(())
});

setter!(debug, CommonConf, |directive| {
    directive.once(&directive.conf.debug)?;
    directive.conf.debug = Some(match directive.bytes(1) {
        b"off" => Debug::Off,
        b"traceback" => Debug::Traceback,
        b"validate" => Debug::Validate,
        _ => {
            let word = directive.lossy(1);
            return Err(
                directive.error(format!("has \"{word}\"; it must be off, traceback or validate"))
            );
        }
    });
    Ok(())
});

setter!(hide_header, CommonConf, |directive| {
    let name = header_name(&directive)?;
    directive.conf.hide_headers.get_or_insert_default().insert(&name);
    Ok(())
});

setter!(pass_header, CommonConf, |directive| {
    let name = header_name(&directive)?;
    directive.conf.pass_headers.get_or_insert_default().insert(&name);
    Ok(())
});

fn header_name<C>(directive: &Directive<'_, C>) -> Result<Vec<u8>, ConfError> {
    let name = directive.bytes(1);
    field::check_name(name).map_err(|error| directive.error(error.to_string()))?;
    Ok(name.to_vec())
}

setter!(ignore_headers, CommonConf, |directive| {
    let mut ignored = directive.conf.ignore_headers.take().unwrap_or_default();
    for at in 1..directive.words.len() {
        match header::classify(directive.bytes(at)) {
            kind if kind.is_accel() => ignored.push(kind),
            _ => {
                let word = directive.lossy(at);
                return Err(directive.error(format!(
                    "has \"{word}\"; only X-Accel-Buffering, X-Accel-Charset, X-Accel-Expires, \
                     X-Accel-Limit-Rate and X-Accel-Redirect can be ignored"
                )));
            }
        }
    }
    directive.conf.ignore_headers = Some(ignored);
    Ok(())
});

setter!(param, CommonConf, |directive| {
    let name = directive.bytes(1).to_vec();
    if name.is_empty() {
        return Err(directive.error("has an empty name; write NAME VALUE"));
    }
    if directive.conf.prefix.reserved_params.contains(&&*name) {
        let text = format!("sets {}, which is an object of the request's own", directive.lossy(1));
        return Err(directive.error(text));
    }
    let if_not_empty = match directive.bytes(3) {
        b"" => false,
        b"if_not_empty" => true,
        _ => {
            let word = directive.lossy(3);
            return Err(
                directive.error(format!("has \"{word}\"; only if_not_empty may follow the value"))
            );
        }
    };
    let value = if directive.bytes(2).contains(&b'$') {
        let text = *directive.words.get(2).ok_or_else(ConfError::out_of_memory)?;
        let compiled = directive.reading.compile(text)?;
        ParamValue::Complex(compiled.ok_or_else(|| {
            directive.error(format!("has the invalid value \"{}\"", directive.lossy(2)))
        })?)
    } else {
        ParamValue::Constant(directive.bytes(2).to_vec())
    };
    let param = Param { name, value, if_not_empty };
    directive.conf.params.get_or_insert_default().push(param);
    Ok(())
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_prefix_has_the_same_directives() {
        let Names { app, callable, request_buffering, debug, .. } = named!("other");
        assert_eq!(
            [app, callable, request_buffering, debug],
            ["other_app\0", "other_callable\0", "other_request_buffering\0", "other_debug\0"]
        );
        assert_eq!(COMMON, 27);
    }
}
