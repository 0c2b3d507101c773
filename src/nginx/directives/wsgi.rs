//! The directives that WSGI alone has.

use std::mem::offset_of;

use nginx_sys::{NGX_CONF_TAKE1, ngx_command_t};

use super::command::{ANY, location};
use super::reader::setter;
use crate::nginx::conf::LocConf;
use crate::nginx::conf::wsgi::WsgiConf;

/// How many there are.
pub(super) const WSGI: usize = 2;

pub(super) const fn wsgi() -> [ngx_command_t; WSGI] {
    const CONF: usize = offset_of!(LocConf, wsgi);
    [
        location("wsgi_thread_pool\0", ANY, NGX_CONF_TAKE1, thread_pool, CONF),
        location("wsgi_interrupt_timeout\0", ANY, NGX_CONF_TAKE1, interrupt_timeout, CONF),
    ]
}

setter!(thread_pool, WsgiConf, |directive| {
    directive.once(&directive.conf.thread_pool)?;
    let name = directive.text(1)?.to_owned();
    directive.conf.thread_pool = Some((name, directive.reading.place()));
    Ok(())
});

setter!(interrupt_timeout, WsgiConf, |directive| {
    directive.once(&directive.conf.interrupt_timeout)?;
    directive.conf.interrupt_timeout = Some(directive.time_or_off()?);
    Ok(())
});
