//! The calls that run on a loop, each at a number that its exchange knows.

use pyo3::prelude::*;

use crate::python::protocol::Call;

#[derive(Default)]
pub(super) struct Calls {
    calls: Vec<Option<Py<Call>>>,
    free: Vec<usize>,
}

impl Calls {
    /// Adds a call, and gives its number.
    pub(super) fn insert(&mut self, call: Py<Call>) -> usize {
        match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.calls.get_mut(number) {
                    *place = Some(call);
                }
                number
            }
            None => {
                self.calls.push(Some(call));
                self.calls.len() - 1
            }
        }
    }

    /// Takes a call out. The caller drops it when nothing is borrowed.
    pub(super) fn remove(&mut self, number: usize) -> Option<Py<Call>> {
        let call = self.calls.get_mut(number)?.take();
        self.free.push(number);
        call
    }

    pub(super) fn get(&self, number: usize) -> Option<&Py<Call>> {
        self.calls.get(number)?.as_ref()
    }

    pub(super) fn all(&self, py: Python<'_>) -> Vec<Py<Call>> {
        self.calls.iter().flatten().map(|call| call.clone_ref(py)).collect()
    }
}
