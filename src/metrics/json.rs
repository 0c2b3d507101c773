//! A snapshot as JSON: times in seconds, sizes in bytes, moments in seconds since 1970.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::histogram::Histogram;
use super::meters::Count;
use super::snapshot::{App, CLASSES, EVENTS, Loop, Numbers, Pool, Snapshot, TIME_NAMES, Worker};
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
        "replaced": all.replaced.iter().map(|(reason, count)| ((*reason).to_owned(), json!(count)))
            .collect::<Map<_, _>>(),
        "applications": apps.iter().map(app).collect::<Vec<_>>(),
        "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "loops": loops.iter().map(event_loop).collect::<Vec<_>>(),
        "workers": all.workers.iter().map(|worker| worker_of(worker, all.now, is_whole)).collect::<Vec<_>>(),
        "history": all.history.iter().map(|event| history(all, event)).collect::<Vec<_>>(),
    })
}

fn worker_of(worker: &Worker, now: u64, is_whole: bool) -> Value {
    let Numbers { apps, pools, loops } = &worker.numbers;
    let mut shown = json!({
        "pid": worker.process,
        "number": worker.number,
        "state": worker.state.name(),
        "started": moment(worker.since),
        "uptime": seconds(Duration::from_millis(now.saturating_sub(worker.since))),
        "requests": worker.requests,
        "in_flight": apps.iter().map(|app| app.in_flight).sum::<u64>(),
        "memory": worker.memory,
        "pools": pools.iter().map(pool).collect::<Vec<_>>(),
        "loops": loops.iter().map(event_loop).collect::<Vec<_>>(),
    });
    if is_whole {
        if let Some(shown) = shown.as_object_mut() {
            let apps = apps.iter().map(app).collect::<Vec<_>>();
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
        let replaced =
            json!({"time": 1002.0, "pid": 9, "what": "replaced", "reason": "max_requests"});
        assert_eq!(all["history"][0], replaced);
    }

    #[test]
    fn the_brief_form_lacks_only_the_workers_applications() {
        let (mut all, brief) = (json(&example()), brief(&example()));
        assert_eq!(all["workers"][0]["applications"].as_array().map(Vec::len), Some(2));
        for worker in all["workers"].as_array_mut().unwrap() {
            worker.as_object_mut().unwrap().remove("applications");
        }
        assert_eq!(all, brief);
    }
}
