//! Bilinear interaction (FiBiNET, Huang, Zhang, Zhang 2019, arXiv 1905.09433, section 3.3; EasyRec behaviours 34 and 128):
//! `p_ij = (W·eᵢ + b) · eⱼ` (`use_plus`, the inner product of FiBiNET++) or `(W·eᵢ + b) ⊙ eⱼ` for all pairs `i < j`, then a dense layer.
//!
//! `W` is shared by all fields (`all`), by the pairs of a field (`each`), or belongs to a pair (`interaction`). The last one is EasyRec's
//! default and fails there; here it is what the paper says.

use std::sync::Arc;

use rankmill_config::Settings;
use rankmill_graph::Value;
use rankmill_graph::ops::dots::Dots;

use super::scope::{Bias, Scope};
use super::{LayerError, Tensors};
use crate::init::Initializer;

/// n fields of width D → `[B, num_output_units]`.
///
/// # Errors
/// If there are less than two fields, they have different widths, or a setting is wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let units = settings.required_count("num_output_units")?;
    let x = s.fields(inputs)?;
    let [n, width] = s.shape(x).dims[..] else { return Err(LayerError::message("BiLinear needs fields")) };
    if n < 2 {
        return Err(LayerError::message("BiLinear needs at least two fields"));
    }
    let kind = settings.text("type", "interaction")?;
    let fields = s.split(x)?;
    let pairs: Vec<(u32, u32)> = (0..n as u32).flat_map(|i| (i + 1..n as u32).map(move |j| (i, j))).collect();
    // For each pair the place of its left vector among the transformed ones.
    let (names, lefts): (Vec<(String, u32)>, Vec<u32>) = match kind.as_str() {
        "all" => ((0..n as u32 - 1).map(|i| ("all".to_owned(), i)).collect(), pairs.iter().map(|(i, _)| *i).collect()),
        "each" => ((0..n as u32 - 1).map(|i| (format!("each_{i}"), i)).collect(), pairs.iter().map(|(i, _)| *i).collect()),
        "interaction" => {
            let names = pairs.iter().map(|(i, j)| (format!("interaction_{i}_{j}"), *i)).collect();
            (names, (0..pairs.len() as u32).collect())
        }
        _ => return Err(settings.error("type", format!("`{kind}` is none of all, each, interaction")).into()),
    };
    let mut transformed = Vec::with_capacity(names.len());
    for (name, i) in names {
        transformed.push(s.dense(&name, fields[i as usize], width, Initializer::GlorotUniform, Bias::Zeros)?);
    }
    let joined = match settings.flag("use_plus", true)? {
        true => {
            let pairs: Arc<[(u32, u32)]> = lefts.iter().zip(&pairs).map(|(left, (_, j))| (*left, *j)).collect();
            let left = s.stack(&transformed)?;
            s.add(Dots { pairs, width }, &[left, x])?
        }
        false => products(s, &transformed, &fields, &lefts, &pairs)?,
    };
    Ok(Tensors::One(s.dense("output", joined, units, Initializer::GlorotUniform, Bias::Zeros)?))
}

fn products(s: &mut Scope<'_>, transformed: &[Value], fields: &[Value], lefts: &[u32], pairs: &[(u32, u32)]) -> Result<Value, LayerError> {
    let mut products = Vec::with_capacity(pairs.len());
    for (left, (_, j)) in lefts.iter().zip(pairs) {
        products.push(s.multiply(transformed[*left as usize], fields[*j as usize])?);
    }
    Ok(s.concat(&products)?)
}
