//! Learning-rate schedules against the rates that EasyRec computed with TensorFlow 2.12 (`data/learning_rates.json`), and
//! their limits and errors.

use std::collections::BTreeMap;

use rankmill_config::proto;
use rankmill_config::proto::learning_rate::LearningRate as Kind;
use rankmill_config::proto::optimizer::Optimizer;
use rankmill_config::{Edits, Pipeline};
use rankmill_nn::schedule::Schedule;

fn schedule(kind: Kind) -> Schedule {
    Schedule::from_config(&proto::LearningRate { learning_rate: Some(kind) }).expect("a valid schedule")
}

fn refused(kind: Option<Kind>) -> (String, String) {
    let error = Schedule::from_config(&proto::LearningRate { learning_rate: kind }).expect_err("an invalid schedule");
    (error.field, error.message)
}

fn manual(initial: f32, steps: &[(u32, f32)], warmup: bool) -> Kind {
    let schedule = steps
        .iter()
        .map(|&(step, rate)| proto::manual_step_learning_rate::LearningRateSchedule { step: Some(step), learning_rate: Some(rate) })
        .collect();
    Kind::ManualStepLearningRate(proto::ManualStepLearningRate { initial_learning_rate: Some(initial), schedule, warmup: Some(warmup) })
}

fn exponential() -> proto::ExponentialDecayLearningRate {
    proto::ExponentialDecayLearningRate {
        initial_learning_rate: Some(0.01),
        decay_steps: Some(10),
        decay_factor: Some(0.9),
        ..Default::default()
    }
}

fn cosine() -> proto::CosineDecayLearningRate {
    proto::CosineDecayLearningRate {
        learning_rate_base: Some(0.01),
        total_steps: Some(30),
        warmup_learning_rate: Some(0.001),
        warmup_steps: Some(5),
        hold_base_rate_steps: Some(4),
    }
}

/// The schedule of the text of a `learning_rate` message.
fn from_text(text: &str) -> Schedule {
    let config = format!("train_config {{ optimizer_config {{ adam_optimizer {{ learning_rate {{ {text} }} }} }} }}");
    let pipeline = Pipeline::parse("vectors", &config, &Edits::default()).expect("a valid text");
    let train = pipeline.proto.train_config.expect("a train_config");
    let Some(Optimizer::AdamOptimizer(adam)) = &train.optimizer_config[0].optimizer else {
        panic!("the text above says adam_optimizer");
    };
    Schedule::from_config(adam.learning_rate.as_ref().expect("a learning rate")).expect("a valid schedule")
}

#[test]
fn every_measured_rate_is_reproduced() {
    let text = include_str!("data/learning_rates.json");
    let entries: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).expect("the vectors are JSON");
    assert_eq!(entries.len(), 10);
    for (name, expected) in &entries {
        let schedule = from_text(expected["config"].as_str().expect("a text"));
        let rates = expected["lr_at_global_step"].as_array().expect("a list of rates");
        assert_eq!(rates.len(), 40);
        for (step, rate) in rates.iter().enumerate() {
            let expected = rate.as_f64().expect("a rate") as f32;
            assert_eq!(schedule.rate(step as u64), expected, "{name} at step {step}: no bit may differ");
        }
    }
}

#[test]
fn unset_fields_take_the_defaults_of_the_schema() {
    let default = schedule(Kind::ConstantLearningRate(proto::ConstantLearningRate::default()));
    assert_eq!(default.rate(0), 0.002);
    let decaying = schedule(Kind::ExponentialDecayLearningRate(proto::ExponentialDecayLearningRate::default()));
    assert_eq!(decaying.rate(3_999_999), 0.002);
    assert_eq!(decaying.rate(4_000_000), 0.002 * 0.95);
    let transformer = schedule(Kind::TransformerLearningRate(proto::TransformerLearningRate {
        learning_rate_base: Some(1.0),
        hidden_size: Some(1),
        warmup_steps: Some(0),
        step_scaling_rate: None,
    }));
    assert_eq!(transformer.rate(3), 0.5);
}

#[test]
fn the_minimum_holds_a_decaying_rate_up() {
    let decaying = schedule(Kind::ExponentialDecayLearningRate(proto::ExponentialDecayLearningRate {
        min_learning_rate: Some(0.004),
        ..exponential()
    }));
    assert_eq!(decaying.rate(80), 0.01 * 0.9f32.powf(8.0));
    assert_eq!(decaying.rate(90), 0.004);
    assert_eq!(decaying.rate(1_000_000_000), 0.004);
}

#[test]
fn a_burn_in_of_no_steps_never_applies() {
    let decaying = schedule(Kind::ExponentialDecayLearningRate(proto::ExponentialDecayLearningRate {
        burnin_learning_rate: Some(0.5),
        burnin_steps: Some(0),
        ..exponential()
    }));
    assert_eq!(decaying.rate(0), 0.01);
}

#[test]
fn the_staircase_waits_for_the_rounded_reciprocal() {
    let decaying =
        schedule(Kind::ExponentialDecayLearningRate(proto::ExponentialDecayLearningRate { decay_steps: Some(41), ..exponential() }));
    // In float32 41 times the reciprocal of 41 is one bit below 1.
    assert_eq!(decaying.rate(41), 0.01);
    assert_eq!(decaying.rate(42), 0.01 * 0.9);
}

#[test]
fn a_cosine_without_length_keeps_its_base_rate_to_the_end() {
    let flat = schedule(Kind::CosineDecayLearningRate(proto::CosineDecayLearningRate {
        total_steps: Some(5),
        hold_base_rate_steps: Some(0),
        ..cosine()
    }));
    assert!(flat.rate(4) < 0.01);
    assert_eq!(flat.rate(5), 0.01);
    assert_eq!(flat.rate(6), 0.0);
}

#[test]
fn a_cosine_without_warm_up_and_hold_falls_from_the_start() {
    let falling = schedule(Kind::CosineDecayLearningRate(proto::CosineDecayLearningRate {
        learning_rate_base: Some(1.0),
        total_steps: Some(4),
        warmup_learning_rate: Some(0.5),
        warmup_steps: Some(0),
        hold_base_rate_steps: Some(0),
    }));
    assert_eq!(falling.rate(0), 1.0);
    assert!((falling.rate(2) - 0.5).abs() < 1e-6);
    assert!(falling.rate(4).abs() < 1e-6);
}

#[test]
fn poly_powers_with_and_without_a_short_cut_agree() {
    for power in [0.5f32, 1.0, 1.5, 2.0, 3.0, -0.5] {
        let curve = schedule(Kind::PolyDecayLearningRate(proto::PolyDecayLearningRate {
            learning_rate_base: Some(1.0),
            total_steps: Some(8),
            power: Some(power),
            end_learning_rate: None,
        }));
        for step in 0..8 {
            let expected = (1.0 - step as f64 / 8.0).powf(f64::from(power));
            let actual = f64::from(curve.rate(step));
            assert!((actual - expected).abs() <= 1e-6 * expected, "power {power} step {step}: {actual} {expected}");
        }
    }
}

#[test]
fn impossible_schedules_name_their_field() {
    let cases: [(Option<Kind>, &str, &str); 9] = [
        (None, "learning_rate", "no learning rate is set"),
        (
            Some(Kind::ExponentialDecayLearningRate(proto::ExponentialDecayLearningRate { decay_steps: Some(0), ..exponential() })),
            "learning_rate.exponential_decay_learning_rate.decay_steps",
            "is 0",
        ),
        (Some(manual(0.1, &[], false)), "learning_rate.manual_step_learning_rate.schedule", "is empty"),
        (Some(manual(0.1, &[(0, 0.2)], false)), "learning_rate.manual_step_learning_rate.schedule[0].step", "is 0; expected at least 1"),
        (
            Some(manual(0.1, &[(5, 0.2), (5, 0.3)], false)),
            "learning_rate.manual_step_learning_rate.schedule[1].step",
            "is 5; expected more than the 5 before it",
        ),
        (
            Some(Kind::CosineDecayLearningRate(proto::CosineDecayLearningRate { warmup_learning_rate: Some(0.02), ..cosine() })),
            "learning_rate.cosine_decay_learning_rate.warmup_learning_rate",
            "expected at most learning_rate_base, 0.01",
        ),
        (
            Some(Kind::CosineDecayLearningRate(proto::CosineDecayLearningRate { total_steps: Some(4), ..cosine() })),
            "learning_rate.cosine_decay_learning_rate.total_steps",
            "expected at least warmup_steps, 5",
        ),
        (
            Some(Kind::PolyDecayLearningRate(proto::PolyDecayLearningRate { total_steps: Some(-1), ..Default::default() })),
            "learning_rate.poly_decay_learning_rate.total_steps",
            "is -1",
        ),
        (
            Some(Kind::TransformerLearningRate(proto::TransformerLearningRate { hidden_size: Some(0), ..Default::default() })),
            "learning_rate.transformer_learning_rate.hidden_size",
            "is 0",
        ),
    ];
    for (kind, field, message) in cases {
        let (actual_field, actual_message) = refused(kind);
        assert_eq!(actual_field, field);
        assert!(actual_message.contains(message), "{actual_message}");
    }
}
