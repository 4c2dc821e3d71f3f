//! What a config's model costs: shapes, parameters, work and memory, known before any data is read.

use std::path::Path;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_graph::{Executor, Graph, ParameterSlot, Value};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::substrate::LENGTH_UNIT;
use rankmill_model::{Bounds, DynamicTable, Model, Purpose, feature_set};
use rankmill_nn::layers::Tensors;

use crate::control::Control;
use crate::frozen::Frozen;
use crate::golden_rows::GOLDEN_ROWS;
use crate::optimizers::Optimizers;
use crate::step::{Keep, step_outputs};
use crate::tables::waits;

/// Memory of the program itself, its threads, and rows on their way to the model, as measured with a small model on plain text.
/// Compressed files take the window they were compressed with on top.
const PROCESS_BYTES: u64 = 25 << 20;

/// Memory of the rows on their way to an evaluation, measured in the same way. The scores that exact AUCs keep come on top, some 60 bytes
/// for each row.
const EVALUATION_BYTES: u64 = 6 << 20;

/// Positions of sequences whose length no setting bounds.
pub const ASSUMED_POSITIONS: usize = 64;

/// A part of the model: a feature group, a block or the head.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockSummary {
    /// Its name.
    pub name: String,
    /// The shape of its output.
    pub output: String,
    /// Elements of its variables.
    pub parameters: u64,
    /// Floating-point operations of scoring a row.
    pub forward_flops_per_row: f64,
}

/// A model's cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSummary {
    /// Feature groups, then blocks in the order in which they are built, then the head.
    pub blocks: Vec<BlockSummary>,
    /// Elements of all embedding tables.
    pub embedding_parameters: u64,
    /// Elements of all other variables.
    pub dense_parameters: u64,
    /// Floating-point operations of scoring a row.
    pub forward_flops_per_row: f64,
    /// Floating-point operations of training on a row.
    pub training_flops_per_row: f64,
    /// Memory of a training: variables with their optimizer state, planned buffers, and the program itself.
    pub training_bytes: u64,
    /// Whether it takes sequences to have [`ASSUMED_POSITIONS`], since no setting bounds their length.
    pub assumes_positions: bool,
    /// What dynamic tables may add to it.
    pub dynamic_tables: Vec<DynamicTableSummary>,
}

/// What the tables that are looked up by the same keys may come to need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicTableSummary {
    /// The feature's name, or the `embedding_name` that several features share.
    pub name: String,
    /// The most ids that may be known: `max_capacity`.
    pub max_capacity: u64,
    /// Memory of each id that has a row, in a training.
    pub bytes_per_row: u64,
    /// Memory of each id that has none yet.
    pub bytes_per_id: u64,
}

impl ModelSummary {
    /// The cost of a config's model.
    ///
    /// # Errors
    /// What the config asks for and can't be built, with the config line.
    pub fn new(pipeline: &Pipeline) -> Result<ModelSummary, Diagnostics> {
        Control::new(pipeline, Path::new(pipeline.proto.model_dir()))?;
        let features = feature_set(pipeline)?;
        let inference = Model::build(pipeline, &features, Purpose::Prediction)?;
        let training = Model::build(pipeline, &features, Purpose::Training)?;
        let optimizers = Optimizers::new(pipeline)?;
        let batch_size = pipeline.proto.data_config.as_ref().map_or(32, |data| data.batch_size()) as usize;
        let is_table = |name: &str| name.ends_with("/embedding_weights") || name.ends_with("/embedding/embeddings");
        let elements = |tables: bool| {
            let slots = inference.graph.parameters().iter().filter(|slot| is_table(&slot.name) == tables);
            slots.map(|slot| slot.shape.elements() as u64).sum::<u64>()
        };
        let (embedding_parameters, dense_parameters) = (elements(true), elements(false));
        let frozen = Frozen::new(pipeline)?;
        let trained = |slot: &&ParameterSlot| slot.trainable && !frozen.contains(&slot.name);
        let trained: u64 = inference.graph.parameters().iter().filter(trained).map(|slot| slot.shape.elements() as u64).sum();
        let variables = embedding_parameters + dense_parameters + optimizers.slot_count() as u64 * trained;
        let tables = || inference.graph.parameters().iter().filter(|slot| is_table(&slot.name)).map(|slot| slot.shape.dims[0] as u64);
        let table_rows: u64 = tables().sum();
        let buffers = |model: &Model, outputs: &[Value], rows: usize| {
            let (mut lengths, _) = model.feed.longest(ASSUMED_POSITIONS);
            lengths.iter_mut().for_each(|length| *length = length.next_multiple_of(LENGTH_UNIT));
            Executor::new(model.graph.clone(), outputs, 0, Precision::F32).bytes(rows, &lengths) as u64
        };
        // Scored are the golden rows of checkpoints, and batches if the config has something to evaluate on.
        let (scored, evaluation) = if pipeline.proto.eval_path.is_some() { (batch_size, EVALUATION_BYTES) } else { (GOLDEN_ROWS, 0) };
        let planned = buffers(&training, &step_outputs(&training, training.training.as_ref(), Keep::Needed), batch_size)
            + buffers(&inference, &inference.output_values(), scored);
        // Each row of a table has a place and a stamp for its sparse gradient, and in tables whose rows wait a step.
        let waiting: u64 = tables().map(|rows| if waits(rows as usize, batch_size) { rows } else { 0 }).sum();
        let by_row = 8 * table_rows + 4 * waiting;
        let training_bytes = 4 * variables + by_row + planned + PROCESS_BYTES + evaluation;
        Ok(ModelSummary {
            blocks: blocks(&inference),
            embedding_parameters,
            dense_parameters,
            forward_flops_per_row: inference.graph.flops_per_row(),
            training_flops_per_row: training.graph.flops_per_row(),
            training_bytes,
            assumes_positions: training.feed.longest(ASSUMED_POSITIONS).1 == Bounds::Assumed,
            dynamic_tables: training
                .dynamic
                .iter()
                .map(|table| dynamic_table(table, &training.graph, 1 + optimizers.slot_count() as u64))
                .collect(),
        })
    }
}

/// Memory of a key: itself with its row, count and step, and its place in a hash map that is between 7/16 and 7/8 full.
const KEY_BYTES: u64 = 24 + 25;

fn dynamic_table(table: &DynamicTable, graph: &Graph, copies: u64) -> DynamicTableSummary {
    // As above, each row has a place and a stamp, and the step to which it has come.
    let row = |parameter: &usize| 4 * copies * graph.parameters()[*parameter].shape.dims[1] as u64 + 12;
    let rows: u64 = table.parameters.iter().map(row).sum();
    let (name, max_capacity) = (table.name.clone(), table.spec.max_capacity);
    DynamicTableSummary { name, max_capacity, bytes_per_row: rows + KEY_BYTES, bytes_per_id: KEY_BYTES }
}

fn blocks(model: &Model) -> Vec<BlockSummary> {
    let groups = model.group_tensors.iter().enumerate().map(|(i, (name, value))| {
        let scope = if i == 0 { "input_layer".to_owned() } else { format!("input_layer_{i}") };
        (format!("feature group `{name}`"), model.graph.shape(*value).to_string(), vec![scope])
    });
    let parts = model.blocks.iter().map(|block| {
        let output = shown(&model.graph, &block.output);
        let layers = (0..100).map(|i| format!("{}_l{i}", block.scope));
        (block.name.clone(), output, std::iter::once(block.scope.clone()).chain(layers).collect())
    });
    let head = [("top_mlp", "backbone_top_mlp"), ("output", "output")]
        .into_iter()
        .map(|(name, scope)| (name.to_owned(), model.graph.shape(model.outputs[0].value).to_string(), vec![scope.to_owned()]));
    let summaries = groups.chain(parts).chain(head).map(|(name, output, scopes)| BlockSummary {
        name,
        output,
        parameters: parameters_in(&model.graph, &scopes),
        forward_flops_per_row: model.graph.flops_per_row_in(|scope| inside(scope, &scopes)),
    });
    summaries
        .filter(|block| block.parameters > 0 || block.forward_flops_per_row > 0.0 || !["top_mlp", "output"].contains(&&*block.name))
        .collect()
}

/// The shapes of a block's output.
fn shown(graph: &Graph, output: &Tensors) -> String {
    let list = |parts: &[Tensors]| parts.iter().map(|part| shown(graph, part)).collect::<Vec<_>>().join(", ");
    match output {
        Tensors::One(value) => graph.shape(*value).to_string(),
        Tensors::List(parts) => format!("[{}]", list(parts)),
        Tensors::Tuple(parts) => format!("({})", list(parts)),
        Tensors::Text(_) => "text".to_owned(),
    }
}

fn inside(name: &str, scopes: &[String]) -> bool {
    scopes.iter().any(|scope| name.strip_prefix(scope.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

fn parameters_in(graph: &Graph, scopes: &[String]) -> u64 {
    let slots = graph.parameters().iter().filter(|slot| inside(&slot.name, scopes));
    slots.map(|slot| slot.shape.elements() as u64).sum()
}
