//! The `$python_*` variables: what is known of a request that an application has, for `log_format`, `map` and headers.
//!
//! They have values from when a request was given to its application. A request that nginx has redirected since, to an
//! `error_page` for example, keeps those of the application that had it last.

use std::time::Duration;

use nginx_sys::{
    NGX_HTTP_VAR_NOCACHEABLE, ngx_conf_t, ngx_http_add_variable, ngx_http_request_t, ngx_int_t,
    ngx_variable_value_t,
};

use super::request::finalize;
use super::sys;
use super::trampoline::guard;
use crate::bridge::callbacks::Gone;
use crate::bridge::exchange::Exchange;

/// What a variable says; `None`: nothing.
type Value = fn(&Exchange) -> Option<String>;

/// The variables, by their names without `python_`.
const VARIABLES: [(&str, Value); 10] = [
    ("app", |exchange| Some(exchange.worker.target(exchange.location.app).to_owned())),
    ("queue_time", |exchange| Some(seconds(exchange.timings.queue()))),
    ("app_time", |exchange| exchange.timings.application().map(seconds)),
    ("gil_wait_time", |exchange| {
        // A loop's thread waits for the GIL for all of its tasks.
        exchange.has_thread().then(|| seconds(exchange.timings.gil_wait()))
    }),
    ("cpu_time", |exchange| exchange.timings.cpu().map(seconds)),
    ("input_time", |exchange| Some(seconds(exchange.timings.input()))),
    ("process", Exchange::process),
    ("thread", |exchange| exchange.last_thread().map(|thread| thread.to_string())),
    ("exception", |exchange| exchange.exception().map(str::to_owned)),
    ("aborted", |exchange| Some(u8::from(exchange.gone() == Some(Gone::Client)).to_string())),
];

/// Makes the variables known.
///
/// # Safety
///
/// Called in nginx's `preconfiguration`.
pub(super) unsafe fn add(cf: *mut ngx_conf_t) -> Option<()> {
    for (number, (name, _)) in VARIABLES.iter().enumerate() {
        // SAFETY: nginx reads its configuration, whose pool the name lives in.
        unsafe {
            let mut name = sys::pool_copy((*cf).pool, format!("python_{name}").as_bytes())?;
            let flags = NGX_HTTP_VAR_NOCACHEABLE as usize;
            let variable = ngx_http_add_variable(cf, &raw mut name, flags).as_mut()?;
            variable.get_handler = Some(get);
            variable.data = number;
        }
    }
    Some(())
}

/// # Safety
///
/// nginx calls it with a live request, and a value to fill in.
unsafe extern "C" fn get(
    r: *mut ngx_http_request_t,
    value: *mut ngx_variable_value_t,
    number: usize,
) -> ngx_int_t {
    // SAFETY: a live request has a connection with a log.
    unsafe {
        guard(
            (*(*r).connection).log,
            || sys::ERROR,
            |_token| {
                let of_number = VARIABLES.get(number);
                let exchange = finalize::last_exchange(r);
                let text = of_number.zip(exchange).and_then(|((_, of), exchange)| of(&exchange));
                let value = &mut *value;
                value.set_valid(u32::from(text.is_some()));
                value.set_not_found(u32::from(text.is_none()));
                value.set_no_cacheable(0);
                if let Some(text) = text {
                    let Some(copy) = sys::pool_copy((*r).pool, text.as_bytes()) else {
                        return sys::ERROR;
                    };
                    value.data = copy.data;
                    value.set_len(u32::try_from(copy.len).unwrap_or(0));
                }
                sys::OK
            },
        )
    }
}

/// As nginx writes times (`$request_time`), but to the microsecond: many applications answer within a millisecond.
fn seconds(duration: Duration) -> String {
    format!("{:.6}", duration.as_secs_f64())
}
