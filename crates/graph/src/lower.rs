//! From the operations that graphs are built of to those that run fastest: weights are packed for the products that read them, and
//! what batch norms compute from their statistics alone is computed once.

use std::collections::HashMap;

use rankmill_kernels::gemm::{Orientation, PackedShape, Precision};

use crate::fuse::{Rewriter, Rewritten};
use crate::graph::{Graph, GraphError, Value};
use crate::ops::batch_norm::{BatchNorm, ColumnAffine, MovingNorm, NormCoefficients};
use crate::ops::matmul::{ColumnProduct, MatMul, Pack, PackedProduct, Way, WeightGradient};
use crate::ops::parted_product::{PackedPart, PartedProduct};

/// Smallest side of a matrix that is rounded to bfloat16: the logit and other narrow layers cost next to nothing and stay exact.
const BF16_LEAST: usize = 8;

/// Packed weights by the weights, whether these are used as they are, and whether they keep their precision.
type Packs = HashMap<(Value, bool, bool), Value>;

/// Lowers `graph`; products are computed at `precision`.
pub(crate) fn lower(graph: &Graph, outputs: &[Value], precision: Precision) -> Result<Rewritten, GraphError> {
    let mut rewriter = Rewriter::new(graph, outputs);
    let mut packs = Packs::new();
    let choose = |k: usize, n: usize| if k.min(n) < BF16_LEAST { Precision::F32 } else { precision };
    for value in graph.values() {
        let node = graph.node(value);
        rewriter.new.set_scope(&node.scope);
        let mut inputs: Vec<Value> = node.inputs.iter().map(|input| rewriter.mapped(*input)).collect();
        let lowered = if let Some(product) = graph.op_as::<MatMul>(value) {
            let (k, n) = product.extent(graph.shape(node.inputs[1])).expect("inferred before");
            if n == 1 {
                rewriter.new.add(ColumnProduct { epilogue: product.epilogue }, &inputs)?
            } else {
                let packed = PackedShape { k, n, precision: choose(k, n) };
                inputs[1] = pack(&mut rewriter.new, &mut packs, Pack { weights: product.weights, packed }, inputs[1])?;
                rewriter.new.add(PackedProduct { packed, epilogue: product.epilogue }, &inputs)?
            }
        } else if let Some(PartedProduct(part)) = graph.op_as::<PartedProduct>(value) {
            let (k, n) = graph.shape(node.inputs[1]).as_matrix();
            let packed = PackedShape { k, n, precision: Precision::F32 };
            inputs[1] = pack(&mut rewriter.new, &mut packs, Pack { weights: Orientation::Plain, packed }, inputs[1])?;
            rewriter.new.add(PackedPart { part: *part, packed }, &inputs)?
        } else if graph.op_as::<WeightGradient>(value).is_some() {
            let precision = choose(node.shape.dims[0], node.shape.dims[1]);
            let way = Way::best(node.shape.elements(), graph.shape(node.inputs[0]).axis.is_some());
            rewriter.new.add(WeightGradient { precision, way }, &inputs)?
        } else if let Some(norm) = graph.op_as::<BatchNorm>(value) {
            let width = graph.shape(value).elements();
            normalise(&mut rewriter.new, inputs[0], NormCoefficients::of_moments(norm.epsilon, width), &inputs[1..], norm.relu)?
        } else if let Some(norm) = graph.op_as::<MovingNorm>(value) {
            let width = graph.shape(value).elements();
            normalise(&mut rewriter.new, inputs[0], NormCoefficients::of_moving(norm.epsilon, width), &inputs[1..], norm.relu)?
        } else {
            rewriter.keep(value)?;
            continue;
        };
        rewriter.map[value.0] = Some(lowered);
    }
    Ok(rewriter.finish())
}

/// The packed form of `weights`, made once for all products that use it.
fn pack(graph: &mut Graph, packs: &mut Packs, op: Pack, weights: Value) -> Result<Value, GraphError> {
    let key = (weights, op.weights == Orientation::Plain, op.packed.precision == Precision::F32);
    if let Some(pack) = packs.get(&key) {
        return Ok(*pack);
    }
    let pack = graph.add(op, &[weights])?;
    packs.insert(key, pack);
    Ok(pack)
}

/// `x` scaled and shifted by coefficients from `statistics`.
fn normalise(graph: &mut Graph, x: Value, coefficients: NormCoefficients, statistics: &[Value], relu: bool) -> Result<Value, GraphError> {
    let coefficients = graph.add(coefficients, statistics)?;
    graph.add(ColumnAffine { relu }, &[x, coefficients])
}
