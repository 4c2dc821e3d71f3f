//! Gradients of whole models on sequences against finite differences, for each variable in a random direction.

use crate::common::{Rows, example, pipeline, trainer};

/// How far a variable is moved.
const STEP: f32 = 2e-3;

/// A number in [-1, 1) that depends on nothing but its place.
fn number(place: u64) -> f32 {
    let mixed = (place.wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed >> 40) as f32) / (1 << 23) as f32 - 1.0
}

/// ReLU and what else has corners are replaced, for a difference across a corner is no derivative.
fn smooth(name: &str) -> String {
    let text = example(name);
    assert!(text.contains("hidden_units"));
    text.replace("hidden_units:", "activation: \"tanh\" hidden_units:")
}

#[test]
fn gradients_of_models_on_sequences() {
    let rows = Rows::new(600);
    for name in ["multi_tower_din", "multi_tower_bst", "cmbf", "uniter"] {
        let pipeline = pipeline(name, &smooth(name), &["data_config.batch_size=64", "model_config.embedding_regularization=1e-4"]);
        let (mut trainer, features) = trainer(&pipeline);
        for (i, entry) in trainer.parameters_mut().entries.iter_mut().enumerate() {
            // Nothing may be so small that its gradients are rounding.
            let own = entry.values.iter_mut().enumerate().filter(|_| !entry.name.contains("moving"));
            own.for_each(|(j, value)| *value += 0.1 * number((i * 100_003 + j) as u64));
        }
        let batch = rows.batches(&pipeline, &features).next().expect("a batch");
        trainer.backward(&batch);
        let gradients = trainer.dense_gradients();
        let mut checked = 0;
        for (variable, gradient) in gradients {
            let direction: Vec<f32> = (0..gradient.len()).map(|j| number(j as u64 + 7)).collect();
            let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let mut at = |offset: f32| -> f64 {
                let entry = trainer.parameters_mut().entries.iter_mut().find(|entry| entry.name == variable).expect("it is there");
                let before = entry.values.clone();
                entry.values.iter_mut().zip(&direction).for_each(|(value, d)| *value += offset * d);
                trainer.backward(&batch);
                let loss = f64::from(trainer.losses().total);
                let entry = trainer.parameters_mut().entries.iter_mut().find(|entry| entry.name == variable).expect("it is there");
                entry.values = before;
                loss
            };
            let found = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
            // The loss is good to some 20 bits behind several layers, and the difference is divided by the step.
            let rounding = 1e-6 / f64::from(STEP);
            assert!((found - expected).abs() < rounding + 0.02 * expected.abs(), "{name} {variable}: {found} but {expected}");
            checked += usize::from(expected.abs() > 10.0 * rounding);
        }
        assert!(checked > 12, "{name}: only {checked} gradients were large enough to say anything");
    }
}
