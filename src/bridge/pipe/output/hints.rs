//! The early hints of a response: what goes out before its head.

use crate::http::field::{Field, field_size};

/// The early hints of a request are longer than [`MAX_HINTS`] in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the early hints of this request are longer than {MAX_HINTS} bytes in all")]
pub(crate) struct TooManyHints;

/// Bytes of all early hints of a request ([`field_size`]). They wait in memory until a client takes
/// them: no temporary file holds them.
pub(crate) const MAX_HINTS: usize = 1 << 20;

/// Those of one response.
#[derive(Debug, Default)]
pub(super) struct Hints {
    waiting: Vec<Vec<Field>>,
    /// Bytes of all, of those that the event loop has taken as well.
    size: usize,
}

impl Hints {
    /// Adds what one 103 (Early Hints) says.
    pub(super) fn push(&mut self, fields: Vec<Field>, size: usize) -> Result<(), TooManyHints> {
        if size > MAX_HINTS - self.size {
            return Err(TooManyHints);
        }
        self.size += size;
        self.waiting.push(fields);
        Ok(())
    }

    /// Moves what waits to the end of `hints`.
    pub(super) fn take(&mut self, hints: &mut Vec<Vec<Field>>) {
        hints.append(&mut self.waiting);
    }
}

/// Bytes of `fields`, as they count: without any they are a head all the same.
pub(super) fn size(fields: &[Field]) -> usize {
    fields.iter().map(|(name, value)| field_size(name, value)).sum::<usize>().max(EMPTY)
}

/// What a 103 (Early Hints) without fields takes, about.
const EMPTY: usize = 64;
