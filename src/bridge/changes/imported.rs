//! Which folders a worker has imported modules from: the attendant knows, and who waits for changes asks.

use std::path::PathBuf;

use super::names::Kind;
use crate::bridge::sync::{Mutex, lock};

#[derive(Debug)]
pub(crate) struct Imported(Mutex<State>);

#[derive(Debug)]
struct State {
    asked: bool,
    answer: Option<Folders>,
}

/// Folders, and what each is watched for.
pub(crate) type Folders = Vec<(PathBuf, Kind)>;

impl Imported {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { asked: false, answer: None }))
    }

    /// Whether the attendant has to be told: it is not asked twice while it does not answer.
    pub(crate) fn ask(&self) -> bool {
        !std::mem::replace(&mut lock(&self.0).asked, true)
    }

    /// The attendant: these have been added since the last answer.
    pub(crate) fn answer(&self, found: impl IntoIterator<Item = (PathBuf, Kind)>) {
        let mut state = lock(&self.0);
        state.asked = false;
        state.answer.get_or_insert_default().extend(found);
    }

    /// The answer; `None` if there is none, or it has been taken.
    pub(crate) fn take(&self) -> Option<Folders> {
        lock(&self.0).answer.take()
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_once_until_it_answers() {
        let imported = Imported::new();
        assert!(imported.ask() && !imported.ask());
        assert_eq!(imported.take(), None);
        imported.answer([("/srv".into(), Kind::Code)]);
        assert!(imported.ask());
        imported.answer([("/usr/lib".into(), Kind::Installed)]);
        let found = imported.take().unwrap();
        assert_eq!(found, [("/srv".into(), Kind::Code), ("/usr/lib".into(), Kind::Installed)]);
        assert_eq!(imported.take(), None);
    }
}
