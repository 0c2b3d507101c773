//! `python_status` and `python_status_zone`.

use std::mem::offset_of;

use nginx_sys::{
    NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_HTTP_LOC_CONF, ngx_command_t, ngx_parse_size, ngx_str_t,
};

use super::command;
use super::reader::setter;
use crate::nginx::conf::{LocConf, MainConf, Place, Shown, StatusFormat};

/// How many there are.
pub(super) const STATUS: usize = 2;

pub(super) const fn status() -> [ngx_command_t; STATUS] {
    [
        command::location(
            "python_status\0",
            NGX_HTTP_LOC_CONF,
            NGX_CONF_NOARGS | NGX_CONF_TAKE1,
            show,
            offset_of!(LocConf, status),
        ),
        command::main("python_status_zone\0", NGX_CONF_TAKE1, zone),
    ]
}

setter!(show, Option<(StatusFormat, Place)>, |directive| {
    directive.once(directive.conf)?;
    let format = match directive.words.len() {
        1 => StatusFormat::Chosen,
        _ => StatusFormat::Fixed(Shown::named(directive.bytes(1)).ok_or_else(|| {
            directive.error(format!("has \"{}\"; it must be {}", directive.lossy(1), Shown::NAMES))
        })?),
    };
    // SAFETY: the directive reads into the location, and nobody else refers to the main configuration.
    let main = unsafe { MainConf::of(directive.reading) };
    main.has_status = true;
    let handler = main.handlers.status;
    let place = directive.reading.place();
    *directive.conf = Some((format, place));
    directive.reading.core_loc_conf().handler = Some(handler);
    Ok(())
});

/// Below this there would be no room for one process.
const LEAST: usize = 64 * 1024;

setter!(zone, MainConf, |directive| {
    directive.once(&directive.conf.status_zone)?;
    let value = directive.bytes(1);
    // SAFETY: the value is readable for its length.
    let parsed = unsafe {
        ngx_parse_size(&mut ngx_str_t { len: value.len(), data: value.as_ptr().cast_mut() })
    };
    let size = usize::try_from(parsed).ok().filter(|size| *size >= LEAST).ok_or_else(|| {
        let value = directive.lossy(1);
        directive.error(format!("has \"{value}\"; it must be a size of at least {}k", LEAST / 1024))
    })?;
    directive.conf.status_zone = Some(size);
    Ok(())
});
