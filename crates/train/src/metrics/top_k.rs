//! `recall_at_topk` and `precision_at_topk` of several classes with one label a row (EasyRec behaviour 51).
//!
//! A row's rank is the place of its label's logit among its logits, largest first; of equal logits the lower class comes first, NaN last.
//! Recall at k is the share of rows with rank ≤ k; the average precision at k is the mean of 1/rank over those rows and 0 over the others.
//! A label that is no class is never found. 0 without rows, as TensorFlow.

use super::{Metric, Predictions, rankable, ratio_or_zero};

/// What a label found at some rank counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopKScore {
    /// 1 (`recall_at_topk`).
    Recall,
    /// 1/rank (`precision_at_topk`).
    AveragePrecision,
}

/// How well the label is found among the k largest logits.
#[derive(Clone, Debug)]
pub struct TopK {
    k: usize,
    score: TopKScore,
    /// Rows whose label has rank 1, 2, ... up to k.
    found: Vec<u64>,
    rows: u64,
}

impl TopK {
    /// Looks at the `k` largest logits.
    pub fn new(k: u32, score: TopKScore) -> Self {
        Self { k: k as usize, score, found: Vec::new(), rows: 0 }
    }

    fn count(&mut self, place: usize, rows: u64) {
        if self.found.len() <= place {
            self.found.resize(place + 1, 0);
        }
        self.found[place] += rows;
    }
}

impl Metric for TopK {
    fn update(&mut self, predictions: &Predictions<'_>) {
        for (label, logits) in predictions.labelled_logits() {
            self.rows += 1;
            let Some(place) = place_of(label, logits) else { continue };
            if place < self.k {
                self.count(place, 1);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        other.found.into_iter().enumerate().for_each(|(place, rows)| self.count(place, rows));
    }

    fn finish(&self) -> f64 {
        let total = match self.score {
            TopKScore::Recall => self.found.iter().sum::<u64>() as f64,
            TopKScore::AveragePrecision => self.found.iter().enumerate().map(|(place, &rows)| rows as f64 / (place + 1) as f64).sum(),
        };
        ratio_or_zero(total, self.rows as f64)
    }
}

/// How many logits come before that of the label; none if the label is not a class.
fn place_of(label: f32, logits: &[f32]) -> Option<usize> {
    let class = usize::try_from(label as i64).ok()?;
    let own = rankable(*logits.get(class)?);
    let before = |(index, &logit): (usize, &f32)| rankable(logit) > own || (index < class && rankable(logit) == own);
    Some(logits.iter().enumerate().filter(|&entry| before(entry)).count())
}
