//! What is counted of a request (`python_status`).

use super::Request;
use crate::bridge::callbacks::Gone;
use crate::bridge::exchange::Exchange;
use crate::metrics::meters::{Count, Time};

/// The request is in flight no more, whether its application has been called or not.
/// `status` is that of the response, if there is one.
pub(super) fn ended(request: &Request<'_>, exchange: &Exchange, status: Option<u16>) {
    if exchange.worker.reports.is_wanted() {
        exchange.report.set_status(status);
    }
    let meter = exchange.meter();
    meter.end(status);
    if request.upgraded.get().is_some() {
        meter.socket(false);
    }
    if exchange.gone() == Some(Gone::Client) {
        meter.count(Count::ClientGone);
    }
    if exchange.gone() == Some(Gone::TimedOut) {
        meter.count(Count::TimedOut);
    }
    let timings = &exchange.timings;
    meter.took(Time::Queue, timings.queue());
    if let Some(took) = timings.application() {
        meter.took(Time::Application, took);
        if exchange.has_thread() {
            meter.took(Time::GilWait, timings.gil_wait());
        }
    }
}

/// nginx is about to log the request: its client has all that it gets.
pub(super) fn sent(request: &Request<'_>, exchange: &Exchange) {
    if exchange.worker.reports.is_wanted() {
        exchange.report.set_sent(request.body_bytes_sent());
    }
}

/// Its client has all of its response, or is gone.
pub(super) fn over(exchange: &Exchange) {
    exchange.meter().took(Time::Response, exchange.timings.elapsed());
}
