//! Contexts `http`, `server` and `location`: what the directives of all protocols set there, and the location that comes
//! of it.

use std::ptr;

use nginx_sys::ngx_http_request_t;

use super::asgi::AsgiConf;
use super::common::inherit;
use super::error::{ConfError, Place};
use super::handlers::Handlers;
use super::location::Location;
use super::main::{Logs, MainConf};
use super::output::Output;
use super::reading::Reading;
use super::status::StatusFormat;
use super::wsgi::WsgiConf;
use crate::bridge::code::Code;
use crate::nginx::sys;

/// What nginx keeps for each level, as `create_loc_conf` makes it. A location uses the directives of the protocol
/// that its application has.
#[derive(Debug)]
pub(in crate::nginx) struct LocConf {
    pub(in crate::nginx) wsgi: WsgiConf,
    pub(in crate::nginx) asgi: AsgiConf,
    /// `python_status`, which is not inherited.
    pub(in crate::nginx) status: Option<(StatusFormat, Place)>,
    /// `python_log`
    pub(in crate::nginx) output: Option<Output>,
    /// Made by the merge, if this location has an application.
    location: Option<Location>,
}

impl LocConf {
    pub(super) fn new() -> Self {
        Self {
            wsgi: WsgiConf::new(),
            asgi: AsgiConf::new(),
            status: None,
            output: None,
            location: None,
        }
    }

    /// Inherits from `previous` what this level does not set, and settles what its requests need.
    pub(super) fn merge(
        &mut self,
        reading: &mut Reading,
        previous: &LocConf,
    ) -> Result<(), ConfError> {
        // SAFETY: nginx merges levels; it has no reference to the main configuration.
        let Handlers { content, status, .. } = unsafe { MainConf::of(reading) }.handlers;
        self.wsgi.merge(reading, &previous.wsgi)?;
        self.asgi.merge(reading, &previous.asgi)?;
        self.wsgi.common.inherit_app(reading, content, &previous.wsgi.common)?;
        self.asgi.common.inherit_app(reading, content, &previous.asgi.common)?;
        if let Some((_, place)) = &self.status {
            let handler = reading.core_loc_conf().handler;
            if !handler.is_some_and(|handler| ptr::fn_addr_eq(handler, status)) {
                let text = "python_status stands beside another content handler, which would win; only one of them can \
                            serve a location";
                return Err(ConfError::at(Code::ContentHandler, text, place));
            }
        }
        inherit(&mut self.output, &previous.output);
        let output = self.output.clone().unwrap_or_else(|| Output::by_default(reading.place()));
        let logs = Logs { error: reading.core_loc_conf().error_log, output };
        // SAFETY: as above.
        let main = unsafe { MainConf::of(reading) };
        self.location = match self.wsgi.location(main, &logs)? {
            Some(location) => Some(location),
            None => self.asgi.location(main, &logs)?,
        };
        Ok(())
    }
}

/// The request's location, if it has an application.
///
/// # Safety
///
/// `r` is a live request.
pub(in crate::nginx) unsafe fn location_of<'a>(r: *mut ngx_http_request_t) -> Option<&'a Location> {
    // SAFETY: `create_loc_conf` makes a LocConf for every location; nothing changes it while requests are served.
    unsafe { (*sys::loc_conf::<LocConf>(r, sys::own_module())).location.as_ref() }
}

/// What the request's location shows, if it has `python_status`.
///
/// # Safety
///
/// `r` is a live request.
pub(in crate::nginx) unsafe fn status_of(r: *mut ngx_http_request_t) -> Option<StatusFormat> {
    // SAFETY: as for `location_of`.
    let conf = unsafe { &*sys::loc_conf::<LocConf>(r, sys::own_module()) };
    conf.status.as_ref().map(|(format, _)| *format)
}
