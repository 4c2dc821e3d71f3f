//! `TagFeature`: any number of values in one field (EasyRec behaviours 11 to 13).
//!
//! - The field is cut at every character of `separator` (empty: into bytes); empty tags are passed over. No tags, no rows.
//! - `kv_separator`: each tag is a key and a weight. Two inputs: ids in the first, weights in the second, as many as ids in each row.
//!   (EasyRec compares the counts over the whole batch only and would pair ids and weights of different rows.)
//! - Combiners mean and sqrtn drop ids whose weight is not above 0.
//! - With `num_buckets`, -1 is an ordinary number out of range, unlike in an `IdFeature`.

use rankmill_kernels::ids::IdColumn;

use super::fields::{RowErrors, TextValues, Values};
use super::ids::{Id, IdRule, hashed};
use super::memo::Memo;
use super::split::Separator;
use crate::batch::{Combiner, FeatureCounts};
use crate::error::{Rule, shown};
use crate::number::parse_float32;

/// A `TagFeature`, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct TagFeature {
    pub(crate) name: String,
    pub(crate) input: String,
    pub(crate) rule: IdRule,
    pub(crate) separator: Separator,
    pub(crate) weights: Weights,
    pub(crate) combiner: Combiner,
}

/// Where weights come from.
#[derive(Clone, Debug)]
pub(crate) enum Weights {
    /// Every weight is 1.
    None,
    /// Behind this separator in each tag.
    Key { separator: Separator, shown: String },
    /// From a second input.
    Input { name: String },
}

impl TagFeature {
    /// Whether its ids have weights.
    pub(crate) fn is_weighted(&self) -> bool {
        !matches!(self.weights, Weights::None)
    }

    /// Whether the ids of a text depend on nothing but it, and nothing but them comes of it.
    fn can_be_kept(&self) -> bool {
        matches!(self.rule, IdRule::Hash { .. }) && !matches!(self.weights, Weights::Key { .. })
    }

    /// The ids of the live rows. `weights` is the second input; `empty` is how many rows had an empty number in the first.
    pub(crate) fn transform<T: Id>(
        &self,
        values: Values<'_>,
        weights: Option<Values<'_>>,
        rows: usize,
        empty: u64,
        memo: &mut Memo,
        errors: &mut RowErrors<'_>,
    ) -> (IdColumn<T>, FeatureCounts) {
        let mut tags = Tags {
            feature: self,
            column: IdColumn { offsets: Vec::with_capacity(rows + 1), ids: Vec::with_capacity(2 * rows), weights: None },
            weights: Vec::new(),
            counts: FeatureCounts { missing: empty, out_of_range: 0 },
        };
        tags.column.offsets.push(0);
        let mut decimal = Vec::new();
        match values {
            Values::Text(texts) if texts.may_have_codes() && self.can_be_kept() => {
                (0..rows).for_each(|at| tags.coded_row(at, texts, memo, errors));
            }
            _ => for_each_text(values, &mut decimal, |at, text| tags.row(at, text, errors)),
        }
        if let Some(weights) = weights {
            tags.read_weights(weights, errors);
        }
        tags.finish()
    }
}

/// Calls `take` with the text of each row: strings as they are, numbers in decimal.
pub(crate) fn for_each_text(values: Values<'_>, decimal: &mut Vec<u8>, mut take: impl FnMut(usize, &[u8])) {
    match values {
        Values::Text(values) => values.iter().enumerate().for_each(|(at, text)| take(at, text)),
        Values::Integers(values, _) | Values::Booleans(values) => values.iter().enumerate().for_each(|(at, &value)| {
            decimal.clear();
            decimal.extend_from_slice(rankmill_kernels::fingerprint::Decimal::new(value).as_bytes());
            take(at, decimal);
        }),
        Values::Floats(_) | Values::Doubles(_) => unreachable!("FeatureSet::new refuses floating-point inputs of tags"),
    }
}

/// The column while it grows.
struct Tags<'a, T> {
    feature: &'a TagFeature,
    column: IdColumn<T>,
    weights: Vec<f32>,
    counts: FeatureCounts,
}

impl<T: Id> Tags<'_, T> {
    /// Adds the tags of one row, whose text may have a code.
    #[inline]
    fn coded_row(&mut self, at: usize, texts: TextValues<'_>, memo: &mut Memo, errors: &mut RowErrors<'_>) {
        let code = texts.code(at);
        let Some(ids) = memo.get(code) else {
            let before = self.column.ids.len();
            self.row(at, texts.at(at), errors);
            memo.keep(code, self.column.ids[before..].iter().map(|id| id.number()));
            return;
        };
        self.column.ids.extend(ids.iter().map(|&id| T::of(id)));
        self.counts.missing += u64::from(ids.is_empty());
        self.column.offsets.push(self.column.ids.len() as u32);
    }

    /// Adds the tags of one row.
    #[inline]
    fn row(&mut self, at: usize, text: &[u8], errors: &mut RowErrors<'_>) {
        let feature = self.feature;
        let before = self.column.ids.len();
        match (&feature.rule, &feature.weights) {
            (IdRule::Hash { buckets }, Weights::None | Weights::Input { .. }) => {
                feature.separator.parts(text, |tag| self.column.ids.push(hashed(tag, *buckets)));
            }
            _ => feature.separator.parts(text, |tag| self.tag(at, text, tag, errors)),
        }
        if self.column.ids.len() == before {
            self.counts.missing += 1;
        }
        self.column.offsets.push(self.column.ids.len() as u32);
    }

    fn tag(&mut self, at: usize, text: &[u8], tag: &[u8], errors: &mut RowErrors<'_>) {
        let feature = self.feature;
        let mut key = tag;
        if let Weights::Key { separator, shown: separator_shown } = &feature.weights {
            let Some((before, weight)) = separator.pair(tag) else {
                errors.push(at, &feature.input, text, Rule::KeyValue { tag: shown(tag), separator: separator_shown.clone() });
                return;
            };
            let Some(weight_value) = parse_float32(weight) else {
                errors.push(at, &feature.input, text, Rule::WeightNotNumber { weight: shown(weight) });
                return;
            };
            self.weights.push(weight_value);
            key = before;
        }
        let id = feature.rule.row(key, |tag| feature.rule.integer(tag), &mut self.counts.out_of_range);
        self.column.ids.push(id.unwrap_or_else(|| {
            errors.push(at, &feature.input, text, Rule::TagNotInteger { tag: shown(key) });
            T::default()
        }));
    }

    /// Reads the weights of all rows from a second input.
    fn read_weights(&mut self, values: Values<'_>, errors: &mut RowErrors<'_>) {
        let feature = self.feature;
        let Weights::Input { name } = &feature.weights else {
            return;
        };
        let offsets = &self.column.offsets;
        let ids = |at: usize| (offsets[at + 1] - offsets[at]) as usize;
        let weights = &mut self.weights;
        let mut one = |at: usize, value: f32, errors: &mut RowErrors<'_>| {
            weights.push(value);
            if ids(at) != 1 {
                let rule = Rule::WeightCount { weights: 1, ids: ids(at), feature: feature.name.clone() };
                errors.push(at, name, value.to_string().as_bytes(), rule);
            }
        };
        match values {
            Values::Integers(values, _) | Values::Booleans(values) => {
                values.iter().enumerate().for_each(|(at, &value)| one(at, value as f32, errors));
            }
            Values::Floats(values) => values.iter().enumerate().for_each(|(at, &value)| one(at, value, errors)),
            Values::Doubles(values) => values.iter().enumerate().for_each(|(at, &value)| one(at, value as f32, errors)),
            Values::Text(values) => {
                for (at, text) in values.iter().enumerate() {
                    let before = weights.len();
                    feature.separator.parts(text, |part| {
                        weights.push(parse_float32(part).unwrap_or_else(|| {
                            errors.push(at, name, text, Rule::WeightNotNumber { weight: shown(part) });
                            0.0
                        }));
                    });
                    let found = weights.len() - before;
                    if found != ids(at) {
                        let rule = Rule::WeightCount { weights: found, ids: ids(at), feature: feature.name.clone() };
                        errors.push(at, name, text, rule);
                    }
                }
            }
        }
    }

    fn finish(self) -> (IdColumn<T>, FeatureCounts) {
        let Tags { feature, mut column, weights, counts } = self;
        if matches!(feature.weights, Weights::None) {
            return (column, counts);
        }
        if weights.len() == column.ids.len() {
            column = with_weights(column, weights, feature.combiner);
        }
        (column, counts)
    }
}

/// Adds weights to a column. Combiners other than sum lose the ids whose weight is not above 0 (EasyRec behaviour 13).
pub(crate) fn with_weights<T: Copy>(mut column: IdColumn<T>, mut weights: Vec<f32>, combiner: Combiner) -> IdColumn<T> {
    if combiner != Combiner::Sum && !weights.iter().all(|&weight| weight > 0.0) {
        let mut kept = 0;
        let mut start = column.offsets[0] as usize;
        for end_offset in &mut column.offsets[1..] {
            let end = *end_offset as usize;
            for at in start..end {
                if weights[at] > 0.0 {
                    weights[kept] = weights[at];
                    column.ids[kept] = column.ids[at];
                    kept += 1;
                }
            }
            *end_offset = kept as u32;
            start = end;
        }
        weights.truncate(kept);
        column.ids.truncate(kept);
    }
    column.weights = Some(weights);
    column
}
