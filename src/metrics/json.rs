//! A snapshot as JSON: times in seconds, sizes in bytes, moments in seconds since 1970.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::histogram::Histogram;
use super::meters::Count;
use super::numbers::{App, CLASSES, EVENTS, Loop, Numbers, Pool, TIME_NAMES};
use super::snapshot::{Group, Snapshot, Worker};
use super::zone::{Event, Happened};

/// All of it.
pub(crate) fn json(all: &Snapshot) -> Value {
    show(all, true)
}

/// Without the applications of each worker, which are most of it.
pub(crate) fn brief(all: &Snapshot) -> Value {
    show(all, false)
}

fn show(all: &Snapshot, is_whole: bool) -> Value {
    let Numbers { apps, pools, loops } = &all.total;
    json!({
        "versions": {
            "pywsgi": all.versions.module,
            "nginx": all.versions.nginx,
            "python": all.versions.python,
        },
        "time": moment(all.now),
        "started": moment(all.started),
        "uptime": seconds(Duration::from_millis(all.now.saturating_sub(all.started))),
        "reloads": all.reloads,
        "crashes": all.crashes,
        "replaced": replaced(&all.replaced),
        "applications": apps.iter().map(app).collect::<Vec<_>>(),
        "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "loops": loops.iter().map(event_loop).collect::<Vec<_>>(),
        "processes": all.groups.iter().map(group).collect::<Vec<_>>(),
        "workers": all.workers.iter().map(|worker| worker_of(worker, all, is_whole)).collect::<Vec<_>>(),
        "history": all.history.iter().map(|event| history(all, event)).collect::<Vec<_>>(),
    })
}

/// How many were replaced, by reason.
fn replaced(counts: &[(&str, u64)]) -> Map<String, Value> {
    counts.iter().map(|(reason, count)| ((*reason).to_owned(), json!(count))).collect()
}

fn group(group: &Group) -> Value {
    let Numbers { pools, loops, .. } = &group.numbers;
    json!({
        "name": group.name,
        "processes": group.processes,
        "serving": group.serving,
        "dormant": group.dormant,
        "requests": group.requests,
        "in_flight": group.in_flight,
        "queue": group.queue,
        "queue_age": seconds(group.queue_age),
        "max_queue": group.max_queue,
        "memory": group.memory,
        "crashes": group.crashes,
        "replaced": replaced(&group.replaced),
        "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "loops": loops.iter().map(event_loop).collect::<Vec<_>>(),
    })
}

fn worker_of(worker: &Worker, all: &Snapshot, is_whole: bool) -> Value {
    let Numbers { apps, pools, loops } = &worker.numbers;
    let mut shown = json!({
        "pid": worker.process,
        "number": worker.number,
        "process": all.group_of(worker.member),
        "process_number": worker.member.map(|member| member.slot),
        "state": worker.state.name(),
        "started": moment(worker.since),
        "uptime": seconds(Duration::from_millis(all.now.saturating_sub(worker.since))),
        "requests": worker.requests,
        "in_flight": worker.in_flight,
        "memory": worker.memory,
        "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "loops": loops.iter().map(event_loop).collect::<Vec<_>>(),
    });
    if is_whole {
        if let Some(shown) = shown.as_object_mut() {
            // Those of a process are counted where their clients are.
            let apps = apps.iter().filter(|_| worker.member.is_none());
            let apps = apps.map(app).collect::<Vec<_>>();
            shown.insert("applications".into(), apps.into());
        }
    }
    shown
}

fn app(app: &App) -> Value {
    let responses =
        CLASSES.iter().map(|(count, name)| ((*name).to_owned(), app.count(*count).into()));
    let mut shown = Map::new();
    shown.insert("protocol".into(), app.name.protocol.as_str().into());
    shown.insert("name".into(), app.name.target.as_str().into());
    shown.insert("process".into(), app.name.process.as_deref().into());
    shown.insert("in_flight".into(), app.in_flight.into());
    shown.insert("requests".into(), app.ended().into());
    shown.insert("responses".into(), Value::Object(responses.collect()));
    for (count, name) in EVENTS {
        shown.insert(name.into(), app.count(count).into());
    }
    let sockets = json!({ "open": app.sockets, "total": app.count(Count::SocketsOpened) });
    shown.insert("websockets".into(), sockets);
    let times =
        TIME_NAMES.iter().map(|(time, name)| ((*name).to_owned(), histogram(app.time(*time))));
    shown.insert("times".into(), Value::Object(times.collect()));
    Value::Object(shown)
}

fn histogram(histogram: &Histogram) -> Value {
    let quantile = |part| histogram.quantile(part).map(seconds);
    let buckets = histogram.cumulative().map(|(bound, count)| json!([bound.map(seconds), count]));
    json!({
        "count": histogram.count(),
        "sum": seconds(Duration::from_micros(histogram.sum)),
        "p50": quantile(0.5),
        "p90": quantile(0.9),
        "p99": quantile(0.99),
        "buckets": buckets.collect::<Vec<_>>(),
    })
}

fn pool(pool: &Pool) -> Value {
    json!({
        "name": pool.name,
        "limit": pool.limit,
        "threads": pool.threads,
        "busy": pool.busy,
        "idle": pool.idle(),
        "written_off": pool.written_off,
        "queue": pool.queue,
        "queue_age": seconds(pool.queue_age),
        "max_queue": pool.max_queue,
    })
}

fn event_loop(own: &Loop) -> Value {
    json!({
        "name": own.name,
        "tasks": own.tasks,
        "queue": own.queue,
        "queue_age": seconds(own.queue_age),
        "lag": seconds(own.lag),
    })
}

fn history(all: &Snapshot, event: &Event) -> Value {
    let what = match event.what {
        Happened::Reloaded => "reload",
        Happened::Crashed => "crash",
        Happened::Replaced(_) => "replaced",
    };
    json!({
        "time": moment(event.at),
        "pid": event.process,
        "process": all.group_of(event.member),
        "process_number": event.member.map(|member| member.slot),
        "what": what,
        "reason": all.reason(event),
    })
}

/// Seconds since 1970.
fn moment(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::example;
    use super::*;

    #[test]
    fn the_numbers_are_where_they_are_said_to_be() {
        let all = json(&example());
        assert_eq!(all["versions"]["python"], "3.11");
        assert_eq!((&all["time"], &all["uptime"]), (&json!(1060.0), &json!(60.0)));
        let shop = &all["applications"][0];
        assert_eq!(shop["name"], "/srv/shop/wsgi.py");
        assert_eq!(
            shop["responses"],
            json!({"1xx": 0, "2xx": 3, "3xx": 0, "4xx": 0, "5xx": 0, "none": 0})
        );
        assert_eq!((&shop["requests"], &shop["lost"]), (&json!(3), &json!(1)));
        let response = &shop["times"]["response"];
        assert_eq!((&response["count"], &response["sum"]), (&json!(3), &json!(0.009)));
        assert_eq!(response["buckets"][0], json!([0.0001, 0]));
        assert_eq!(response["buckets"].as_array().unwrap().last().unwrap(), &json!([null, 3]));
        assert_eq!(shop["times"]["queue"]["p99"], Value::Null);
        assert_eq!(all["applications"][1]["websockets"], json!({"open": 1, "total": 1}));
        assert_eq!(all["workers"][0]["memory"], json!(50 << 20));
        assert_eq!(all["workers"][1]["memory"], Value::Null);
        let replaced = |time, pid, process, number| {
            json!({"time": time, "pid": pid, "process": process, "process_number": number, "what": "replaced",
                "reason": if pid == 13 { "stuck_threads" } else { "max_requests" }})
        };
        let nobody = Value::Null;
        assert_eq!(all["history"][0], replaced(1003.0, 13, json!("reports"), json!(0)));
        assert_eq!(all["history"][1], replaced(1002.0, 9, nobody.clone(), nobody));
    }

    #[test]
    fn a_group_is_shown_with_its_processes() {
        let all = json(&example());
        let reports = &all["processes"][0];
        assert_eq!((&reports["name"], &reports["processes"]), (&json!("reports"), &json!(2)));
        assert_eq!((&reports["serving"], &reports["in_flight"]), (&json!(1), &json!(1)));
        assert_eq!((&reports["queue"], &reports["queue_age"]), (&json!(1), &json!(0.25)));
        assert_eq!(reports["replaced"], json!({"stuck_threads": 1, "max_requests": 0}));
        assert_eq!((&reports["crashes"], &reports["pools"][0]["busy"]), (&json!(1), &json!(1)));
        let process = &all["workers"][2];
        assert_eq!(
            (&process["process"], &process["process_number"]),
            (&json!("reports"), &json!(0))
        );
        assert_eq!((&process["in_flight"], &process["applications"]), (&json!(1), &json!([])));
        assert_eq!(all["workers"][0]["process"], Value::Null);
        let apps = [0, 2].map(|at| &all["applications"][at]["process"]);
        assert_eq!(apps, [&Value::Null, &json!("reports")]);
    }

    #[test]
    fn the_brief_form_lacks_only_the_workers_applications() {
        let (mut all, brief) = (json(&example()), brief(&example()));
        assert_eq!(all["workers"][0]["applications"].as_array().map(Vec::len), Some(3));
        for worker in all["workers"].as_array_mut().unwrap() {
            worker.as_object_mut().unwrap().remove("applications");
        }
        assert_eq!(all, brief);
    }
}
