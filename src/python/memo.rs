//! Objects that a thread has made for one request, and uses again for the next ones.

use pyo3::prelude::*;

/// Longer names and values are seldom the same, and would take memory.
const LONGEST: usize = 256;

const NAMES: usize = 1 << NAMES_BITS;
const NAMES_BITS: u32 = 8;

/// What was made of header names: of the last ones that requests have had, each at the place of its hash.
pub(super) struct ByName<T> {
    places: [Option<(Box<[u8]>, T)>; NAMES],
}

/// What was made of the last request's value, for a value that the next one often has as well.
pub(super) struct Last<T>(Option<(Box<[u8]>, Py<T>)>);

impl<T> ByName<T> {
    pub(super) fn new() -> Self {
        Self { places: [const { None }; NAMES] }
    }

    /// What was made of `name`, whose [`name_hash`](crate::http::names::name_hash) that is, or what `make` makes of it now.
    /// `None`: the name is too long to be kept, and nothing is made.
    pub(super) fn get(
        &mut self,
        name: &[u8],
        hash: u32,
        make: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<Option<&mut T>> {
        // Fibonacci hashing: names that differ in a last digit do not share places.
        let place = hash.wrapping_mul(0x9e37_79b1) >> (u32::BITS - NAMES_BITS);
        let place = self.places.get_mut(place as usize).filter(|_| name.len() <= LONGEST);
        let Some(place) = place else { return Ok(None) };
        if place.as_ref().is_none_or(|(known, _)| **known != *name) {
            *place = Some((name.into(), make()?));
        }
        Ok(place.as_mut().map(|(_, made)| made))
    }
}

impl<T> Last<T> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// The last request's object if its value was the same, otherwise what `make` makes.
    pub(super) fn get<'py>(
        &mut self,
        py: Python<'py>,
        value: &[u8],
        make: impl FnOnce() -> PyResult<Bound<'py, T>>,
    ) -> PyResult<Bound<'py, T>> {
        match &self.0 {
            Some((last, made)) if **last == *value => return Ok(made.bind(py).clone()),
            _ => {}
        }
        let made = make()?;
        if value.len() <= LONGEST {
            self.0 = Some((value.into(), made.clone().unbind()));
        }
        Ok(made)
    }
}
