//! Rows counted by how many of a fixed list of thresholds their score exceeds.
//!
//! The list is TensorFlow's and EasyRec's: −1e-7, i/(n−1) for i in 1..n−1, and 1+1e-7, each rounded to float32.
//! A row costs O(1): the list is nearly even, so its place is computed and then set right against the neighbouring thresholds.

use super::MetricError;

/// More thresholds than this are finer than float32 near 1.
pub(crate) const MOST: u32 = 1 << 22;
const MARGIN: f64 = 1e-7;

/// Positive and negative rows per number of thresholds exceeded.
#[derive(Clone, Debug)]
pub(crate) struct ThresholdCounts {
    thresholds: Vec<f32>,
    positives: Vec<u64>,
    negatives: Vec<u64>,
}

/// Rows above one threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Above {
    /// Positive rows above the threshold.
    pub(crate) positives: u64,
    /// Negative rows above the threshold.
    pub(crate) negatives: u64,
}

impl ThresholdCounts {
    /// Counts over `num_thresholds` thresholds, for the metric of this name.
    pub(crate) fn new(metric: &'static str, num_thresholds: u32) -> Result<Self, MetricError> {
        if !(2..=MOST).contains(&num_thresholds) {
            return Err(MetricError::ThresholdCount { metric, num_thresholds });
        }
        let last = num_thresholds - 1;
        let mut thresholds = vec![(0.0 - MARGIN) as f32];
        thresholds.extend((1..last).map(|index| (f64::from(index) / f64::from(last)) as f32));
        thresholds.push((1.0 + MARGIN) as f32);
        let buckets = thresholds.len() + 1;
        Ok(Self { thresholds, positives: vec![0; buckets], negatives: vec![0; buckets] })
    }

    /// Counts one row.
    pub(crate) fn add(&mut self, score: f32, positive: bool) {
        let bucket = self.exceeded(score);
        let counts = if positive { &mut self.positives } else { &mut self.negatives };
        counts[bucket] += 1;
    }

    /// Adds the counts of `other`, which has the same thresholds.
    pub(crate) fn merge(&mut self, other: Self) {
        self.positives.iter_mut().zip(other.positives).for_each(|(count, more)| *count += more);
        self.negatives.iter_mut().zip(other.negatives).for_each(|(count, more)| *count += more);
    }

    /// All positive and negative rows.
    pub(crate) fn total(&self) -> Above {
        Above { positives: self.positives.iter().sum(), negatives: self.negatives.iter().sum() }
    }

    /// The rows above each threshold, highest threshold first.
    pub(crate) fn above(&self) -> impl Iterator<Item = Above> + '_ {
        let buckets = self.positives.iter().zip(&self.negatives).skip(1).rev();
        buckets.scan(Above { positives: 0, negatives: 0 }, |above, (positives, negatives)| {
            above.positives += positives;
            above.negatives += negatives;
            Some(*above)
        })
    }

    /// How many thresholds `score` exceeds: none if it is NaN.
    fn exceeded(&self, score: f32) -> usize {
        let thresholds = &self.thresholds;
        let last = thresholds.len() - 1;
        if score.is_nan() || score <= thresholds[0] {
            return 0;
        }
        if score > thresholds[last] {
            return thresholds.len();
        }
        // From here thresholds[0] < score <= thresholds[last], so both walks end; each is a step or two.
        let mut below = ((score * last as f32) as usize).min(last - 1);
        while score <= thresholds[below] {
            below -= 1;
        }
        while score > thresholds[below + 1] {
            below += 1;
        }
        below + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(counts: &ThresholdCounts, score: f32) {
        let expected = counts.thresholds.iter().filter(|&&threshold| score > threshold).count();
        assert_eq!(counts.exceeded(score), expected, "score {score:e} of {} thresholds", counts.thresholds.len());
    }

    #[test]
    fn agrees_with_comparing_every_threshold_at_and_beside_each() {
        for num_thresholds in [2, 3, 4, 50, 200, 1000, 4097] {
            let counts = ThresholdCounts::new("auc", num_thresholds).expect("in range");
            assert_eq!(counts.thresholds.len(), num_thresholds as usize);
            for &threshold in &counts.thresholds {
                for score in [threshold.next_down(), threshold, threshold.next_up()] {
                    check(&counts, score);
                }
            }
            for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE, 1.0] {
                check(&counts, score);
            }
        }
    }

    #[test]
    fn refuses_counts_out_of_range() {
        for num_thresholds in [0, 1, MOST + 1, u32::MAX] {
            let error = ThresholdCounts::new("auc", num_thresholds).expect_err("out of range");
            assert_eq!(error, MetricError::ThresholdCount { metric: "auc", num_thresholds });
        }
        assert!(ThresholdCounts::new("auc", MOST).is_ok());
    }

    proptest! {
        #[test]
        fn agrees_with_comparing_every_threshold(num_thresholds in 2u32..500, scores in prop::collection::vec(any::<f32>(), 20), unit in prop::collection::vec(0f32..1.0, 50)) {
            let counts = ThresholdCounts::new("auc", num_thresholds).expect("in range");
            scores.into_iter().chain(unit).for_each(|score| check(&counts, score));
        }
    }
}
