//! Header names: their hash, and a set of names that is made once and checked for each field of a response.

use std::collections::HashSet;

/// A set of names in lower case; a lookup ignores case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    names: HashSet<Box<[u8]>>,
}

/// Header names in practice are shorter; a longer one costs an allocation.
const COMMON: usize = 64;

impl Names {
    pub(crate) fn insert(&mut self, name: &[u8]) {
        self.names.insert(name.to_ascii_lowercase().into());
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        if self.names.is_empty() {
            return false;
        }
        let mut buffer = [0; COMMON];
        match buffer.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.names.contains(&*lower)
            }
            None => self.names.contains(name.to_ascii_lowercase().as_slice()),
        }
    }
}

/// Headers that often have the value that they had in the last request. Those that differ between clients or requests
/// are not among them, nor those with secret values, which must not be kept.
pub(super) const OFTEN_THE_SAME: &[&[u8]] = &[
    b"host",
    b"user-agent",
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"accept-charset",
    b"cache-control",
    b"connection",
    b"content-type",
    b"dnt",
    b"origin",
    b"pragma",
    b"priority",
    b"sec-ch-ua",
    b"sec-ch-ua-mobile",
    b"sec-ch-ua-platform",
    b"sec-fetch-dest",
    b"sec-fetch-mode",
    b"sec-fetch-site",
    b"sec-fetch-user",
    b"te",
    b"upgrade-insecure-requests",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-requested-with",
];

/// Whether a header of that name, in lower case, is among [`OFTEN_THE_SAME`].
pub(crate) fn is_often_the_same(name: &[u8]) -> bool {
    OFTEN_THE_SAME.contains(&name)
}

/// A hash of a header name (FNV-1a). Names that have the same environ key have the same hash.
pub(crate) fn name_hash(name: &[u8]) -> u32 {
    const FOLDED: [u8; 256] = folded();
    name.iter().fold(0x811c_9dc5, |hash, &byte| {
        let folded = FOLDED.get(usize::from(byte)).copied().unwrap_or_default();
        (hash ^ u32::from(folded)).wrapping_mul(0x0100_0193)
    })
}

#[allow(clippy::indexing_slicing)] // evaluated at compile time: a bad index is a compile error
const fn folded() -> [u8; 256] {
    let mut folded = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        folded[byte] = fold(byte as u8).to_ascii_lowercase();
        byte += 1;
    }
    folded
}

/// [`name_hash`] of a name in lower case, at compile time.
#[allow(clippy::indexing_slicing)] // evaluated at compile time: a bad index is a compile error
pub(super) const fn name_hash_of(name: &[u8]) -> u32 {
    let mut hash: u32 = 0x811c_9dc5;
    let mut at = 0;
    while at < name.len() {
        hash = (hash ^ fold(name[at]) as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// A byte of a header's name as it appears in the environ key, except for its case.
pub(super) const fn fold(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_kept() {
        assert!(is_often_the_same(b"host"));
        for name in [&b"cookie"[..], b"authorization", b"proxy-authorization", b"x-api-key"] {
            assert!(!is_often_the_same(name));
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        let mut names = Names::default();
        assert!(!names.contains(b"server"));
        let long = [b'X'; 3 * COMMON];
        for name in [b"X-Powered-By".as_slice(), b"server", &long] {
            names.insert(name);
        }
        for name in [b"x-powered-by".as_slice(), b"SERVER", &[b'x'; 3 * COMMON]] {
            assert!(names.contains(name));
        }
        for name in [b"".as_slice(), b"x-powered-b", b"x-powered-by ", &[b'x'; COMMON + 1]] {
            assert!(!names.contains(name));
        }
    }
}
