//! What an `input_layer` block makes of a feature group: normalisation, dropout, and one of four forms (EasyRec behaviours 25, 115 to 118).
//!
//! - the columns side by side, `[B, N]`,
//! - with `only_output_feature_list` a list of the features, `[B, d]` each,
//! - with `only_output_3d_tensor` the features one above the other, `[B, n, d]`,
//! - with `output_2d_tensor_and_feature_list` the first two as a tuple.
//!
//! The whole and the features are normalised independently, each with variables of its own; EasyRec makes all of them, whichever form
//! is asked for.

use rankmill_config::proto;
use rankmill_graph::ops::dropout::DropWhole;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::{BatchNormSettings, Builder, Mode};
use rankmill_nn::random::name_hash;

use crate::groups::GroupColumns;
use crate::tensor;

/// Epsilon of the layer norm over a group (EasyRec behaviour 25).
const GROUP_NORM_EPSILON: f32 = 1e-12;

/// The output of an input layer over a group. The features that it normalises stay normalised: when a package is called again, EasyRec
/// normalises them once more.
///
/// # Errors
/// What does not fit, in words.
pub(crate) fn apply(builder: &mut Builder, columns: &mut GroupColumns, options: &proto::InputLayer) -> Result<Tensors, String> {
    if options.do_batch_norm() && options.do_layer_norm() {
        return Err("an input layer normalises over the batch or over the columns, not both".to_owned());
    }
    let whole = normalised(builder, columns, options).map_err(|error| error.to_string())?;
    let mut s = builder.scope(&format!("{} (feature group)", columns.name));
    let list = Tensors::list(columns.features.iter().copied());
    if options.only_output_feature_list() {
        Ok(list)
    } else if options.only_output_3d_tensor() {
        tensor::stack(&mut s, &columns.features, 1).map(Tensors::One)
    } else if options.output_2d_tensor_and_feature_list() {
        Ok(Tensors::Tuple(vec![Tensors::One(whole), list]))
    } else {
        Ok(Tensors::One(whole))
    }
}

/// Whether any form but the columns side by side is asked for.
fn gives_features(options: &proto::InputLayer) -> bool {
    options.only_output_feature_list() || options.only_output_3d_tensor() || options.output_2d_tensor_and_feature_list()
}

/// Normalises and drops; gives the columns side by side and leaves the features in `columns`.
fn normalised(builder: &mut Builder, columns: &mut GroupColumns, options: &proto::InputLayer) -> Result<Value, GraphError> {
    let name = columns.name.clone();
    let drops_features = is_rate(options.feature_dropout_rate());
    let rate = if is_rate(options.dropout_rate()) { options.dropout_rate() } else { 0.0 };
    let mut whole = columns.tensor;
    if options.do_batch_norm() && !drops_features {
        whole = batch_norm(builder, whole)?;
    } else if options.do_layer_norm() && !drops_features {
        whole = builder.scope("").layer_norm(&format!("{name}_features"), whole, GROUP_NORM_EPSILON)?;
    }
    for (i, feature) in columns.features.iter_mut().enumerate() {
        if options.do_batch_norm() {
            *feature = batch_norm(builder, *feature)?;
        } else if options.do_layer_norm() {
            *feature = builder.scope("").layer_norm(&format!("{name}f_{i}"), *feature, GROUP_NORM_EPSILON)?;
        }
        if gives_features(options) {
            *feature = builder.scope("").dropout(&format!("{name}f_{i}_dropout"), *feature, rate)?;
        }
        if drops_features && builder.mode == Mode::Training {
            let salt = name_hash(&builder.unique(&format!("{name}f_{i}_feature_dropout")));
            *feature = builder.scope("").add(DropWhole { rate: options.feature_dropout_rate(), salt }, &[*feature])?;
        }
    }
    if drops_features {
        return builder.scope("").concat(&columns.features);
    }
    builder.scope("").dropout(&format!("{name}_dropout"), whole, rate)
}

/// EasyRec takes no notice of rates outside of (0, 1).
fn is_rate(rate: f32) -> bool {
    rate > 0.0 && rate < 1.0
}

fn batch_norm(builder: &mut Builder, x: Value) -> Result<Value, GraphError> {
    let name = builder.unique("batch_normalization");
    builder.scope("").batch_norm(&name, x, BatchNormSettings::default())
}
