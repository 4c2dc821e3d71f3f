//! Rows of tables that wait until a batch has them again, against rows that move at every step as TensorFlow's do.

use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{Column, FeatureBatch, FeatureSet, IdColumn};
use rankmill_kernels::pool::Pool;
use rankmill_train::step::{IdleRows, Trainer, TrainerOptions};

const ROWS: u32 = 700;

/// Two tables, one of them shared by two features, of widths that are no multiple of a register.
fn config(optimizer: &str) -> String {
    let feature = |name: &str, more: &str| {
        format!("feature_config {{ features {{ input_names: '{name}' feature_type: IdFeature num_buckets: {ROWS} {more} }} }}\n")
    };
    let input = |name: &str| format!("data_config {{ input_fields {{ input_name: '{name}' input_type: INT32 }} }}\n");
    let shared = "embedding_dim: 21 embedding_name: 'both'";
    [
        ["label", "a", "b", "c"].map(input).concat(),
        "data_config { label_fields: 'label' batch_size: 8 input_type: CSVInput separator: ',' }\n".to_owned(),
        feature("a", shared) + &feature("b", shared) + &feature("c", "embedding_dim: 16"),
        format!("train_config {{ gradient_clipping_by_norm: 0.5 optimizer_config {{ {optimizer} }} }}\n"),
        "model_config {
           model_class: 'RankModel'
           feature_groups { group_name: 'all' wide_deep: DEEP feature_names: 'a' feature_names: 'b' feature_names: 'c' }
           backbone {
             blocks { name: 'mlp' inputs { feature_group_name: 'all' } keras_layer { class_name: 'MLP' mlp { hidden_units: [8] } } }
             concat_blocks: 'mlp'
           }
           model_params { }
           embedding_regularization: 1e-3
         }"
        .to_owned(),
    ]
    .concat()
}

/// Some ids come often, some once in hundreds of steps, some never.
fn batch(step: u64) -> FeatureBatch {
    let mut state = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (state >> 40) as f64 / (1_u64 << 24) as f64;
        (f64::from(below) * unit.powi(4)) as u32
    };
    let rows = 8;
    let mut column = || {
        let ids: Vec<u32> = (0..rows).map(|_| next(ROWS)).collect();
        Column::Ids(IdColumn { offsets: (0..=rows).collect(), ids, weights: None })
    };
    let columns = vec![column(), column(), column()];
    let labels = (0..rows).map(|_| f32::from(next(2) as u8)).collect();
    FeatureBatch { rows: rows as usize, columns, labels: vec![labels], ..FeatureBatch::default() }
}

/// The bits of all variables and of the optimizer's state after `steps`, the variables being looked at after some steps before.
fn train(optimizer: &str, idle_rows: IdleRows, threads: usize, steps: u64, looks: &[u64]) -> Vec<(String, Vec<u32>)> {
    let pipeline = Pipeline::parse("idle_rows.config", &config(optimizer), &Edits::default()).expect("a config");
    let features = FeatureSet::new(&pipeline).expect("features");
    let pool = Arc::new(Pool::new(threads).expect("threads"));
    let options = TrainerOptions { seed: 3, idle_rows, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&pipeline, &features, pool, options).expect("a model");
    for step in 0..steps {
        trainer.step(&batch(step));
        if looks.contains(&step) {
            trainer.parameters();
        }
    }
    let (parameters, state) = trainer.state();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let variables = parameters.entries.iter().map(|entry| (entry.name.clone(), bits(&entry.values)));
    variables.chain(state.into_iter().map(|(name, _, values)| (name, bits(values)))).collect()
}

#[track_caller]
fn check(optimizer: &str, steps: u64) {
    let expected = train(optimizer, IdleRows::EveryStep, 1, steps, &[]);
    assert!(expected.iter().any(|(name, values)| name.ends_with("/Adam") || name.ends_with("/AdamW") && values.iter().any(|m| *m != 0)));
    for (threads, looks) in [(1, &[][..]), (2, &[17, 401, 402]), (3, &[steps / 2])] {
        let found = train(optimizer, IdleRows::Waiting, threads, steps, looks);
        for ((name, expected), (_, found)) in expected.iter().zip(&found) {
            assert!(expected == found, "{name} differs after {steps} steps of {optimizer}, {threads} threads");
        }
    }
}

#[test]
fn waiting_rows_end_with_the_bits_of_rows_that_moved_at_every_step() {
    let constant = "learning_rate { constant_learning_rate { learning_rate: 0.01 } }";
    check(&format!("adam_optimizer {{ {constant} }}"), 900);
    check(&format!("adam_optimizer {{ {constant} beta1: 0.5 beta2: 0.99 }} embedding_learning_rate_multiplier: 3"), 500);
    check(&format!("adamw_optimizer {{ {constant} weight_decay: 0.01 }}"), 500);
    let warming_up = "learning_rate { transformer_learning_rate { learning_rate_base: 0.1 hidden_size: 16 warmup_steps: 300 } }";
    check(&format!("adam_optimizer {{ {warming_up} }}"), 900);
}

#[test]
fn a_movement_that_does_not_fade_is_not_put_off() {
    let growing = "adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } beta1: 0.999 beta2: 0.9 }";
    check(growing, 200);
}
