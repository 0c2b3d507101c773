//! Which application, pool or loop has which number in the shared memory.
//!
//! nginx's master gives the numbers as it takes over a configuration, and its workers inherit the list. A name keeps its
//! number over reloads, also while no configuration has it.

/// A kind of names: numbered from 0.
#[derive(Clone, Debug)]
pub(crate) struct Names<T> {
    known: Vec<T>,
    room: usize,
}

impl<T: Clone + PartialEq> Names<T> {
    /// At most `room` of them get a number.
    pub(crate) fn new(room: usize) -> Self {
        Self { known: Vec::new(), room }
    }

    /// The number of a name, which gets one if it has none; `None` if there is no room.
    pub(crate) fn add(&mut self, name: &T) -> Option<usize> {
        self.number(name).or_else(|| {
            let number = self.known.len();
            (number < self.room).then(|| {
                self.known.push(name.clone());
                number
            })
        })
    }

    pub(crate) fn number(&self, name: &T) -> Option<usize> {
        self.known.iter().position(|known| known == name)
    }

    /// All, in the order of their numbers.
    pub(crate) fn all(&self) -> &[T] {
        &self.known
    }
}

/// An application, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppName {
    /// The name of its protocol.
    pub(crate) protocol: String,
    /// As the configuration writes it.
    pub(crate) target: String,
    /// The `python_process` whose processes run it; `None`: the workers do.
    pub(crate) process: Option<String>,
}

/// What a process is called: by its group and its number there, or by its number among the workers.
pub(crate) fn called(worker: u64, of_group: Option<(&str, usize)>) -> String {
    match of_group {
        Some((group, slot)) => format!("process {slot} of {group}"),
        None => format!("worker {worker}"),
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number() {
        let mut names = Names::new(2);
        assert_eq!(names.add(&"a"), Some(0));
        assert_eq!(names.add(&"b"), Some(1));
        assert_eq!((names.add(&"a"), names.add(&"c")), (Some(0), None));
        assert_eq!((names.number(&"b"), names.number(&"c")), (Some(1), None));
        assert_eq!(names.all(), ["a", "b"]);
    }
}
