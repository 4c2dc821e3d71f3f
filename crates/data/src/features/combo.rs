//! `ComboFeature`: a value for each combination of the values of several fields (EasyRec behaviour 15).
//!
//! - `combo_input_seps` names, for each input, the characters that its text is cut at, as tags are; an empty one leaves it whole.
//! - Without `combo_join_sep`, TensorFlow's `sparse_cross_hashed`: `h = 0xDECAFCAFFE`, then for each value
//!   `h = FingerprintCat64(h, Fingerprint64(value))`, and the id is `h mod hash_bucket_size`.
//! - With `combo_join_sep` the texts are joined, and the joined text is hashed or looked up.
//!   If there are `combo_input_seps`, too, TensorFlow 2 joins with `_X_`, whatever `combo_join_sep` says.
//! - All combinations are made, the last input fastest. Inputs that are cut come before those that are not.
//! - An empty text that is not cut is a value like any other; one that is cut has no values, and so no combinations.

use rankmill_config::proto::dataset_config::FieldType;
use rankmill_kernels::fingerprint::{fingerprint_cat64, fingerprint64};
use rankmill_kernels::ids::IdColumn;

use super::Feature;
use super::build::{Built, Declaration, Problem, combiner, id_rule, is_float};
use super::fields::{RowErrors, Values};
use super::ids::{Id, IdRule, KEYS};
use super::split::Separator;
use crate::batch::FeatureCounts;
use crate::error::Rule;

/// What the fingerprint of a combination starts from.
const HASH_KEY: u64 = 0x00DE_CAFC_AFFE;

/// What TensorFlow 2 joins with where texts are cut.
const CROSS_SEPARATOR: &str = "_X_";

/// The most combinations of one row.
const MOST_COMBINATIONS: usize = 1 << 20;

/// A `ComboFeature`, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct ComboFeature {
    name: String,
    /// Where each input is cut, in the order of the config.
    separators: Vec<Option<Separator>>,
    /// The inputs in the order in which they are combined.
    order: Vec<usize>,
    /// Decimals of floating-point numbers.
    precision: usize,
    way: Way,
}

/// How a combination becomes a row of the table.
#[derive(Clone, Debug)]
enum Way {
    /// By the fingerprints of its values.
    Crossed { buckets: u64 },
    /// By the text that its values make.
    Joined { separator: Vec<u8>, rule: IdRule },
}

pub(crate) fn build(declaration: &Declaration<'_>) -> Result<Built, Problem> {
    let config = declaration.config;
    if config.input_names.len() < 2 {
        return Err(Problem::at("input_names", "a ComboFeature combines two inputs or more"));
    }
    let separators = separators(declaration)?;
    let joined = !config.combo_join_sep().is_empty();
    let mut precision = 0;
    for (at, kind) in declaration.inputs.iter().enumerate().filter(|(_, kind)| is_float(**kind)) {
        if joined && !config.combo_input_seps.is_empty() {
            let kind = kind.as_str_name();
            return Err(Problem::at(
                "input_names",
                format!("input {at} is {kind}; with combo_input_seps the texts of whole numbers and strings are joined"),
            ));
        }
        precision = usize::try_from(config.precision())
            .ok()
            .filter(|precision| *precision > 0)
            .ok_or_else(|| Problem::at("precision", "a FLOAT or DOUBLE input is combined as text; set precision (decimals) above 0"))?;
    }
    let way = if joined {
        let separator = if config.combo_input_seps.is_empty() { config.combo_join_sep() } else { CROSS_SEPARATOR };
        let rule = id_rule(declaration)?;
        if matches!(rule, IdRule::Number { .. }) {
            return Err(Problem::at("num_buckets", "joined texts are no numbers; set hash_bucket_size or a vocabulary"));
        }
        Way::Joined { separator: separator.as_bytes().to_vec(), rule }
    } else {
        match config.hash_bucket_size() {
            0 => return Err(Problem::at("hash_bucket_size", "combinations are hashed; set hash_bucket_size above 0")),
            _ if declaration.dynamic.is_some() => Way::Crossed { buckets: KEYS },
            buckets if buckets > u64::from(u32::MAX) => {
                return Err(Problem::at("hash_bucket_size", format!("must be at most {}", u32::MAX)));
            }
            buckets => Way::Crossed { buckets },
        }
    };
    let (cut, whole): (Vec<usize>, Vec<usize>) = (0..separators.len()).partition(|&input| separators[input].is_some());
    let order = cut.into_iter().chain(whole).collect();
    let feature = ComboFeature { name: declaration.name.to_string(), separators, order, precision, way };
    Ok(Built {
        feature: Feature::Combo(feature),
        combiner: combiner(declaration)?,
        table_suffix: format!("{}_embedding", declaration.name),
    })
}

fn separators(declaration: &Declaration<'_>) -> Result<Vec<Option<Separator>>, Problem> {
    let config = declaration.config;
    let (inputs, separators) = (config.input_names.len(), &config.combo_input_seps);
    if separators.is_empty() {
        return Ok(vec![None; inputs]);
    }
    if separators.len() != inputs {
        return Err(Problem::at(
            "combo_input_seps[0]",
            format!("there are {} for {inputs} inputs; an empty one leaves an input whole", separators.len()),
        ));
    }
    for (at, (separator, kind)) in separators.iter().zip(&declaration.inputs).enumerate() {
        if !separator.is_empty() && *kind != FieldType::String {
            return Err(Problem::at("input_names", format!("input {at} is {} and cannot be cut; only a STRING can", kind.as_str_name())));
        }
    }
    Ok(separators.iter().map(|separator| (!separator.is_empty()).then(|| Separator::new(separator))).collect())
}

impl ComboFeature {
    /// Rows of the table.
    pub(crate) fn rows(&self) -> u64 {
        match &self.way {
            Way::Crossed { buckets } => *buckets,
            Way::Joined { rule, .. } => rule.rows(),
        }
    }

    /// The ids of the live rows.
    pub(crate) fn transform<T: Id>(&self, inputs: &[Values<'_>], rows: usize, errors: &mut RowErrors<'_>) -> (IdColumn<T>, FeatureCounts) {
        let mut counts = FeatureCounts::default();
        let mut column = IdColumn { offsets: Vec::with_capacity(rows + 1), ids: Vec::with_capacity(rows), weights: None };
        column.offsets.push(0);
        match &self.way {
            Way::Crossed { buckets } => {
                let elements = self.elements(inputs, |values| values.fingerprints(self.precision), fingerprint64);
                let combine = |prefix: &u64, element: &u64| fingerprint_cat64(*prefix, *element);
                self.combine(&elements, &HASH_KEY, combine, rows, &mut column, |fingerprint| T::of(fingerprint % buckets), errors);
            }
            Way::Joined { separator, rule } if self.separators.iter().all(Option::is_none) => {
                let mut text = Vec::new();
                for row in 0..rows {
                    text.clear();
                    for (at, values) in inputs.iter().enumerate() {
                        if at > 0 {
                            text.extend_from_slice(separator);
                        }
                        values.write_text(row, self.precision, &mut text);
                    }
                    column.ids.push(joined_row(rule, &text, &mut counts));
                    column.offsets.push(row as u32 + 1);
                }
            }
            Way::Joined { separator, rule } => {
                let texts = |values: Values<'_>| {
                    let text = |row| {
                        let mut text = Vec::new();
                        values.write_text(row, self.precision, &mut text);
                        text
                    };
                    (0..rows).map(text).collect()
                };
                let elements = self.elements(inputs, texts, <[u8]>::to_vec);
                // A separator before each value; the first is taken off at the end.
                let combine = |prefix: &Vec<u8>, element: &Vec<u8>| [prefix, separator.as_slice(), element].concat();
                let row = |text: &Vec<u8>| joined_row(rule, &text[separator.len()..], &mut counts);
                self.combine(&elements, &Vec::new(), combine, rows, &mut column, row, errors);
            }
        }
        counts.missing = column.offsets.windows(2).filter(|span| span[0] == span[1]).count() as u64;
        (column, counts)
    }

    /// The values of each input in the order in which they are combined: `whole` those of an input that is not cut, `part` of a part.
    fn elements<T>(&self, inputs: &[Values<'_>], whole: impl Fn(Values<'_>) -> Vec<T>, part: impl Fn(&[u8]) -> T) -> Vec<Elements<T>> {
        let of_input = |&input: &usize| match (&self.separators[input], inputs[input]) {
            (Some(separator), Values::Text(texts)) => {
                let (mut offsets, mut items) = (vec![0], Vec::with_capacity(texts.iter().len()));
                for text in texts.iter() {
                    separator.parts(text, |tag| items.push(part(tag)));
                    offsets.push(items.len());
                }
                Elements { offsets, items }
            }
            (_, values) => {
                let items = whole(values);
                Elements { offsets: (0..=items.len()).collect(), items }
            }
        };
        self.order.iter().map(of_input).collect()
    }

    /// Adds the rows of all combinations to `column`.
    #[expect(clippy::too_many_arguments, reason = "what fingerprints and texts do not have in common")]
    fn combine<P: Clone, E, T: Id>(
        &self,
        elements: &[Elements<E>],
        start: &P,
        combine: impl Fn(&P, &E) -> P,
        rows: usize,
        column: &mut IdColumn<T>,
        mut id: impl FnMut(&P) -> T,
        errors: &mut RowErrors<'_>,
    ) {
        let (mut prefixes, mut longer) = (Vec::new(), Vec::new());
        for row in 0..rows {
            prefixes.clear();
            let count = elements.iter().fold(1usize, |count, of_input| count.saturating_mul(of_input.row(row).len()));
            if count > MOST_COMBINATIONS {
                errors.push(row, &self.name, count.to_string().as_bytes(), Rule::TooManyCombinations { most: MOST_COMBINATIONS });
            } else if count > 0 {
                prefixes.push(start.clone());
                for of_input in elements {
                    longer.clear();
                    for prefix in &prefixes {
                        longer.extend(of_input.row(row).iter().map(|element| combine(prefix, element)));
                    }
                    std::mem::swap(&mut prefixes, &mut longer);
                }
            }
            column.ids.extend(prefixes.iter().map(&mut id));
            column.offsets.push(column.ids.len() as u32);
        }
    }
}

/// The row of a joined text, which a hash or a vocabulary always gives.
fn joined_row<T: Id>(rule: &IdRule, text: &[u8], counts: &mut FeatureCounts) -> T {
    rule.row(text, |_| None, &mut counts.out_of_range).unwrap_or_default()
}

/// The values of an input: those of row `i` are `items[offsets[i]..offsets[i + 1]]`.
struct Elements<T> {
    offsets: Vec<usize>,
    items: Vec<T>,
}

impl<T> Elements<T> {
    fn row(&self, row: usize) -> &[T] {
        &self.items[self.offsets[row]..self.offsets[row + 1]]
    }
}
