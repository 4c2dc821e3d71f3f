//! `root_mean_squared_error`: the square root of `mean_squared_error`.

use super::{MeanSquaredError, Metric, Predictions};

/// Root of the mean squared error.
#[derive(Clone, Debug, Default)]
pub struct RootMeanSquaredError {
    squared: MeanSquaredError,
}

impl Metric for RootMeanSquaredError {
    fn update(&mut self, predictions: &Predictions<'_>) {
        self.squared.update(predictions);
    }

    fn merge(&mut self, other: Self) {
        self.squared.merge(other.squared);
    }

    fn finish(&self) -> f64 {
        self.squared.finish().sqrt()
    }
}
