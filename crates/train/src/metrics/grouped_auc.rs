//! `gauc` and `session_auc`: the exact AUC of each group of rows with one key, averaged (EasyRec behaviour 49).
//!
//! Groups with one class only are left out; 0.0 if no group is left. The mean is over f64; EasyRec rounds it to float32.
//! Rows are kept: 16 bytes each, and as many again while [`GroupedAuc::finish`] sorts them. Groups are averaged in the order of their keys.

use super::{Metric, Predictions, is_positive, rankable, ratio_or_zero};

/// How the AUCs of the groups are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Each group counts the same.
    Mean,
    /// A group counts by its rows.
    MeanBySampleNum,
    /// A group counts by its positive rows.
    MeanByPositiveNum,
}

impl Reduction {
    /// The reduction of EasyRec's name for it.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "mean" => Some(Self::Mean),
            "mean_by_sample_num" => Some(Self::MeanBySampleNum),
            "mean_by_positive_num" => Some(Self::MeanByPositiveNum),
            _ => None,
        }
    }
}

impl Reduction {
    /// How much a group counts.
    pub(crate) fn weight(self, group: &GroupAuc) -> f64 {
        match self {
            Reduction::Mean => 1.0,
            Reduction::MeanBySampleNum => group.rows as f64,
            Reduction::MeanByPositiveNum => group.positives as f64,
        }
    }
}

/// A group with rows of both classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GroupAuc {
    /// Its exact AUC.
    pub(crate) auc: f64,
    /// Its rows.
    pub(crate) rows: usize,
    /// Its positive rows.
    pub(crate) positives: usize,
}

/// The groups of rows with both classes, in the order of their keys.
pub(crate) fn group_aucs(keys: &[u64], labels: &[f32], scores: &[f32]) -> Vec<GroupAuc> {
    let rows = keys.iter().zip(labels).zip(scores);
    of_groups(rows.map(|((&key, label), score)| Row { key, score: rankable(*score), positive: is_positive(*label) }).collect())
}

fn of_groups(mut rows: Vec<Row>) -> Vec<GroupAuc> {
    rows.sort_unstable_by(|left, right| left.key.cmp(&right.key).then(left.score.total_cmp(&right.score)));
    let mut groups = Vec::new();
    for group in rows.chunk_by(|left, right| left.key == right.key) {
        let positives = group.iter().filter(|row| row.positive).count();
        if positives > 0 && positives < group.len() {
            groups.push(GroupAuc { auc: sorted_auc(group, positives), rows: group.len(), positives });
        }
    }
    groups
}

/// Exact AUC per key, averaged over the keys.
#[derive(Clone, Debug)]
pub struct GroupedAuc {
    key_column: usize,
    reduction: Reduction,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    key: u64,
    score: f32,
    positive: bool,
}

impl GroupedAuc {
    /// Groups rows by the keys in column `key_column` of [`Predictions::keys`].
    pub fn new(key_column: usize, reduction: Reduction) -> Self {
        Self { key_column, reduction, rows: Vec::new() }
    }
}

impl Metric for GroupedAuc {
    fn update(&mut self, predictions: &Predictions<'_>) {
        let Some(keys) = predictions.keys.get(self.key_column) else { return };
        let rows = keys.iter().zip(predictions.labelled_probabilities());
        self.rows.extend(rows.map(|(&key, (label, probability))| Row { key, score: rankable(probability), positive: is_positive(label) }));
    }

    fn merge(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    fn finish(&self) -> f64 {
        let (mut weighted, mut weights) = (0.0, 0.0);
        for group in of_groups(self.rows.clone()) {
            let weight = self.reduction.weight(&group);
            weighted += weight * group.auc;
            weights += weight;
        }
        ratio_or_zero(weighted, weights)
    }
}

/// The AUC of rows sorted by score, of which some but not all are positive.
fn sorted_auc(rows: &[Row], positives: usize) -> f64 {
    let mut negatives_below = 0;
    let mut half_wins = 0u128;
    for tied in rows.chunk_by(|left, right| left.score == right.score) {
        let tied_positives = tied.iter().filter(|row| row.positive).count();
        let tied_negatives = tied.len() - tied_positives;
        half_wins += tied_positives as u128 * (2 * negatives_below + tied_negatives) as u128;
        negatives_below += tied_negatives;
    }
    half_wins as f64 / (2.0 * positives as f64 * negatives_below as f64)
}
