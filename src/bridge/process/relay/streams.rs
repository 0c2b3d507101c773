//! The requests that one process has of this worker, by the places that their numbers name.

use super::super::frames::Number;
use super::stream::Stream;

#[derive(Debug, Default)]
pub(super) struct Streams {
    places: Vec<(u32, Option<Box<Stream>>)>,
    free: Vec<u32>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Stream> {
        self.places.get_mut(slot as usize)?.1.as_deref_mut()
    }

    pub(super) fn of(&mut self, number: Number) -> Option<&mut Stream> {
        self.at(number.slot).filter(|stream| stream.number == number)
    }

    /// The number of the next request.
    pub(super) fn free_place(&mut self) -> Number {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let place = self.places.get_mut(slot as usize);
        let generation = place.map_or(0, |(generation, _)| {
            *generation = generation.wrapping_add(1);
            *generation
        });
        Number { slot, generation }
    }

    pub(super) fn insert(&mut self, number: Number, stream: Stream) -> Option<&mut Stream> {
        let place = self.places.get_mut(number.slot as usize)?;
        Some(place.1.insert(Box::new(stream)))
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let place = self.places.get_mut(slot as usize);
        if place.and_then(|place| place.1.take()).is_some() {
            self.free.push(slot);
        }
    }

    pub(super) fn into_all(self) -> impl Iterator<Item = Stream> {
        self.places.into_iter().filter_map(|(_, stream)| stream.map(|stream| *stream))
    }
}
