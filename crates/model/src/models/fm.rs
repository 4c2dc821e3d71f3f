//! `FM` (Rendle 2010; EasyRec behaviour 155): wide sum + second-order term + bias.

use rankmill_config::Diagnostic;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::pairwise::PairwiseProducts;
use rankmill_graph::ops::reduce::SumColumns;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::init::Initializer;

use crate::model::Construction;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let wide = c.wide_group(1)?;
    let deep = c.group("deep")?;
    let fields = c.stack(&deep.features)?;
    let output = output(c, wide.tensor, fields);
    Ok(vec![output.map_err(|error| c.graph_error(error))?])
}

fn output(c: &mut Construction<'_>, wide: Value, fields: Value) -> Result<Value, GraphError> {
    let mut s = c.builder.scope("");
    let wide = s.add(SumColumns, &[wide])?;
    let pairs = s.add(PairwiseProducts, &[fields])?;
    let pairs = s.add(SumColumns, &[pairs])?;
    let bias = s.parameter("fm_bias", &[1], Initializer::Constant(0.0))?;
    let total = s.add(Binary::Add, &[wide, pairs])?;
    s.add(Binary::Add, &[total, bias])
}
