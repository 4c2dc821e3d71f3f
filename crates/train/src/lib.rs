//! Training, evaluation, metrics, checkpoints and event logs.

pub mod checkpoint;
mod dynamic;
mod error;
pub mod evaluate;
pub mod events;
mod fine_tune;
pub mod metrics;
mod optimizers;
pub mod run;
pub mod step;
pub mod summary;
mod tables;
mod update;

pub use error::TrainError;
