//! What data look like, from one pass in bounded memory: for each input field its kind of text, missing and distinct values, the most
//! frequent ones, and how well it alone tells the label; for each feature what its settings do with these values, and better ones.
//!
//! A field that features take apart is counted by its parts, without their weights.

mod distinct;
mod frequent;
mod sample;

use rankmill_config::proto::FeatureConfig;
use rankmill_config::proto::feature_config::FeatureType;
use rankmill_config::{Feature, Pipeline};
use rankmill_kernels::fingerprint::fingerprint64;
use serde::Serialize;

use self::distinct::Distinct;
use self::frequent::Frequent;
use self::sample::{Sample, auc};
use crate::batch::FeatureBatch;
use crate::error::shown;
use crate::number::{parse_float64, parse_int64};
use crate::sources::{SourceField, source_fields};
use crate::statistics::FeatureStatistics;

/// Values with counters of their own.
const COUNTERS: usize = 256;
/// How many of the most frequent values are told.
const TOLD: usize = 5;
/// A value counts for the AUC of its field from so many rows on; rarer ones are taken together.
const ROWS_OF_A_VALUE: u64 = 30;
/// From this AUC on a field is suspected to hold the label.
const SUSPICIOUS_AUC: f64 = 0.95;
/// Buckets for each distinct value, so that about a tenth of the values share one.
const BUCKETS_PER_VALUE: u64 = 10;

/// Looks at batches, all of whose input fields are kept, in the order of `data_config.input_fields`.
#[derive(Clone, Debug)]
pub struct Profiler {
    fields: Vec<FieldProfiler>,
    label_fields: Vec<String>,
}

/// What an input field looks like.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldProfile {
    /// The field's name.
    pub name: String,
    /// Its declared type.
    pub declared: &'static str,
    /// What its texts are.
    pub content: FieldContent,
    /// Rows seen.
    pub rows: u64,
    /// Rows without a value.
    pub missing: u64,
    /// Values; more or fewer than rows if the field is taken apart.
    pub values: u64,
    /// Distinct values, within about 2 %.
    pub distinct: u64,
    /// The most frequent values.
    pub top: Vec<FrequentValue>,
    /// Smallest and largest number, and the deciles between, if all values are numbers.
    pub numbers: Option<Numbers>,
    /// How well the field alone tells the label: the AUC of ranking rows by it; `None` without both kinds of labels.
    pub auc: Option<f64>,
    /// Whether that is so good that the field may hold the label.
    pub suspicious: bool,
    /// The features that read the field.
    pub features: Vec<FeatureProfile>,
}

/// What the texts of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldContent {
    /// There are no values.
    Nothing,
    /// Whole numbers.
    WholeNumbers,
    /// Numbers.
    Numbers,
    /// Other texts.
    Texts,
}

/// A frequent value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrequentValue {
    /// The value, cut to 60 characters.
    pub value: String,
    /// How often it came; at most `excess` too high.
    pub count: u64,
    /// By how much `count` may be too high.
    pub excess: u64,
}

/// The numbers of a field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Numbers {
    /// The smallest one.
    pub smallest: f64,
    /// The largest one.
    pub largest: f64,
    /// Nine numbers below which a tenth, two tenths, … lie, by a sample.
    pub deciles: Vec<f64>,
}

/// What a feature does with the values of a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FeatureProfile {
    /// The feature's name.
    pub name: String,
    /// Values out of range.
    pub out_of_range: u64,
    /// Its `hash_bucket_size`.
    pub hash_bucket_size: Option<u64>,
    /// The share of the distinct values that is expected to share a bucket with another one.
    pub colliding: Option<f64>,
    /// A `hash_bucket_size` with which about a tenth of the values share buckets.
    pub suggested_hash_bucket_size: Option<u64>,
    /// `boundaries` that cut the numbers into equally frequent parts.
    pub suggested_boundaries: Option<Vec<f64>>,
}

#[derive(Clone, Debug)]
struct FieldProfiler {
    source: SourceField,
    features: Vec<FeatureConfig>,
    feature_names: Vec<String>,
    rows: u64,
    missing: u64,
    values: u64,
    whole: u64,
    numbers: u64,
    range: (f64, f64),
    distinct: Distinct,
    frequent: Frequent,
    sample: Sample,
    /// Whole fields, with their labels.
    texts: Frequent,
    positives: u64,
}

impl Profiler {
    /// Has seen no rows yet.
    #[must_use]
    pub fn new(pipeline: &Pipeline) -> Profiler {
        let features = pipeline.features();
        let fields = source_fields(pipeline).into_iter().map(|source| FieldProfiler::new(source, &features)).collect();
        let label_fields = pipeline.proto.data_config.as_ref().map_or_else(Vec::new, |data| data.label_fields.clone());
        Profiler { fields, label_fields }
    }

    /// Adds the rows of a batch.
    ///
    /// # Panics
    /// If the batch did not keep all input fields.
    pub fn observe(&mut self, batch: &FeatureBatch) {
        assert_eq!(batch.kept.len(), self.fields.len(), "all input fields are kept");
        let labels = batch.labels.first().filter(|labels| labels.len() == batch.rows);
        for (field, kept) in self.fields.iter_mut().zip(&batch.kept) {
            for row in 0..batch.rows {
                field.observe(kept.row(row), labels.is_some_and(|labels| labels[row] > 0.5));
            }
        }
    }

    /// What all rows together look like; `statistics` are those of the same batches.
    #[must_use]
    pub fn finish(&self, statistics: &[FeatureStatistics]) -> Vec<FieldProfile> {
        self.fields.iter().map(|field| field.finish(statistics, self.label_fields.contains(&field.source.name))).collect()
    }
}

impl FieldProfiler {
    fn new(source: SourceField, features: &[Feature<'_>]) -> FieldProfiler {
        let reads = |feature: &&Feature<'_>| feature.config.input_names.first().is_some_and(|input| *input == source.name);
        FieldProfiler {
            features: features.iter().filter(reads).map(|feature| feature.config.clone().into_owned()).collect(),
            feature_names: features.iter().filter(reads).map(|feature| feature.name.clone()).collect(),
            source,
            rows: 0,
            missing: 0,
            values: 0,
            whole: 0,
            numbers: 0,
            range: (f64::INFINITY, f64::NEG_INFINITY),
            distinct: Distinct::default(),
            frequent: Frequent::new(COUNTERS),
            sample: Sample::default(),
            texts: Frequent::new(COUNTERS),
            positives: 0,
        }
    }

    fn observe(&mut self, text: &[u8], positive: bool) {
        self.rows += 1;
        self.positives += u64::from(positive);
        self.texts.add(text, fingerprint64(text), positive);
        if text.is_empty() {
            self.missing += 1;
            return;
        }
        let joining = self.source.joining;
        let Some(separator) = joining.values else {
            return self.value(text, positive);
        };
        for part in text.split(|byte| *byte == separator).filter(|part| !part.is_empty()) {
            let key = joining.keys.and_then(|keys| part.split(|byte| *byte == keys).next());
            self.value(key.unwrap_or(part), positive);
        }
    }

    fn value(&mut self, value: &[u8], positive: bool) {
        let hash = fingerprint64(value);
        self.values += 1;
        self.distinct.add(hash);
        self.frequent.add(value, hash, positive);
        self.whole += u64::from(parse_int64(value).is_some());
        if let Some(number) = parse_float64(value) {
            self.numbers += 1;
            if number.is_finite() {
                self.range = (self.range.0.min(number), self.range.1.max(number));
                self.sample.add(number, positive);
            }
        }
    }

    fn content(&self) -> FieldContent {
        match self.values {
            0 => FieldContent::Nothing,
            values if values == self.whole => FieldContent::WholeNumbers,
            values if values == self.numbers => FieldContent::Numbers,
            _ => FieldContent::Texts,
        }
    }

    fn finish(&self, statistics: &[FeatureStatistics], is_label: bool) -> FieldProfile {
        let content = self.content();
        let is_numeric = matches!(content, FieldContent::WholeNumbers | FieldContent::Numbers);
        let distinct = self.distinct.estimate().min(self.values);
        let numbers = (is_numeric && self.range.0 <= self.range.1).then(|| Numbers {
            smallest: self.range.0,
            largest: self.range.1,
            deciles: self.sample.quantiles(10),
        });
        let auc = if is_label { None } else { self.auc(is_numeric) };
        let told = self.frequent.counters().take(TOLD);
        let top = told.map(|counter| FrequentValue { value: shown(&counter.value), count: counter.count, excess: counter.excess });
        let features = self.features.iter().zip(&self.feature_names);
        FieldProfile {
            name: self.source.name.clone(),
            declared: self.source.kind.as_str_name(),
            content,
            rows: self.rows,
            missing: self.missing,
            values: self.values,
            distinct,
            top: top.collect(),
            auc,
            suspicious: auc.is_some_and(|auc| auc >= SUSPICIOUS_AUC),
            features: features.map(|(config, name)| feature(config, name, distinct, numbers.as_ref(), statistics)).collect(),
            numbers,
        }
    }

    /// The better of the AUCs by frequent values and by size.
    fn auc(&self, is_numeric: bool) -> Option<f64> {
        let mut groups: Vec<(u64, u64)> = Vec::new();
        let mut rest = (self.positives, self.rows - self.positives);
        for counter in self.texts.counters().filter(|counter| counter.seen() >= ROWS_OF_A_VALUE) {
            let group = (counter.positives, counter.seen() - counter.positives);
            rest = (rest.0 - group.0, rest.1 - group.1);
            groups.push(group);
        }
        groups.push(rest);
        // Rising shares of positives, compared without division.
        groups.sort_by(|a, b| (u128::from(a.0) * u128::from(b.0 + b.1)).cmp(&(u128::from(b.0) * u128::from(a.0 + a.1))));
        let by_value = auc(groups.into_iter())?;
        let by_size = self.sample.auc().filter(|_| is_numeric && self.source.joining.values.is_none());
        Some(by_size.map_or(by_value, |auc| by_value.max(auc).max(1.0 - auc)))
    }
}

fn feature(
    config: &FeatureConfig,
    name: &str,
    distinct: u64,
    numbers: Option<&Numbers>,
    statistics: &[FeatureStatistics],
) -> FeatureProfile {
    let out_of_range = statistics.iter().find(|feature| feature.name == name).map_or(0, |feature| feature.out_of_range);
    let hashes = config.hash_bucket_size() > 0 && !matches!(config.feature_type(), FeatureType::ComboFeature | FeatureType::LookupFeature);
    let buckets = hashes.then(|| config.hash_bucket_size());
    let share = |buckets: u64| 1.0 - (1.0 - 1.0 / buckets as f64).powf(distinct.saturating_sub(1) as f64);
    let is_raw = config.feature_type() == FeatureType::RawFeature;
    FeatureProfile {
        name: name.to_string(),
        out_of_range,
        hash_bucket_size: buckets,
        colliding: buckets.map(share),
        suggested_hash_bucket_size: buckets.map(|_| two_digits(distinct.max(1).saturating_mul(BUCKETS_PER_VALUE))),
        suggested_boundaries: numbers.filter(|_| is_raw).map(|numbers| {
            let mut boundaries = numbers.deciles.clone();
            boundaries.dedup();
            boundaries
        }),
    }
}

/// The next number from `number` on with zeros behind its first two digits.
fn two_digits(number: u64) -> u64 {
    let mut unit = 1_u64;
    while number / unit >= 100 {
        unit = unit.saturating_mul(10);
    }
    number.div_ceil(unit).saturating_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggested_sizes_are_round() {
        for (number, round) in [(1, 1), (99, 99), (100, 100), (101, 110), (12_345, 13_000)] {
            assert_eq!(two_digits(number), round, "{number}");
        }
    }
}
