//! What every connection shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rankmill_data::FieldRows;
use rankmill_model::OutputValues;

use crate::engine::Engine;
use crate::error::ServeError;
use crate::explanation::Answer;
use crate::limits::Limits;
use crate::metrics::{Metrics, Stage};
use crate::registry::{Choice, Registry};

/// What every connection shares.
pub(crate) struct App {
    pub(crate) registry: Arc<Registry>,
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    /// The tokens of which requests must bring one; none is needed if there are none.
    pub(crate) tokens: Vec<String>,
    pub(crate) draining: AtomicBool,
}

impl App {
    /// Whether requests should be sent here.
    pub(crate) fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.registry.is_ready()
    }

    /// Scores the rows that `parse` makes of a body, and explains them if that is asked for.
    pub(crate) async fn score(
        &self,
        choice: &Choice,
        parse: impl FnOnce() -> Result<(FieldRows, Answer), ServeError>,
    ) -> Result<Vec<OutputValues>, ServeError> {
        let started = Instant::now();
        let scored = match self.timed(Stage::Parse, parse) {
            Ok((rows, answer)) => self.engine.score(choice, rows, answer).await,
            Err(error) => Err(error),
        };
        choice.version.statistics.request(scored.is_ok(), started.elapsed());
        scored
    }

    /// Runs a stage by the clock.
    pub(crate) fn timed<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.metrics.stage(stage, started.elapsed());
        result
    }
}
