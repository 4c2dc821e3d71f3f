//! The keys of dynamic tables, against a map that does the same the plain way.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rankmill_data::DynamicSpec;
use rankmill_model::TableKeys;

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    count: u64,
    last_step: u64,
    row: u32,
}

/// The plain way.
#[derive(Debug, Default)]
struct Plain {
    known: BTreeMap<u64, Known>,
    rows: Vec<u64>,
}

impl Plain {
    /// The rows of a batch's keys and how many were refused.
    fn admit(&mut self, lists: &[Vec<u64>], step: u64, spec: &DynamicSpec) -> (Vec<Vec<u32>>, u64) {
        let mut refused = 0;
        for key in lists.iter().flatten() {
            if !self.known.contains_key(key) && self.known.len() as u64 == spec.max_capacity {
                refused += 1;
                continue;
            }
            let known = self.known.entry(*key).or_default();
            known.count += 1;
            known.last_step = step;
        }
        for key in lists.iter().flatten() {
            if let Some(known) = self.known.get_mut(key).filter(|known| known.row == 0 && known.count >= spec.filter_freq) {
                self.rows.push(*key);
                known.row = self.rows.len() as u32;
            }
        }
        let row = |key: &u64| self.known.get(key).map_or(0, |known| known.row);
        (lists.iter().map(|keys| keys.iter().map(row).collect()).collect(), refused)
    }

    fn forget(&mut self, step: u64, steps_to_live: u64) {
        self.known.retain(|_, known| step - known.last_step <= steps_to_live);
        self.rows.retain(|key| self.known.contains_key(key));
        for (i, key) in self.rows.iter().enumerate() {
            self.known.get_mut(key).expect("it stayed").row = i as u32 + 1;
        }
    }
}

fn lists() -> impl Strategy<Value = Vec<Vec<u64>>> {
    // Small keys collide with nothing; large ones have the same low bits.
    let key = prop_oneof![0..40_u64, (0..8_u64).prop_map(|high| (high << 32) | 7), Just(i64::MAX as u64 - 1)];
    proptest::collection::vec(proptest::collection::vec(key, 0..12), 1..3)
}

proptest! {
    #[test]
    fn keys_come_and_go_as_in_a_map(
        steps in proptest::collection::vec((lists(), 0..4_u64), 1..40),
        filter_freq in 0..5_u64,
        steps_to_live in 0..9_u64,
        max_capacity in prop_oneof![Just(1000_u64), 1..30_u64],
        saved_at in 0..40_usize,
    ) {
        let spec = DynamicSpec { filter_freq, steps_to_live: Some(steps_to_live), max_capacity };
        let (mut table, mut plain) = (TableKeys::new("t"), Plain::default());
        // A row's content, which moves with it.
        let mut contents: Vec<u64> = vec![u64::MAX];
        let mut step = 0;
        for (i, (lists, pause)) in steps.iter().enumerate() {
            step += pause;
            let slices: Vec<&[u64]> = lists.iter().map(Vec::as_slice).collect();
            let admitted = table.admit(&slices, step, &spec);
            let (rows, refused) = plain.admit(lists, step, &spec);
            prop_assert_eq!((&admitted.rows, admitted.refused), (&rows, refused));
            contents.extend(&admitted.new);
            for key in lists.iter().flatten() {
                let row = table.row(*key);
                prop_assert!(row == 0 || contents[row as usize] == *key);
            }
            if pause % 2 == 1 {
                if let Some(kept) = table.forget(step, steps_to_live) {
                    prop_assert_eq!(kept[0], 0);
                    contents = kept.iter().map(|row| contents[*row as usize]).collect();
                }
                plain.forget(step, steps_to_live);
            }
            prop_assert_eq!(table.known(), plain.known.len());
            prop_assert_eq!(table.rows(), contents.len());
            prop_assert_eq!(&contents[1..], &plain.rows[..]);
            if i == saved_at {
                let mut restored = TableKeys::with_keys("t", &table.keys()).expect("its own keys");
                restored.restore(&table.admission()).expect("its own state");
                prop_assert_eq!((restored.keys(), restored.admission()), (table.keys(), table.admission()));
                table = restored;
            }
        }
    }
}

#[test]
fn saved_keys_that_cannot_be_are_refused() {
    assert_eq!(TableKeys::with_keys("t", &[3, 4, 3]), Err("key 3 of `t` comes twice".to_owned()));
    assert_eq!(TableKeys::with_keys("t", &[-1]), Err("-1 is no key of `t`".to_owned()));
    let mut table = TableKeys::with_keys("t", &[3, 4]).expect("keys");
    let admission = table.admission();
    let short = rankmill_model::Admission { counts: vec![1], ..admission.clone() };
    assert_eq!(table.restore(&short), Err("the keys of `t`, their counts and steps have different lengths".to_owned()));
    let negative = rankmill_model::Admission { counts: vec![1, -1], ..admission };
    assert_eq!(table.restore(&negative), Err("-1 is no count and no step".to_owned()));
}
