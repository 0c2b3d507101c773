//! The `wsgi_*` directives: what they have in common with those of other protocols, and what WSGI alone has.

use std::time::Duration;

use nginx_sys::ngx_msec_t;

use super::common::{App, CommonConf, Prefix, inherit};
use super::error::{ConfError, Place};
use super::location::{Location, Own};
use super::main::{DEFAULT_POOL, Logs, MainConf};
use super::reading::Reading;
use crate::bridge::code::Code;
use crate::bridge::config::{AppConfig, ExecutorId, Protocol};

static PREFIX: Prefix = Prefix {
    protocol: Protocol::Wsgi,
    other: Protocol::Asgi,
    request_buffering: true,
    max_temp_file_size: 1024 * 1024 * 1024,
    reserved_params: &[b"wsgi.input", b"pywsgi.request"],
};

/// `wsgi_thread_pool inline`: the event loop's own thread.
const INLINE: &str = "inline";

/// Milliseconds.
const INTERRUPT_TIMEOUT: ngx_msec_t = 10_000;

#[derive(Debug)]
pub(in crate::nginx) struct WsgiConf {
    pub(in crate::nginx) common: CommonConf,
    pub(in crate::nginx) thread_pool: Option<(String, Place)>,
    /// 0: off.
    pub(in crate::nginx) interrupt_timeout: Option<ngx_msec_t>,
}

impl WsgiConf {
    pub(super) fn new() -> Self {
        Self { common: CommonConf::new(&PREFIX), thread_pool: None, interrupt_timeout: None }
    }

    pub(super) fn merge(
        &mut self,
        reading: &mut Reading,
        previous: &WsgiConf,
    ) -> Result<(), ConfError> {
        inherit(&mut self.thread_pool, &previous.thread_pool);
        inherit(&mut self.interrupt_timeout, &previous.interrupt_timeout);
        self.common.merge(reading, &previous.common)
    }

    /// The location, if it has an application of WSGI.
    pub(super) fn location(
        &self,
        main: &mut MainConf,
        logs: &Logs,
    ) -> Result<Option<Location>, ConfError> {
        let Some(App::Target(target, place)) = &self.common.app else { return Ok(None) };
        let executor = self.executor(main, place)?;
        let group = self.common.group(main)?;
        if group.is_some() && executor.is_inline() {
            let process = self.common.process.as_ref().and_then(Option::as_ref);
            let place = process.map_or(place, |(_, place)| place);
            let text = "wsgi_thread_pool inline and wsgi_process exclude each other: a process runs its applications \
                        on threads; write wsgi_thread_pool default, or wsgi_process off";
            return Err(ConfError::at(Code::GroupInline, text, place));
        }
        let app = AppConfig {
            protocol: Protocol::Wsgi,
            target: target.clone(),
            resolved: target.clone(),
            callables: self.common.callables(),
            asgi: None,
            group,
        };
        let app = main.add_app(app, place)?;
        let interrupt = self.interrupt_timeout.unwrap_or(INTERRUPT_TIMEOUT);
        let own = Own {
            app,
            group,
            executor,
            // The event loop is not interrupted.
            interrupt: (interrupt > 0 && !executor.is_inline())
                .then(|| Duration::from_millis(interrupt as u64)),
            max_in_flight: None,
            websocket: None,
        };
        Ok(Some(Location::new(&self.common, main, logs, own)))
    }

    fn executor(&self, main: &MainConf, app: &Place) -> Result<ExecutorId, ConfError> {
        let name = self.thread_pool.as_ref().map_or(DEFAULT_POOL, |(name, _)| name);
        let place = self.thread_pool.as_ref().map_or(app, |(_, place)| place);
        if name != INLINE {
            return main.pool_named(name).map(ExecutorId::Pool).map_err(|known| {
                let text = format!(
                    "wsgi_thread_pool \"{name}\" is not defined; write python_thread_pool {name} \
                     threads=N; in http, or use one of: {}, {INLINE}",
                    known.join(", ")
                );
                ConfError::at(Code::PoolUndefined, text, place)
            });
        }
        if self.common.request_buffering == 0 {
            let text = "wsgi_thread_pool inline and wsgi_request_buffering off exclude each other: the \
                        event loop cannot wait for a request's body";
            return Err(ConfError::at(Code::InlineUnbuffered, text, place));
        }
        Ok(ExecutorId::Inline)
    }
}
