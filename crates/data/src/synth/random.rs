//! Whole numbers from random bits, by a rule that is fixed here: the bytes of a data set depend on it.

use rand_core::Rng;

/// A whole number below `limit`, by multiplication: the bias is below `limit` / 2^64.
pub(super) fn below(limit: u64, random: &mut impl Rng) -> u64 {
    let product = u128::from(random.next_u64()) * u128::from(limit);
    (product >> 64) as u64
}

/// Fisher and Yates' shuffle.
pub(super) fn shuffle<T>(things: &mut [T], random: &mut impl Rng) {
    for last in (1..things.len()).rev() {
        things.swap(last, below(last as u64 + 1, random) as usize);
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn every_order_is_as_likely() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..60_000 {
            let mut things = [1, 2, 3];
            shuffle(&mut things, &mut random);
            *counts.entry(things).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
    }

    #[test]
    fn nothing_and_one_thing_stay() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        shuffle::<u8>(&mut [], &mut random);
        let mut one = [5];
        shuffle(&mut one, &mut random);
        assert_eq!((one, below(1, &mut random)), ([5], 0));
    }
}
