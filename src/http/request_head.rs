//! The head of a request as an owned snapshot, which is passed from the event loop to a Python thread.

use std::sync::Arc;

use smallvec::SmallVec;

use super::names::name_hash;
use super::tls::Tls;

/// A range of a [`RequestHead`]'s text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// The place of a header field in the text, as the client sent it. The value follows the name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldSpans {
    start: u32,
    name_end: u32,
    value_end: u32,
    /// The hash of its environ key.
    pub(crate) hash: u32,
}

impl Span {
    pub(crate) fn start(self) -> u32 {
        self.start
    }

    pub(crate) fn end(self) -> u32 {
        self.end
    }
}

impl FieldSpans {
    pub(crate) fn name(&self) -> Span {
        Span { start: self.start, end: self.name_end }
    }

    pub(crate) fn value(&self) -> Span {
        Span { start: self.name_end, end: self.value_end }
    }
}

/// The usual number of header fields in a browser's request; more need an allocation of their own.
const COMMON_FIELDS: usize = 16;

/// If there are more fields, they are not compared with each other here.
const MANY_FIELDS: usize = 64;

/// The head of a request. All text is in one buffer, so that the snapshot costs one allocation; the spans locate each
/// part.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestHead {
    text: Vec<u8>,
    fields: SmallVec<[FieldSpans; COMMON_FIELDS]>,
    may_repeat: bool,
    params: Vec<(Span, Span)>,
    pub(crate) method: Span,
    /// The decoded, normalized path (nginx's `$uri`).
    pub(crate) path: Span,
    /// The query string, as sent (nginx's `$args`).
    pub(crate) query: Span,
    /// The request target as sent (nginx's `$request_uri`).
    pub(crate) target: Span,
    pub(crate) protocol: Span,
    pub(crate) remote_addr: Span,
    pub(crate) remote_port: Span,
    pub(crate) server_name: Span,
    pub(crate) server_port: Span,
    /// The address that the client has connected to: `unix:PATH` for a Unix socket.
    pub(crate) local_addr: Span,
    /// nginx's `$connection` and `$connection_requests`.
    pub(crate) connection: u64,
    pub(crate) connection_requests: usize,
    /// Whether this nginx can send 103 (Early Hints) to this client.
    pub(crate) takes_hints: bool,
    /// Whether the application is told that the scheme is https: the connection has TLS, unless the `…_param` HTTPS says
    /// otherwise.
    pub(crate) https: bool,
    /// The connection's TLS, if the application is told of it.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Only the response's head is needed: the request is HEAD, or a subrequest such as that of `auth_request`.
    pub(crate) head_only: bool,
    /// The body's length in bytes, if it is known.
    pub(crate) content_length: Option<u64>,
}

impl RequestHead {
    /// Reserves space in an empty head for `text` bytes and `fields` header fields.
    pub(crate) fn begin(&mut self, text: usize, fields: usize) {
        self.text = Vec::with_capacity(text);
        self.fields.reserve(fields);
    }

    /// Copies `bytes` into the head. nginx's own limits keep a head far below 4 GiB.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.text.len() as u32;
        self.text.extend_from_slice(bytes);
        Span { start, end: self.text.len() as u32 }
    }

    /// Writes `number` into the head in decimal digits.
    pub(crate) fn put_number(&mut self, mut number: u64) -> Span {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            if let Some(digit) = digits.get_mut(at) {
                *digit = b'0' + (number % 10) as u8;
            }
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.put(digits.get(at..).unwrap_or_default())
    }

    pub(crate) fn push_field(&mut self, name: &[u8], value: &[u8]) {
        let hash = name_hash(name);
        let Span { start, end: name_end } = self.put(name);
        let value_end = self.put(value).end;
        self.add_field(FieldSpans { start, name_end, value_end, hash });
    }

    fn add_field(&mut self, field: FieldSpans) {
        // This runs on the event loop: if there are many fields, the Python thread must compare them.
        self.may_repeat = self.may_repeat
            || self.fields.len() >= MANY_FIELDS
            || self.fields.iter().any(|other| other.hash == field.hash);
        self.fields.push(field);
    }

    /// A `…_param` whose value depends on the request.
    pub(crate) fn push_param(&mut self, name: &[u8], value: &[u8]) {
        if let Some(https) = says_https(name, value) {
            self.https = https;
        }
        let param = (self.put(name), self.put(value));
        self.params.push(param);
    }

    /// A head whose text is all there: the parts are located in it by [`locate`](Self::locate),
    /// [`locate_field`](Self::locate_field) and [`locate_param`](Self::locate_param).
    pub(crate) fn of_text(text: Vec<u8>, fields: usize) -> Self {
        let mut head = Self { text, ..Self::default() };
        head.fields.reserve(fields);
        head
    }

    /// All the text, which the spans are ranges of.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The bytes `start..end` of the text, if it has them.
    pub(crate) fn locate(&self, start: u32, end: u32) -> Option<Span> {
        self.text.get(start as usize..end as usize).map(|_| Span { start, end })
    }

    /// Adds a field whose name and value follow one another in the text. `None` if they are not there.
    pub(crate) fn locate_field(&mut self, start: u32, name_end: u32, value_end: u32) -> Option<()> {
        let name = self.locate(start, name_end)?;
        self.locate(name_end, value_end)?;
        let hash = name_hash(self.get(name));
        self.add_field(FieldSpans { start, name_end, value_end, hash });
        Some(())
    }

    /// Adds a `…_param` whose name and value are there. [`https`](Self::https) is not changed.
    pub(crate) fn locate_param(&mut self, name: Span, value: Span) {
        self.params.push((name, value));
    }

    /// Where the `…_param`s are.
    pub(crate) fn param_spans(&self) -> &[(Span, Span)] {
        &self.params
    }

    pub(crate) fn get(&self, span: Span) -> &[u8] {
        self.text.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The context that nginx adds to a log line about a request (`ngx_http_log_error_handler`).
    pub(crate) fn context(&self) -> String {
        let text = |span| self.get(span).escape_ascii();
        let mut context = format!(
            "client: {}, server: {}, request: \"{} {} {}\"",
            text(self.remote_addr),
            text(self.server_name),
            text(self.method),
            text(self.target),
            text(self.protocol),
        );
        for (what, name) in [("host", "host"), ("referrer", "referer")] {
            let named =
                |field: &&FieldSpans| self.get(field.name()).eq_ignore_ascii_case(name.as_bytes());
            if let Some(field) = self.fields.iter().find(named) {
                context = format!("{context}, {what}: \"{}\"", text(field.value()));
            }
        }
        context
    }

    /// What identifies a request of that worker process among all: nginx's `$pid-$connection-$connection_requests`.
    pub(crate) fn id(&self, process: u32) -> String {
        format!("{process}-{}-{}", self.connection, self.connection_requests)
    }

    /// The method and the target, as the request's line has them.
    pub(crate) fn line(&self) -> String {
        let text = |span| self.get(span).escape_ascii();
        format!("{} {}", text(self.method), text(self.target))
    }

    pub(crate) fn fields(&self) -> &[FieldSpans] {
        &self.fields
    }

    /// Whether there may be two fields whose names have the same environ key.
    pub(crate) fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    pub(crate) fn params(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.params.iter().map(|&(name, value)| (self.get(name), self.get(value)))
    }
}

/// What a `…_param` says of the scheme, if it is HTTPS.
pub(crate) fn says_https(name: &[u8], value: &[u8]) -> Option<bool> {
    (name == b"HTTPS").then(|| value.eq_ignore_ascii_case(b"on") || value == b"1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_https_decides() {
        let mut head = RequestHead::default();
        for (name, value, expected) in [
            ("HTTPS", "on", true),
            ("HTTPS", "", false),
            ("HTTPS", "1", true),
            ("https", "off", true),
            ("HTTPS", "off", false),
            ("HTTPS", "ON", true),
        ] {
            head.push_param(name.as_bytes(), value.as_bytes());
            assert_eq!(head.https, expected, "{name} {value}");
        }
    }

    #[test]
    fn parts_are_located_where_they_are() {
        let mut head = RequestHead::of_text(b"GETHostexampleHOST".to_vec(), 2);
        assert_eq!(head.locate(0, 3).map(|method| head.get(method)), Some(&b"GET"[..]));
        assert!(head.locate(18, 18).is_some());
        for (start, end) in [(0, 19), (19, 19), (3, 2), (u32::MAX, u32::MAX)] {
            assert_eq!(head.locate(start, end), None);
        }
        for (start, name_end, value_end) in [(3, 2, 7), (3, 7, 6), (3, 7, 19), (u32::MAX, 0, 1)] {
            assert!(head.locate_field(start, name_end, value_end).is_none());
        }
        assert!(head.fields().is_empty());
        head.locate_field(3, 7, 14).unwrap();
        assert!(!head.may_repeat());
        head.locate_field(14, 18, 18).unwrap();
        assert!(head.may_repeat());

        let mut pushed = RequestHead::default();
        pushed.push_field(b"Host", b"example");
        let fields = |head: &RequestHead| {
            let field = head.fields()[0];
            (head.get(field.name()).to_vec(), head.get(field.value()).to_vec(), field.hash)
        };
        assert_eq!(fields(&head), fields(&pushed));
    }

    #[test]
    fn numbers_are_in_decimal() {
        let mut head = RequestHead::default();
        for number in [0, 7, 10, 80, 65_535, u64::MAX] {
            let span = head.put_number(number);
            assert_eq!(head.get(span), number.to_string().as_bytes());
        }
    }
}
