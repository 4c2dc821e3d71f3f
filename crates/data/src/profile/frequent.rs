//! The most frequent values, from bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi 2005).
//!
//! A fixed number of values have counters. A value without one takes over the smallest counter, whose count it may have had itself: so a
//! count is at most that much too high, and every value that is more frequent than the smallest counter is among them.

use std::collections::{BTreeSet, HashMap};

/// Counters of values.
#[derive(Clone, Debug)]
pub(crate) struct Frequent {
    capacity: usize,
    counters: Vec<Counter>,
    /// Places of the counters by the hashes of their values; never iterated over.
    places: HashMap<u64, usize>,
    /// Counters by their counts.
    by_count: BTreeSet<(u64, usize)>,
}

/// A value's counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    pub(crate) value: Vec<u8>,
    hash: u64,
    /// How often it came, at most.
    pub(crate) count: u64,
    /// By how much `count` may be too high.
    pub(crate) excess: u64,
    /// How often it came with a positive label since it has the counter.
    pub(crate) positives: u64,
}

impl Counter {
    /// How often the value came since it has the counter.
    pub(crate) fn seen(&self) -> u64 {
        self.count - self.excess
    }
}

impl Frequent {
    /// Counters for so many values, which must not be 0.
    pub(crate) fn new(capacity: usize) -> Frequent {
        Frequent { capacity, counters: Vec::new(), places: HashMap::new(), by_count: BTreeSet::new() }
    }

    /// Counts a value.
    pub(crate) fn add(&mut self, value: &[u8], hash: u64, positive: bool) {
        let place = match self.places.get(&hash) {
            Some(&place) => place,
            None if self.counters.len() < self.capacity => {
                self.counters.push(Counter { value: value.to_vec(), hash, count: 0, excess: 0, positives: 0 });
                self.counters.len() - 1
            }
            None => {
                let (count, place) = self.by_count.first().copied().expect("there is a counter");
                let counter = &mut self.counters[place];
                self.places.remove(&counter.hash);
                counter.value.clear();
                counter.value.extend_from_slice(value);
                (counter.hash, counter.excess, counter.positives) = (hash, count, 0);
                place
            }
        };
        self.places.insert(hash, place);
        let counter = &mut self.counters[place];
        self.by_count.remove(&(counter.count, place));
        counter.count += 1;
        counter.positives += u64::from(positive);
        self.by_count.insert((counter.count, place));
    }

    /// The counters, most frequent first.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.by_count.iter().rev().map(|(_, place)| &self.counters[*place])
    }
}

#[cfg(test)]
mod tests {
    use rankmill_kernels::fingerprint::fingerprint64;

    use super::*;

    #[test]
    fn frequent_values_are_found_among_many_rare_ones() {
        let mut frequent = Frequent::new(10);
        let mut add = |value: String, positive| frequent.add(value.as_bytes(), fingerprint64(value.as_bytes()), positive);
        for at in 0..1000 {
            add(format!("rare{at}"), false);
            if at % 2 == 0 {
                add("often".into(), at % 4 == 0);
            }
            if at % 4 == 0 {
                add("sometimes".into(), true);
            }
        }
        let found: Vec<&Counter> = frequent.counters().take(2).collect();
        assert_eq!((&found[0].value[..], &found[1].value[..]), (&b"often"[..], &b"sometimes"[..]));
        assert!((500..=500 + found[0].excess).contains(&found[0].count));
        assert!(found[0].positives <= 250 && found[0].positives + found[0].excess >= 250);
    }

    proptest::proptest! {
        #[test]
        fn counts_are_right_as_long_as_there_are_counters_enough(values in proptest::collection::vec(0_u8..9, 0..80)) {
            let mut frequent = Frequent::new(9);
            values.iter().for_each(|value| frequent.add(&[*value], u64::from(*value), value % 2 == 0));
            for counter in frequent.counters() {
                let count = values.iter().filter(|value| [**value] == counter.value[..]).count() as u64;
                proptest::prop_assert_eq!((counter.count, counter.excess), (count, 0));
                proptest::prop_assert_eq!(counter.positives, if counter.value[0] % 2 == 0 { count } else { 0 });
            }
        }
    }
}
