//! Training, evaluation, metrics, checkpoints and event logs.

pub mod checkpoint;
pub mod compare;
mod control;
mod dynamic;
mod early_stop;
mod ending;
mod error;
pub mod evaluate;
pub mod events;
mod exports;
mod fine_tune;
mod frozen;
mod golden_rows;
mod history;
pub mod metrics;
mod online;
mod optimizers;
pub mod run;
pub mod step;
pub mod summary;
mod tables;
mod update;

pub use error::TrainError;
