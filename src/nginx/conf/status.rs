//! What `python_status` says of a location.

/// What a location shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) enum StatusFormat {
    /// What the request asks for (`Accept`, `?format=`).
    Chosen,
    Fixed(Shown),
}

/// How the numbers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nginx) enum Shown {
    Html,
    Json,
    /// Whether a worker serves its applications, by the status of the response.
    Ready,
    /// As Prometheus asks for it: OpenMetrics if it takes that.
    Prometheus,
    Text,
    /// Where the applications are.
    Threads,
}

impl Shown {
    pub(in crate::nginx) const NAMES: &'static str =
        "html, json, prometheus, ready, text or threads";

    pub(in crate::nginx) fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"html" => Self::Html,
            b"json" => Self::Json,
            b"prometheus" => Self::Prometheus,
            b"ready" => Self::Ready,
            b"text" => Self::Text,
            b"threads" => Self::Threads,
            _ => return None,
        })
    }
}
