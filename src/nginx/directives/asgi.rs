//! The directives that ASGI alone has.

use std::mem::offset_of;
use std::time::Duration;

use nginx_sys::{NGX_CONF_TAKE1, NGX_CONF_TAKE123, ngx_command_t};

use super::command::{self, ANY, flag, location, size, size_of_at_least};
use super::reader::{Directive, decimal, setter};
use crate::bridge::config::{Lifespan, LifespanConfig};
use crate::nginx::conf::asgi::{AsgiConf, DEFAULT_LIFESPAN};
use crate::nginx::conf::{ConfError, LocConf, MainConf};

/// How many there are.
pub(super) const ASGI: usize = 10;

pub(super) const fn asgi() -> [ngx_command_t; ASGI] {
    const TAKE1: u32 = NGX_CONF_TAKE1;
    const CONF: usize = offset_of!(LocConf, asgi);
    [
        location("asgi_event_loop\0", ANY, TAKE1, event_loop, CONF),
        location("asgi_max_requests_in_flight\0", ANY, TAKE1, max_requests_in_flight, CONF),
        location("asgi_lifespan\0", ANY, NGX_CONF_TAKE123, lifespan, CONF),
        flag("asgi_websocket\0", CONF + offset_of!(AsgiConf, websocket)),
        size(
            "asgi_websocket_max_message_size\0",
            size_of_at_least::<1024>,
            CONF + offset_of!(AsgiConf, max_message_size),
        ),
        location("asgi_websocket_ping_interval\0", ANY, TAKE1, ping_interval, CONF),
        location("asgi_websocket_ping_timeout\0", ANY, TAKE1, ping_timeout, CONF),
        flag("asgi_websocket_deflate\0", CONF + offset_of!(AsgiConf, deflate)),
        size(
            "asgi_websocket_queue\0",
            size_of_at_least::<4096>,
            CONF + offset_of!(AsgiConf, queue),
        ),
        command::main("asgi_stall_warning\0", TAKE1, stall_warning),
    ]
}

setter!(event_loop, AsgiConf, |directive| {
    directive.once(&directive.conf.event_loop)?;
    let name = directive.text(1)?.to_owned();
    directive.conf.event_loop = Some((name, directive.reading.place()));
    Ok(())
});

setter!(max_requests_in_flight, AsgiConf, |directive| {
    directive.once(&directive.conf.max_in_flight)?;
    directive.conf.max_in_flight = Some(match directive.bytes(1) {
        b"off" => None,
        value => Some(decimal(value).filter(|number| *number > 0).ok_or_else(|| {
            let word = directive.lossy(1);
            directive.error(format!("has \"{word}\"; it must be a number of at least 1, or off"))
        })?),
    });
    Ok(())
});

setter!(lifespan, AsgiConf, |directive| {
    directive.once(&directive.conf.lifespan)?;
    let mode = match directive.bytes(1) {
        b"auto" => Lifespan::Auto,
        b"on" => Lifespan::On,
        b"off" => Lifespan::Off,
        _ => {
            let word = directive.lossy(1);
            return Err(directive.error(format!("has \"{word}\"; it must be auto, on or off")));
        }
    };
    let LifespanConfig { mut startup_timeout, mut shutdown_timeout, .. } = DEFAULT_LIFESPAN;
    for at in 2..directive.words.len() {
        let word = directive.bytes(at);
        if let Some(value) = Directive::<AsgiConf>::option(word, "startup_timeout") {
            startup_timeout = timeout(&directive, value)?;
        } else if let Some(value) = Directive::<AsgiConf>::option(word, "shutdown_timeout") {
            shutdown_timeout = timeout(&directive, value)?;
        } else {
            let word = directive.lossy(at);
            return Err(directive.error(format!(
                "has the unknown parameter \"{word}\"; it takes startup_timeout=TIME and shutdown_timeout=TIME"
            )));
        }
    }
    directive.conf.lifespan = Some(LifespanConfig { mode, startup_timeout, shutdown_timeout });
    Ok(())
});

fn timeout<C>(directive: &Directive<'_, C>, value: &[u8]) -> Result<Duration, ConfError> {
    match directive.time(value)? {
        0 => Err(directive.error("has a timeout of 0; write a time such as 60s")),
        time => Ok(Duration::from_millis(time as u64)),
    }
}

setter!(ping_interval, AsgiConf, |directive| {
    directive.once(&directive.conf.ping_interval)?;
    directive.conf.ping_interval = Some(directive.time_or_off()?);
    Ok(())
});

setter!(ping_timeout, AsgiConf, |directive| {
    directive.once(&directive.conf.ping_timeout)?;
    directive.conf.ping_timeout = Some(directive.time_or_off()?);
    Ok(())
});

setter!(stall_warning, MainConf, |directive| {
    directive.once(&directive.conf.stall_warning)?;
    directive.conf.stall_warning = Some(directive.time_or_off()?);
    Ok(())
});
