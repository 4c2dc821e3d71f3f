//! Keras' merging layers: `Add`, `Subtract`, `Multiply`, `Average`, `Maximum`, `Minimum`, `Concatenate`, `Dot` (EasyRec behaviour 101).

use std::sync::Arc;

use rankmill_config::Settings;
use rankmill_graph::Value;
use rankmill_graph::ops::dots::Dots;
use rankmill_graph::ops::extreme::Extreme;
use rankmill_graph::ops::reduce::SumColumns;
use rankmill_graph::ops::unary::Unary;

use super::scope::Scope;
use super::{LayerError, Tensors};

/// Least square of a length by which `Dot` divides, Keras' `l2_normalize`.
const LEAST_SQUARE: f32 = 1e-12;

/// The elements of the list that a merging layer needs.
fn several(inputs: &Tensors, least: usize) -> Result<Vec<Value>, LayerError> {
    let values = inputs.values();
    match inputs {
        Tensors::One(_) => Err(LayerError::message("a list of inputs is needed; set merge_inputs_into_list")),
        _ if values.len() < least => Err(LayerError::message(format!("at least {least} inputs are needed"))),
        _ => Ok(values),
    }
}

fn fold(
    s: &mut Scope<'_>,
    inputs: &Tensors,
    merge: impl Fn(&mut Scope<'_>, Value, Value) -> Result<Value, rankmill_graph::GraphError>,
) -> Result<Tensors, LayerError> {
    let values = several(inputs, 2)?;
    let mut merged = values[0];
    for value in &values[1..] {
        merged = merge(s, merged, *value)?;
    }
    Ok(Tensors::One(merged))
}

/// `x₀ + x₁ + …`
///
/// # Errors
/// If the shapes don't fit.
pub(super) fn add(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    fold(s, inputs, |s, a, b| s.plus(a, b))
}

/// `x₀ - x₁`
///
/// # Errors
/// If there are not two inputs, or the shapes don't fit.
pub(super) fn subtract(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    match several(inputs, 2)?.as_slice() {
        [a, b] => Ok(Tensors::One(s.minus(*a, *b)?)),
        _ => Err(LayerError::message("Subtract takes two inputs")),
    }
}

/// `x₀ ⊙ x₁ ⊙ …`
///
/// # Errors
/// If the shapes don't fit.
pub(super) fn multiply(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    fold(s, inputs, |s, a, b| s.multiply(a, b))
}

/// The mean of the inputs.
///
/// # Errors
/// If the shapes don't fit.
pub(super) fn average(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let count = inputs.values().len();
    match add(s, settings, inputs)? {
        Tensors::One(sum) => Ok(Tensors::One(s.scale(sum, 1.0 / count as f32)?)),
        other => Ok(other),
    }
}

/// The largest of each element.
///
/// # Errors
/// If the shapes differ.
pub(super) fn maximum(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    fold(s, inputs, |s, a, b| s.add(Extreme::Maximum, &[a, b]))
}

/// The smallest of each element.
///
/// # Errors
/// If the shapes differ.
pub(super) fn minimum(s: &mut Scope<'_>, _: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    fold(s, inputs, |s, a, b| s.add(Extreme::Minimum, &[a, b]))
}

/// The inputs side by side along `axis`; of fields, axis 1 puts fields behind fields.
///
/// # Errors
/// If there is no such axis, or the other dimensions differ.
pub(super) fn concatenate(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let values = several(inputs, 1)?;
    let axis = settings.number("axis", -1.0)?;
    let dims: Vec<Vec<usize>> = values.iter().map(|value| s.shape(*value).dims.clone()).collect();
    let last = dims[0].len() as f32;
    if dims.iter().any(|other| other.len() != dims[0].len()) {
        return Err(LayerError::message("the inputs need one number of dimensions"));
    }
    match dims[0].len() {
        1 if axis == -1.0 || axis == last => Ok(Tensors::One(s.concat(&values)?)),
        2 if axis == 1.0 || axis == -2.0 => {
            let flat = values.iter().map(|value| s.flat(*value)).collect::<Result<Vec<_>, _>>()?;
            let joined = s.concat(&flat)?;
            let fields = dims.iter().map(|dims| dims[0]).sum();
            Ok(Tensors::One(s.reshape(joined, &[fields, dims[0][1]])?))
        }
        2 if axis == -1.0 || axis == last => {
            let mut fields = Vec::with_capacity(dims[0][0]);
            for i in 0..dims[0][0] {
                let parts = values.iter().map(|value| s.field(*value, i)).collect::<Result<Vec<_>, _>>()?;
                fields.push(s.concat(&parts)?);
            }
            Ok(Tensors::One(s.stack(&fields)?))
        }
        _ => Err(settings.error("axis", format!("tensors of shape {} have no axis {axis}", s.shape(values[0]))).into()),
    }
}

/// Inner products over the last dimension: `[B, D]` twice → `[B, 1]`; `[B, n, D]` and `[B, m, D]` → `[B, n, m]`. With `normalize` every
/// vector is divided by its length first.
///
/// # Errors
/// If there are not two inputs, or `axes` is another one.
pub(super) fn dot(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let values = several(inputs, 2)?;
    let [a, b] = values[..] else { return Err(LayerError::message("Dot takes two inputs")) };
    let last = s.shape(a).dims.len() as f32;
    if settings.numbers("axes")?.iter().any(|axis| *axis != -1.0 && *axis != last) {
        return Err(settings.error("axes", "only products over the last axis are supported").into());
    }
    let (a, b) = match settings.flag("normalize", false)? {
        true => (normalised(s, a)?, normalised(s, b)?),
        false => (a, b),
    };
    let width = s.shape(a).width();
    let fields = |s: &Scope<'_>, x| if s.shape(x).dims.len() == 2 { s.shape(x).dims[0] } else { 1 };
    let (n, m) = (fields(s, a), fields(s, b));
    let pairs: Arc<[(u32, u32)]> = (0..n as u32).flat_map(|i| (0..m as u32).map(move |j| (i, j))).collect();
    let a_fields = s.reshape(a, &[n, width])?;
    let b_fields = s.reshape(b, &[m, s.shape(b).width()])?;
    let dots = s.add(Dots { pairs, width }, &[a_fields, b_fields])?;
    Ok(Tensors::One(if last == 2.0 { s.reshape(dots, &[n, m])? } else { dots }))
}

/// Every vector divided by its length.
fn normalised(s: &mut Scope<'_>, x: Value) -> Result<Value, LayerError> {
    Ok(s.each_field(x, |s, x| {
        let squares = s.add(Unary::Square, &[x])?;
        let square = s.add(SumColumns, &[squares])?;
        let inverse = s.add(Unary::InverseRoot { least: LEAST_SQUARE }, &[square])?;
        s.multiply(x, inverse)
    })?)
}
