//! Both sides of each lint that can be fixed: EasyRec's numbers, and the evident intention.

use std::collections::BTreeMap;
use std::sync::Arc;

use rankmill_config::{FIXABLE, Pipeline};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_train::evaluate::Evaluator;
use rankmill_train::step::Trainer;

use crate::common::{Rows, example, pipeline, trainer};

/// The same model without and with a fix, behind the backward pass of one batch.
fn both_sides(rows: &Rows, name: &str, text: &str, edits: &[&str], fix: &str) -> [Trainer; 2] {
    assert!(FIXABLE.contains(&fix));
    let fixed = format!("rankmill_fix[+]=\"{fix}\"");
    [edits.to_vec(), [edits, &[&fixed]].concat()].map(|edits| {
        let pipeline = pipeline(name, text, &edits);
        let (mut trainer, features) = trainer(&pipeline);
        let batch = rows.batches(&pipeline, &features).next().expect("a batch");
        trainer.backward(&batch);
        trainer
    })
}

fn terms(trainer: &Trainer) -> BTreeMap<String, f32> {
    trainer.loss_terms().map(|(name, loss)| (name.to_owned(), loss)).collect()
}

#[track_caller]
fn ratio(fixed: f32, plain: f32, expected: f32) {
    assert!((fixed / plain / expected - 1.0).abs() < 1e-5, "{fixed} is not {expected} times {plain}");
}

#[test]
fn losses_of_esmm_are_sums_or_means() {
    let [plain, fixed] = both_sides(&Rows::new(1000), "esmm", &example("esmm"), &[], "esmm_sums_over_the_batch").map(|side| terms(&side));
    assert_eq!(plain.len(), 2);
    plain.iter().for_each(|(name, loss)| ratio(fixed[name], *loss, 1.0 / 256.0));
}

#[test]
fn experts_keep_their_statistics_or_follow_the_batch() {
    let text = example("mmoe").replace("use_bn: false", "use_bn: true");
    let moved = both_sides(&Rows::new(1000), "mmoe", &text, &[], "experts_without_batch_statistics").map(|mut side| {
        side.apply();
        let mean = side.parameters().get("mmoe/expert_0/dnn_0/bn/moving_mean").expect("a batch norm").values.clone();
        mean.iter().any(|mean| *mean != 0.0)
    });
    assert_eq!(moved, [false, true]);
}

#[test]
fn distillation_pushes_apart_or_brings_together() {
    let edits =
        ["model_config.rocket_launching.feature_based_distillation=true", "model_config.rocket_launching.light_dnn.hidden_units=[128]"];
    let text = example("rocket_launching");
    let [plain, fixed] =
        both_sides(&Rows::new(1000), "rocket_launching", &text, &edits, "distillation_pushes_apart").map(|side| terms(&side));
    assert!(plain["similarity_0"] < 0.0);
    ratio(fixed["similarity_0"], plain["similarity_0"], -1.0);
}

#[test]
fn losses_of_one_name_replace_each_other_or_all_count() {
    let text = example("rank_model").replace("  model_params {}", "losses { weight: 3 } losses { weight: 2 } model_params {}");
    let [plain, fixed] = both_sides(&Rows::new(1000), "rank_model", &text, &[], "loss_is_replaced").map(|side| terms(&side));
    assert_eq!(plain.keys().collect::<Vec<_>>(), ["cross_entropy_loss"]);
    assert_eq!(fixed.keys().collect::<Vec<_>>(), ["cross_entropy_loss", "cross_entropy_loss_1"]);
    ratio(fixed["cross_entropy_loss"], plain["cross_entropy_loss"], 1.5);
    ratio(fixed["cross_entropy_loss_1"], plain["cross_entropy_loss"], 1.0);
}

#[test]
fn losses_of_a_tower_share_a_weight_or_have_their_own() {
    let losses = "losses { loss_type: CLASSIFICATION weight: 2 } losses { loss_type: PAIR_WISE_LOSS weight: 5 } label_name: \"label\"";
    let text = example("simple_multi_task").replacen("label_name: \"label\"", losses, 1);
    let sides = both_sides(&Rows::new(1000), "simple_multi_task", &text, &[], "tower_losses_share_a_weight");
    let [plain, fixed] = sides.map(|side| terms(&side));
    for (name, loss) in &plain {
        ratio(fixed[name], *loss, if name == "pair_wise_loss_like" { 2.5 } else { 1.0 });
    }
    assert!(plain.contains_key("pair_wise_loss_like"), "{plain:?}");
}

#[test]
fn an_exponent_hides_the_scores_or_acts_on_them() {
    let loss = "losses { loss_type: PAIRWISE_HINGE_LOSS pairwise_hinge_loss { use_exponent: true } } model_params {}";
    let text = example("rank_model").replace("  model_params {}", loss).replace("embedding_regularization: 1e-5", "");
    let learns = both_sides(&Rows::new(1000), "rank_model", &text, &[], "pairwise_hinge_without_gradient")
        .map(|side| side.dense_gradients().iter().flat_map(|(_, gradient)| gradient).any(|g| *g != 0.0));
    assert_eq!(learns, [false, true]);
}

#[test]
fn scores_of_autoint_are_multiplied_or_divided() {
    let rows = Rows::new(1000);
    for (size, equal) in [(1, true), (16, false)] {
        let size = format!("model_config.autoint.multi_head_size={size}");
        let [plain, fixed] =
            both_sides(&rows, "autoint", &example("autoint"), &[&size], "scores_are_multiplied").map(|side| side.prediction(0));
        assert_eq!(plain == fixed, equal, "{size}");
    }
}

#[test]
fn max_f1_is_of_logits_or_of_probabilities() {
    let rows = Rows::new(1000);
    let f1 = |fix: &[&str]| {
        let edits = [&["eval_config.metrics_set[0]={ max_f1 { } }"], fix].concat();
        let pipeline: Pipeline = pipeline("rank_model", &example("rank_model"), &edits);
        let (mut trainer, features) = trainer(&pipeline);
        rows.batches(&pipeline, &features).for_each(|batch| {
            trainer.step(&batch);
        });
        let pool = Arc::new(Pool::new(1).expect("threads"));
        let mut evaluator = Evaluator::new(&pipeline, &features, pool, Precision::F32).expect("it can be evaluated");
        let evaluation = evaluator.evaluate(trainer.parameters(), &[rows.train_file()], |_| {}).expect("rows");
        evaluation.metric("max_f1").expect("the metric")
    };
    let (plain, fixed) = (f1(&[]), f1(&["rankmill_fix[+]=\"max_f1_on_logits\""]));
    // Thresholds from 0 to 1 are probabilities from a half to 0.73 for logits.
    assert!((fixed - plain).abs() > 1e-3, "{fixed} with, {plain} without");
}

/// A package with an input layer, called with options of its own and then without.
#[test]
fn options_of_a_call_stay_or_go() {
    let blocks = "packages { name: 'tower' blocks { name: 'in' inputs { feature_group_name: 'all' } input_layer { } } }
        blocks { name: 'first' inputs { package_name: 'tower' reset_input { do_batch_norm: true } } }
        blocks { name: 'second' inputs { block_name: 'first' } inputs { package_name: 'tower' } }";
    let text = example("rank_model");
    let start = text.find("backbone {").expect("a backbone");
    let end = text.find("model_params").expect("what follows it");
    let text = format!("{}backbone {{ {blocks} concat_blocks: 'second' }}\n{}", &text[..start], &text[end..]);
    let norms = both_sides(&Rows::new(1000), "reset", &text, &[], "reset_input_stays")
        .map(|mut side| side.parameters().entries.iter().filter(|entry| entry.name.ends_with("moving_mean")).count());
    assert!(norms[1] > 0 && norms[0] == 2 * norms[1], "{norms:?}");
}
