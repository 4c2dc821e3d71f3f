//! All features of a config: from the raw rows of a batch to its columns, labels, weights and keys.
//!
//! This is the only way from text to numbers; training, evaluation, prediction and the server all go through it.
//! A batch is worked on column by column. Rows that break a rule are noted on the way; if there are any, they are an error or, under
//! `data_config.ignore_error`, left out, and the columns are made again without them. (EasyRec leaves out their whole batch.)

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_kernels::fingerprint::{Decimal, fingerprint64};

use super::fields::{Field, LiveRows, Parsed, RowErrors, Values, integer_fingerprints};
use super::formula::Formula;
use super::memo::Memo;
use super::plan;
use super::split::Separator;
use super::{Inputs, Made};
use crate::batch::{FeatureBatch, FeatureSpec, KeptColumn, Observed};
use crate::error::{DataError, Rule, shown};
use crate::number::parse_float32;
use crate::rows::RawRows;

/// The features of a config, ready to run.
#[derive(Clone, Debug)]
pub struct FeatureSet {
    pub(super) specs: Vec<FeatureSpec>,
    pub(super) features: Vec<PlannedFeature>,
    pub(super) fields: Vec<Field>,
    pub(super) labels: Vec<Label>,
    /// Labels that are computed from the others, which they follow.
    pub(super) computed_labels: Vec<Formula>,
    pub(super) label_names: Vec<String>,
    pub(super) sample_weight: Option<usize>,
    pub(super) key_names: Vec<String>,
    pub(super) keys: Vec<usize>,
    pub(super) kept: Vec<usize>,
    pub(super) on_error: OnError,
    pub(super) parsed: Vec<Parsed>,
}

/// What happens to a row that breaks a rule: `data_config.ignore_error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The batch is an error.
    Stop,
    /// The row is left out and counted.
    Skip,
}

/// A feature and the fields it reads.
#[derive(Clone, Debug)]
pub(super) struct PlannedFeature {
    pub(super) feature: super::Feature,
    /// The fields of its `input_names`.
    pub(super) inputs: Vec<usize>,
    pub(super) memo: Memo,
}

/// A label and the field it is read from.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) field: usize,
    /// Values per row: `label_dim`.
    pub(super) width: usize,
    pub(super) separator: Separator,
    /// What its values become: `user_define_fn`.
    pub(super) function: Option<Formula>,
}

impl FeatureSet {
    /// The features that the feature groups of `model_config` use, the labels, the sample weight and the keys of grouped metrics.
    /// Features that no group uses are not even parsed.
    ///
    /// # Errors
    /// Everything in the config that does not fit, each with its place.
    pub fn new(pipeline: &Pipeline) -> Result<FeatureSet, Diagnostics> {
        plan::feature_set(pipeline)
    }

    /// What the model needs to know of each feature, in the order of the columns.
    #[must_use]
    pub fn specs(&self) -> &[FeatureSpec] {
        &self.specs
    }

    /// The names of the label fields and then of the labels of `extra_label_func`, in the order of [`FeatureBatch::labels`].
    #[must_use]
    pub fn label_names(&self) -> &[String] {
        &self.label_names
    }

    /// The `uid_field`s and `session_id_field`s of the metrics, each once, in the order of [`FeatureBatch::keys`].
    #[must_use]
    pub fn key_names(&self) -> &[String] {
        &self.key_names
    }

    /// The names of the input fields: the columns that raw rows must have.
    pub fn field_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// The names of the fields that features, labels, the sample weight and keys are made of; some may come twice.
    pub(crate) fn needed_fields(&self) -> impl Iterator<Item = &str> {
        let inputs = self.features.iter().flat_map(|feature| feature.inputs.iter().copied());
        let labels = self.labels.iter().map(|label| label.field);
        let needed = inputs.chain(labels).chain(self.sample_weight).chain(self.keys.iter().copied());
        needed.map(|field| self.fields[field].name.as_str())
    }

    /// What happens to rows that break a rule.
    #[must_use]
    pub fn on_error(&self) -> OnError {
        self.on_error
    }

    /// Chooses the input fields whose raw text is handed through in [`FeatureBatch::kept`].
    ///
    /// # Errors
    /// [`Rule::UnknownColumn`] for a name that is no input field.
    pub fn keep(&mut self, names: &[String]) -> Result<(), DataError> {
        let find = |name: &String| {
            self.fields.iter().position(|field| field.name == *name).ok_or_else(|| {
                let known = self.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ");
                DataError::file(name.as_str(), Rule::UnknownColumn { known })
            })
        };
        self.kept = names.iter().map(find).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The columns of a batch of rows, whose fields are those of `data_config.input_fields`, in that order.
    ///
    /// # Errors
    /// The first row that breaks a rule, unless such rows are to be skipped.
    ///
    /// # Panics
    /// If the rows have another number of columns than [`FeatureSet::field_names`].
    pub fn transform(&mut self, rows: &RawRows) -> Result<FeatureBatch, DataError> {
        assert_eq!(rows.columns(), self.fields.len(), "raw rows have the columns of data_config.input_fields");
        let mut skipped: Vec<(u32, DataError)> = rows.broken().iter().map(|(row, rule)| (*row, broken(rows, *row, rule))).collect();
        let mut live: Vec<u32> = (0..rows.rows() as u32).collect();
        remove(&mut live, &skipped);
        loop {
            let mut errors = RowErrors::new(rows, &live);
            let mut batch = self.columns(rows, &live, &mut errors);
            let found = errors.into_first_of_each_row();
            let done = found.is_empty();
            remove(&mut live, &found);
            skipped.extend(found);
            skipped.sort_by_key(|(row, _)| *row);
            if self.on_error == OnError::Stop && !skipped.is_empty() {
                return Err(skipped.swap_remove(0).1);
            }
            if done {
                batch.observed.skipped = skipped.into_iter().map(|(_, error)| error).collect();
                return Ok(batch);
            }
        }
    }

    fn columns(&mut self, rows: &RawRows, live: &LiveRows, errors: &mut RowErrors<'_>) -> FeatureBatch {
        for (field, parsed) in self.fields.iter().zip(&mut self.parsed) {
            parsed.parse(field, rows, live, errors);
        }
        let values = |field: usize| self.parsed[field].values(&self.fields[field], rows, live);
        let mut columns = Vec::with_capacity(self.features.len());
        let has_dynamic_tables = self.specs.iter().any(|spec| spec.dynamic.is_some());
        let mut table_keys = Vec::new();
        let mut observed = Observed::default();
        let mut of_inputs = Vec::new();
        for (PlannedFeature { feature, inputs, memo }, spec) in self.features.iter_mut().zip(&self.specs) {
            of_inputs.clear();
            of_inputs.extend(inputs.iter().map(|&input| values(input)));
            let inputs = Inputs { values: &of_inputs, empty: self.parsed[inputs[0]].empty, rows: live.len() };
            let Made { column, keys, counts } = match spec.dynamic {
                None => feature.transform::<u32>(&inputs, memo, errors),
                Some(_) => feature.transform::<u64>(&inputs, memo, errors),
            };
            columns.push(column);
            if has_dynamic_tables {
                table_keys.push(keys);
            }
            observed.features.push(counts);
        }
        let mut labels: Vec<Vec<f32>> = Vec::with_capacity(self.labels.len() + self.computed_labels.len());
        for label in &self.labels {
            let numbers = self.numbers(label, values(label.field), errors);
            labels.push(match &label.function {
                Some(function) => function.evaluate(&[&numbers], numbers.len()),
                None => numbers,
            });
        }
        for formula in &self.computed_labels {
            let columns: Vec<&[f32]> = labels.iter().map(Vec::as_slice).collect();
            labels.push(formula.evaluate(&columns, live.len()));
        }
        let weight = |field| {
            let label = Label { field, width: 1, separator: Separator::None, function: None };
            self.numbers(&label, values(field), errors)
        };
        let sample_weights = self.sample_weight.map(weight);
        let keys = self.keys.iter().map(|&field| keys(values(field))).collect();
        let kept = self.kept.iter().map(|&field| keep(&self.fields[field], rows, live)).collect();
        FeatureBatch { rows: live.len(), columns, table_keys, labels, sample_weights, keys, kept, observed }
    }

    /// A label or weight as f32; strings are read as `tf.string_to_number` does (EasyRec behaviour 3).
    fn numbers(&self, label: &Label, values: Values<'_>, errors: &mut RowErrors<'_>) -> Vec<f32> {
        let texts = match values {
            Values::Integers(values, _) | Values::Booleans(values) => return values.iter().map(|&value| value as f32).collect(),
            Values::Floats(values) => return values.to_vec(),
            Values::Doubles(values) => return values.iter().map(|&value| value as f32).collect(),
            Values::Text(texts) => texts,
        };
        let name = &self.fields[label.field].name;
        let mut numbers = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            if label.width == 1 {
                numbers.push(parse_float32(text).unwrap_or_else(|| {
                    let rule = if text.is_empty() { Rule::EmptyNumber } else { Rule::NotFloat };
                    errors.push(at, name, text, rule);
                    0.0
                }));
                continue;
            }
            let before = numbers.len();
            label.separator.parts(text, |part| {
                numbers.push(parse_float32(part).unwrap_or_else(|| {
                    errors.push(at, name, text, Rule::ElementNotNumber { number: shown(part) });
                    0.0
                }));
            });
            let found = numbers.len() - before;
            if found != label.width {
                errors.push(at, name, text, Rule::LabelCount { expected: label.width, found });
            }
        }
        numbers
    }
}

/// A number per row that is equal for equal keys: the fingerprint of the value's text.
fn keys(values: Values<'_>) -> Vec<u64> {
    match values {
        Values::Text(texts) => texts.iter().map(fingerprint64).collect(),
        Values::Integers(values, texts) => integer_fingerprints(values, texts).collect(),
        Values::Booleans(values) => values.iter().map(|&value| fingerprint64(Decimal::new(value).as_bytes())).collect(),
        Values::Floats(values) => values.iter().map(|value| fingerprint64(value.to_string().as_bytes())).collect(),
        Values::Doubles(values) => values.iter().map(|value| fingerprint64(value.to_string().as_bytes())).collect(),
    }
}

fn keep(field: &Field, rows: &RawRows, live: &LiveRows) -> KeptColumn {
    let mut kept = KeptColumn { name: field.name.clone(), offsets: vec![0], bytes: Vec::new() };
    for &row in live {
        rows.write_text(row as usize, field.column, &mut kept.bytes);
        kept.offsets.push(kept.bytes.len() as u32);
    }
    kept
}

fn broken(rows: &RawRows, row: u32, rule: &Rule) -> DataError {
    let (file, line) = rows.place(row as usize);
    DataError { file: file.to_string(), row: line, column: None, value: None, rule: rule.clone() }
}

/// Takes the rows of `bad` out of `live`; both are in order.
fn remove(live: &mut Vec<u32>, bad: &[(u32, DataError)]) {
    if !bad.is_empty() {
        live.retain(|row| bad.binary_search_by_key(row, |(row, _)| *row).is_err());
    }
}
