//! A snapshot as lines for a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use super::groups::Member;
use super::meters::Count;
use super::names::called;
use super::numbers::{App, CLASSES, EVENTS, Numbers, TIME_NAMES};
use super::snapshot::{Group, Snapshot};
use super::zone::{Event, Happened};

pub(crate) fn text(all: &Snapshot) -> String {
    let mut lines = Lines(String::new());
    let age = |since: u64| age(Duration::from_millis(all.now.saturating_sub(since)));
    lines.add(format_args!(
        "pywsgi {} in nginx {}, Python {}; up {}, {} reloads, {} crashes",
        all.versions.module,
        all.versions.nginx,
        all.versions.python,
        age(all.started),
        all.reloads,
        all.crashes,
    ));
    lines.add(format_args!(""));
    for worker in &all.workers {
        let memory = worker.memory.map_or_else(String::new, |bytes| format!(", {}", size(bytes)));
        lines.add(format_args!(
            "{} (pid {}): {}, up {}, {} requests, {} in flight{memory}",
            who(all, worker.number, worker.member),
            worker.process,
            worker.state.name(),
            age(worker.since),
            worker.requests,
            worker.in_flight,
        ));
    }
    lines.apps(&all.total.apps);
    lines.executors("", &all.total);
    all.groups.iter().for_each(|group| lines.group(group));
    if let Some(replaced) = replaced(&all.replaced) {
        lines.add(format_args!("\nreplaced workers: {replaced}"));
    }
    for event in &all.history {
        let what = all.said(event);
        lines.add(format_args!("{} ago: {what}", age(event.at)));
    }
    lines.0
}

fn who(all: &Snapshot, number: u64, member: Option<Member>) -> String {
    called(number, all.group_of(member).zip(member.map(|member| member.slot)))
}

/// How many were replaced, by reason; `None`: nobody was.
fn replaced(counts: &[(&str, u64)]) -> Option<String> {
    let some = counts.iter().filter(|(_, count)| *count > 0);
    let some: Vec<_> = some.map(|(reason, count)| format!("{count} by {reason}")).collect();
    (!some.is_empty()).then(|| some.join(", "))
}

struct Lines(String);

impl Lines {
    fn add(&mut self, line: std::fmt::Arguments<'_>) {
        let _infallible = writeln!(self.0, "{line}");
    }

    fn apps(&mut self, apps: &[App]) {
        for app in apps {
            let process = app.name.process.as_deref();
            let process = process.map_or_else(String::new, |name| format!(" in {name}"));
            self.add(format_args!(
                "\n{} application {}{process}: {} requests, {} in flight",
                app.name.protocol,
                app.name.target,
                app.ended(),
                app.in_flight,
            ));
            let some = |all: &[(Count, &str)]| {
                let some = all.iter().filter(|(count, _)| app.count(*count) > 0);
                some.map(|(count, name)| format!("{name} {}", app.count(*count)))
                    .collect::<Vec<_>>()
            };
            let mut counts = some(&CLASSES);
            counts.extend(some(&EVENTS));
            if !counts.is_empty() {
                self.add(format_args!("  {}", counts.join(", ")));
            }
            if app.count(Count::SocketsOpened) > 0 {
                self.add(format_args!(
                    "  WebSockets: {} open, {} accepted",
                    app.sockets,
                    app.count(Count::SocketsOpened)
                ));
            }
            for (time, name) in TIME_NAMES {
                let histogram = app.time(time);
                let quantiles = [0.5, 0.9, 0.99].map(|part| histogram.quantile(part));
                if let [Some(half), Some(most), Some(nearly_all)] = quantiles {
                    self.add(format_args!(
                        "  {name:<11} p50 {half:>8.1?}  p90 {most:>8.1?}  p99 {nearly_all:>8.1?}"
                    ));
                }
            }
        }
    }

    fn group(&mut self, group: &Group) {
        self.add(format_args!(
            "\nprocesses of {}: {} of {} serve{}, {} requests, {} in flight, {}; queue {} of {}{}; {} died{}",
            group.name,
            group.serving,
            group.processes,
            match group.dormant {
                0 => String::new(),
                count => format!(" ({count} dormant)"),
            },
            group.requests,
            group.in_flight,
            size(group.memory),
            group.queue,
            group.max_queue,
            first(group.queue, group.queue_age),
            group.crashes,
            replaced(&group.replaced).map_or_else(String::new, |text| format!(", replaced {text}")),
        ));
        self.executors("  ", &group.numbers);
    }

    /// Those of one kind of processes. Those of a group follow it, with `indent`.
    fn executors(&mut self, indent: &str, numbers: &Numbers) {
        let start = if indent.is_empty() { "\n" } else { indent };
        for pool in &numbers.pools {
            self.add(format_args!(
                "{start}pool {}: {} of {} threads busy, {} idle, {} written off; queue {} of {}{}",
                pool.name,
                pool.busy,
                pool.limit,
                pool.idle(),
                pool.written_off,
                pool.queue,
                pool.max_queue,
                first(pool.queue, pool.queue_age),
            ));
        }
        for own in &numbers.loops {
            self.add(format_args!(
                "{start}loop {}: {} tasks, queue {}{}; lag {:.1?}",
                own.name,
                own.tasks,
                own.queue,
                first(own.queue, own.queue_age),
                own.lag,
            ));
        }
    }
}

impl Snapshot {
    /// The name of the reason of a replacement.
    pub(crate) fn reason(&self, event: &Event) -> Option<&'static str> {
        match event.what {
            Happened::Replaced(reason) => self.reasons.get(reason).copied(),
            Happened::Reloaded | Happened::Crashed => None,
        }
    }

    fn said(&self, event: &Event) -> String {
        let who = || match event.member {
            Some(_) => format!("{} (pid {})", who(self, 0, event.member), event.process),
            None => format!("worker {}", event.process),
        };
        match event.what {
            Happened::Reloaded => "nginx was reloaded".to_owned(),
            Happened::Crashed => format!("{} died", who()),
            Happened::Replaced(_) => format!(
                "{} left to be replaced ({})",
                who(),
                self.reason(event).unwrap_or_default()
            ),
        }
    }
}

/// Bytes, as a person reads them.
fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

/// A duration, as a person reads it: its two largest units.
fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{:.1} s", duration.as_secs_f64()),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// What follows the length of a queue that is not empty.
fn first(queue: u64, age: Duration) -> String {
    if queue == 0 { String::new() } else { format!(", the first for {age:.1?}") }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;
    use super::*;

    #[test]
    fn everything_is_said() {
        let text = text(&example());
        for line in [
            "pywsgi 0.1.0 in nginx 1.22.1, Python 3.11; up 1 min 0 s, 0 reloads, 2 crashes",
            "worker 0 (pid 10): serving, up 59.5 s, 6 requests, 5 in flight, 50.0 MB",
            "process 0 of reports (pid 13): serving, up 59.1 s, 1 requests, 1 in flight, 50.0 MB",
            "wsgi application reports.wsgi in reports: 0 requests, 3 in flight",
            "processes of reports: 1 of 2 serve, 1 requests, 1 in flight, 50.0 MB; queue 1 of 16, the first for \
             250.0ms; 1 died, replaced 1 by stuck_threads",
            "  pool default: 1 of 4 threads busy, 0 idle, 0 written off; queue 0 of 16",
            "  loop main: 7 tasks, queue 0; lag 0.0ns",
            "57.0 s ago: process 0 of reports (pid 13) left to be replaced (stuck_threads)",
            "wsgi application /srv/shop/wsgi.py: 3 requests, 2 in flight",
            "  2xx 3, lost 1",
            "  WebSockets: 1 open, 1 accepted",
            "pool default: 2 of 8 threads busy, 1 idle, 0 written off; queue 1 of 1024, the first for 500.0ms",
            "loop main: 5 tasks, queue 0; lag 100.0ms",
            "58.0 s ago: worker 9 left to be replaced (max_requests)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn ages_have_two_units() {
        let said =
            [0.25, 61.0, 3_720.0, 90_000.0].map(|seconds| age(Duration::from_secs_f64(seconds)));
        assert_eq!(said, ["0.2 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"]);
    }
}
