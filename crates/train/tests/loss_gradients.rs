//! The gradient of every loss in the whole model, against differences of the loss along random directions of all variables.

use std::fs;
use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet, Reader, ReaderOptions};
use rankmill_kernels::pool::Pool;
use rankmill_train::step::{Trainer, TrainerOptions};

const CONFIG: &str = "
train_config { optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.1 } } } } }
data_config {
  input_fields { input_name: 'click' input_type: INT32 }
  input_fields { input_name: 'amount' input_type: FLOAT }
  input_fields { input_name: 'teacher' input_type: FLOAT }
  input_fields { input_name: 'kind' input_type: INT32 }
  input_fields { input_name: 'rank' input_type: FLOAT }
  input_fields { input_name: 'session' input_type: STRING }
  input_fields { input_name: 'weight' input_type: FLOAT }
  input_fields { input_name: 'item' input_type: STRING }
  input_fields { input_name: 'user' input_type: STRING }
  label_fields: ['click', 'amount', 'teacher', 'kind', 'rank']
  sample_weight: 'weight' batch_size: 48 num_epochs: 1 shuffle: false input_type: CSVInput separator: ','
}
feature_config {
  features { input_names: 'item' feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 40 }
  features { input_names: 'user' feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 40 }
}
model_config {
  model_class: 'RankModel'
  feature_groups { group_name: 'all' feature_names: ['item', 'user'] wide_deep: DEEP }
  backbone {
    blocks { name: 'net' inputs { feature_group_name: 'all' }
      keras_layer { class_name: 'MLP' mlp { hidden_units: [6, 5] use_bn: false use_final_bn: false activation: 'tanh' final_activation: 'tanh' } } }
  }
  LOSSES
}
";

/// Losses as the config has them.
const LOSSES: [&str; 26] = [
    "loss_type: CLASSIFICATION label_name: 'click'",
    "loss_type: CLASSIFICATION label_name: 'kind' num_class: 3",
    "loss_type: BINARY_CROSS_ENTROPY_LOSS label_name: 'click'",
    "losses { loss_type: BINARY_FOCAL_LOSS binary_focal_loss { gamma: 1.5 alpha: 0.3 label_smoothing: 0.1 } } label_name: 'click'",
    "losses { loss_type: BINARY_FOCAL_LOSS binary_focal_loss { gamma: 2 ohem_ratio: 0.6 } } label_name: 'click'",
    "losses { loss_type: F1_REWEIGHTED_LOSS f1_reweighted_loss { f1_beta_square: 2.5 } } label_name: 'click'",
    "loss_type: L2_LOSS label_name: 'amount'",
    "loss_type: SIGMOID_L2_LOSS label_name: 'teacher'",
    "loss_type: ZILN_LOSS label_name: 'amount' num_class: 3",
    "losses { loss_type: PAIR_WISE_LOSS pairwise_loss { margin: 0.3 session_name: 'session' } } label_name: 'click'",
    "losses { loss_type: PAIRWISE_LOGISTIC_LOSS pairwise_logistic_loss { temperature: 0.7 } } label_name: 'click'",
    "losses { loss_type: PAIRWISE_LOGISTIC_LOSS pairwise_logistic_loss { use_label_margin: true session_name: 'session' } } label_name: 'amount'",
    "losses { loss_type: PAIRWISE_LOGISTIC_LOSS pairwise_logistic_loss { ohem_ratio: 0.5 } } label_name: 'amount'",
    "losses { loss_type: PAIRWISE_HINGE_LOSS pairwise_hinge_loss { session_name: 'session' } } label_name: 'amount'",
    "losses { loss_type: PAIRWISE_HINGE_LOSS pairwise_hinge_loss { use_label_margin: false margin: 0.8 } } label_name: 'click'",
    "losses { loss_type: PAIRWISE_FOCAL_LOSS pairwise_focal_loss { gamma: 2 alpha: 0.6 } } label_name: 'click'",
    "losses { loss_type: JRC_LOSS jrc_loss { session_name: 'session' alpha: 0.4 } } label_name: 'click' num_class: 2",
    "losses { loss_type: JRC_LOSS jrc_loss { session_name: 'session' same_label_loss: false } } label_name: 'click' num_class: 2",
    "losses { loss_type: JRC_LOSS jrc_loss { session_name: 'session' loss_weight_strategy: 'uncertainty' } } label_name: 'click' num_class: 2",
    "losses { loss_type: LISTWISE_RANK_LOSS listwise_rank_loss { session_name: 'session' scale_logits: true } } label_name: 'click'",
    "losses { loss_type: LISTWISE_RANK_LOSS listwise_rank_loss { session_name: 'session' label_is_logits: true temperature: 0.5 } } label_name: 'amount'",
    "losses { loss_type: LISTWISE_DISTILL_LOSS listwise_distill_loss { session_name: 'session' label_clip_max_value: 20 } } label_name: 'rank'",
    "losses { loss_type: CLASSIFICATION weight: 0.7 } losses { loss_type: PAIR_WISE_LOSS weight: 1.3 } label_name: 'click'",
    "losses { loss_type: CLASSIFICATION learn_loss_weight: true } losses { loss_type: PAIRWISE_LOGISTIC_LOSS learn_loss_weight: true } \
     loss_weight_strategy: Uncertainty label_name: 'click'",
    "loss_type: CLASSIFICATION label_name: 'click' \
     kd { pred_name: 'logits' soft_label_name: 'teacher' loss_type: KL_DIVERGENCE_LOSS temperature: 2 pred_is_logits: true label_is_logits: true }",
    "loss_type: CLASSIFICATION label_name: 'click' \
     kd { pred_name: 'probs' soft_label_name: 'teacher' loss_type: CROSS_ENTROPY_LOSS pred_is_logits: false label_is_logits: false }",
];

/// Pseudo-random numbers in [0, 1).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn rows() -> String {
    let mut random = Random(5);
    let mut text = String::new();
    for row in 0..48 {
        let click = u8::from(random.next() < 0.4);
        let amount = if random.next() < 0.5 { 0.0 } else { (random.next() * 40.0).round() / 8.0 };
        let (teacher, kind) = (0.05 + 0.9 * random.next(), (random.next() * 3.0) as u8);
        let weight = if row % 7 == 3 { 0.0 } else { 0.5 + random.next() };
        let (session, item, user) = ((random.next() * 6.0) as u8, (random.next() * 20.0) as u8, (random.next() * 15.0) as u8);
        text += &format!("{click},{amount},{teacher:.3},{kind},{},s{session},{weight:.2},i{item},u{user}\n", row % 9 + 1);
    }
    text
}

fn first_batch(pipeline: &Pipeline, features: &FeatureSet, file: &str) -> FeatureBatch {
    let options = ReaderOptions::train(pipeline, vec![file.to_owned()], 0).expect("options");
    let mut reader = Reader::new(options, features.clone()).expect("rows");
    reader.next().expect("a batch").expect("good rows").features
}

/// The largest error of three derivatives along random directions, as a share of the gradient's length.
fn error(losses: &str, file: &str) -> f64 {
    let pipeline = Pipeline::parse("f", &CONFIG.replace("LOSSES", losses), &Edits::default())
        .unwrap_or_else(|problems| panic!("{losses}: {problems}"));
    let features = FeatureSet::new(&pipeline).expect("features");
    let pool = Arc::new(Pool::new(1).expect("threads"));
    let options = TrainerOptions { seed: 4, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&pipeline, &features, pool, options).unwrap_or_else(|problems| panic!("{losses}: {problems}"));
    let batch = first_batch(&pipeline, &features, file);
    let mut random = Random(11);
    for entry in &mut trainer.parameters_mut().entries {
        entry.values.iter_mut().for_each(|x| *x += (random.next() - 0.5) as f32);
    }
    trainer.backward(&batch);
    let gradients = trainer.dense_gradients();
    let length: f64 = gradients.iter().flat_map(|(_, values)| values).map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    assert!(length > 1e-3, "{losses}: the gradient is {length}");
    let start = trainer.parameters().clone();
    let mut worst = 0.0_f64;
    for _ in 0..3 {
        let direction: Vec<Vec<f64>> =
            start.entries.iter().map(|entry| entry.values.iter().map(|_| random.next() - 0.5).collect()).collect();
        let norm = direction.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        let mut loss_at = |step: f64| {
            for ((entry, start), direction) in trainer.parameters_mut().entries.iter_mut().zip(&start.entries).zip(&direction) {
                let moved = start.values.iter().zip(direction).map(|(x, d)| (f64::from(*x) + step * d / norm) as f32);
                entry.values.iter_mut().zip(moved).for_each(|(value, moved)| *value = moved);
            }
            trainer.backward(&batch);
            f64::from(trainer.losses().total)
        };
        let h = 1e-2;
        let quotient = (loss_at(h) - loss_at(-h)) / (2.0 * h);
        let slope: f64 = start
            .entries
            .iter()
            .zip(&direction)
            .filter_map(|(entry, direction)| Some((&gradients.iter().find(|(name, _)| *name == entry.name)?.1, direction)))
            .flat_map(|(gradient, direction)| gradient.iter().zip(direction))
            .map(|(g, d)| f64::from(*g) * d / norm)
            .sum();
        worst = worst.max((quotient - slope).abs() / length);
    }
    worst
}

#[test]
fn every_loss_has_the_gradient_of_its_differences() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("rows");
    fs::write(&file, rows()).expect("written");
    let file = file.display().to_string();
    let wrong: Vec<String> = LOSSES
        .iter()
        .map(|losses| (losses, error(losses, &file)))
        .filter(|(_, error)| *error > 2e-3)
        .map(|(losses, error)| format!("{error:.5} {losses}"))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
