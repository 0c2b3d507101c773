//! How the requests in flight are shown (`python_status threads`).

use std::cmp::Reverse;

use super::exchange::{Exchange, Progress};
use super::sync::Arc;

/// The oldest first.
pub(crate) fn oldest_first(requests: &[Arc<Exchange>]) -> Vec<&Arc<Exchange>> {
    let mut requests: Vec<_> = requests.iter().collect();
    requests.sort_by_key(|exchange| Reverse(exchange.timings.elapsed()));
    requests
}

/// What the request is, and what it does.
pub(crate) fn heading(exchange: &Exchange) -> String {
    let head = &exchange.head;
    let timings = &exchange.timings;
    let doing = match exchange.progress() {
        Progress::Waiting => {
            let whom = exchange.group().map_or_else(String::new, |group| {
                format!(" that no process of {} has", group.name)
            });
            format!("waits for {:.1?}{whom}", timings.elapsed())
        }
        Progress::Running(_) => match exchange.last_thread() {
            Some(thread) => {
                format!(
                    "runs for {:.1?} in thread {thread}",
                    timings.application().unwrap_or_default()
                )
            }
            None => format!("runs for {:.1?}", timings.application().unwrap_or_default()),
        },
        Progress::Done => format!(
            "has returned; its client has not got all of the response after {:.1?}",
            timings.elapsed()
        ),
    };
    format!(
        "\"{} {}\" of application \"{}\" {doing}",
        head.get(head.method).escape_ascii(),
        head.get(head.target).escape_ascii(),
        exchange.worker.target(exchange.location.app),
    )
}
