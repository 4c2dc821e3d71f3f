//! From a config to a graph: feature groups, the backbone, the heads and losses; the values of the variables; prediction.

mod backbone;
pub mod bundle;
pub mod calibration;
mod concurrent;
mod dynamic;
mod embedding_layer;
mod explain;
mod feature_dropout;
mod feed;
mod feed_sequences;
#[cfg(test)]
mod group_tests;
mod groups;
mod input_layer;
mod lambda;
mod losses;
mod model;
mod models;
mod packed;
mod parameters;
mod predictions;
mod predictor;
mod sequence_features;
mod sequences;
mod sharing;
mod target_attention;
mod tasks;
mod tensor;
mod texts;

pub use backbone::BlockOutput;
pub use calibration::Calibration;
pub use concurrent::{ConcurrentPredictor, LoadOptions, OutputSpec, OutputValues, Part, ScoredParts};
pub use dynamic::{Admission, Admitted, DynamicTable, TableKeys, with_rows};
pub use explain::{EXPLANATION_STEPS, ExplainedFeature, ExplainedOutput, Explainer, Explaining, Explanation, FeatureMask};
pub use feature_dropout::{DroppedFeature, FeatureDropout};
pub use feed::{BatchFeed, BatchKeys, KeyColumn, KeyForm, input_names};
pub use feed_sequences::{Bounds, FedSequences, FeedPlan};
pub use model::{Model, Output, Purpose, Training};
pub use models::class_names;
pub use packed::pack;
pub use parameters::{Parameter, ParameterError, Parameters};
pub use predictor::{Predictor, Scorer, Scores};
pub use sharing::Sharing;
pub use tasks::{Predicts, Task};
pub use texts::feature_set;

/// The example of the book.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/library.md")]
struct Library;
