//! Components that compare two texts (EasyRec behaviour 125): edit distance, words in common, the product of sparse vectors.
//!
//! The features compare the texts, so what comes here are numbers, or the numbers of their buckets. Rows of small tables may stand for them.

use rankmill_config::Settings;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::fill::Constant;
use rankmill_graph::ops::table_rows::TableRows;
use rankmill_graph::ops::unary::Unary;

use super::scope::Scope;
use super::{LayerError, Tensors, one};
use crate::init::Initializer;

/// Settings of `EditDistance`.
pub(super) const EDIT_DISTANCE_SETTINGS: &[&str] = &["text_encoding", "embedding_size", "embedding_dim"];

/// Settings of `TextNormalize`.
pub(super) const TEXT_NORMALIZE_SETTINGS: &[&str] = &["norm_parameter", "remove_space"];

/// Levenshtein's distance of two texts, at most `embedding_size - 1` → the row of a table for it, `[B, embedding_dim]`.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn edit_distance(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    let rows = settings.count("embedding_size", 512)?;
    let width = settings.count("embedding_dim", 4)?;
    if rows == 0 || width == 0 {
        return Err(settings.error("embedding_size", "a table needs rows and columns").into());
    }
    let distance = one(s, inputs)?;
    let distance = s.add(Unary::Clip { least: 0.0, most: rows as f32 - 1.0 }, &[distance])?;
    let name = s.block_name();
    let table = s.root(&name).parameter("embedding_table", &[rows, width], Initializer::GlorotUniform)?;
    Ok(Tensors::One(s.add(TableRows, &[table, distance])?))
}

/// A number for each method → `[B, methods]`, or with `boundaries` and `embedding_dim` a row of a table for each method's bucket,
/// `[B, methods·embedding_dim]`.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn overlap_feature(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    bucket_rows(s, settings, inputs, "overlap_emb_table")
}

/// The product of two texts as sparse vectors → `[B, 1]`, or with `boundaries` and `embedding_dim` a row of a table for its bucket,
/// `[B, embedding_dim]`.
///
/// # Errors
/// If a setting is wrong.
pub(super) fn mapped_dot_product(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors) -> Result<Tensors, LayerError> {
    bucket_rows(s, settings, inputs, "dot_product_emb_table")
}

/// `TextNormalize` makes texts of texts, and so needs nothing of a model.
///
/// # Errors
/// Always: where there are texts this is not called.
pub(super) fn text_normalize(_: &mut Scope<'_>, _: &Settings, _: &Tensors) -> Result<Tensors, LayerError> {
    Err(LayerError::message("TextNormalize takes texts"))
}

fn bucket_rows(s: &mut Scope<'_>, settings: &Settings, inputs: &Tensors, table: &str) -> Result<Tensors, LayerError> {
    let numbers = one(s, inputs)?;
    let buckets = settings.numbers("boundaries")?.len() + 1;
    let width = settings.count("embedding_dim", 0)?;
    if width == 0 || buckets == 1 {
        return Ok(Tensors::One(numbers));
    }
    let columns = s.width(numbers);
    let firsts = (0..columns).map(|i| (i * buckets) as f32).collect();
    let firsts = s.add(Constant { values: firsts }, &[])?;
    let rows = s.add(Binary::Add, &[numbers, firsts])?;
    let name = s.block_name();
    let table = s.root(&name).parameter(table, &[columns * buckets, width], Initializer::GlorotUniform)?;
    let embedded = s.add(TableRows, &[table, rows])?;
    Ok(Tensors::One(s.flat(embedded)?))
}
