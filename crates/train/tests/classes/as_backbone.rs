//! A model and its backbone have equal losses, predictions and gradients with the same weights; classes that have no backbone say why.

use std::collections::BTreeMap;

use rankmill_config::{AsBackbone, Edits, Pipeline, as_backbone, validate};
use rankmill_model::Parameters;
use rankmill_train::step::Trainer;

use crate::common::{Rows, example, pipeline, trainer};

/// The values of a model's variable in the order that the backbone has them in.
fn moved(values: &[f32], width: usize, rows: &[usize]) -> Vec<f32> {
    let mut moved = values.to_vec();
    for (to, from) in rows.iter().enumerate() {
        moved[to * width..(to + 1) * width].copy_from_slice(&values[from * width..(from + 1) * width]);
    }
    moved
}

/// Gives the backbone the model's weights; every variable of either side must have one on the other.
fn move_weights(name: &str, written: &AsBackbone, from: &Parameters, to: &mut Parameters) {
    let mut given = 0;
    for entry in &from.entries {
        let variable = written.variable(&entry.name);
        let target = to.entries.iter_mut().find(|target| target.name == variable.name);
        let target = target.unwrap_or_else(|| panic!("{name}: {} has no {} on the backbone", entry.name, variable.name));
        assert_eq!(target.shape, entry.shape, "{name}: {}", entry.name);
        target.values = moved(&entry.values, entry.width(), &variable.rows);
        given += 1;
    }
    let missing: Vec<&str> = to.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(given, to.entries.len(), "{name}: {missing:?}");
}

/// Whether two tensors agree. In front of a batch norm a bias has a gradient of rounding alone, so what is below 1e-3 is held to that.
#[track_caller]
fn close(name: &str, what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{name}: {what}");
    let largest = expected.iter().fold(1e-3_f32, |a, x| a.max(x.abs()));
    let error = found.iter().zip(expected).fold(0.0_f32, |a, (x, y)| a.max((x - y).abs()));
    assert!(error <= tolerance * largest, "{name}: {what} differs by {error} of {largest}");
}

fn predictions(trainer: &Trainer) -> BTreeMap<String, Vec<f32>> {
    trainer.outputs().iter().enumerate().map(|(i, output)| (output.name.clone(), trainer.prediction(i))).collect()
}

/// What one batch makes of both, and a second one after a step.
fn compare(name: &str, model: &Pipeline, rows: &Rows, loss: &dyn Fn(&Trainer) -> f32) {
    let written = as_backbone(model).unwrap_or_else(|problem| panic!("{name}: {problem}"));
    let backbone = Pipeline::parse(name, &written.text, &Edits::default()).unwrap_or_else(|problems| panic!("{name}: {problems}"));
    assert!(!validate(&backbone).has_errors(), "{name}: {}\n{}", validate(&backbone), written.text);
    let (mut old, features) = trainer(model);
    let (mut new, _) = trainer(&backbone);
    move_weights(name, &written, &old.parameters().clone(), new.parameters_mut());
    let batches: Vec<_> = rows.batches(model, &features).take(2).collect();
    for batch in &batches {
        old.backward(batch);
        new.backward(batch);
        close(name, "loss", &[loss(&new)], &[loss(&old)], 2e-6);
        let (expected, found) = (predictions(&old), predictions(&new));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        for (output, expected) in &expected {
            close(name, output, &found[output], expected, 2e-5);
        }
        let gradients: BTreeMap<String, Vec<f32>> = new.dense_gradients().into_iter().collect();
        for (variable, expected) in old.dense_gradients() {
            let target = written.variable(&variable);
            let width = old.parameters().get(&variable).expect("it is there").width();
            close(name, &variable, &gradients[&target.name], &moved(&expected, width, &target.rows), 2e-3);
        }
        old.apply();
        new.apply();
        move_weights(name, &written, &old.parameters().clone(), new.parameters_mut());
    }
}

/// An example, what is changed in it, and edits.
type Case = (&'static str, Option<(&'static str, &'static str)>, &'static [&'static str]);

const FINAL: &str = "    final_dnn { hidden_units: 32 }\n";

const CASES: &[Case] = &[
    ("wide_and_deep", None, &[]),
    ("wide_and_deep", None, &["model_config.wide_and_deep.final_dnn.hidden_units[+]=16", "model_config.wide_and_deep.wide_output_dim=3"]),
    ("wide_and_deep", None, &["model_config.num_class=2"]),
    ("deepfm", None, &[]),
    ("deepfm", None, &["model_config.deepfm.final_dnn.hidden_units[0]=1"]),
    ("deepfm", Some((FINAL, "")), &[]),
    ("deepfm", Some((FINAL, "")), &["model_config.num_class=2", "model_config.deepfm.wide_output_dim=2"]),
    ("deepfm", Some((FINAL, "")), &["model_config.num_class=2"]),
    ("dlrm", None, &[]),
    ("dlrm", None, &["model_config.dlrm.arch_interaction_itself=true", "model_config.dlrm.arch_with_dense_feature=true"]),
    ("dlrm", None, &["model_config.dlrm.arch_interaction_op='cat'"]),
    ("dlrm", Some(("    top_dnn { hidden_units: [64, 32] }\n", "")), &[]),
    ("multi_tower", None, &[]),
    ("multi_tower", Some(("{ hidden_units: [64, 32] }", "{ hidden_units: [64, 32] activation: 'dice' }")), &[]),
    ("multi_tower_din", None, &[]),
    ("multi_tower_din", Some(("{ hidden_units: [32, 1] }", "{ hidden_units: [32, 16, 1] activation: 'dice' use_bn: false }")), &[]),
    ("simple_multi_task", None, &[]),
    ("mmoe", None, &[]),
    ("ple", None, &[]),
    ("ple", Some(("expert_num_per_task: 2", "expert_num_per_task: 1")), &["model_config.ple.extraction_networks[1].share_num=0"]),
    ("dbmtl", None, &[]),
    (
        "dbmtl",
        Some(("bottom_dnn { hidden_units: [64, 32] }", "expert_dnn { hidden_units: [16] use_bn: false dropout_ratio: 0.5 } num_expert: 3")),
        &[],
    ),
];

fn configured(case: &Case, penalty: &str) -> Pipeline {
    let (name, change, edits) = case;
    let mut text = example(name);
    if let Some((old, new)) = change {
        assert!(text.contains(old), "{name} has {old}");
        text = text.replace(old, new);
    }
    let section = name.strip_suffix("_din").unwrap_or(name);
    let penalty = format!("model_config.{section}.l2_regularization={penalty}");
    let edits: Vec<&str> =
        [&[penalty.as_str(), "data_config.batch_size=128", "model_config.embedding_regularization=1e-4"], *edits].concat();
    pipeline(name, &text, &edits)
}

#[test]
fn a_backbone_is_equal_to_its_model() {
    let rows = Rows::new(1000);
    for case in CASES {
        let model = configured(case, "0");
        let name = format!("{case:?}");
        assert_eq!(as_backbone(&model).map(|written| written.differences), Ok(Vec::new()), "{name}");
        compare(&name, &model, &rows, &|trainer| trainer.losses().total);
    }
}

#[test]
fn a_penalty_that_is_lost_is_told_and_changes_nothing_else() {
    let rows = Rows::new(1000);
    for case in CASES.iter().filter(|case| case.2.is_empty() && case.1.is_none()) {
        let model = configured(case, "1e-3");
        let written = as_backbone(&model).expect("it can be written");
        let told = written.differences.iter().any(|difference| difference.contains("l2_regularization 0.001"));
        assert_eq!(told, case.0 != "simple_multi_task", "{}", case.0);
        assert!(written.differences.iter().all(|difference| written.text.contains(&format!("# Not the same: {difference}."))));
        let losses = |trainer: &Trainer| trainer.loss_terms().map(|(_, loss)| loss).sum();
        // Gradients differ by the penalty, so only what comes before them is the same.
        let backbone = Pipeline::parse("f", &written.text, &Edits::default()).expect("it can be read");
        let ((mut old, features), (mut new, _)) = (trainer(&model), trainer(&backbone));
        move_weights(case.0, &written, &old.parameters().clone(), new.parameters_mut());
        let batch = rows.batches(&model, &features).next().expect("a batch");
        old.backward(&batch);
        new.backward(&batch);
        close(case.0, "losses", &[losses(&new)], &[losses(&old)], 2e-6);
        let lost = old.losses().total - new.losses().total;
        assert_eq!(lost > 1e-5 * old.losses().total, told, "{}: {lost}", case.0);
    }
}

#[test]
fn classes_without_a_backbone_say_why() {
    let reasons = [
        ("autoint", "ends without a projection"),
        ("cmbf", "attend to each other"),
        ("dcn", "those of the component Cross have a matrix"),
        ("esmm", "product of two towers' probabilities"),
        ("fm", "`fm_bias`"),
        ("multi_task_model", "a backbone already"),
        ("multi_tower_bst", "columns of its own"),
        ("rank_model", "a backbone already"),
        ("rocket_launching", "two networks"),
        ("uniter", "first token"),
    ];
    for (name, reason) in reasons {
        let problem = as_backbone(&pipeline(name, &example(name), &[])).expect_err(name);
        assert!(problem.message.contains(reason), "{name}: {problem}");
        assert!(problem.line > 0, "{name}: {problem}");
    }
    let refused = [
        ("mmoe", "use_bn: false", "use_bn: true", "moving statistics"),
        ("dbmtl", "relation_dnn { hidden_units: 16 }", "", "without a `relation_dnn`"),
    ];
    for (name, old, new, reason) in refused {
        let problem = as_backbone(&pipeline(name, &example(name).replace(old, new), &[])).expect_err(name);
        assert!(problem.message.contains(reason), "{name}: {problem}");
    }
}
