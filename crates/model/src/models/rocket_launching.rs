//! `RocketLaunching` (Zhou et al. 2018; EasyRec behaviour 162): a light network learns beside a booster, whose logits it imitates.
//!
//! Both read features that the booster alone trains. With `feature_based_distillation` the Euclidean distance between layers of equal
//! width is added with weight -0.1, as EasyRec does whatever `feature_distillation_function` says; with
//! `rankmill_fix: "distillation_pushes_apart"` the weight is 0.1.

use rankmill_config::Diagnostic;
use rankmill_config::proto::{Dnn as DnnConfig, RocketLaunching};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::reduce::{OverRows, SumColumns};
use rankmill_graph::ops::reshape::StopGradient;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::dnn::{Dnn, dnn_layers};
use rankmill_nn::layers::scope::Scope;

use super::section;
use crate::model::Construction;

/// The weight of a distance between layers.
const DISTANCE_WEIGHT: f32 = -0.1;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, RocketLaunching, "rocket_launching");
    let (penalty, classes) = (config.l2_regularization(), c.tasks[0].classes);
    let features = c.group("all")?.tensor;
    let shared = layers(c, "share_dnn", config.share_dnn.as_ref(), penalty, features)?.pop().unwrap_or(features);
    let kept = c.builder.scope("light_dnn").add(StopGradient, &[shared]).map_err(|error| c.graph_error(error))?;
    let booster = layers(c, "booster_dnn", config.booster_dnn.as_ref(), penalty, shared)?;
    let light = layers(c, "light_dnn", config.light_dnn.as_ref(), penalty, kept)?;
    let booster_output = c.dense("booster_output", booster.last().copied().unwrap_or(shared), classes, penalty)?;
    let light_output = c.dense("light_output", light.last().copied().unwrap_or(kept), classes, penalty)?;
    let weight = if c.pipeline.is_fixed("distillation_pushes_apart") { -DISTANCE_WEIGHT } else { DISTANCE_WEIGHT };
    let losses = losses(&mut c.builder.scope("loss"), config, weight, [&booster, &light], [booster_output, light_output]);
    let losses = losses.map_err(|error| c.graph_error(error))?;
    c.builder.losses.extend(losses);
    Ok(vec![booster_output, light_output])
}

fn layers(c: &mut Construction<'_>, name: &str, config: Option<&DnnConfig>, penalty: f32, x: Value) -> Result<Vec<Value>, Diagnostic> {
    let Some(config) = config else { return Ok(Vec::new()) };
    let built = Dnn::from_config(config, penalty).and_then(|settings| dnn_layers(&mut c.builder.scope(name), &settings, x));
    built.map_err(|error| c.layer_error(&format!("model_config.rocket_launching.{name}"), error))
}

fn losses(
    s: &mut Scope<'_>,
    config: &RocketLaunching,
    weight: f32,
    [booster, light]: [&[Value]; 2],
    [booster_output, light_output]: [Value; 2],
) -> Result<Vec<(String, Value)>, GraphError> {
    let classes = s.width(light_output);
    let squares = squared_difference(s, booster_output, light_output)?;
    let sums = s.add(SumColumns, &[squares])?;
    let mean = s.add(OverRows::Mean, &[sums])?;
    let mut losses = vec![("hint_loss".to_owned(), s.add(Unary::Scale(1.0 / classes as f32), &[mean])?)];
    if config.feature_based_distillation() {
        let pairs = booster.iter().zip(light).filter(|(a, b)| s.width(**a) == s.width(**b)).map(|(a, b)| (*a, *b));
        for (i, (booster, light)) in pairs.collect::<Vec<_>>().into_iter().enumerate() {
            let distance = distance(s, booster, light)?;
            losses.push((format!("similarity_{i}"), s.add(Unary::Scale(weight), &[distance])?));
        }
    }
    Ok(losses)
}

/// `(a - b)²`, where `a` is not trained.
fn squared_difference(s: &mut Scope<'_>, a: Value, b: Value) -> Result<Value, GraphError> {
    let a = s.add(StopGradient, &[a])?;
    let difference = s.add(Binary::Subtract, &[b, a])?;
    s.add(Unary::Square, &[difference])
}

/// The root of the sum of squared differences over the whole batch.
fn distance(s: &mut Scope<'_>, a: Value, b: Value) -> Result<Value, GraphError> {
    let squares = squared_difference(s, a, b)?;
    let sums = s.add(SumColumns, &[squares])?;
    let total = s.add(OverRows::Sum, &[sums])?;
    let inverse = s.add(Unary::InverseRoot { least: 0.0 }, &[total])?;
    s.add(Binary::Multiply, &[total, inverse])
}
