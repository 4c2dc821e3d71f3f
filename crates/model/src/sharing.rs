//! Candidates of one request: features whose fields have the same text in all rows are made once, and what the graph computes of them alone
//! is computed for one row (see [`rankmill_graph::SharedExecutor`]). Scores have the bits that they have without.

use std::ops::Range;

use rankmill_data::{Column, DataError, FeatureBatch, FeatureCounts, FeatureSet, FeatureSpec, FieldRows, Observed, RawRows};
use rankmill_graph::{EqualInputs, SharedExecutor};

use crate::feed::{Slot, Slots};
use crate::feed_sequences::{FeedPlan, SequenceSlot};
use crate::predictor::{Predictor, Scores};

/// Whether work is shared by rows that are scored together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// What is equal in all rows of a request is computed once.
    #[default]
    Auto,
    /// Every row is computed by itself.
    Off,
}

/// Fewer rows are better scored together with those of other requests.
pub(crate) const LEAST_ROWS: usize = 16;
/// The part of a row's work from which on sharing it is worth a run of its own.
const LEAST_SAVED: f64 = 0.02;
/// Different sets of equal features that are planned, as each has packed weights of its own; and sets that are remembered at all. Rows with
/// other sets are scored one by one.
const MOST_PLANS: usize = 4;
const MOST_SETS: usize = 16;

/// The sets of equal features that one executor has met, and the plans of those that are worth it.
#[derive(Default)]
pub(crate) struct Plans(Vec<(Vec<bool>, Option<Plan>)>);

/// What is done for one set of equal features.
pub(crate) struct Plan {
    /// The features that are equal in all rows.
    equal: Vec<bool>,
    common: Side,
    own: Side,
    executor: SharedExecutor,
    /// The equal features that are read for all rows nevertheless.
    repeated: Vec<bool>,
    has_run: bool,
}

/// The features of one kind.
struct Side {
    features: FeatureSet,
    /// The fields that they read.
    fields: Vec<bool>,
    raw: RawRows,
}

impl Side {
    fn new(features: &FeatureSet, chosen: &[bool], raw: &RawRows) -> Side {
        let features = features.only(chosen);
        let fields = features.scoring_fields().iter().map(|field| field.is_read).collect();
        let mut raw = raw.clone();
        raw.clear();
        Side { features, fields, raw }
    }

    fn transform(&mut self, rows: &FieldRows, range: Range<usize>) -> Result<FeatureBatch, DataError> {
        self.raw.clear();
        rows.append_some_to(range, &self.fields, &mut self.raw).map_err(crate::concurrent::too_large)?;
        self.features.transform(&self.raw)
    }
}

/// The features whose fields are equal. Sequences may lie along one axis, whose length must not depend on what is shared: so they are equal
/// together or not at all.
fn equal_features(features: &FeatureSet, fields: &[bool]) -> Vec<bool> {
    let is_equal = |feature: usize| features.fields_of(feature).iter().all(|field| fields[*field]);
    let mut equal: Vec<bool> = (0..features.specs().len()).map(is_equal).collect();
    let is_sequence = |feature: &usize| features.specs()[*feature].sequence.is_some();
    let sequences: Vec<usize> = (0..equal.len()).filter(is_sequence).collect();
    if sequences.iter().any(|sequence| !equal[*sequence]) {
        sequences.into_iter().for_each(|sequence| equal[sequence] = false);
    }
    equal
}

impl Plans {
    /// The plan for rows of which these fields are equal, if that is of use.
    pub(crate) fn find(&mut self, predictor: &Predictor, fields: &[bool], raw: &RawRows) -> Option<&mut Plan> {
        let equal = equal_features(&predictor.features, fields);
        if !equal.contains(&true) {
            return None;
        }
        let place = match self.0.iter().position(|(known, _)| *known == equal) {
            Some(place) => place,
            None => {
                let plans = self.0.iter().filter(|(_, plan)| plan.is_some()).count();
                if self.0.len() == MOST_SETS || plans == MOST_PLANS {
                    return None;
                }
                let plan = Plan::new(predictor, equal.clone(), raw);
                self.0.push((equal, plan));
                self.0.len() - 1
            }
        };
        self.0[place].1.as_mut()
    }
}

impl Plan {
    /// The plan for a set, if it saves enough.
    fn new(predictor: &Predictor, equal: Vec<bool>, raw: &RawRows) -> Option<Plan> {
        let features = &predictor.features;
        let slots = Slots::new(features.specs(), 0);
        let inputs = inputs(features.specs(), &slots, &predictor.model().feed, &equal);
        let executor = predictor.shared(&inputs).filter(|executor| executor.saved() >= LEAST_SAVED)?;
        let reads = |feature: usize| is_read(slots.feature(feature), &slots, executor.reads());
        let repeated = (0..equal.len()).map(|feature| equal[feature] && reads(feature)).collect();
        let others: Vec<bool> = equal.iter().map(|equal| !equal).collect();
        let [common, own] = [&equal, &others].map(|chosen| Side::new(features, chosen, raw));
        Some(Plan { equal, common, own, executor, repeated, has_run: false })
    }

    /// The features of some rows.
    ///
    /// # Errors
    /// A row that breaks a rule, not always the first one.
    pub(crate) fn batches(&mut self, rows: &FieldRows, range: Range<usize>) -> Result<Batches, DataError> {
        let count = range.len();
        let common = self.common.transform(rows, range.start..range.start + 1)?;
        let own = self.own.transform(rows, range)?;
        Ok(self.merge(common, own, count))
    }

    /// Gives both batches the columns of all features.
    fn merge(&self, common: FeatureBatch, own: FeatureBatch, count: usize) -> Batches {
        let specs = [self.common.features.specs(), self.own.features.specs()];
        let mut places = [0, 0];
        let mut merged = [1, count].map(|rows| FeatureBatch { rows, ..FeatureBatch::default() });
        let mut observed = Observed::default();
        for (equal, repeated) in self.equal.iter().zip(&self.repeated) {
            let side = usize::from(!equal);
            let place = places[side];
            places[side] += 1;
            let from = if *equal { &common } else { &own };
            let counts = from.observed.features[place];
            let times = if *equal { count as u64 } else { 1 };
            observed.features.push(FeatureCounts { missing: counts.missing * times, out_of_range: counts.out_of_range * times });
            let column = from.columns[place].clone();
            for batch in &mut merged {
                batch.table_keys.push(from.table_keys.get(place).cloned().unwrap_or_default());
            }
            let kind = specs[side][place].kind;
            let [first, all] = &mut merged;
            match (equal, repeated) {
                (true, true) => all.columns.push(column.repeated(count)),
                (true, false) => all.columns.push(Column::empty(kind, count)),
                (false, _) => {
                    first.columns.push(Column::empty(kind, 1));
                    all.columns.push(column);
                    continue;
                }
            }
            first.columns.push(column);
        }
        let [common, mut own] = merged;
        own.observed = observed;
        Batches { common, own }
    }

    /// The scores of what [`Plan::batches`] gave.
    pub(crate) fn score(&mut self, predictor: &Predictor, batches: &Batches) -> Scores {
        let has_run = std::mem::replace(&mut self.has_run, true);
        predictor.score_shared(&mut self.executor, has_run, &batches.common, &batches.own)
    }
}

/// The first row with what is equal, and all rows with the rest.
pub(crate) struct Batches {
    common: FeatureBatch,
    pub(crate) own: FeatureBatch,
}

/// The inputs of the graph that equal features fill.
fn inputs(specs: &[FeatureSpec], slots: &Slots, feed: &FeedPlan, equal: &[bool]) -> EqualInputs {
    let mut inputs = EqualInputs { ids: vec![false; slots.ids()], dense: vec![false; slots.sample_weights()] };
    for feature in (0..specs.len()).filter(|feature| equal[*feature]) {
        match slots.feature(feature) {
            Slot::Ids(slot) => inputs.ids[slot] = true,
            Slot::Dense(slot, _) => inputs.dense[slot] = true,
            Slot::Sequence(SequenceSlot { dense, .. }) => {
                inputs.dense[dense..dense + SequenceSlot::DENSE].fill(true);
                // Sequences are equal all together, and theirs are the last ids.
                inputs.ids.resize(slots.ids() + feed.id_count(), true);
            }
        }
    }
    inputs
}

/// Whether a slot is read.
fn is_read(slot: Slot, slots: &Slots, reads: &EqualInputs) -> bool {
    match slot {
        Slot::Ids(slot) => reads.ids.get(slot) == Some(&true),
        Slot::Dense(slot, _) => reads.dense.get(slot) == Some(&true),
        Slot::Sequence(SequenceSlot { dense, .. }) => {
            let ids = reads.ids.get(slots.ids()..).unwrap_or_default();
            ids.contains(&true) || reads.dense.iter().skip(dense).take(SequenceSlot::DENSE).any(|read| *read)
        }
    }
}
