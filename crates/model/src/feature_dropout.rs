//! `model_config.variational_dropout`: dropout of features with rates that are learnt, which ranks the features (Chang, Rampasek,
//! Goldenberg 2017; EasyRec behaviour 163).
//!
//! Every feature of a group, or with `embedding_wise_variational_dropout` every column of it, has a log odds `l` of being dropped, in the
//! variable `logit_p` (of the group `all`) or `logit_p_GROUP`. Training multiplies by a random share that is kept (see
//! [`ConcreteKeep`]), everything else by `1 - σ(l)`. The loss `λ/B·Σ(1 - σ(l))` makes the model drop what it can do without.
//! Outputs of attention over sequences stay whole, as in EasyRec.

use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::concrete_dropout::ConcreteKeep;
use rankmill_graph::ops::gather::Gather;
use rankmill_graph::ops::reduce::{OverRows, SumColumns};
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_kernels::elementwise::sigmoid;
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::{Builder, Mode};
use rankmill_nn::random::name_hash;

use crate::parameters::{ParameterError, Parameters};

/// The name of the loss.
pub(crate) const LOSS: &str = "variational_dropout_loss";

/// The learnt dropout of a feature group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureDropout {
    /// The group.
    pub group: String,
    /// The variable of the log odds.
    pub variable: String,
    /// The features in the order of the variable, and how many columns each has.
    pub features: Vec<(String, usize)>,
    /// Whether each column has its own log odds.
    pub by_column: bool,
}

/// How often a feature is dropped, on average over its columns.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedFeature {
    /// The feature.
    pub name: String,
    /// Its rate: the lower, the more the model needs it.
    pub rate: f32,
    /// The rates of its columns, if each has its own.
    pub columns: Vec<f32>,
}

impl FeatureDropout {
    /// The features by their rates, the most needed first; those of equal rates in their own order.
    ///
    /// # Errors
    /// If the variable is missing or has another shape.
    pub fn ranking(&self, parameters: &Parameters) -> Result<Vec<DroppedFeature>, ParameterError> {
        let variable = parameters.get(&self.variable).ok_or_else(|| ParameterError::Missing { name: self.variable.clone() })?;
        let expected = vec![self.rates()];
        if variable.shape != expected {
            return Err(ParameterError::Shape { name: self.variable.clone(), expected, found: variable.shape.clone() });
        }
        let mut rates = variable.values.iter().map(|x| sigmoid(*x));
        let mut ranked: Vec<DroppedFeature> = Vec::with_capacity(self.features.len());
        for (name, width) in &self.features {
            let own: Vec<f32> = rates.by_ref().take(if self.by_column { *width } else { 1 }).collect();
            let rate = own.iter().sum::<f32>() / own.len().max(1) as f32;
            ranked.push(DroppedFeature { name: name.clone(), rate, columns: if self.by_column { own } else { Vec::new() } });
        }
        ranked.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        Ok(ranked)
    }

    /// Elements of the variable.
    fn rates(&self) -> usize {
        if self.by_column { self.features.iter().map(|(_, width)| width).sum() } else { self.features.len() }
    }
}

/// Drops the features of a group, whose columns stand side by side in `tensor`; gives the loss, too.
pub(crate) fn drop_features(builder: &mut Builder, dropout: &FeatureDropout, tensor: Value) -> Result<(Value, Value), GraphError> {
    let (scope, name) = dropout.variable.rsplit_once('/').unwrap_or(("", &dropout.variable));
    let salt = name_hash(&builder.unique(&dropout.variable));
    let is_training = builder.mode == Mode::Training;
    let mut s = builder.scope(scope);
    let odds = s.parameter(name, &[dropout.rates()], Initializer::GlorotUniform)?;
    let repeated = RepeatRow { scaling: Scaling::One, axis: None };
    let negative = s.add(Unary::Scale(-1.0), &[odds])?;
    let kept = s.add(Unary::Sigmoid, &[negative])?;
    let mut shares = match is_training {
        true => {
            let odds = s.add(repeated, &[odds])?;
            s.add(ConcreteKeep { salt }, &[odds])?
        }
        false => s.add(repeated, &[kept])?,
    };
    if !dropout.by_column {
        let columns: Vec<u32> =
            dropout.features.iter().enumerate().flat_map(|(i, (_, width))| std::iter::repeat_n(i as u32, *width)).collect();
        let dims = vec![columns.len()];
        shares = s.add(Gather { columns: columns.into(), dims }, &[shares])?;
    }
    let dropped = s.add(Binary::Multiply, &[tensor, shares])?;
    let spread = s.add(RepeatRow { scaling: Scaling::InverseRows, axis: None }, &[kept])?;
    let sum = s.add(SumColumns, &[spread])?;
    Ok((dropped, s.add(OverRows::Mean, &[sum])?))
}

/// The features of a group one by one.
pub(crate) fn split(builder: &mut Builder, dropout: &FeatureDropout, tensor: Value) -> Result<Vec<Value>, GraphError> {
    let mut s = builder.scope(&format!("{} (feature group)", dropout.group));
    let mut first = 0;
    let mut features = Vec::with_capacity(dropout.features.len());
    for (_, width) in &dropout.features {
        features.push(s.add(Columns { first, width: *width }, &[tensor])?);
        first += width;
    }
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::Parameter;

    fn dropout(by_column: bool) -> FeatureDropout {
        let features = [("user", 2), ("item", 1), ("tags", 3)].map(|(name, width)| (name.to_owned(), width)).to_vec();
        FeatureDropout { group: "all".to_owned(), variable: "logit_p".to_owned(), features, by_column }
    }

    fn ranking(by_column: bool, values: &[f32]) -> Result<Vec<(String, f32, usize)>, ParameterError> {
        let entry = Parameter { name: "logit_p".to_owned(), shape: vec![values.len()], trainable: true, values: values.to_vec() };
        let ranked = dropout(by_column).ranking(&Parameters { entries: vec![entry], ..Parameters::default() })?;
        Ok(ranked.into_iter().map(|feature| (feature.name, feature.rate, feature.columns.len())).collect())
    }

    #[test]
    fn features_are_ranked_by_their_mean_rates() {
        let by_feature = ranking(false, &[0.0, -1.0, 1.0]).expect("a ranking");
        let names: Vec<&str> = by_feature.iter().map(|(name, _, _)| name.as_str()).collect();
        assert_eq!(names, ["item", "user", "tags"]);
        assert_eq!(by_feature[1], ("user".to_owned(), 0.5, 0));
        let by_column = ranking(true, &[3.0, -3.0, -0.1, 0.4, 0.4, 0.4]).expect("a ranking");
        assert_eq!(
            by_column.iter().map(|(name, _, columns)| (name.as_str(), *columns)).collect::<Vec<_>>(),
            [("item", 1), ("user", 2), ("tags", 3)]
        );
        assert!((by_column[1].1 - 0.5).abs() < 1e-6, "the mean of two rates that add up to 1");
        assert!(matches!(ranking(true, &[0.0; 3]), Err(ParameterError::Shape { .. })));
        assert!(matches!(dropout(true).ranking(&Parameters::default()), Err(ParameterError::Missing { .. })));
    }
}
