//! `SequenceFeature`: positions in an order, each with a value or several (EasyRec behaviours 17 and 161).
//!
//! The field is cut at each whole `separator` (empty: at blanks). Empty parts are positions, so an empty field is one empty position.
//! With `seq_multi_sep` a position is cut further, at each of its characters, and empty parts are passed over; a row then ends with its
//! last position that has a value, as TensorFlow measures its length.
//!
//! What a value becomes:
//! - `sub_feature_type: IdFeature` (the default): a row of a table, by `hash_bucket_size`, a vocabulary or `num_buckets`, as in an
//!   `IdFeature`, but that an empty text is hashed or looked up like any other.
//! - `sub_feature_type: RawFeature` with `boundaries`, or with `num_buckets` n > 1 and max_val > min_val (boundaries k/n over
//!   `(x - min_val) / (max_val - min_val)`): the row is the number of boundaries up to the value.
//! - `sub_feature_type: RawFeature` otherwise: the `raw_input_dim` numbers of a position enter the model, or with an `embedding_dim` they
//!   all weight one row of a table of `raw_input_dim` rows: row p for position p, row 0 from position `raw_input_dim` on. (Meant was
//!   surely a row for each number.) All rows have exactly `sequence_length` positions, filled up with zeros.
//!
//! EasyRec stops at an empty field where numbers are needed; here it is a sequence without positions.

use rankmill_config::proto::feature_config::FeatureType;
use rankmill_kernels::ids::IdColumn;

use super::Feature;
use super::build::{Built, Declaration, Problem, boundaries, combiner, id_rule, is_float};
use super::fields::{RowErrors, Values};
use super::ids::{Id, IdRule};
use super::raw::bucket;
use super::split::{PositionSeparator, Separator};
use super::tag::{for_each_text, with_weights};
use crate::batch::{Combiner, DenseColumn, FeatureCounts, FeatureKind, Positions, SequenceColumn};
use crate::error::{Rule, shown};
use crate::number::{parse_float32, parse_int64};

/// The most positions that `sequence_length` may fill rows up to.
const MOST_POSITIONS: u32 = 1 << 20;

/// A `SequenceFeature`, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct SequenceFeature {
    input: String,
    separator: PositionSeparator,
    /// Where a position is cut into several values.
    values: Option<Separator>,
    element: Element,
}

/// What a value becomes.
#[derive(Clone, Debug)]
enum Element {
    /// A row of a table.
    Ids(IdRule),
    /// The row of a bucket.
    Bucket { range: Option<(f32, f32)>, boundaries: Vec<f32> },
    /// `width` numbers at each of `length` positions.
    Numbers { width: usize, length: usize, output: NumberOutput },
}

/// What becomes of the numbers of a position.
#[derive(Clone, Copy, Debug)]
enum NumberOutput {
    /// They weight a row of a table.
    Weights(Combiner),
    /// They enter the model.
    Dense,
}

pub(crate) fn build(declaration: &Declaration<'_>) -> Result<Built, Problem> {
    let (name, config) = (declaration.name, declaration.config);
    if is_float(declaration.inputs[0]) {
        return Err(Problem::at("input_names", "the input of a SequenceFeature must be STRING, not FLOAT or DOUBLE"));
    }
    let values = match &config.seq_multi_sep {
        Some(separator) if separator.is_empty() => return Err(Problem::at("seq_multi_sep", "is empty")),
        separator => separator.as_ref().map(|separator| Separator::new(separator)),
    };
    let combiner = combiner(declaration)?;
    let (element, table_suffix) = match config.sub_feature_type() {
        FeatureType::IdFeature => (Element::Ids(id_rule(declaration)?), format!("{name}_embedding")),
        FeatureType::RawFeature => numbers(declaration, values.is_some(), combiner)?,
        other => {
            let message = format!("a position is an IdFeature or a RawFeature, not {}", other.as_str_name());
            return Err(Problem::at("sub_feature_type", message));
        }
    };
    let separator = PositionSeparator::new(config.separator());
    let feature = SequenceFeature { input: config.input_names[0].clone(), separator, values, element };
    Ok(Built { feature: Feature::Sequence(Box::new(feature)), combiner, table_suffix })
}

/// The element of a sequence of numbers and the name of its table.
fn numbers(declaration: &Declaration<'_>, several: bool, combiner: Combiner) -> Result<(Element, String), Problem> {
    let (name, config) = (declaration.name, declaration.config);
    if config.hash_bucket_size() > 0 {
        return Err(Problem::at("hash_bucket_size", "numbers are not hashed; remove it, or use sub_feature_type: IdFeature"));
    }
    let boundaries = boundaries(config)?;
    if !boundaries.is_empty() {
        let (low, high) = (config.min_val(), config.max_val());
        let range = (config.num_buckets() > 1 && high > low).then_some((low as f32, (high - low) as f32));
        return Ok((Element::Bucket { range, boundaries }, format!("{name}_bucketized_embedding")));
    }
    if config.num_buckets() > 1 {
        return Err(Problem::at("num_buckets", "numbers in buckets need max_val above min_val; for ids use sub_feature_type: IdFeature"));
    }
    let (width, length) = (config.raw_input_dim(), config.sequence_length());
    if width == 0 || width > 1 << 16 {
        return Err(Problem::at("raw_input_dim", "must be from 1 to 65536"));
    }
    if length == 0 || length > MOST_POSITIONS {
        return Err(Problem::at("sequence_length", format!("must be from 1 to {MOST_POSITIONS}")));
    }
    if width > 1 && !several {
        return Err(Problem::at("raw_input_dim", "more than one number at a position needs seq_multi_sep between them"));
    }
    if width == 1 && several {
        return Err(Problem::at("seq_multi_sep", "set raw_input_dim to the count of numbers at a position"));
    }
    let output = if config.embedding_dim() > 0 { NumberOutput::Weights(combiner) } else { NumberOutput::Dense };
    let element = Element::Numbers { width: width as usize, length: length as usize, output };
    Ok((element, format!("{name}_weighted_by_{name}_raw_proj_val_embedding")))
}

impl SequenceFeature {
    /// What is at a position.
    pub(crate) fn kind(&self) -> FeatureKind {
        match &self.element {
            Element::Ids(rule) => FeatureKind::IdSequence { rows: rule.rows() as usize, weighted: false },
            Element::Bucket { boundaries, .. } => FeatureKind::IdSequence { rows: boundaries.len() + 1, weighted: false },
            Element::Numbers { width, output: NumberOutput::Weights(_), .. } => FeatureKind::IdSequence { rows: *width, weighted: true },
            Element::Numbers { width, output: NumberOutput::Dense, .. } => FeatureKind::DenseSequence { width: *width },
        }
    }

    /// The sequences of the live rows and the keys of a dynamic table; `empty` is how many of them had an empty number.
    pub(crate) fn transform<T: Id>(
        &self,
        values: Values<'_>,
        rows: usize,
        empty: u64,
        errors: &mut RowErrors<'_>,
    ) -> (SequenceColumn, Vec<u64>, FeatureCounts) {
        let mut counts = FeatureCounts { missing: empty, out_of_range: 0 };
        let (column, keys) = match &self.element {
            Element::Numbers { width, length, output } => {
                let column = self.numbers(values, rows, (*width, *length), *output, &mut counts, errors);
                match column.positions {
                    Positions::Ids(ids) => {
                        let (ids, keys) = T::split(T::from_rows(ids));
                        (SequenceColumn { positions: Positions::Ids(ids), ..column }, keys)
                    }
                    Positions::Dense(_) => (column, Vec::new()),
                }
            }
            _ => self.ids::<T>(values, rows, &mut counts, errors),
        };
        (column, keys, counts)
    }

    /// A value or several at each position, as rows of a table.
    fn ids<T: Id>(
        &self,
        values: Values<'_>,
        rows: usize,
        counts: &mut FeatureCounts,
        errors: &mut RowErrors<'_>,
    ) -> (SequenceColumn, Vec<u64>) {
        let mut column = Growing::<T>::new(rows);
        for_each_text(values, &mut Vec::new(), |at, text| {
            counts.missing += u64::from(text.is_empty());
            if text.is_empty() && !self.takes_empty_text() {
                return column.end_row();
            }
            self.separator.parts(text, |part| {
                let mut value = |value: &[u8]| match self.id(value, counts) {
                    Ok(id) => column.ids.push(id),
                    Err(rule) => errors.push(at, &self.input, text, rule),
                };
                match &self.values {
                    Some(separator) => separator.parts(part, value),
                    None => value(part),
                }
                column.end_position();
            });
            column.end_row();
        });
        column.finish()
    }

    /// Whether an empty text is a value.
    fn takes_empty_text(&self) -> bool {
        matches!(&self.element, Element::Ids(IdRule::Hash { .. } | IdRule::Vocabulary { .. }))
    }

    /// The table row of a value.
    fn id<T: Id>(&self, value: &[u8], counts: &mut FeatureCounts) -> Result<T, Rule> {
        match &self.element {
            Element::Ids(rule) => {
                rule.row(value, parse_int64, &mut counts.out_of_range).ok_or_else(|| Rule::PositionNotInteger { value: shown(value) })
            }
            Element::Bucket { range, boundaries } => {
                let number = parse_float32(value).ok_or_else(|| Rule::ElementNotNumber { number: shown(value) })?;
                let number = range.map_or(number, |(low, span)| (number - low) / span);
                Ok(T::of(u64::from(bucket(boundaries, number))))
            }
            Element::Numbers { .. } => unreachable!("sequences of numbers have no ids"),
        }
    }

    /// `width` numbers at each of `length` positions.
    fn numbers(
        &self,
        values: Values<'_>,
        rows: usize,
        (width, length): (usize, usize),
        output: NumberOutput,
        counts: &mut FeatureCounts,
        errors: &mut RowErrors<'_>,
    ) -> SequenceColumn {
        let mut numbers = Vec::with_capacity(rows * length * width);
        for_each_text(values, &mut Vec::new(), |at, text| {
            let mut positions = 0;
            let mut position = |part: &[u8]| {
                positions += 1;
                if positions > length {
                    return;
                }
                let mut found = 0;
                let number = |number: &[u8]| {
                    found += 1;
                    if found <= width {
                        numbers.push(parse_float32(number).unwrap_or_else(|| {
                            errors.push(at, &self.input, text, Rule::ElementNotNumber { number: shown(number) });
                            0.0
                        }));
                    }
                };
                match &self.values {
                    Some(separator) => separator.parts(part, number),
                    None => std::iter::once(part).for_each(number),
                }
                if found > width {
                    errors.push(at, &self.input, text, Rule::TooManyNumbers { allowed: width, found });
                }
                numbers.resize((at * length + positions) * width, 0.0);
            };
            if text.is_empty() {
                counts.missing += 1;
            } else {
                self.separator.parts(text, &mut position);
            }
            if positions > length {
                errors.push(at, &self.input, text, Rule::TooManyPositions { allowed: length, found: positions });
            }
            numbers.resize((at + 1) * length * width, 0.0);
        });
        let offsets = (0..=rows as u32).map(|row| row * length as u32).collect();
        let positions = match output {
            NumberOutput::Dense => Positions::Dense(DenseColumn { width, values: numbers }),
            NumberOutput::Weights(combiner) => {
                let offsets = (0..=(rows * length) as u32).map(|position| position * width as u32).collect();
                // EasyRec takes the place of the position for the row of the table, not that of the number.
                let row = |position: usize| if position % length < width { (position % length) as u32 } else { 0 };
                let ids = (0..rows * length).flat_map(|position| std::iter::repeat_n(row(position), width)).collect();
                Positions::Ids(with_weights(IdColumn { offsets, ids, weights: None }, numbers, combiner))
            }
        };
        SequenceColumn { offsets, longest: length, positions }
    }
}

/// A column while it grows.
struct Growing<T> {
    rows: Vec<u32>,
    positions: Vec<u32>,
    ids: Vec<T>,
    longest: usize,
}

impl<T: Id> Growing<T> {
    fn new(rows: usize) -> Growing<T> {
        let (mut of_rows, mut positions) = (Vec::with_capacity(rows + 1), Vec::with_capacity(8 * rows + 1));
        of_rows.push(0);
        positions.push(0);
        Growing { rows: of_rows, positions, ids: Vec::with_capacity(8 * rows), longest: 0 }
    }

    fn end_position(&mut self) {
        self.positions.push(self.ids.len() as u32);
    }

    /// Ends a row with its last position that has a value.
    fn end_row(&mut self) {
        let first = self.rows[self.rows.len() - 1] as usize;
        self.longest = self.longest.max(self.positions.len() - 1 - first);
        while self.positions.len() - 1 > first && self.positions[self.positions.len() - 2] == self.positions[self.positions.len() - 1] {
            self.positions.pop();
        }
        self.rows.push(self.positions.len() as u32 - 1);
    }

    fn finish(self) -> (SequenceColumn, Vec<u64>) {
        let (ids, keys) = T::split(IdColumn { offsets: self.positions, ids: self.ids, weights: None });
        (SequenceColumn { offsets: self.rows, longest: self.longest, positions: Positions::Ids(ids) }, keys)
    }
}
