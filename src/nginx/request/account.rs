//! What is counted of a request (`python_status`).

use super::Request;
use super::finalize::Ending;
use crate::bridge::callbacks::Gone;
use crate::bridge::exchange::Exchange;
use crate::nginx::sys;
use crate::status::meters::{Count, Time};

/// The request is in flight no more, whether its application has been called or not.
pub(super) fn ended(request: &Request<'_>, exchange: &Exchange, ending: Ending) {
    let meter = exchange.meter();
    meter.end(status(request, ending));
    if request.upgraded.get().is_some() {
        meter.socket(false);
    }
    if exchange.gone() == Some(Gone::Client) {
        meter.count(Count::ClientGone);
    }
    if ending == Ending::TimedOut {
        meter.count(Count::TimedOut);
    }
    let timings = &exchange.timings;
    meter.took(Time::Queue, timings.queue());
    if let Some(took) = timings.application() {
        meter.took(Time::Application, took);
        meter.took(Time::GilWait, timings.gil_wait());
    }
}

/// Its client has all of its response, or is gone.
pub(super) fn over(exchange: &Exchange) {
    exchange.meter().took(Time::Response, exchange.timings.elapsed());
}

/// The status of the response: the application's, or nginx's if there is none; `None` if the client gets none.
fn status(request: &Request<'_>, ending: Ending) -> Option<u16> {
    if let Some(status) = request.status.get() {
        return Some(status);
    }
    let code = ending.code(request.head_sent.get())?;
    let is_answer = code >= sys::SPECIAL_RESPONSE && !matches!(ending, Ending::ClientGone(_));
    u16::try_from(code).ok().filter(|_| is_answer)
}
