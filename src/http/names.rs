//! A set of header names, made once and asked for each field of a response.

use std::collections::HashSet;

/// Names in lower case; a name is found in any case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    names: HashSet<Box<[u8]>>,
}

/// Longer than the header names that are in use; a longer one costs an allocation.
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

#[cfg(test)]
mod tests {
    use super::*;

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
