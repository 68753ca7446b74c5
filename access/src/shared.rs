//! A map whose copy shares with the original all that has not changed since.
//!
//! It is cut into pieces by the hashes of its keys. A copy counts references, one a piece; what is changed afterwards copies the piece that it
//! is in, which holds some tens of entries whatever the size of the map. So the next version of a large tenant's facts costs what has changed.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::Arc,
};

/// A piece has about so many entries before the map gets twice as many pieces.
const PIECE_SIZE: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct SharedMap<K, V> {
    hasher: RandomState,
    /// A power of two of them.
    pieces: Vec<Arc<HashMap<K, V>>>,
    len: usize,
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { hasher: RandomState::new(), pieces: vec![Arc::default()], len: 0 }
    }
}

impl<K, V> SharedMap<K, V> {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// The keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> SharedMap<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.pieces[self.place(key)].get(key)
    }

    /// Whether the key has a value.
    #[must_use]
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Gives the key a value, and answers the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.len >= self.pieces.len() * PIECE_SIZE {
            self.spread();
        }
        let place = self.place(&key);
        let before = Arc::make_mut(&mut self.pieces[place]).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes the key's value away, and answers it.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let place = self.place(key);
        if !self.pieces[place].contains_key(key) {
            return None;
        }
        self.len -= 1;
        Arc::make_mut(&mut self.pieces[place]).remove(key)
    }

    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The tables of the pieces use the same kind of hash, of another seed.
        usize::try_from(self.hasher.hash_one(key) & (self.pieces.len() as u64 - 1)).expect("it is below the count")
    }

    /// Twice as many pieces.
    fn spread(&mut self) {
        let mut spread =
            Self { hasher: self.hasher.clone(), pieces: vec![Arc::default(); self.pieces.len() * 2], len: self.len };
        for piece in self.pieces.drain(..) {
            for (key, value) in Arc::unwrap_or_clone(piece) {
                let place = spread.place(&key);
                Arc::make_mut(&mut spread.pieces[place]).insert(key, value);
            }
        }
        *self = spread;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use super::{PIECE_SIZE, SharedMap};

    fn whole(map: &SharedMap<u64, u64>) -> HashMap<u64, u64> {
        let all: HashMap<u64, u64> = map.iter().map(|(key, value)| (*key, *value)).collect();
        assert_eq!(all.len(), map.len());
        all
    }

    #[test]
    fn it_holds_what_a_map_holds_whatever_is_done_to_copies_of_it() {
        let (mut map, mut model) = (SharedMap::default(), HashMap::new());
        let mut kept = Vec::new();
        // A linear congruence goes through some thousand keys in disorder, most of them several times.
        let mut number: u64 = 7;
        for step in 0..20_000_u64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let key = (number >> 33) % 3_000;
            if number >> 62 == 0 {
                assert_eq!(map.remove(&key), model.remove(&key));
            } else {
                assert_eq!(map.insert(key, step), model.insert(key, step));
            }
            assert_eq!(map.get(&key), model.get(&key));
            if step % 4_000 == 0 {
                kept.push((map.clone(), model.clone()));
            }
        }
        kept.push((map, model));
        for (map, model) in kept {
            assert_eq!(whole(&map), model);
        }
    }

    #[test]
    fn a_copy_shares_all_pieces_but_the_one_that_changes() {
        let mut map = SharedMap::default();
        for key in 0..100 * PIECE_SIZE as u64 {
            map.insert(key, key);
        }
        let mut copy = map.clone();
        copy.insert(5, 6);
        copy.remove(&5_000_000);
        let shared = map.pieces.iter().zip(&copy.pieces).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert_eq!((shared, map.get(&5), copy.get(&5)), (map.pieces.len() - 1, Some(&5), Some(&6)));
        assert!(map.pieces.len() >= 100);
    }
}
