//! `ExprFeature`: a formula over the numbers of several fields (EasyRec behaviour 18).
//!
//! All inputs are read as double precision, texts as numbers; the result enters the model in single precision, as the number of a
//! `RawFeature` without buckets does. See [`Formula`] for what an expression may say.

use rankmill_config::expression;

use super::Feature;
use super::build::{Built, Declaration, Problem};
use super::fields::{RowErrors, Values};
use super::formula::{Formula, Names};
use crate::batch::{Combiner, DenseColumn, FeatureCounts};
use crate::error::Rule;
use crate::number::parse_float64;

/// An `ExprFeature`, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct ExprFeature {
    inputs: Vec<String>,
    formula: Formula,
}

pub(crate) fn build(declaration: &Declaration<'_>) -> Result<Built, Problem> {
    let (name, config) = (declaration.name, declaration.config);
    let inputs: Vec<&str> = config.input_names.iter().map(String::as_str).collect();
    let within = |error| Problem::within("expression", error);
    let tree = expression::parse(config.expression()).map_err(within)?;
    let formula = Formula::compile(&tree, Names::Columns(&inputs)).map_err(within)?;
    Ok(Built {
        feature: Feature::Expr(ExprFeature { inputs: config.input_names.clone(), formula }),
        combiner: Combiner::Sum,
        table_suffix: format!("{name}_embedding"),
    })
}

impl ExprFeature {
    /// The numbers of the live rows.
    pub(crate) fn transform(&self, inputs: &[Values<'_>], rows: usize, errors: &mut RowErrors<'_>) -> (DenseColumn, FeatureCounts) {
        let numbers: Vec<Vec<f64>> = self.inputs.iter().zip(inputs).map(|(name, values)| doubles(name, *values, errors)).collect();
        let columns: Vec<&[f64]> = numbers.iter().map(Vec::as_slice).collect();
        let values = self.formula.evaluate(&columns, rows).into_iter().map(|value| value as f32).collect();
        (DenseColumn { width: 1, values }, FeatureCounts::default())
    }
}

/// The values of a field in double precision.
fn doubles(name: &str, values: Values<'_>, errors: &mut RowErrors<'_>) -> Vec<f64> {
    match values {
        Values::Integers(values, _) | Values::Booleans(values) => values.iter().map(|&value| value as f64).collect(),
        Values::Floats(values) => values.iter().map(|&value| f64::from(value)).collect(),
        Values::Doubles(values) => values.to_vec(),
        Values::Text(texts) => {
            let number = |(at, text): (usize, &[u8])| {
                parse_float64(text).unwrap_or_else(|| {
                    errors.push(at, name, text, if text.is_empty() { Rule::EmptyNumber } else { Rule::NotDouble });
                    0.0
                })
            };
            texts.iter().enumerate().map(number).collect()
        }
    }
}
