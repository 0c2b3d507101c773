//! The `asgi_*` directives: what they have in common with those of other protocols, and what ASGI alone has.

use std::time::Duration;

use nginx_sys::{ngx_flag_t, ngx_msec_t};

use super::common::{App, CommonConf, Prefix, inherit, merge_flag, merge_size};
use super::error::{ConfError, Place};
use super::location::{Location, Own};
use super::main::{DEFAULT_LOOP, Logs, MainConf};
use super::reading::Reading;
use crate::bridge::code::Code;
use crate::bridge::config::{
    AppConfig, AsgiConfig, ExecutorId, Lifespan, LifespanConfig, Protocol, WebSocketConfig,
};
use crate::nginx::sys::{CONF_UNSET, CONF_UNSET_SIZE};

static PREFIX: Prefix = Prefix {
    protocol: Protocol::Asgi,
    other: Protocol::Wsgi,
    request_buffering: false,
    max_temp_file_size: 0,
    // They are a dict of their own in the scope.
    reserved_params: &[],
};

#[derive(Debug)]
pub(in crate::nginx) struct AsgiConf {
    pub(in crate::nginx) common: CommonConf,
    pub(in crate::nginx) event_loop: Option<(String, Place)>,
    /// `Some(None)`: off.
    pub(in crate::nginx) max_in_flight: Option<Option<usize>>,
    pub(in crate::nginx) lifespan: Option<LifespanConfig>,
    pub(in crate::nginx) websocket: ngx_flag_t,
    pub(in crate::nginx) max_message_size: usize,
    /// 0: off.
    pub(in crate::nginx) ping_interval: Option<ngx_msec_t>,
    /// 0: off.
    pub(in crate::nginx) ping_timeout: Option<ngx_msec_t>,
    pub(in crate::nginx) deflate: ngx_flag_t,
    pub(in crate::nginx) queue: usize,
}

impl AsgiConf {
    pub(super) fn new() -> Self {
        Self {
            common: CommonConf::new(&PREFIX),
            event_loop: None,
            max_in_flight: None,
            lifespan: None,
            websocket: CONF_UNSET,
            max_message_size: CONF_UNSET_SIZE,
            ping_interval: None,
            ping_timeout: None,
            deflate: CONF_UNSET,
            queue: CONF_UNSET_SIZE,
        }
    }

    pub(super) fn merge(
        &mut self,
        reading: &mut Reading,
        previous: &AsgiConf,
    ) -> Result<(), ConfError> {
        inherit(&mut self.event_loop, &previous.event_loop);
        inherit(&mut self.max_in_flight, &previous.max_in_flight);
        inherit(&mut self.lifespan, &previous.lifespan);
        inherit(&mut self.ping_interval, &previous.ping_interval);
        inherit(&mut self.ping_timeout, &previous.ping_timeout);
        merge_flag(&mut self.websocket, previous.websocket, 1);
        merge_flag(&mut self.deflate, previous.deflate, 1);
        merge_size(&mut self.max_message_size, previous.max_message_size, 16 * 1024 * 1024);
        merge_size(&mut self.queue, previous.queue, 64 * 1024);
        self.common.merge(reading, &previous.common)
    }

    /// The location, if it has an application of ASGI.
    pub(super) fn location(
        &self,
        main: &mut MainConf,
        logs: &Logs,
    ) -> Result<Option<Location>, ConfError> {
        let Some(App::Target(target, place)) = &self.common.app else { return Ok(None) };
        let event_loop = self.event_loop(main, place)?;
        let group = self.common.group(main)?;
        let app = AppConfig {
            protocol: Protocol::Asgi,
            target: target.clone(),
            resolved: target.clone(),
            callables: self.common.callables(),
            asgi: Some(AsgiConfig {
                event_loop,
                lifespan: self.lifespan.clone().unwrap_or(DEFAULT_LIFESPAN),
            }),
            group,
        };
        let own = Own {
            app: main.add_app(app, place)?,
            group,
            executor: ExecutorId::Loop(event_loop),
            // Its task is cancelled at once.
            interrupt: None,
            max_in_flight: self.max_in_flight.flatten(),
            websocket: (self.websocket != 0).then(|| self.websocket()),
        };
        Ok(Some(Location::new(&self.common, main, logs, own)))
    }

    fn event_loop(&self, main: &MainConf, app: &Place) -> Result<usize, ConfError> {
        let name = self.event_loop.as_ref().map_or(DEFAULT_LOOP, |(name, _)| name);
        let place = self.event_loop.as_ref().map_or(app, |(_, place)| place);
        main.loop_named(name).map_err(|known| {
            let text = format!(
                "asgi_event_loop \"{name}\" is not defined; write python_event_loop {name}; in http, or use \
                 one of: {}",
                known.join(", ")
            );
            ConfError::at(Code::LoopUndefined, text, place)
        })
    }

    fn websocket(&self) -> WebSocketConfig {
        WebSocketConfig {
            max_message_size: self.max_message_size,
            ping_interval: limit(self.ping_interval.unwrap_or(PING)),
            ping_timeout: limit(self.ping_timeout.unwrap_or(PING)),
            deflate: self.deflate != 0,
            queue: self.queue,
        }
    }
}

fn limit(time: ngx_msec_t) -> Option<Duration> {
    (time > 0).then(|| Duration::from_millis(time as u64))
}

pub(in crate::nginx) const DEFAULT_LIFESPAN: LifespanConfig = LifespanConfig {
    mode: Lifespan::Auto,
    startup_timeout: Duration::from_secs(60),
    shutdown_timeout: Duration::from_secs(10),
};

/// Milliseconds.
const PING: ngx_msec_t = 20_000;
