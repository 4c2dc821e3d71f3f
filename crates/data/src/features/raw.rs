//! `RawFeature`: numbers, as they are, in buckets, or as weights of embeddings (EasyRec behaviour 14).
//!
//! x = the field's number(s) in f32; `(x - min_val) / (max_val - min_val)` if max_val > min_val; then `normalizer_fn`.
//! - `boundaries`, or `num_buckets` n > 1 with max_val > min_val (boundaries k/n, k = 0 .. n-1): the bucket is the number of
//!   boundaries ≤ x, NaN is in the last one; the i-th of several numbers has the ids from i * (boundaries + 1).
//! - otherwise with an embedding: number i is the weight of id i.
//! - otherwise the numbers go into the model.

use rankmill_kernels::ids::IdColumn;

use super::fields::{RowErrors, Values};
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
    /// `min_val` and `max_val - min_val`.
    pub(crate) range: Option<(f32, f32)>,
    pub(crate) normalizer: Option<Function>,
    pub(crate) output: RawOutput,
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

/// A function of one number.
pub(crate) type Function = fn(f32) -> f32;

/// The functions that `normalizer_fn` may name; TensorFlow has each under several paths.
pub(crate) const NORMALIZERS: [(&str, Function); 22] = [
    ("tf.math.log1p", f32::ln_1p),
    ("tf.log1p", f32::ln_1p),
    ("tf.math.log", f32::ln),
    ("tf.log", f32::ln),
    ("tf.math.sqrt", f32::sqrt),
    ("tf.sqrt", f32::sqrt),
    ("tf.math.tanh", f32::tanh),
    ("tf.tanh", f32::tanh),
    ("tf.nn.tanh", f32::tanh),
    ("tf.math.sigmoid", sigmoid),
    ("tf.sigmoid", sigmoid),
    ("tf.nn.sigmoid", sigmoid),
    ("tf.math.exp", f32::exp),
    ("tf.exp", f32::exp),
    ("tf.math.abs", f32::abs),
    ("tf.abs", f32::abs),
    ("tf.math.square", square),
    ("tf.square", square),
    ("tf.nn.relu", relu),
    ("tf.math.sign", sign),
    ("tf.sign", sign),
    ("tf.math.expm1", f32::exp_m1),
];

/// The function of that name.
pub(crate) fn normalizer(name: &str) -> Option<Function> {
    let name = name.strip_prefix("tensorflow.").map_or_else(|| name.to_string(), |rest| format!("tf.{rest}"));
    NORMALIZERS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn square(x: f32) -> f32 {
    x * x
}

fn relu(x: f32) -> f32 {
    if x.is_nan() { x } else { x.max(0.0) }
}

/// -1, 0 or 1; NaN stays NaN.
fn sign(x: f32) -> f32 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
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
        if let Some(normalizer) = self.normalizer {
            numbers.iter_mut().for_each(|x| *x = normalizer(*x));
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
            if self.width == 1 {
                numbers.push(parse_float32(text).unwrap_or_else(|| {
                    let rule = if text.is_empty() { Rule::EmptyNumber } else { Rule::NotFloat };
                    errors.push(at, &self.input, text, rule);
                    0.0
                }));
                continue;
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
            numbers.resize((at + 1) * self.width, 0.0);
        }
        numbers
    }
}

/// The number of boundaries up to and including `x`; all of them for NaN.
pub(crate) fn bucket(boundaries: &[f32], x: f32) -> u32 {
    boundaries.partition_point(|&boundary| boundary <= x || x.is_nan()) as u32
}
