//! Rows whose scores each checkpoint records, so that a loaded model can be checked.

use std::sync::Arc;

use rankmill_config::Pipeline;
use rankmill_data::{Batch, FeatureSet, Reader, ReaderOptions};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::bundle::GoldenRows;
use rankmill_model::{Parameters, Purpose, Scorer};

use crate::error::TrainError;
use crate::run::RunOptions;

/// Rows of the first batch that the manifest keeps with their scores.
pub(crate) const GOLDEN_ROWS: usize = 16;

/// The rows, and what scores them.
pub(crate) struct Golden {
    scorer: Scorer,
    batch: Option<Batch>,
}

impl Golden {
    pub(crate) fn new(pipeline: &Pipeline, options: &RunOptions, features: &FeatureSet, pool: &Arc<Pool>) -> Result<Golden, TrainError> {
        Ok(Golden {
            scorer: Scorer::new(pipeline, features, Purpose::Prediction, Arc::clone(pool), Precision::F32)?,
            batch: first_rows(pipeline, options, features)?,
        })
    }

    pub(crate) fn rows(&mut self, parameters: &Parameters) -> Result<GoldenRows, TrainError> {
        let Some(batch) = &self.batch else { return Ok(GoldenRows::default()) };
        let scores = self.scorer.with(parameters)?.score(&batch.features);
        Ok(GoldenRows::from_batch(&batch.features.kept, self.scorer.outputs(), &scores, GOLDEN_ROWS))
    }
}

/// The first rows of the training data, in file order, with all their fields as text.
fn first_rows(pipeline: &Pipeline, options: &RunOptions, features: &FeatureSet) -> Result<Option<Batch>, TrainError> {
    let mut reading = ReaderOptions::sequential(pipeline, options.train_inputs.clone())?;
    reading.batch_size = GOLDEN_ROWS;
    reading.prefetch = 1;
    reading.keep = features.field_names().map(str::to_owned).collect();
    reading.rejected.clone_from(&options.rejected);
    Ok(Reader::new(reading, features.clone())?.next().transpose()?)
}
