//! What can go wrong while training or evaluating.

use rankmill_config::Diagnostics;
use rankmill_data::DataError;
use rankmill_model::ParameterError;
use rankmill_model::bundle::BundleError;

use crate::events::EventError;
use crate::metrics::MetricError;

/// An error of training or evaluation; all of them are the user's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The config.
    #[error("{0}")]
    Config(#[from] Diagnostics),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Files of the model.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Variables that don't fit.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// Metrics that don't fit the rows.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The event log.
    #[error(transparent)]
    Events(#[from] EventError),
    /// The model directory holds a run already.
    #[error(
        "{directory} holds a run already (step {step}); use --resume to go on with it, --continue-train to go on with new data, or --overwrite to start anew"
    )]
    Occupied {
        /// The model directory.
        directory: String,
        /// Its newest checkpoint.
        step: u64,
    },
    /// The training would never end.
    #[error("training would never end: set train_config.num_steps, or data_config.num_epochs above 0")]
    Endless,
    /// The loss is not a number any more.
    #[error("the loss is {loss} at step {step}; try a smaller learning rate, gradient_clipping_by_norm, or look for extreme input values")]
    NotFinite {
        /// The loss.
        loss: f32,
        /// The step, counted from 1.
        step: u64,
    },
}
