//! From a config to a graph: feature groups, the backbone, the head; the values of the variables; prediction.

mod backbone;
pub mod bundle;
mod feed;
mod groups;
mod input_layer;
mod lambda;
mod parameters;
mod predictor;
mod rank_model;
mod tensor;

pub use backbone::BlockOutput;
pub use feed::BatchFeed;
pub use parameters::{Parameter, ParameterError, Parameters};
pub use predictor::{Predictor, Scorer, Scores};
pub use rank_model::{Model, Training, label_index};
