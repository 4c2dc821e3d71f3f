//! Embeddings of numbers by their digits in several number systems (Chen et al. 2022, CIKM, doi 10.1145/3511808.3557090; EasyRec behaviour 125):
//! see [`Digits`].
//!
//! EasyRec's operation for it is not in its repository for TensorFlow 2.12; this is what its layer says and the paper. Of its list of features
//! it gives parts of the batch; here it has a tensor for each feature. Its numbers beyond 32 bits are undefined; here they are the largest or
//! least that there are.

use rankmill_config::Settings;
use rankmill_graph::Value;
use rankmill_graph::ops::digits::{Digits, Pooling};

use super::scope::Scope;
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

/// Numbers `[B, n]` → `[B, n·carries·embedding_dim]`, and a list of the features' embeddings with `output_tensor_list`, or them as fields with
/// `output_3d_tensor`; with `num_replicas` above 1 a list of as many of the first, and then of the second.
///
/// # Errors
/// If a setting is missing or wrong.
pub(super) fn component(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let dim = settings.required_count("embedding_dim")?;
    let carries = match settings.counts("carries")? {
        none if none.is_empty() => vec![2, 9],
        carries => carries,
    };
    if let Some(i) = carries.iter().position(|carry| !(2..=1 << 16).contains(carry)) {
        return Err(settings.element_error("carries", i, "a number system has a base from 2 to 65536").into());
    }
    let pooling = match settings.text("intra_ary_pooling", "sum")?.as_str() {
        "sum" => Pooling::Sum,
        "mean" => Pooling::Mean,
        other => return Err(settings.error("intra_ary_pooling", format!("`{other}` is none of sum, mean")).into()),
    };
    let inter = settings.text("inter_ary_pooling", "concat")?;
    if inter != "concat" {
        return Err(settings.error("inter_ary_pooling", format!("`{inter}` is not supported; EasyRec has concat alone")).into());
    }
    let replicas = settings.count("num_replicas", 1)?.max(1);
    let x = one(s, inputs)?;
    let x = s.flat(x)?;
    let n = s.width(x);
    let bases = carries.iter().map(|carry| *carry as u32).collect::<Vec<_>>();
    let rows = n * Digits::rows(&bases);
    let table = s.parameter("embed_table", &[rows, dim * replicas], Initializer::GlorotUniform)?;
    let x = s.scale(x, settings.number("multiplier", 1.0)?)?;
    let fields = s.add(Digits { bases: bases.into(), pooling }, &[x, table])?;
    if replicas == 1 {
        return super::auto_dis_embedding::outputs(s, settings, fields);
    }
    let mut first = Vec::with_capacity(replicas);
    let mut second = Vec::with_capacity(replicas);
    for replica in 0..replicas {
        let fields = part(s, fields, [n, carries.len(), replicas], replica, dim)?;
        first.push(Tensors::One(s.flat(fields)?));
        if settings.flag("output_tensor_list", false)? {
            second.push(Tensors::list(s.split(fields)?));
        } else if settings.flag("output_3d_tensor", false)? {
            second.push(Tensors::One(fields));
        }
    }
    first.extend(second);
    Ok(Tensors::List(first))
}

/// One replica: the rows of a table are those of all replicas side by side.
fn part(s: &mut Scope<'_>, fields: Value, [n, carries, replicas]: [usize; 3], replica: usize, dim: usize) -> Result<Value, LayerError> {
    let flat = s.flat(fields)?;
    let mut parts = Vec::with_capacity(n * carries);
    for i in 0..n * carries {
        parts.push(s.columns(flat, (i * replicas + replica) * dim, dim)?);
    }
    let joined = s.concat(&parts)?;
    Ok(s.reshape(joined, &[n, carries * dim])?)
}
