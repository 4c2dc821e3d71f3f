//! Steps of a training run at which rounding decides what happens.
//!
//! A network with ReLUs has a gradient that jumps where a pre-activation is 0. When a pre-activation is nearer to 0 than its own rounding
//! error, two right programs may stand on either side, and part for good: Adam makes full steps of what differs. That this is so at
//! a step follows from the model alone, without looking at a trace: its gradient jumps when every variable moves to a neighbouring number.

use rankmill_data::FeatureBatch;
use rankmill_train::step::Trainer;

/// How often the variables are moved to neighbours: a kink is missed with a chance of about one in 2^16.
const DRAWS: u64 = 16;

/// The least jump of a gradient, as a share of the largest gradient. Without a kink, moves by one unit in the last place change a gradient
/// by less than 1e-5 of it.
const JUMP: f32 = 1e-3;

/// Trains on the batches up to the first at which the gradient jumps, and gives its step.
pub(crate) fn first_kink(trainer: &mut Trainer, batches: impl Iterator<Item = FeatureBatch>) -> Option<u64> {
    for batch in batches {
        if gradient_jumps(trainer, &batch) {
            return Some(trainer.global_step + 1);
        }
        trainer.step(&batch);
    }
    None
}

/// Whether the gradient of a batch jumps when every variable moves to a number next to it. Afterwards the variables are as before.
fn gradient_jumps(trainer: &mut Trainer, batch: &FeatureBatch) -> bool {
    let saved = trainer.parameters().clone();
    trainer.backward(batch);
    let gradients = trainer.dense_gradients();
    let all = || gradients.iter().flat_map(|(_, gradient)| gradient);
    let largest = all().fold(0.0_f32, |a, g| a.max(g.abs()));
    let jumps = (0..DRAWS).any(|draw| {
        let mut state = trainer.global_step * DRAWS + draw;
        for (entry, saved) in trainer.parameters_mut().entries.iter_mut().zip(&saved.entries) {
            for (value, saved) in entry.values.iter_mut().zip(&saved.values) {
                *value = neighbour(*saved, &mut state);
            }
        }
        trainer.backward(batch);
        let moved = trainer.dense_gradients();
        let differences = all().zip(moved.iter().flat_map(|(_, gradient)| gradient)).map(|(a, b)| (a - b).abs());
        differences.fold(0.0_f32, f32::max) > JUMP * largest
    });
    trainer.parameters_mut().clone_from(&saved);
    jumps
}

/// The next number above or below.
pub(super) fn neighbour(value: f32, state: &mut u64) -> f32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    if *state >> 63 == 0 { value.next_up() } else { value.next_down() }
}
