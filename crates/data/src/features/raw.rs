//! `RawFeature`: numbers, as they are, in buckets, or as weights of embeddings (EasyRec behaviour 14).
//!
//! With `seq_multi_sep` and `combiner` the field holds several numbers, which are pooled: sum, mean, max or min. (A row without any is
//! 0; EasyRec loses it if it is the last of its batch.)
//!
//! x = the field's number(s) in f32; `(x - min_val) / (max_val - min_val)` if max_val > min_val; then `normalizer_fn`.
//! - `boundaries`, or `num_buckets` n > 1 with max_val > min_val (boundaries k/n, k = 0 .. n-1): the bucket is the number of
//!   boundaries ≤ x, NaN is in the last one; the i-th of several numbers has the ids from i * (boundaries + 1).
//! - otherwise with an embedding: number i is the weight of id i.
//! - otherwise the numbers go into the model.

use rankmill_kernels::ids::IdColumn;

use super::fields::{RowErrors, Values};
use super::formula::Formula;
use super::split::Separator;
use super::tag::with_weights;
use crate::batch::{Column, Combiner, DenseColumn, FeatureCounts};
use crate::error::{Rule, shown};
use crate::number::parse_float32;

/// A `RawFeature`, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct RawFeature {
    pub(crate) input: String,
    /// Numbers per row: `raw_input_dim`.
    pub(crate) width: usize,
    pub(crate) separator: Separator,
    /// Where a text is cut into several numbers (or several times `width` numbers), and what becomes of them.
    pub(crate) several: Option<(Separator, Pooling)>,
    /// `min_val` and `max_val - min_val`.
    pub(crate) range: Option<(f32, f32)>,
    pub(crate) normalizer: Option<Formula>,
    pub(crate) output: RawOutput,
}

/// How several numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooling {
    Sum,
    Mean,
    Max,
    Min,
}

/// What becomes of the numbers.
#[derive(Clone, Debug)]
pub(crate) enum RawOutput {
    Dense,
    /// Sorted boundaries.
    Buckets(Vec<f32>),
    /// Ids 0 .. width with the numbers as weights.
    Weights(Combiner),
}

impl RawFeature {
    /// Whether its ids have weights.
    pub(crate) fn is_weighted(&self) -> bool {
        matches!(self.output, RawOutput::Weights(_))
    }

    /// Rows of the table; `None` if there is none.
    pub(crate) fn table_rows(&self) -> Option<usize> {
        match &self.output {
            RawOutput::Dense => None,
            RawOutput::Buckets(boundaries) => Some(self.width * (boundaries.len() + 1)),
            RawOutput::Weights(_) => Some(self.width),
        }
    }

    /// The column of the live rows; `empty` is how many of them had an empty number.
    pub(crate) fn transform(&self, values: Values<'_>, rows: usize, empty: u64, errors: &mut RowErrors<'_>) -> (Column, FeatureCounts) {
        let mut counts = FeatureCounts { missing: empty, out_of_range: 0 };
        let mut numbers = self.read(values, rows, &mut counts, errors);
        if let Some((low, span)) = self.range {
            numbers.iter_mut().for_each(|x| *x = (*x - low) / span);
        }
        if let Some(normalizer) = &self.normalizer {
            numbers = normalizer.evaluate(&[&numbers], numbers.len());
        }
        let column = match &self.output {
            RawOutput::Dense => Column::Dense(DenseColumn { width: self.width, values: numbers }),
            RawOutput::Buckets(boundaries) => {
                let step = boundaries.len() as u32 + 1;
                let ids = numbers.iter().zip((0..self.width as u32).cycle()).map(|(&x, i)| i * step + bucket(boundaries, x)).collect();
                Column::Ids(IdColumn { offsets: self.offsets(rows), ids, weights: None })
            }
            RawOutput::Weights(combiner) => {
                let ids = (0..self.width as u32).cycle().take(numbers.len()).collect();
                Column::Ids(with_weights(IdColumn { offsets: self.offsets(rows), ids, weights: None }, numbers, *combiner))
            }
        };
        (column, counts)
    }

    fn offsets(&self, rows: usize) -> Vec<u32> {
        (0..=rows as u32).map(|row| row * self.width as u32).collect()
    }

    /// The numbers as they stand in the fields, short rows filled up with 0.
    fn read(&self, values: Values<'_>, rows: usize, counts: &mut FeatureCounts, errors: &mut RowErrors<'_>) -> Vec<f32> {
        let texts = match values {
            Values::Integers(values, _) | Values::Booleans(values) => return values.iter().map(|&value| value as f32).collect(),
            Values::Floats(values) => return values.to_vec(),
            Values::Doubles(values) => return values.iter().map(|&value| value as f32).collect(),
            Values::Text(texts) => texts,
        };
        let mut numbers = Vec::with_capacity(rows * self.width);
        for (at, text) in texts.iter().enumerate() {
            if text.is_empty() {
                counts.missing += 1;
            }
            match &self.several {
                Some((separator, pooling)) => {
                    let first = numbers.len();
                    let mut count = 0;
                    separator.parts(text, |part| {
                        count += 1;
                        self.read_numbers(at, part, count * self.width + first, &mut numbers, errors);
                    });
                    let pooled = pooling.pool(&numbers[first..], self.width);
                    numbers.truncate(first);
                    numbers.extend(pooled);
                }
                None => self.read_numbers(at, text, (at + 1) * self.width, &mut numbers, errors),
            }
        }
        numbers
    }

    /// Adds the `width` numbers of a text, so that there are `end` of them.
    fn read_numbers(&self, at: usize, text: &[u8], end: usize, numbers: &mut Vec<f32>, errors: &mut RowErrors<'_>) {
        if self.width == 1 {
            numbers.push(parse_float32(text).unwrap_or_else(|| {
                let rule = if text.is_empty() { Rule::EmptyNumber } else { Rule::NotFloat };
                errors.push(at, &self.input, text, rule);
                0.0
            }));
            return;
        }
        let mut found = 0;
        self.separator.parts(text, |part| {
            found += 1;
            if found <= self.width {
                numbers.push(parse_float32(part).unwrap_or_else(|| {
                    errors.push(at, &self.input, text, Rule::ElementNotNumber { number: shown(part) });
                    0.0
                }));
            }
        });
        if found > self.width {
            errors.push(at, &self.input, text, Rule::TooManyNumbers { allowed: self.width, found });
        }
        numbers.resize(end, 0.0);
    }
}

impl Pooling {
    /// The pooling that `combiner` names.
    pub(crate) fn from_name(name: &str) -> Option<Pooling> {
        Some(match name {
            "sum" => Pooling::Sum,
            "mean" => Pooling::Mean,
            "max" => Pooling::Max,
            "min" => Pooling::Min,
            _ => return None,
        })
    }

    /// Pools numbers that stand `width` apart; zeros if there are none.
    fn pool(self, numbers: &[f32], width: usize) -> Vec<f32> {
        let mut rows = numbers.chunks_exact(width);
        let Some(first) = rows.next() else { return vec![0.0; width] };
        let mut pooled = first.to_vec();
        for row in rows {
            for (all, x) in pooled.iter_mut().zip(row) {
                *all = match self {
                    Pooling::Sum | Pooling::Mean => *all + x,
                    Pooling::Max => all.max(*x),
                    Pooling::Min => all.min(*x),
                };
            }
        }
        if self == Pooling::Mean {
            let count = (numbers.len() / width) as f32;
            pooled.iter_mut().for_each(|x| *x /= count);
        }
        pooled
    }
}

/// The number of boundaries up to and including `x`; all of them for NaN.
pub(crate) fn bucket(boundaries: &[f32], x: f32) -> u32 {
    boundaries.partition_point(|&boundary| boundary <= x || x.is_nan()) as u32
}
