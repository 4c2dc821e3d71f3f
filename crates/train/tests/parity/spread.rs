//! How far a run is from itself when nothing but rounding changes.
//!
//! A batch is a set: the same rows in another order have the same losses, gradients and updates in exact arithmetic. What a run differs by
//! from the same run with the rows of every batch shuffled, and every initial value replaced by a number next to it (constant columns
//! have the same sums in any order), is therefore rounding, and what training has made of it: Adam, which divides a
//! gradient by its own size, turns a gradient that is 0 but for rounding into steps of full length. EasyRec's order of sums is one more
//! draw of the same kind, so that it may differ from ours as much.

use std::collections::BTreeMap;
use std::fs;

use rankmill_data::{FeatureBatch, Reader, ReaderOptions};
use rankmill_train::step::IdleRows;

use super::compare::{Way, trainer};
use super::kinks::neighbour;
use super::trace::Case;
use super::verdict::{distance, magnitude};

/// How many orders are drawn.
const DRAWS: u64 = 8;

/// How many times the largest difference that was drawn a trace may differ: eight draws do not find the end of the distribution.
const FACTOR: f64 = 4.0;

/// Units in the last place of the largest gradient that any gradient may err by: the terms of a sum that is 0 are that large.
const UNITS: f64 = 4.0;

/// What tensors, by their names in a trace, may differ by.
pub(crate) struct Spread {
    /// Of L2 norms.
    allowed: BTreeMap<String, f64>,
}

impl Spread {
    pub(crate) fn measure(case: &Case) -> Spread {
        let straight = tensors(case, None);
        let largest =
            straight.iter().filter(|(name, _)| name.starts_with("grad1/")).map(|(_, values)| magnitude(values)).fold(0.0, f64::max);
        let unit = UNITS * largest * f64::from(f32::EPSILON);
        let rounding = |(name, values): (&String, &Vec<f32>)| {
            let least = if name.starts_with("grad1/") { unit * (values.len() as f64).sqrt() } else { 0.0 };
            (name.clone(), least)
        };
        let mut allowed: BTreeMap<String, f64> = straight.iter().map(rounding).collect();
        for draw in 1..=DRAWS {
            for (name, values) in tensors(case, Some(draw)) {
                let drawn = FACTOR * distance(&values, &straight[&name]);
                allowed.entry(name).and_modify(|allowed| *allowed = allowed.max(drawn));
            }
        }
        Spread { allowed }
    }

    /// The distance of a tensor as a share of what is allowed.
    pub(crate) fn share(&self, name: &str, found: &[f32], expected: &[f32]) -> f64 {
        self.allowed.get(name).map_or(f64::INFINITY, |allowed| distance(found, expected) / allowed)
    }
}

/// What a run gives, by the names in a trace: as it is, or one that differs by rounding.
fn tensors(case: &Case, draw: Option<u64>) -> BTreeMap<String, Vec<f32>> {
    let (mut trainer, _) = trainer(case, Way { threads: 1, idle_rows: IdleRows::EveryStep });
    if let Some(mut state) = draw {
        let values = trainer.parameters_mut().entries.iter_mut().flat_map(|entry| &mut entry.values);
        values.for_each(|value| *value = neighbour(*value, &mut state));
    }
    let mut tensors = BTreeMap::new();
    let (batches, orders) = ordered(case, draw);
    for (batch, order) in batches.iter().zip(&orders) {
        let step = trainer.global_step + 1;
        trainer.backward(batch);
        if step == 1 {
            tensors.extend(trainer.dense_gradients().into_iter().map(|(name, values)| (format!("grad1/{name}"), values)));
        }
        let outputs: Vec<String> = trainer.outputs().iter().map(|output| output.name.clone()).collect();
        for (i, output) in outputs.iter().enumerate() {
            tensors.insert(format!("step{step}/{output}"), as_read(&trainer.prediction(i), order));
        }
        let losses = trainer.losses();
        tensors.insert(format!("step{step}/total_loss"), vec![losses.total]);
        tensors.insert(format!("step{step}/reg_terms"), vec![losses.regularization]);
        tensors.extend(trainer.loss_terms().map(|(term, loss)| (format!("step{step}/loss_dict/{term}"), vec![loss])));
        trainer.apply();
        if case.has_variables(step) {
            let (parameters, state) = trainer.state();
            tensors.extend(state.into_iter().map(|(name, _, values)| (format!("after{step}/{name}"), values.to_vec())));
            tensors.extend(parameters.entries.iter().map(|entry| (format!("after{step}/{}", entry.name), entry.values.clone())));
        }
    }
    tensors
}

/// The batches of a case, with the places in the file's order of the rows of each.
fn ordered(case: &Case, draw: Option<u64>) -> (Vec<FeatureBatch>, Vec<Vec<usize>>) {
    let size = case.pipeline.proto.data_config.as_ref().map_or(32, |data| data.batch_size()) as usize;
    let text = fs::read_to_string(&case.rows()[0]).expect("the rows can be read");
    let lines: Vec<&str> = text.lines().collect();
    let (mut moved, mut orders) = (String::new(), Vec::new());
    for (i, batch) in lines.chunks(size).enumerate() {
        let mut places: Vec<usize> = (0..batch.len()).collect();
        if let Some(draw) = draw {
            shuffle((draw << 32) + i as u64, &mut places);
        }
        places.iter().for_each(|place| moved.extend([batch[*place], "\n"]));
        orders.push(places);
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), moved).expect("rows can be written");
    let options = ReaderOptions::train(&case.pipeline, vec![file.path().display().to_string()], 0).expect("reading options");
    let reader = Reader::new(options, case.features.clone()).expect("the rows can be read");
    let batches = reader.take(case.steps as usize).map(|batch| batch.expect("the rows are right").features);
    (batches.collect(), orders)
}

/// Rows in the order of the file; what has none stays as it is.
fn as_read(values: &[f32], order: &[usize]) -> Vec<f32> {
    let width = values.len() / order.len();
    if width == 0 || !values.len().is_multiple_of(order.len()) {
        return values.to_vec();
    }
    let mut rows = vec![0.0; values.len()];
    for (row, place) in values.chunks_exact(width).zip(order) {
        rows[place * width..(place + 1) * width].copy_from_slice(row);
    }
    rows
}

/// Fisher and Yates' shuffle, with the numbers of a linear congruence.
fn shuffle(seed: u64, order: &mut [usize]) {
    let mut state = seed;
    for i in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (state >> 33) as usize % (i + 1));
    }
}
