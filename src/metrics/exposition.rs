//! A snapshot in the formats that Prometheus reads: its own text format (version 0.0.4) and OpenMetrics (1.0).

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::meters::Count;
use super::numbers::{App, CLASSES, EVENTS, Loop, Numbers, Pool, TIME_NAMES};
use super::snapshot::{Group, Snapshot, Worker};
use super::words::sum;

/// The two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

pub(crate) fn exposition(all: &Snapshot, format: Format) -> String {
    let mut text = Exposition { text: String::new(), format, family: String::new() };
    text.write(all);
    if format == Format::OpenMetrics {
        text.text.push_str("# EOF\n");
    }
    text.text
}

struct Exposition {
    text: String,
    format: Format,
    /// The name of the family that is being written.
    family: String,
}

/// A kind of family.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its samples end in `_total`.
    Counter,
    Gauge,
    Histogram,
    Info,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

/// The label of what belongs to a `python_process`. What belongs to the workers has none.
const PROCESS: &str = "process";

/// The end of a gauge's name, its help, and its value.
type Gauge<T> = (&'static str, &'static str, fn(&T) -> f64);

impl Exposition {
    fn write(&mut self, all: &Snapshot) {
        self.nginx(all);
        self.workers(all);
        self.applications(&all.total.apps);
        let groups = all.groups.iter().map(|group| (Some(group.name.as_str()), &group.numbers));
        let numbers: Vec<_> = [(None, &all.total)].into_iter().chain(groups).collect();
        self.pools(&numbers);
        self.loops(&numbers);
        self.groups(&all.groups);
    }

    fn nginx(&mut self, all: &Snapshot) {
        self.family("pywsgi", Kind::Info, "Which versions are at work.");
        let versions = &all.versions;
        let labels =
            [("version", versions.module), ("nginx", &versions.nginx), ("python", versions.python)];
        self.sample("_info", &labels, 1);
        self.family("pywsgi_start_time_seconds", Kind::Gauge, "When nginx started, since 1970.");
        self.sample("", &[], all.started as f64 / 1000.0);
        self.family(
            "pywsgi_reloads",
            Kind::Counter,
            "Configurations that nginx has taken over after the first.",
        );
        self.sample("_total", &[], all.reloads);
        self.family("pywsgi_workers_crashed", Kind::Counter, "Workers that have died.");
        let of_groups = sum(all.groups.iter().map(|group| group.crashes));
        self.sample("_total", &[], all.crashes.saturating_sub(of_groups));
        for group in &all.groups {
            self.sample("_total", &[(PROCESS, &group.name)], group.crashes);
        }
        self.family(
            "pywsgi_workers_replaced",
            Kind::Counter,
            "Workers that left to be replaced, by reason.",
        );
        for (at, (reason, count)) in all.replaced.iter().enumerate() {
            let of_groups = all.groups.iter().filter_map(|group| group.replaced.get(at));
            let of_groups = sum(of_groups.map(|(_, count)| *count));
            self.sample("_total", &[("reason", reason)], count.saturating_sub(of_groups));
        }
        for group in &all.groups {
            for (reason, count) in &group.replaced {
                self.sample("_total", &[("reason", reason), (PROCESS, &group.name)], count);
            }
        }
    }

    fn workers(&mut self, all: &Snapshot) {
        self.family("pywsgi_workers", Kind::Gauge, "Workers by state.");
        for state in ["starting", "dormant", "serving", "draining"] {
            let states = || all.workers.iter().filter(|worker| worker.state.name() == state);
            let count = states().filter(|worker| worker.member.is_none()).count();
            self.sample("", &[("state", state)], count);
            for (at, group) in all.groups.iter().enumerate() {
                let is_of = |worker: &&Worker| worker.member.is_some_and(|it| it.group == at);
                let labels = [("state", state), (PROCESS, &group.name)];
                self.sample("", &labels, states().filter(is_of).count());
            }
        }
        // A worker that drains has the number of its successor.
        self.family(
            "pywsgi_worker_memory_bytes",
            Kind::Gauge,
            "Memory of a worker that is in RAM.",
        );
        for worker in &all.workers {
            if let Some(memory) = worker.memory {
                self.worker(all, worker, memory);
            }
        }
        self.family(
            "pywsgi_worker_start_time_seconds",
            Kind::Gauge,
            "When a worker started, since 1970.",
        );
        for worker in &all.workers {
            self.worker(all, worker, worker.since as f64 / 1000.0);
        }
    }

    /// A sample of one worker, or process of a group.
    fn worker(&mut self, all: &Snapshot, worker: &Worker, value: impl fmt::Display) {
        let (number, process) = (worker.number.to_string(), worker.process.to_string());
        let own = [("worker", number.as_str()), ("pid", &process)];
        let group = all.group_of(worker.member).map(|group| (PROCESS, group));
        self.sample("", &own.into_iter().chain(group).collect::<Vec<_>>(), value);
    }

    fn applications(&mut self, apps: &[App]) {
        self.family(
            "pywsgi_requests",
            Kind::Counter,
            "Requests that have ended, by the class of their status.",
        );
        for app in apps {
            let own = labels(app);
            for (count, class) in CLASSES {
                self.sample("_total", &with(&own, ("status", class)), app.count(count));
            }
        }
        self.family("pywsgi_requests_in_flight", Kind::Gauge, "Requests in flight.");
        for app in apps {
            let own = labels(app);
            self.sample("", &own, app.in_flight);
        }
        self.family("pywsgi_events", Kind::Counter, "What went wrong with requests, by kind.");
        for app in apps {
            let own = labels(app);
            for (count, event) in EVENTS {
                self.sample("_total", &with(&own, ("event", event)), app.count(count));
            }
        }
        self.family("pywsgi_websockets_open", Kind::Gauge, "Open WebSockets.");
        for app in apps {
            let own = labels(app);
            self.sample("", &own, app.sockets);
        }
        self.family("pywsgi_websockets_accepted", Kind::Counter, "WebSockets that were accepted.");
        for app in apps {
            let own = labels(app);
            self.sample("_total", &own, app.count(Count::SocketsOpened));
        }
        for ((time, name), help) in TIME_NAMES.into_iter().zip([
            "From when nginx had a request until a thread or a loop took it.",
            "From then until its response was complete.",
            "For how long a request's thread waited for the GIL.",
            "From when nginx had a request until its client had the response.",
        ]) {
            self.family(&format!("pywsgi_{name}_time_seconds"), Kind::Histogram, help);
            for app in apps {
                let own = labels(app);
                let histogram = app.time(time);
                for (bound, count) in histogram.cumulative() {
                    let bound =
                        bound.map_or("+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
                    self.sample("_bucket", &with(&own, ("le", &bound)), count);
                }
                let sum = Duration::from_micros(histogram.sum).as_secs_f64();
                self.sample("_sum", &own, sum);
                self.sample("_count", &own, histogram.count());
            }
        }
    }

    fn pools(&mut self, all: &[(Option<&str>, &Numbers)]) {
        let pools = || {
            all.iter().flat_map(|(group, numbers)| numbers.pools.iter().map(|pool| (*group, pool)))
        };
        self.family("pywsgi_pool_threads", Kind::Gauge, "Threads of a pool, by state.");
        for (group, pool) in pools() {
            let own = executor("pool", &pool.name, group);
            for (state, count) in
                [("busy", pool.busy), ("idle", pool.idle()), ("written_off", pool.written_off)]
            {
                self.sample("", &with(&own, ("state", state)), count);
            }
        }
        let gauges: [Gauge<Pool>; 4] = [
            ("threads_limit", "Threads that a pool may have, over all workers.", |pool| {
                pool.limit as f64
            }),
            ("queue_length", "Requests that wait for a thread.", |pool| pool.queue as f64),
            ("queue_limit", "Requests that may wait for a thread, over all workers.", |pool| {
                pool.max_queue as f64
            }),
            ("queue_age_seconds", "How long the first of them has waited.", |pool| {
                pool.queue_age.as_secs_f64()
            }),
        ];
        for (name, help, value) in gauges {
            self.family(&format!("pywsgi_pool_{name}"), Kind::Gauge, help);
            for (group, pool) in pools() {
                self.sample("", &executor("pool", &pool.name, group), value(pool));
            }
        }
    }

    fn loops(&mut self, all: &[(Option<&str>, &Numbers)]) {
        let loops = || {
            all.iter().flat_map(|(group, numbers)| numbers.loops.iter().map(|own| (*group, own)))
        };
        let gauges: [Gauge<Loop>; 4] = [
            ("tasks", "Tasks of requests that have not ended.", |own| own.tasks as f64),
            ("queue_length", "Requests that a loop has not taken.", |own| own.queue as f64),
            ("queue_age_seconds", "How long the first of them has waited.", |own| {
                own.queue_age.as_secs_f64()
            }),
            (
                "lag_seconds",
                "How long a loop has not turned, or had not when it was asked last.",
                |own| own.lag.as_secs_f64(),
            ),
        ];
        for (name, help, value) in gauges {
            self.family(&format!("pywsgi_loop_{name}"), Kind::Gauge, help);
            for (group, own) in loops() {
                self.sample("", &executor("loop", &own.name, group), value(own));
            }
        }
    }

    /// What only the processes of a group have. Without groups there is none of it.
    fn groups(&mut self, groups: &[Group]) {
        if groups.is_empty() {
            return;
        }
        self.family("pywsgi_processes_limit", Kind::Gauge, "Processes that the configuration has.");
        for group in groups {
            self.sample("", &[(PROCESS, &group.name)], group.processes);
        }
        let gauges: [Gauge<Group>; 4] = [
            ("requests_in_flight", "Requests that the processes have.", |it| it.in_flight as f64),
            ("queue_length", "Requests that no process has taken.", |it| it.queue as f64),
            ("queue_limit", "Requests that may wait so, over all workers.", |it| {
                it.max_queue as f64
            }),
            ("queue_age_seconds", "How long the first of them has waited.", |it| {
                it.queue_age.as_secs_f64()
            }),
        ];
        for (name, help, value) in gauges {
            self.family(&format!("pywsgi_process_{name}"), Kind::Gauge, help);
            for group in groups {
                self.sample("", &[(PROCESS, &group.name)], value(group));
            }
        }
    }

    /// Begins a family.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        name.clone_into(&mut self.family);
        let open = self.format == Format::OpenMetrics;
        // The older format has no info, and names a family of counters as its samples.
        let (suffix, kind) = match kind {
            Kind::Counter if open => ("", "counter"),
            Kind::Counter => ("_total", "counter"),
            Kind::Gauge => ("", "gauge"),
            Kind::Histogram => ("", "histogram"),
            Kind::Info if open => ("", "info"),
            Kind::Info => ("_info", "gauge"),
        };
        let _infallible =
            write!(self.text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
    }

    /// A sample of the family.
    fn sample(&mut self, suffix: &str, labels: Labels<'_>, value: impl fmt::Display) {
        self.text.push_str(&self.family);
        self.text.push_str(suffix);
        for (at, (name, value)) in labels.iter().enumerate() {
            self.text.push_str(if at == 0 { "{" } else { "," });
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _infallible = writeln!(self.text, " {value}");
    }
}

/// The labels that name an application.
fn labels(app: &App) -> Vec<(&str, &str)> {
    let process = app.name.process.as_deref().map(|name| (PROCESS, name));
    let own = [("application", app.name.target.as_str()), ("protocol", &app.name.protocol)];
    own.into_iter().chain(process).collect()
}

/// Those and one more.
fn with<'a>(labels: Labels<'a>, last: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().chain([last]).collect()
}

/// The labels of a pool or a loop.
fn executor<'a>(kind: &'a str, name: &'a str, group: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    [(kind, name)].into_iter().chain(group.map(|group| (PROCESS, group))).collect()
}

/// A label's value: its backslashes, quotes and line feeds are escaped.
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;
    use super::*;

    #[test]
    fn a_label_is_escaped() {
        let text = exposition(&example(), Format::Prometheus);
        let line =
            "pywsgi_requests_in_flight{application=\"live:\\\"app\\\"\\\\\",protocol=\"asgi\"} 1\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn counters_are_named_as_each_format_wants_it() {
        let [old, open] =
            [Format::Prometheus, Format::OpenMetrics].map(|format| exposition(&example(), format));
        assert!(old.contains("# TYPE pywsgi_requests_total counter\n"));
        assert!(open.contains("# TYPE pywsgi_requests counter\n"));
        for text in [&old, &open] {
            assert!(text.contains("pywsgi_workers_replaced_total{reason=\"max_requests\"} 1\n"));
            assert!(
                text.contains(
                    "pywsgi_info{version=\"0.1.0\",nginx=\"1.22.1\",python=\"3.11\"} 1\n"
                )
            );
        }
        assert!(open.ends_with("# EOF\n") && !old.contains("# EOF"));
    }

    #[test]
    fn what_belongs_to_a_group_has_its_label() {
        let text = exposition(&example(), Format::OpenMetrics);
        for line in [
            "pywsgi_requests_in_flight{application=\"reports.wsgi\",protocol=\"wsgi\",process=\"reports\"} 3\n",
            "pywsgi_requests_total{application=\"reports.wsgi\",protocol=\"wsgi\",process=\"reports\",status=\"2xx\"} 0\n",
            "pywsgi_workers_crashed_total 1\n",
            "pywsgi_workers_crashed_total{process=\"reports\"} 1\n",
            "pywsgi_workers_replaced_total{reason=\"stuck_threads\"} 0\n",
            "pywsgi_workers_replaced_total{reason=\"stuck_threads\",process=\"reports\"} 1\n",
            "pywsgi_workers{state=\"serving\"} 1\n",
            "pywsgi_workers{state=\"serving\",process=\"reports\"} 1\n",
            "pywsgi_worker_memory_bytes{worker=\"3\",pid=\"13\",process=\"reports\"} 52428800\n",
            "pywsgi_pool_threads{pool=\"default\",state=\"busy\"} 2\n",
            "pywsgi_pool_threads{pool=\"default\",process=\"reports\",state=\"busy\"} 1\n",
            "pywsgi_loop_tasks{loop=\"main\",process=\"reports\"} 7\n",
            "pywsgi_process_queue_age_seconds{process=\"reports\"} 0.25\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn buckets_are_cumulative_and_end_with_all() {
        let text = exposition(&example(), Format::OpenMetrics);
        let labels = "{application=\"/srv/shop/wsgi.py\",protocol=\"wsgi\"";
        for (bound, count) in [("0.0025", 0), ("0.005", 3), ("60", 3), ("+Inf", 3)] {
            let line =
                format!("pywsgi_response_time_seconds_bucket{labels},le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{line}\n{text}");
        }
        assert!(text.contains(&format!("pywsgi_response_time_seconds_sum{labels}}} 0.009\n")));
    }
}
