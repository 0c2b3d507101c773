//! The HTTP_* variables of environ (PEP 3333, "environ Variables"; RFC 3875, 4.1.18).

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use crate::http::names::{OFTEN_THE_SAME, fold, name_hash_of};
use crate::http::request_head::{FieldSpans, RequestHead};

/// Common header names. Their environ keys are made once, at start.
pub(crate) const KNOWN: &[(&[u8], &str)] = &[
    (b"host", "HTTP_HOST"),
    (b"user-agent", "HTTP_USER_AGENT"),
    (b"accept", "HTTP_ACCEPT"),
    (b"accept-encoding", "HTTP_ACCEPT_ENCODING"),
    (b"accept-language", "HTTP_ACCEPT_LANGUAGE"),
    (b"accept-charset", "HTTP_ACCEPT_CHARSET"),
    (b"authorization", "HTTP_AUTHORIZATION"),
    (b"cache-control", "HTTP_CACHE_CONTROL"),
    (b"connection", "HTTP_CONNECTION"),
    (b"cookie", "HTTP_COOKIE"),
    (b"dnt", "HTTP_DNT"),
    (b"expect", "HTTP_EXPECT"),
    (b"forwarded", "HTTP_FORWARDED"),
    (b"if-match", "HTTP_IF_MATCH"),
    (b"if-modified-since", "HTTP_IF_MODIFIED_SINCE"),
    (b"if-none-match", "HTTP_IF_NONE_MATCH"),
    (b"if-range", "HTTP_IF_RANGE"),
    (b"if-unmodified-since", "HTTP_IF_UNMODIFIED_SINCE"),
    (b"keep-alive", "HTTP_KEEP_ALIVE"),
    (b"origin", "HTTP_ORIGIN"),
    (b"pragma", "HTTP_PRAGMA"),
    (b"priority", "HTTP_PRIORITY"),
    (b"range", "HTTP_RANGE"),
    (b"referer", "HTTP_REFERER"),
    (b"sec-ch-ua", "HTTP_SEC_CH_UA"),
    (b"sec-ch-ua-mobile", "HTTP_SEC_CH_UA_MOBILE"),
    (b"sec-ch-ua-platform", "HTTP_SEC_CH_UA_PLATFORM"),
    (b"sec-fetch-dest", "HTTP_SEC_FETCH_DEST"),
    (b"sec-fetch-mode", "HTTP_SEC_FETCH_MODE"),
    (b"sec-fetch-site", "HTTP_SEC_FETCH_SITE"),
    (b"sec-fetch-user", "HTTP_SEC_FETCH_USER"),
    (b"te", "HTTP_TE"),
    (b"traceparent", "HTTP_TRACEPARENT"),
    (b"upgrade", "HTTP_UPGRADE"),
    (b"upgrade-insecure-requests", "HTTP_UPGRADE_INSECURE_REQUESTS"),
    (b"via", "HTTP_VIA"),
    (b"x-csrftoken", "HTTP_X_CSRFTOKEN"),
    (b"x-forwarded-for", "HTTP_X_FORWARDED_FOR"),
    (b"x-forwarded-host", "HTTP_X_FORWARDED_HOST"),
    (b"x-forwarded-proto", "HTTP_X_FORWARDED_PROTO"),
    (b"x-real-ip", "HTTP_X_REAL_IP"),
    (b"x-request-id", "HTTP_X_REQUEST_ID"),
    (b"x-requested-with", "HTTP_X_REQUESTED_WITH"),
];

/// Whether this header of [`KNOWN`] is among [`OFTEN_THE_SAME`].
pub(crate) fn is_often_the_same(index: usize) -> bool {
    const SAME: [bool; KNOWN.len()] = same();
    SAME.get(index).copied().unwrap_or_default()
}

#[allow(clippy::indexing_slicing)] // evaluated at compile time: a bad index is a compile error
const fn same() -> [bool; KNOWN.len()] {
    let mut same = [false; KNOWN.len()];
    let mut index = 0;
    while index < KNOWN.len() {
        let mut other = 0;
        while other < OFTEN_THE_SAME.len() {
            if name_hash_of(KNOWN[index].0) == name_hash_of(OFTEN_THE_SAME[other]) {
                same[index] = true;
            }
            other += 1;
        }
        index += 1;
    }
    same
}

/// An environ key made from a header's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderKey<'a> {
    /// An index into [`KNOWN`].
    Known(usize),
    /// The header's name as sent, with its [`name_hash`](crate::http::names::name_hash); [`variable_name`] makes the key.
    Other(&'a [u8], u32),
}

/// Passes each HTTP_* variable of a request to `sink`, once per key.
///
/// - Repeated fields are joined with `, `, Cookie with `; ` (RFC 9110, 5.3; RFC 6265, 5.4).
/// - Content-Type and Content-Length are left out: they have variables of their own.
/// - Transfer-Encoding is left out: nginx has decoded the chunks (RFC 9112, 6.1), and an application that decoded
///   them again would break the body.
/// - `Proxy` is left out: client libraries would use HTTP_PROXY as their proxy setting (httpoxy).
/// - A name with `_` neither replaces nor joins the name with `-` that has the same key.
pub(crate) fn headers<'h>(
    head: &'h RequestHead,
    mut sink: impl FnMut(HeaderKey<'h>, Cow<'h, [u8]>),
) {
    if !head.may_repeat() {
        for field in head.fields() {
            let name = head.get(field.name());
            if !left_out(name) {
                sink(key(name, field.hash), Cow::Borrowed(head.get(field.value())));
            }
        }
        return;
    }
    let links = links(head);
    for (at, field) in head.fields().iter().enumerate() {
        let Some(Link { first: true, next }) = links.get(at) else { continue };
        let name = head.get(field.name());
        let value = if next.is_some() {
            let chain = std::iter::successors(Some(at), |at| links.get(*at)?.next);
            Cow::Owned(join(head, name, chain.filter_map(|at| head.fields().get(at))))
        } else {
            Cow::Borrowed(head.get(field.value()))
        };
        sink(key(name, field.hash), value);
    }
}

/// The links of a field to others with the same environ key.
#[derive(Clone, Copy, Default)]
struct Link {
    /// Whether it is the first of these fields.
    first: bool,
    next: Option<usize>,
}

/// The links of all fields except those that are left out. The time is proportional to the head's size, whatever
/// names a client sends: std's hash has a secret key, unlike `name_hash`.
fn links(head: &RequestHead) -> Vec<Link> {
    let mut links = vec![Link::default(); head.fields().len()];
    let mut last: HashMap<Key<'_>, usize> = HashMap::with_capacity(links.len());
    for (at, field) in head.fields().iter().enumerate() {
        let name = head.get(field.name());
        if left_out(name) {
            continue;
        }
        let before = last.insert(Key(name), at);
        match before.and_then(|before| links.get_mut(before)) {
            Some(before) => before.next = Some(at),
            None => {
                if let Some(link) = links.get_mut(at) {
                    link.first = true;
                }
            }
        }
    }
    links
}

/// A header's name. It equals other names with the same environ key.
struct Key<'h>(&'h [u8]);

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        same_key(self.0, other.0)
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Hashed in blocks, because std's hash is slow with single bytes.
        let mut block = [0; 64];
        for part in self.0.chunks(block.len()) {
            for (folded, &byte) in block.iter_mut().zip(part) {
                *folded = fold(byte).to_ascii_lowercase();
            }
            state.write(block.get(..part.len()).unwrap_or_default());
        }
        state.write_usize(self.0.len());
    }
}

/// The value of Content-Type, for CONTENT_TYPE.
pub(crate) fn content_type(head: &RequestHead) -> Option<&[u8]> {
    let hash = const { name_hash_of(b"content-type") };
    let is_it = |field: &&FieldSpans| {
        field.hash == hash && head.get(field.name()).eq_ignore_ascii_case(b"content-type")
    };
    head.fields().iter().find(is_it).map(|field| head.get(field.value()))
}

/// The environ key of a header: `HTTP_` and the name in upper case, with `_` for `-`.
pub(crate) fn variable_name(name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(5 + name.len());
    key.extend_from_slice(b"HTTP_");
    key.extend(name.iter().map(|&byte| fold(byte).to_ascii_uppercase()));
    key
}

fn left_out(name: &[u8]) -> bool {
    match name.len() {
        5 => name.eq_ignore_ascii_case(b"proxy"),
        12 => same_key(name, b"content-type"),
        14 => same_key(name, b"content-length"),
        17 => same_key(name, b"transfer-encoding"),
        _ => false,
    }
}

fn key(name: &[u8], hash: u32) -> HeaderKey<'_> {
    match known(hash) {
        Some(index) if KNOWN.get(index).is_some_and(|(known, _)| same_key(known, name)) => {
            HeaderKey::Known(index)
        }
        _ => HeaderKey::Other(name, hash),
    }
}

/// Looks up a hash in a table of 256 entries that is made at compile time.
fn known(hash: u32) -> Option<usize> {
    let mut place = hash as usize;
    loop {
        match TABLE.get(place % TABLE.len()).copied() {
            Some((index, stored)) if index != NONE => {
                if stored == hash {
                    return Some(usize::from(index));
                }
            }
            _ => return None,
        }
        place = place.wrapping_add(1);
    }
}

const NONE: u8 = u8::MAX;
const TABLE: [(u8, u32); 256] = table();

#[allow(clippy::indexing_slicing)] // evaluated at compile time: a bad index is a compile error
const fn table() -> [(u8, u32); 256] {
    let mut table = [(NONE, 0); 256];
    let mut index = 0;
    while index < KNOWN.len() {
        let hash = name_hash_of(KNOWN[index].0);
        let mut place = hash as usize % 256;
        while table[place].0 != NONE {
            place = (place + 1) % 256;
        }
        table[place] = (index as u8, hash);
        index += 1;
    }
    table
}

fn same_key(one: &[u8], other: &[u8]) -> bool {
    #[cfg(test)]
    tests::COMPARED.with(|compared| compared.set(compared.get() + 1));
    one.len() == other.len()
        && one.iter().zip(other).all(|(&a, &b)| fold(a).eq_ignore_ascii_case(&fold(b)))
}

fn join<'a>(
    head: &RequestHead,
    name: &[u8],
    fields: impl Iterator<Item = &'a FieldSpans> + Clone,
) -> Vec<u8> {
    let plain = |field: &&FieldSpans| !head.get(field.name()).contains(&b'_');
    let any_plain = fields.clone().any(|field| plain(&field));
    let separator: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
    let mut joined = Vec::new();
    for (at, field) in fields.filter(|field| !any_plain || plain(field)).enumerate() {
        if at > 0 {
            joined.extend_from_slice(separator);
        }
        joined.extend_from_slice(head.get(field.value()));
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;

    use super::*;
    use crate::http::names::name_hash;

    thread_local! {
        /// How many times two names have been compared.
        pub(super) static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    fn variables(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut head = RequestHead::default();
        for (name, value) in fields {
            head.push_field(name.as_bytes(), value.as_bytes());
        }
        let mut found = Vec::new();
        headers(&head, |key, value| {
            let key = match key {
                HeaderKey::Known(index) => KNOWN[index].1.to_owned(),
                HeaderKey::Other(name, _) => String::from_utf8(variable_name(name)).unwrap(),
            };
            found.push((key, String::from_utf8(value.into_owned()).unwrap()));
        });
        found
    }

    fn expect(fields: &[(&str, &str)], expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        assert_eq!(variables(fields), expected, "{fields:?}");
    }

    #[test]
    fn names_are_mapped() {
        expect(
            &[("Host", "a"), ("X-Custom-Thing", "b"), ("x-request-id", "c")],
            &[("HTTP_HOST", "a"), ("HTTP_X_CUSTOM_THING", "b"), ("HTTP_X_REQUEST_ID", "c")],
        );
    }

    #[test]
    fn every_known_name_is_found() {
        for (index, (name, variable)) in KNOWN.iter().enumerate() {
            assert_eq!(key(name, name_hash(name)), HeaderKey::Known(index));
            assert_eq!(variable_name(name), variable.as_bytes());
        }
    }

    #[test]
    fn what_is_secret_is_not_kept() {
        let kept = |name: &[u8]| {
            let index = KNOWN.iter().position(|(known, _)| *known == name).unwrap();
            is_often_the_same(index)
        };
        assert!(kept(b"host") && kept(b"user-agent") && kept(b"accept-encoding"));
        assert!(!kept(b"cookie") && !kept(b"authorization") && !kept(b"x-csrftoken"));
        assert_eq!((0..KNOWN.len()).filter(|&index| !is_often_the_same(index)).count(), 19);
        assert!(!is_often_the_same(KNOWN.len()));
    }

    #[test]
    fn repeated_fields_are_joined_in_their_order() {
        expect(
            &[("X-A", "1"), ("Host", "h"), ("x-a", "2"), ("X-A", "")],
            &[("HTTP_X_A", "1, 2, "), ("HTTP_HOST", "h")],
        );
        expect(&[("Cookie", "a=1"), ("cookie", "b=2")], &[("HTTP_COOKIE", "a=1; b=2")]);
    }

    #[test]
    fn some_headers_never_become_http_variables() {
        expect(
            &[
                ("Proxy", "http://evil/"),
                ("Content-Type", "text/plain"),
                ("content_type", "text/evil"),
                ("Content-Length", "3"),
                ("Transfer-Encoding", "chunked"),
            ],
            &[],
        );
    }

    #[test]
    fn an_underscore_cannot_shadow_a_hyphen() {
        for fields in
            [[("X_Under", "evil"), ("X-Under", "good")], [("X-Under", "good"), ("X_Under", "evil")]]
        {
            expect(&fields, &[("HTTP_X_UNDER", "good")]);
        }
        expect(&[("X_Under", "1"), ("X_Under", "2")], &[("HTTP_X_UNDER", "1, 2")]);
    }

    /// Heads that fit into nginx's largest buffers: the number of comparisons must grow with the number of fields,
    /// not with its square.
    #[test]
    fn many_fields_are_joined_in_linear_time() {
        type Name = Box<dyn Fn(usize) -> String>;
        let same = same_hash();
        let names: Vec<(&str, Name)> = vec![
            ("one name", Box::new(|_| "a".to_owned())),
            ("names that differ", Box::new(|number| format!("x{number}"))),
            ("names in turn", Box::new(|number| format!("x{}", number % 100))),
            ("hyphens and underscores", Box::new(|number| ["a-b", "a_b"][number % 2].to_owned())),
            ("names of one hash", Box::new(move |number| same[number % same.len()].clone())),
        ];
        for (what, name) in &names {
            for count in [3_000, 6_000] {
                let mut head = RequestHead::default();
                for number in 0..count {
                    head.push_field(name(number).as_bytes(), b"v");
                }
                assert!(head.may_repeat(), "{what}");
                COMPARED.set(0);
                let (mut keys, mut bytes) = (0, 0);
                headers(&head, |_, value| {
                    keys += 1;
                    bytes += value.len();
                });
                // If some fields are left out, their values are left out too.
                assert!(keys > 0 && bytes >= count / 2, "{what}: {keys} keys, {bytes} bytes");
                // Each name is compared with the name before it, with the known name, and with a few that share a
                // part of its secret hash.
                let compared = COMPARED.get();
                assert!(compared <= 3 * count, "{what}: {compared} of {count}");
            }
        }
    }

    /// Names for which `name_hash`, which anybody can compute, returns the same value: two endings with one hash,
    /// each followed by two such endings again.
    fn same_hash() -> Vec<String> {
        let endings = [
            ["1aa9", "25054"],
            ["4598b", "868b8"],
            ["97d8f", "c0f98"],
            ["fc5ef", "14a7b0"],
            ["1a498b", "1e78b8"],
            ["2088eb", "243938"],
        ];
        endings.iter().fold(vec![String::new()], |names, endings| {
            let longer = |name: String| endings.map(|ending| format!("{name}{ending}"));
            names.into_iter().flat_map(longer).collect()
        })
    }

    #[test]
    fn names_of_one_hash_are_different_variables() {
        let names = same_hash();
        assert_eq!(names.len(), 64);
        let hashes: HashSet<u32> = names.iter().map(|name| name_hash(name.as_bytes())).collect();
        assert_eq!(hashes.len(), 1);
        let mut fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "1")).collect();
        fields.push((&names[7], "2"));
        let found = variables(&fields);
        assert_eq!(found.len(), 64);
        assert_eq!(found[7].1, "1, 2");
        assert_eq!(found.iter().filter(|(_, value)| value == "1").count(), 63);
    }
}
