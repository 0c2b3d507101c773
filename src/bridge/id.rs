//! Ids of requests, and the event loop's table that finds a request by its id.

/// Names one request of one worker process. A message for a request that is gone finds nothing: an id
/// comes again only after 2^64 further requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestId {
    place: u32,
    generation: u64,
}

/// What the event loop knows about each request in flight.
#[derive(Debug)]
pub(crate) struct Table<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    generation: u64,
    value: Option<T>,
}

impl<T: Copy> Table<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: T) -> RequestId {
        if let Some(place) = self.free.pop() {
            if let Some(entry) = self.places.get_mut(place as usize) {
                entry.generation = entry.generation.wrapping_add(1);
                entry.value = Some(value);
                return RequestId { place, generation: entry.generation };
            }
        }
        let place = self.places.len() as u32;
        self.places.push(Place { generation: 0, value: Some(value) });
        RequestId { place, generation: 0 }
    }

    pub(crate) fn get(&self, id: RequestId) -> Option<T> {
        let entry = self.places.get(id.place as usize)?;
        if entry.generation == id.generation { entry.value } else { None }
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<T> {
        let entry = self.places.get_mut(id.place as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let value = entry.value.take()?;
        self.free.push(id.place);
        Some(value)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// The ids of all that is in the table now. While the caller walks through them, [`get`](Self::get) says
    /// what is still there.
    pub(crate) fn ids(&self) -> Vec<RequestId> {
        let places = self.places.iter().enumerate().filter(|(_, place)| place.value.is_some());
        places
            .map(|(at, place)| RequestId { place: at as u32, generation: place.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_finds_only_its_own_request() {
        let mut table = Table::new();
        let first = table.insert('a');
        let second = table.insert('b');
        assert!(!table.is_empty());
        assert_eq!((table.get(first), table.get(second)), (Some('a'), Some('b')));
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!(table.remove(first), None);
        let third = table.insert('c');
        assert_ne!(first, third);
        assert_eq!((table.get(first), table.get(third)), (None, Some('c')));
        let values: Vec<char> = table.ids().into_iter().filter_map(|id| table.get(id)).collect();
        assert_eq!(values, ['c', 'b']);
        assert_eq!(table.ids(), [third, second]);
        table.remove(second);
        assert_eq!(table.ids(), [third]);
        table.remove(third);
        assert_eq!(table.ids(), []);
        assert!(table.is_empty());
    }
}
