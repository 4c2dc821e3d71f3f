//! Rows of a table that no batch has: Adam moves them at every step all the same (EasyRec behaviour 38), but nobody sees where they
//! are until a batch has them again. They may wait until then, and make up for the steps they missed in one go.
//!
//! A row that catches up ends with the same bits as one that moved at every step, wherever it stops in between.

use super::adam::Adam;
use super::{Optimizer, Rule, StepRates};

/// The steps that rows may have missed.
#[derive(Clone, Debug)]
pub struct IdleSteps {
    adam: Adam,
    /// The rates of all steps that are remembered.
    rates: Vec<f32>,
}

/// Steps that are remembered at most; then all rows catch up.
const MOST_STEPS: usize = 1 << 16;

impl IdleSteps {
    /// No steps yet; none if the optimizer leaves rows without a gradient alone, or moves them as much as others.
    pub fn new(optimizer: &Optimizer) -> Option<IdleSteps> {
        match optimizer.rule {
            Rule::Adam(adam) if adam.fades() => Some(IdleSteps { adam, rates: Vec::new() }),
            _ => None,
        }
    }

    /// Steps that are remembered; a row knows up to which of them it has come.
    pub fn count(&self) -> u32 {
        self.rates.len() as u32
    }

    /// Remembers a step.
    pub fn record(&mut self, rates: &StepRates) {
        self.rates.push(rates.effective);
    }

    /// Whether it is time for all rows to catch up, so that the steps can be forgotten.
    pub fn is_full(&self) -> bool {
        self.rates.len() >= MOST_STEPS
    }

    /// Forgets all steps; every row must have caught up, and starts again at 0.
    pub fn forget(&mut self) {
        self.rates.clear();
    }

    /// Takes rows that have come to step `done` through all further steps; `m` and `v` are their moments.
    ///
    /// # Panics
    /// If `done` is beyond the steps.
    pub fn catch_up(&self, done: u32, weights: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        self.adam.idle(&self.rates[done as usize..], weights, m, v);
    }
}
