//! Random backbones: whatever blocks a config joins, the model can be built, its gradients are those of its loss, and the bits depend
//! neither on the number of threads nor on a way through a file.
//!
//! Each number makes one config: blocks of random kinds read what earlier blocks gave, a matrix, a list of features, fields side by side, or
//! a sequence, with its lengths or without; some live in packages that are called once or several times. Every component that reads numbers
//! is drawn (`components`). Differences of the loss are compared with the gradients.

mod components;
mod maker;

use std::sync::Arc;

use rankmill_config::{Edits, Pipeline, validate};
use rankmill_data::{Column, DenseColumn, FeatureBatch, FeatureKind, FeatureSet, Positions, SequenceColumn};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_model::bundle::{read_tensors, write_tensors};
use rankmill_model::{Parameters, Purpose, Scorer, feature_set};
use rankmill_train::step::{Trainer, TrainerOptions};

use self::maker::{Maker, Random, TOKENS};

const CONFIGS: u64 = 500;
const ROWS: usize = 24;

/// Ids of each of `counts` rows, up to two where a row may have several.
fn ids(rows: usize, most: Option<usize>, count: usize, weighted: bool, random: &mut Random) -> IdColumn {
    let (mut offsets, mut ids) = (vec![0], Vec::<u32>::new());
    for _ in 0..count {
        let several = most.map_or(1, |most| random.below(most + 1));
        ids.extend((0..several).map(|_| random.below(rows) as u32));
        offsets.push(ids.len() as u32);
    }
    let weights = weighted.then(|| ids.iter().map(|_| 0.5 + random.below(3) as f32).collect());
    IdColumn { offsets, ids, weights }
}

/// A sequence of these lengths.
fn sequence(lengths: &[usize], positions: impl FnOnce(usize) -> Positions) -> Column {
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + *length as u32);
    }
    let longest = lengths.iter().copied().max().expect("rows");
    Column::Sequence(SequenceColumn { offsets, longest, positions: positions(lengths.iter().sum()) })
}

fn batch(features: &FeatureSet, random: &mut Random) -> FeatureBatch {
    // Sequences of one group are as long as each other; some rows have no position.
    let lengths: Vec<usize> = (0..ROWS).map(|_| random.below(6)).collect();
    let columns = features.specs().iter().map(|spec| match spec.kind {
        FeatureKind::Ids { rows, weighted } => Column::Ids(ids(rows, (spec.name == "c").then_some(2), ROWS, weighted, random)),
        FeatureKind::Dense { width } => {
            // Tokens alone are three.
            let value = |random: &mut Random| if width == 3 { random.below(TOKENS) as f32 } else { random.signed() };
            Column::Dense(DenseColumn { width, values: (0..ROWS * width).map(|_| value(random)).collect() })
        }
        FeatureKind::IdSequence { rows, weighted } => sequence(&lengths, |count| Positions::Ids(ids(rows, None, count, weighted, random))),
        FeatureKind::DenseSequence { width } => sequence(&lengths, |count| {
            Positions::Dense(DenseColumn { width, values: (0..count * width).map(|_| random.signed()).collect() })
        }),
    });
    let columns = columns.collect();
    let labels = vec![(0..ROWS).map(|_| random.below(2) as f32).collect()];
    FeatureBatch { rows: ROWS, columns, labels, ..FeatureBatch::default() }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Values that are neither all alike nor at the corners of anything.
fn fill(parameters: &mut Parameters, random: &mut Random) {
    for entry in parameters.entries.iter_mut().filter(|entry| entry.trainable) {
        entry.values.iter_mut().for_each(|value| *value += 0.4 * random.signed());
    }
}

fn check(seed: u64, pools: &[Arc<Pool>; 2]) -> (usize, usize) {
    let text = Maker::config(seed);
    let pipeline =
        Pipeline::parse("random.config", &text, &Edits::default()).unwrap_or_else(|problems| panic!("{seed}: {problems}\n{text}"));
    let problems = validate(&pipeline);
    assert!(problems.is_empty(), "{seed}: {problems}\n{text}");
    let features = feature_set(&pipeline).unwrap_or_else(|problems| panic!("{seed}: {problems}\n{text}"));
    let mut random = Random::new(seed ^ 0xabcd);
    let batch = batch(&features, &mut random);
    let trainer = |pool: &Arc<Pool>| {
        Trainer::new(&pipeline, &features, Arc::clone(pool), TrainerOptions::default())
            .unwrap_or_else(|problems| panic!("{seed}: {problems}\n{text}"))
    };
    let [mut one, mut three] = [trainer(&pools[0]), trainer(&pools[1])];
    fill(one.parameters_mut(), &mut random);
    *three.parameters_mut() = one.parameters().clone();

    // Any number of threads gives the same bits, before and after an update.
    one.backward(&batch);
    three.backward(&batch);
    let gradients = one.dense_gradients();
    for ((name, a), (_, b)) in gradients.iter().zip(three.dense_gradients()) {
        assert_eq!(bits(a), bits(&b), "{seed}: gradient of {name}\n{text}");
    }
    assert!(one.losses().total.is_finite(), "{seed}: the loss is finite\n{text}");
    let counts = gradients_fit(seed, &text, &mut one, &gradients, &batch, &mut random);
    one.backward(&batch);
    one.apply();
    three.apply();
    let (after, others) = (one.parameters().clone(), three.parameters().clone());
    for (a, b) in after.entries.iter().zip(&others.entries) {
        assert_eq!(bits(&a.values), bits(&b.values), "{seed}: {} after a step\n{text}", a.name);
    }
    file_keeps_scores(seed, &text, &pipeline, &features, &after, &batch, pools);
    counts
}

/// Compares the gradient of each variable with the difference of the loss in a random direction. Through several batch norms of few rows
/// the loss may bend too much for any step that rounding allows: then the quotients of two steps differ, and nothing is compared. Neither
/// is where the loss has a corner within the step, as a ReLU makes them: there the slopes to both sides and over both steps differ as the
/// gradient differs from them. Gives the number of variables compared, and of all.
fn gradients_fit(
    seed: u64,
    text: &str,
    trainer: &mut Trainer,
    gradients: &[(String, Vec<f32>)],
    batch: &FeatureBatch,
    random: &mut Random,
) -> (usize, usize) {
    const STEPS: [f32; 4] = [4e-3, 2e-3, 5e-4, 2.5e-4];
    let here = f64::from(trainer.losses().total);
    let mut compared = 0;
    for (name, gradient) in gradients {
        let direction: Vec<f32> = gradient.iter().map(|_| if random.below(2) == 0 { 1.0 } else { -1.0 }).collect();
        let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let norm = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        for pair in STEPS.chunks(2) {
            let mut sides = |step: f32| {
                let [ahead, behind] = [step, -step].map(|step| loss_beside(trainer, batch, name, &direction, step));
                [(ahead - here) / f64::from(step), (here - behind) / f64::from(step)]
            };
            let ([a, b], [ahead, behind]) = (sides(pair[0]), sides(pair[1]));
            let (wide, numeric) = ((a + b) / 2.0, (ahead + behind) / 2.0);
            // Losses in f32, a few roundings each: 1e-6 of them over twice the step. The rest is for curvature.
            let tolerance = 2e-6 * here.abs().max(1.0) / f64::from(pair[1]) + 0.03 * norm;
            let error = (slope - numeric).abs();
            let slopes = [a, b, ahead, behind];
            let bend = slopes.iter().fold(0.0_f64, |most, slope| most.max((slope - numeric).abs()));
            if (wide - numeric).abs() < tolerance / 2.0 && (error < tolerance || bend < error / 4.0) {
                assert!(error < tolerance, "{seed}: gradient of {name}: {slope} but the loss changes by {slopes:?}\n{text}");
                compared += 1;
                break;
            }
        }
    }
    (compared, gradients.len())
}

/// The loss after a step of a variable.
fn loss_beside(trainer: &mut Trainer, batch: &FeatureBatch, name: &str, direction: &[f32], step: f32) -> f64 {
    let kept = values(trainer, name).clone();
    values(trainer, name).iter_mut().zip(direction).for_each(|(value, d)| *value += step * d);
    trainer.backward(batch);
    *values(trainer, name) = kept;
    f64::from(trainer.losses().total)
}

fn values<'a>(trainer: &'a mut Trainer, name: &str) -> &'a mut Vec<f32> {
    &mut trainer.parameters_mut().entries.iter_mut().find(|entry| entry.name == name).expect("a variable").values
}

/// Variables that were written to a file and read again give the same scores.
fn file_keeps_scores(
    seed: u64,
    text: &str,
    pipeline: &Pipeline,
    features: &FeatureSet,
    parameters: &Parameters,
    batch: &FeatureBatch,
    pools: &[Arc<Pool>; 2],
) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("variables.safetensors");
    let tensors = parameters.entries.iter().map(|entry| (entry.name.as_str(), entry.shape.as_slice(), entry.values.as_slice()));
    write_tensors(&path, tensors).expect("the file can be written");
    let read = Parameters { entries: read_tensors(&path).expect("the file can be read"), ..Parameters::default() };
    let scores = |parameters: &Parameters, pool: &Arc<Pool>| {
        let mut scorer =
            Scorer::new(pipeline, features, Purpose::Prediction, Arc::clone(pool), Precision::F32).expect("builds as in training");
        let mut scorer = scorer.with(parameters).unwrap_or_else(|error| panic!("{seed}: {error}\n{text}"));
        scorer.score(batch).columns.iter().map(|column| bits(column)).collect::<Vec<_>>()
    };
    assert_eq!(scores(parameters, &pools[0]), scores(&read, &pools[1]), "{seed}: scores\n{text}");
}

/// Half of the configs, so that two threads of the test runner share them.
fn train_and_score(seeds: std::ops::Range<u64>) {
    let pools = [1, 3].map(|threads| Arc::new(Pool::new(threads).expect("threads")));
    let (mut compared, mut all) = (0, 0);
    for seed in seeds {
        let counts = check(seed, &pools);
        compared += counts.0;
        all += counts.1;
    }
    assert!(compared * 20 > all * 19, "of {all} gradients only {compared} could be compared");
}

#[test]
fn random_backbones_train_and_score() {
    train_and_score(0..CONFIGS / 2);
}

#[test]
fn other_random_backbones_train_and_score() {
    train_and_score(CONFIGS / 2..CONFIGS);
}
