//! A loss between two representations, added to the model's (EasyRec behaviour 140):
//! - `l2_loss`: the mean over the batch of `Σ (a - b)²`;
//! - `info_nce`: cross entropy of `softmax(a·bᵀ / temperature)`, each row's own being right (van den Oord, Li, Vinyals 2018);
//! - `nce_loss`: the same of all 2B rows, of which each is contrasted with all others (SimCLR, Chen et al. 2020).
//!
//! The vectors are taken as they are, not divided by their lengths.

use rankmill_config::Settings;
use rankmill_graph::ops::contrast::Contrast;
use rankmill_graph::ops::reduce::{OverRows, SumColumns};
use rankmill_graph::ops::reshape::Reshape;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Shape, Value};

use super::scope::Scope;
use super::{LayerError, Tensors};

pub(super) const SETTINGS: &[&str] = &["loss_type", "loss_weight", "temperature"];

/// A list of two tensors `[B, D]` → the loss, a scalar.
///
/// # Errors
/// If there are not two inputs of one width, or a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let [a, b] = inputs.values()[..] else {
        return Err(LayerError::message("AuxiliaryLoss takes a list of two tensors; set merge_inputs_into_list"));
    };
    let temperature = settings.number("temperature", 0.1)?;
    if temperature <= 0.0 {
        return Err(settings.error("temperature", "`temperature` is above 0").into());
    }
    let Some(kind) = settings.optional_text("loss_type")? else {
        return Err(settings.error("loss_type", "`loss_type` must be set: l2_loss, info_nce or nce_loss").into());
    };
    let (loss, suffix) = match kind.as_str() {
        "l2_loss" => (l2(s, a, b)?, "l2_loss"),
        "info_nce" => {
            let (a, b) = (s.scale(a, 1.0 / temperature)?, b);
            (contrast(s, a, b, false)?, "info_nce_loss")
        }
        "nce_loss" => {
            // Both sides are contrasted with themselves: each product of two must be divided by the temperature once.
            let factor = 1.0 / temperature.sqrt();
            let (a, b) = (s.scale(a, factor)?, s.scale(b, factor)?);
            let (of_a, of_b) = (contrast(s, a, b, true)?, contrast(s, b, a, true)?);
            let sum = s.plus(of_a, of_b)?;
            (s.scale(sum, 0.5)?, "nce_loss")
        }
        other => return Err(settings.error("loss_type", format!("`{other}` is none of l2_loss, info_nce, nce_loss")).into()),
    };
    let loss = s.scale(loss, settings.number("loss_weight", 1.0)?)?;
    let name = format!("{}_{suffix}", s.block_name());
    s.add_loss(&name, loss);
    Ok(Tensors::One(loss))
}

fn l2(s: &mut Scope<'_>, a: Value, b: Value) -> Result<Value, GraphError> {
    let difference = s.minus(a, b)?;
    let squares = s.add(Unary::Square, &[difference])?;
    let distances = s.add(SumColumns, &[squares])?;
    let mean = s.add(OverRows::Mean, &[distances])?;
    s.add(Reshape { shape: Shape::fixed(&[]) }, &[mean])
}

/// The mean of `ln Σ exp(...) - aᵢ·bᵢ`.
fn contrast(s: &mut Scope<'_>, a: Value, b: Value, with_own: bool) -> Result<Value, GraphError> {
    let normaliser = s.add(Contrast { with_own }, &[a, b, a])?;
    let products = s.multiply(a, b)?;
    let own = s.add(SumColumns, &[products])?;
    let losses = s.minus(normaliser, own)?;
    let mean = s.add(OverRows::Mean, &[losses])?;
    s.add(Reshape { shape: Shape::fixed(&[]) }, &[mean])
}
