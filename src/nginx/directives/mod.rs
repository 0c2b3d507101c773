//! The directives: their table.

mod asgi;
mod command;
mod common;
mod confinement;
mod groups;
mod interpreter;
mod lifetime;
mod main;
mod output;
mod reader;
mod settings;
mod startup;
mod status;
mod wsgi;

use std::mem::offset_of;

use nginx_sys::ngx_command_t;

use self::asgi::{ASGI, asgi};
use self::common::{COMMON, common, named};
use self::groups::{GROUPS, groups};
use self::main::{MAIN, main};
use self::output::{OUTPUT, output};
use self::settings::{SETTINGS, settings};
use self::status::{STATUS, status};
use self::wsgi::{WSGI, wsgi};
use super::conf::LocConf;

/// One array, as nginx reads it, in parts.
#[repr(C)]
pub(super) struct Table {
    wsgi_common: [ngx_command_t; COMMON],
    wsgi: [ngx_command_t; WSGI],
    asgi_common: [ngx_command_t; COMMON],
    asgi: [ngx_command_t; ASGI],
    main: [ngx_command_t; MAIN],
    settings: [ngx_command_t; SETTINGS],
    groups: [ngx_command_t; GROUPS],
    output: [ngx_command_t; OUTPUT],
    status: [ngx_command_t; STATUS],
    end: ngx_command_t,
}

/// The directive table; docs/directives has a page for each.
pub(super) static mut COMMANDS: Table = Table {
    wsgi_common: common(&named!("wsgi"), offset_of!(LocConf, wsgi.common)),
    wsgi: wsgi(),
    asgi_common: common(&named!("asgi"), offset_of!(LocConf, asgi.common)),
    asgi: asgi(),
    main: main(),
    settings: settings(),
    groups: groups(),
    output: output(),
    status: status(),
    end: ngx_command_t::empty(),
};
