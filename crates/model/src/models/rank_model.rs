//! `RankModel`: the backbone's output, brought to `num_class` columns by the dense layer `output` unless it has so many already
//! (EasyRec behaviour 32).

use rankmill_config::Diagnostic;
use rankmill_graph::Value;
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::Bias;

use crate::backbone::Backbone;
use crate::model::Construction;
use crate::tensor;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let Some(tower) = &c.config.backbone else {
        return Err(c.error("model_config", "a RankModel needs a `backbone`"));
    };
    let mut backbone = Backbone::new(c.pipeline, tower)?;
    // A list has no width in EasyRec, which stops; its tensors side by side are what it can only mean.
    let parts = backbone.build(&mut c.builder, &mut c.groups)?.values();
    let output =
        tensor::concat(&mut c.builder.scope("backbone"), &parts, -1).map_err(|message| c.error("model_config.backbone", message))?;
    c.blocks = std::mem::take(&mut backbone.blocks);
    let classes = c.tasks[0].classes;
    if c.builder.graph.shape(output).elements() == classes {
        return Ok(vec![output]);
    }
    let logits = c.builder.scope("").dense("output", output, classes, Initializer::GlorotUniform, Bias::Zeros);
    Ok(vec![logits.map_err(|error| c.error("model_config.backbone", error))?])
}
