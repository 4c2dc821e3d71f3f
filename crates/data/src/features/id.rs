//! `IdFeature`: one value, one row of a table (EasyRec behaviours 6 to 10).
//!
//! - `hash_bucket_size` wins over `vocab_list`, `vocab_file` and `num_buckets`.
//! - An empty string is missing: no row, a zero vector. So is the integer -1, but only with `num_buckets`.
//! - Integers are hashed as decimal text, floating-point numbers as text with `precision` decimals, bools as `true` and `false`.
//! - An empty string with `num_buckets` stops EasyRec; here it is missing like any other empty string.
//! - With `ParquetInputV3` a value equal to the field's `ignore_val` is missing.

use rankmill_kernels::ids::IdColumn;

use super::fields::{FieldDefault, RowErrors, Values, integer_fingerprints, truth};
use super::ids::{Id, IdRule, hashed, in_range, in_vocabulary, integer_in_vocabulary};
use super::memo::Memo;
use crate::batch::FeatureCounts;
use crate::error::Rule;
use crate::number::write_float;

/// An `IdFeature`, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct IdFeature {
    pub(crate) input: String,
    pub(crate) rule: IdRule,
    /// Decimals of floating-point numbers.
    pub(crate) precision: usize,
    /// The value that is none.
    pub(crate) ignored: Option<FieldDefault>,
}

impl IdFeature {
    /// The ids of the live rows; `empty` is how many of them had an empty number.
    pub(crate) fn transform<T: Id>(
        &self,
        values: Values<'_>,
        rows: usize,
        empty: u64,
        memo: &mut Memo,
        errors: &mut RowErrors<'_>,
    ) -> (IdColumn<T>, FeatureCounts) {
        let (mut column, mut counts) = self.ids(values, rows, empty, memo, errors);
        if let Some(ignored) = &self.ignored {
            counts.missing += leave_out(&mut column, |at| values.equals(at, ignored));
        }
        (column, counts)
    }

    fn ids<T: Id>(
        &self,
        values: Values<'_>,
        rows: usize,
        empty: u64,
        memo: &mut Memo,
        errors: &mut RowErrors<'_>,
    ) -> (IdColumn<T>, FeatureCounts) {
        let mut ids: Vec<T> = Vec::with_capacity(rows);
        let mut counts = FeatureCounts { missing: empty, out_of_range: 0 };
        let outside = &mut counts.out_of_range;
        let mut text = Vec::new();
        match (&self.rule, values) {
            (IdRule::Hash { buckets }, Values::Integers(values, texts)) => {
                ids.extend(integer_fingerprints(values, texts).map(|fingerprint| T::of(fingerprint % buckets)));
            }
            (IdRule::Hash { buckets }, Values::Booleans(values)) => {
                ids.extend(values.iter().map(|&value| hashed::<T>(truth(value), *buckets)))
            }
            (IdRule::Hash { buckets }, Values::Floats(values)) => ids.extend(values.iter().map(|&value| {
                write_float(f64::from(value), self.precision, &mut text);
                hashed::<T>(&text, *buckets)
            })),
            (IdRule::Hash { buckets }, Values::Doubles(values)) => ids.extend(values.iter().map(|&value| {
                write_float(value, self.precision, &mut text);
                hashed::<T>(&text, *buckets)
            })),
            (IdRule::Vocabulary { places }, Values::Integers(values, _)) => {
                ids.extend(values.iter().map(|&value| integer_in_vocabulary::<T>(places, value, outside)));
            }
            (IdRule::Vocabulary { places }, Values::Booleans(values)) => {
                ids.extend(values.iter().map(|&value| in_vocabulary::<T>(places, truth(value), outside)));
            }
            (IdRule::Number { buckets }, Values::Integers(values, _) | Values::Booleans(values)) if !values.contains(&-1) => {
                ids.extend(values.iter().map(|&value| in_range::<T>(value, *buckets, outside)));
            }
            (IdRule::Number { buckets }, Values::Integers(values, _) | Values::Booleans(values)) => {
                return self.optional(values.iter(), rows, counts, |&value, counts| {
                    (value != -1).then(|| in_range(value, *buckets, &mut counts.out_of_range))
                });
            }
            (IdRule::Hash { buckets }, Values::Text(values)) if !values.may_have_codes() => {
                return self.optional(values.iter(), rows, counts, |text, _| (!text.is_empty()).then(|| hashed(text, *buckets)));
            }
            (IdRule::Hash { buckets }, Values::Text(values)) => {
                return self.optional(0..rows, rows, counts, |at, _| {
                    let code = values.code(at);
                    if let Some([id]) = memo.get(code) {
                        return Some(T::of(*id));
                    }
                    let text = values.at(at);
                    let id: Option<T> = (!text.is_empty()).then(|| hashed(text, *buckets));
                    if let Some(id) = id {
                        memo.keep(code, std::iter::once(id.number()));
                    }
                    id
                });
            }
            (IdRule::Vocabulary { places }, Values::Text(values)) => {
                return self.optional(values.iter(), rows, counts, |text, counts| {
                    (!text.is_empty()).then(|| in_vocabulary(places, text, &mut counts.out_of_range))
                });
            }
            (IdRule::Number { buckets }, Values::Text(values)) => {
                return self.optional(values.iter().enumerate(), rows, counts, |(at, text), counts| {
                    if text.is_empty() {
                        return None;
                    }
                    let Some(value) = self.rule.integer(text) else {
                        errors.push(at, &self.input, text, Rule::NotInt32);
                        return None;
                    };
                    (value != -1).then(|| in_range(value, *buckets, &mut counts.out_of_range))
                });
            }
            (IdRule::Vocabulary { .. } | IdRule::Number { .. }, Values::Floats(_) | Values::Doubles(_)) => {
                unreachable!("FeatureSet::new refuses floating-point inputs with a vocabulary or num_buckets")
            }
        }
        let offsets = (0..=rows as u32).collect();
        (IdColumn { offsets, ids, weights: None }, counts)
    }

    /// A column in which rows may have no id.
    #[inline]
    fn optional<V, T: Id>(
        &self,
        values: impl Iterator<Item = V>,
        rows: usize,
        mut counts: FeatureCounts,
        mut id: impl FnMut(V, &mut FeatureCounts) -> Option<T>,
    ) -> (IdColumn<T>, FeatureCounts) {
        let mut column = IdColumn { offsets: Vec::with_capacity(rows + 1), ids: Vec::with_capacity(rows), weights: None };
        column.offsets.push(0);
        for value in values {
            match id(value, &mut counts) {
                Some(id) => column.ids.push(id),
                None => counts.missing += 1,
            }
            column.offsets.push(column.ids.len() as u32);
        }
        (column, counts)
    }
}

/// Takes away the ids of some rows; returns how many.
fn leave_out<T: Copy>(column: &mut IdColumn<T>, is_out: impl Fn(usize) -> bool) -> u64 {
    let (mut kept, mut start) = (0, 0);
    for (at, end_offset) in column.offsets[1..].iter_mut().enumerate() {
        let end = *end_offset as usize;
        if !is_out(at) {
            column.ids.copy_within(start..end, kept);
            kept += end - start;
        }
        start = end;
        *end_offset = kept as u32;
    }
    let out = column.ids.len() - kept;
    column.ids.truncate(kept);
    out as u64
}
