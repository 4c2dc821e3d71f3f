//! From a config to a graph: feature groups, the backbone, the head; the values of the variables; prediction.

mod backbone;
mod feed;
mod groups;
mod parameters;
mod rank_model;

pub use backbone::BlockOutput;
pub use feed::BatchFeed;
pub use parameters::{Parameter, ParameterError, Parameters};
pub use rank_model::{Model, Training};
