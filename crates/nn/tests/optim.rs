//! Optimizers: three steps of each against double precision, step 1 of EasyRec's traces, independence of how parameters are
//! cut, clipping, and refused configurations.

mod optim_cases;

use optim_cases::{configured, constant, names};
use proptest::prelude::*;
use rankmill_config::proto;
use rankmill_config::proto::optimizer::Optimizer as Kind;
use rankmill_nn::optim::clip::{NORM_BLOCK, clip_factor, global_norm, sum_of_squares};
use rankmill_nn::optim::{Gradient, Optimizer};
use rankmill_nn::random::Stream;

const WIDTH: usize = 2;
const ROWS: usize = 4;
const ELEMENTS: usize = WIDTH * ROWS;

/// Weights, slots and scalars of one parameter under training.
struct Training {
    optimizer: Optimizer,
    weights: Vec<f32>,
    slots: Vec<Vec<f32>>,
    scalars: Vec<f32>,
    step: u64,
}

impl Training {
    fn new(name: &str, weights: &[f32]) -> Training {
        let optimizer = configured(name);
        let slots = optimizer.slots().iter().map(|slot| vec![slot.initial; weights.len()]).collect();
        let scalars = optimizer.scalars().into_iter().map(|(_, value)| value).collect();
        Training { optimizer, weights: weights.to_vec(), slots, scalars, step: 0 }
    }

    fn apply(&mut self, gradient: Gradient<'_>) {
        self.apply_in_pieces(gradient, &[]);
    }

    /// One step, with the parameter cut at the given rows.
    fn apply_in_pieces(&mut self, gradient: Gradient<'_>, cuts: &[usize]) {
        let rates = self.optimizer.begin_step(&self.scalars, self.step);
        let mut bounds = vec![0];
        bounds.extend(cuts);
        bounds.push(self.weights.len() / WIDTH);
        for range in bounds.windows(2) {
            let elements = range[0] * WIDTH..range[1] * WIDTH;
            let mut slots: Vec<&mut [f32]> = self.slots.iter_mut().map(|slot| &mut slot[elements.clone()]).collect();
            let relative_rows: Vec<u32>;
            let piece = match gradient {
                Gradient::Dense(values) => Gradient::Dense(&values[elements.clone()]),
                Gradient::Rows { rows, values } => {
                    let first = rows.partition_point(|&row| (row as usize) < range[0]);
                    let last = rows.partition_point(|&row| (row as usize) < range[1]);
                    relative_rows = rows[first..last].iter().map(|row| row - range[0] as u32).collect();
                    Gradient::Rows { rows: &relative_rows, values: &values[first * WIDTH..last * WIDTH] }
                }
            };
            self.optimizer.update(&rates, &mut self.weights[elements], &mut slots, piece, WIDTH);
        }
        self.optimizer.end_step(&mut self.scalars);
        self.step += 1;
    }
}

/// The textbook step of one element in double precision, with the settings of `optim_cases`. `gradient` is `None` for an
/// element of a table row that is not in the batch; `step` counts from 1.
fn reference(name: &str, step: i32, gradient: Option<f64>, weight: &mut f64, slots: &mut [f64]) {
    if gradient.is_none() && !matches!(name, "adam" | "adamw") {
        return;
    }
    let g = gradient.unwrap_or(0.0);
    // The settings are float32 in the configuration: 1 - 0.99 is already 1e-6 off the decimal value.
    let rate = f64::from(0.05f32);
    let keep = f64::from(0.7f32);
    if matches!(name, "adamw" | "momentumw") && gradient.is_some() {
        *weight *= 1.0 - f64::from(0.01f32);
    }
    match name {
        "adam" | "lazy_adam" | "adamw" => {
            let (beta1, beta2) = (f64::from(0.8f32), f64::from(0.99f32));
            slots[0] = beta1 * slots[0] + (1.0 - beta1) * g;
            slots[1] = beta2 * slots[1] + (1.0 - beta2) * g * g;
            let corrected = rate * (1.0 - beta2.powi(step)).sqrt() / (1.0 - beta1.powi(step));
            *weight -= corrected * slots[0] / (slots[1].sqrt() + 1e-8);
        }
        "momentum" | "momentumw" | "sgd" => {
            slots[0] = if name == "sgd" { g } else { keep * slots[0] + g };
            *weight -= rate * slots[0];
        }
        "adagrad" => {
            slots[0] += g * g;
            *weight -= rate * g / slots[0].sqrt();
        }
        "ftrl" | "ftrl_power" => {
            let power = if name == "ftrl" { 0.5 } else { f64::from(0.3f32) };
            let (l1, l2, shrinkage) = (f64::from(0.01f32), f64::from(0.02f32), f64::from(0.03f32));
            let grown = slots[0] + g * g;
            let sigma = (grown.powf(power) - slots[0].powf(power)) / rate;
            slots[1] += g + 2.0 * shrinkage * *weight - sigma * *weight;
            slots[0] = grown;
            let shrunk = slots[1].signum() * l1 - slots[1];
            let curvature = grown.powf(power) / rate + 2.0 * l2;
            *weight = if slots[1].abs() > l1 { shrunk / curvature } else { 0.0 };
        }
        "rmsprop" => {
            let decay = f64::from(0.9f32);
            slots[0] = decay * slots[0] + (1.0 - decay) * g * g;
            slots[1] = keep * slots[1] + rate * g / (slots[0] + 0.5).sqrt();
            *weight -= slots[1];
        }
        other => panic!("no reference for {other}"),
    }
}

/// Gradients of three steps; a table sees only the rows of `batches`.
const GRADIENTS: [[f32; ELEMENTS]; 3] = [
    [0.5, -0.25, 0.125, 2.0, -0.001, 0.0, 0.75, -1.5],
    [-0.5, 0.25, 1.0, 0.01, 3.0, 1e-6, -0.75, 0.3],
    [0.1, 0.2, -0.3, 0.4, 0.5, 0.6, -0.7, 0.8],
];
const BATCHES: [&[u32]; 3] = [&[1, 3], &[0, 1], &[3]];
const START: [f32; ELEMENTS] = [0.3, -0.2, 1.0, -1.0, 0.05, 0.5, -0.4, 0.0];

/// Allows the rounding of three float32 steps of values of size `scale`. FTRL divides a difference of roots near 1 by the
/// rate 0.05, which makes their rounding 20 times larger.
#[track_caller]
fn close(name: &str, what: &str, actual: f32, expected: f64, scale: f64) {
    let tolerance = if name.starts_with("ftrl") { 1e-5 } else { 1e-6 } * expected.abs().max(scale);
    assert!((f64::from(actual) - expected).abs() <= tolerance, "{name}: {what} is {actual}, expected {expected}");
}

fn check_against_reference(name: &str, batches: Option<[&[u32]; 3]>) {
    let mut training = Training::new(name, &START);
    let mut weights = START.map(f64::from);
    let mut slots: Vec<Vec<f64>> =
        (0..ELEMENTS).map(|_| training.optimizer.slots().iter().map(|slot| f64::from(slot.initial)).collect()).collect();
    for (step, dense) in GRADIENTS.iter().enumerate() {
        match batches {
            None => training.apply(Gradient::Dense(dense)),
            Some(batches) => {
                let rows = batches[step];
                let values: Vec<f32> = rows.iter().flat_map(|&row| &dense[row as usize * WIDTH..][..WIDTH]).copied().collect();
                training.apply(Gradient::Rows { rows, values: &values });
            }
        }
        for element in 0..ELEMENTS {
            let in_batch = batches.is_none_or(|batches| batches[step].contains(&((element / WIDTH) as u32)));
            let gradient = in_batch.then_some(f64::from(dense[element]));
            reference(name, step as i32 + 1, gradient, &mut weights[element], &mut slots[element]);
            close(name, &format!("weight {element} after step {step}"), training.weights[element], weights[element], 0.1);
            for (slot, expected) in slots[element].iter().enumerate() {
                let actual = training.slots[slot][element];
                close(name, &format!("slot {slot} of {element} after step {step}"), actual, *expected, 0.05);
            }
        }
    }
}

#[test]
fn three_dense_steps_follow_the_formulas() {
    names().iter().for_each(|name| check_against_reference(name, None));
}

#[test]
fn three_steps_on_table_rows_follow_the_formulas() {
    names().iter().for_each(|name| check_against_reference(name, Some(BATCHES)));
}

#[test]
fn numbers_worked_out_by_hand() {
    let after = |name: &str, gradients: &[f32]| {
        let mut training = Training::new(name, &[1.0, 1.0]);
        gradients.iter().for_each(|&g| training.apply(Gradient::Dense(&[g, g])));
        training.weights[0]
    };
    // Plain descent, rate 0.05.
    assert_eq!(after("sgd", &[2.0]), 0.9);
    // 1 - 0.05·2 - 0.05·(0.7·2 + 1)
    assert!((after("momentum", &[2.0, 1.0]) - 0.78).abs() < 1e-6);
    // 1 - 0.05·3/sqrt(0.5 + 9)
    assert!((after("adagrad", &[3.0]) - 0.951_333_6).abs() < 1e-6);
    // The first step of Adam is the rate, whatever the gradient's size.
    assert!((after("adam", &[0.5]) - 0.95).abs() < 1e-6);
    assert!((after("adam", &[-1e3]) - 1.05).abs() < 1e-6);
    // 0.99·1 - 0.05
    assert!((after("adamw", &[5.0]) - 0.94).abs() < 1e-6);
    // 1 - 0.05·2/sqrt(0.9 + 0.1·4 + 0.5)
    assert!((after("rmsprop", &[2.0]) - 0.925_464_4).abs() < 1e-6);
}

#[test]
fn adam_moves_every_row_and_the_others_only_the_batch() {
    for name in names() {
        let mut training = Training::new(name, &START);
        training.apply(Gradient::Rows { rows: &[2], values: &[0.5, 0.5] });
        let between = training.weights.clone();
        training.apply(Gradient::Rows { rows: &[0], values: &[0.5, 0.5] });
        let moved = training.weights[4] != between[4];
        assert_eq!(moved, matches!(name, "adam" | "adamw"), "{name}: row 2 after a batch without it");
        assert_eq!(training.weights[2..4], START[2..4], "{name}: a row never seen has no moments to follow");
    }
}

#[test]
fn a_batch_without_rows_still_decays_the_moments_of_adam() {
    let mut training = Training::new("adam", &START);
    training.apply(Gradient::Rows { rows: &[2], values: &[0.5, 0.5] });
    training.apply(Gradient::Rows { rows: &[], values: &[] });
    assert_eq!(training.slots[0][4], 0.5 * (1.0 - 0.8f32) * 0.8);
    let mut lazy = Training::new("lazy_adam", &START);
    lazy.apply(Gradient::Rows { rows: &[], values: &[] });
    assert_eq!(lazy.weights, START);
}

#[test]
fn moments_of_adam_end_at_zero_not_among_the_denormals() {
    for gradient in [Gradient::Rows { rows: &[], values: &[] }, Gradient::Dense(&[0.0; ELEMENTS])] {
        let mut training = Training::new("adam", &START);
        training.apply(Gradient::Dense(&[1e-3; ELEMENTS]));
        for _ in 0..500 {
            training.apply(gradient);
            assert!(training.slots[0].iter().all(|m| *m == 0.0 || m.is_normal()));
        }
        assert_eq!(training.slots[0], [0.0; ELEMENTS]);
        assert!(training.slots[1].iter().all(|v| *v > 0.0));
    }
}

#[test]
fn gradients_near_the_smallest_float_still_move_weights() {
    // The square of such a gradient is zero in float32, so epsilon alone divides the first moment.
    let mut training = Training::new("adam", &[0.0; ELEMENTS]);
    training.apply(Gradient::Dense(&[1e-30; ELEMENTS]));
    assert!(training.slots[0][0] > 0.0);
    assert_eq!(training.slots[1][0], 0.0);
    assert!(training.weights[0] < 0.0);
}

#[test]
fn ftrl_sets_weak_weights_to_exactly_zero() {
    let mut training = Training::new("ftrl", &[0.0; ELEMENTS]);
    training.apply(Gradient::Dense(&[0.005, -0.005, 0.5, -0.5, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(training.weights[..2], [0.0, 0.0]);
    assert!(training.weights[2] < 0.0 && training.weights[3] > 0.0);
}

#[test]
fn slots_and_scalars_have_tensorflow_names() {
    let expected: [(&str, &[(&str, f32)]); 10] = [
        ("adam", &[("Adam", 0.0), ("Adam_1", 0.0)]),
        ("lazy_adam", &[("Adam", 0.0), ("Adam_1", 0.0)]),
        ("adamw", &[("AdamW", 0.0), ("AdamW_1", 0.0)]),
        ("momentum", &[("Momentum", 0.0)]),
        ("momentumw", &[("MomentumW", 0.0)]),
        ("sgd", &[("Momentum", 0.0)]),
        ("adagrad", &[("Adagrad", 0.5)]),
        ("ftrl", &[("Ftrl", 0.2), ("Ftrl_1", 0.0)]),
        ("ftrl_power", &[("Ftrl", 0.2), ("Ftrl_1", 0.0)]),
        ("rmsprop", &[("RMSProp", 1.0), ("RMSProp_1", 0.0)]),
    ];
    assert_eq!(expected.map(|(name, _)| name), names());
    for (name, slots) in expected {
        let optimizer = configured(name);
        let actual: Vec<(&str, f32)> = optimizer.slots().iter().map(|slot| (slot.suffix, slot.initial)).collect();
        assert_eq!(actual, slots, "{name}");
        let scalars = if name.contains("adam") { vec![("beta1_power", 0.8), ("beta2_power", 0.99)] } else { Vec::new() };
        assert_eq!(optimizer.scalars(), scalars, "{name}");
    }
}

#[test]
fn rates_of_a_step() {
    let adam = configured("adam");
    let mut scalars = [0.8, 0.99];
    let first = adam.begin_step(&scalars, 0);
    assert_eq!(first.learning_rate, 0.05);
    assert_eq!(first.effective, 0.05 * (1.0 - 0.99f32).sqrt() / (1.0 - 0.8f32));
    adam.end_step(&mut scalars);
    assert_eq!(scalars, [0.8 * 0.8, 0.99 * 0.99]);
    let momentum = configured("momentum").begin_step(&[], 0);
    assert_eq!((momentum.learning_rate, momentum.effective), (0.05, 0.05));
    assert_eq!(adam.learning_rate(7), 0.05);
}

proptest! {
    #[test]
    fn results_do_not_depend_on_the_cut(
        which in 0usize..10,
        table in any::<bool>(),
        seed in any::<u64>(),
        mut cuts in prop::collection::vec(0usize..=60, 0..5),
    ) {
        cuts.sort_unstable();
        let name = names()[which];
        let stream = Stream::new(seed, 0);
        let weights: Vec<f32> = (0..120).map(|i| stream.uniform(i) - 0.5).collect();
        let (mut whole, mut pieces) = (Training::new(name, &weights), Training::new(name, &weights));
        for step in 1..4 {
            let rows: Vec<u32> = (0..60).filter(|&row| stream.uniform(1000 * step + u64::from(row)) < 0.3).collect();
            let count = if table { rows.len() * WIDTH } else { 120 };
            let values: Vec<f32> = (0..count as u64).map(|i| stream.normal(10_000 * step + i) as f32).collect();
            let gradient = if table { Gradient::Rows { rows: &rows, values: &values } } else { Gradient::Dense(&values) };
            whole.apply(gradient);
            pieces.apply_in_pieces(gradient, &cuts);
        }
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&whole.weights), bits(&pieces.weights));
        for (a, b) in whole.slots.iter().zip(&pieces.slots) {
            prop_assert_eq!(bits(a), bits(b));
        }
    }

    #[test]
    fn a_norm_is_the_sum_of_its_blocks(seed in any::<u64>(), blocks in 0usize..4, rest in 0usize..40) {
        let stream = Stream::new(seed, 1);
        let values: Vec<f32> = (0..(blocks * NORM_BLOCK + rest) as u64).map(|i| stream.normal(i) as f32).collect();
        let by_blocks = values.chunks(NORM_BLOCK).map(sum_of_squares).fold(0.0, |sum, block| sum + block);
        prop_assert_eq!(sum_of_squares(&values).to_bits(), by_blocks.to_bits());
        let plain: f64 = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        prop_assert!((by_blocks - plain).abs() <= 1e-12 * plain);
    }
}

#[test]
fn clipping_by_the_global_norm() {
    let norm = global_norm(&[Gradient::Dense(&[3.0, 0.0]), Gradient::Rows { rows: &[5], values: &[0.0, -4.0] }]);
    assert_eq!(norm, 5.0);
    assert_eq!(clip_factor(norm, 1.0), 0.2);
    assert_eq!(clip_factor(norm, 10.0), 1.0);
    assert_eq!(clip_factor(5.0, 5.0), 1.0);
    assert_eq!(global_norm(&[]), 0.0);
    assert_eq!(clip_factor(global_norm(&[]), 2.0), 1.0);
    // Large values do not overflow: the squares are summed in double precision.
    assert_eq!(global_norm(&[Gradient::Dense(&[3e30, 4e30])]), 5e30);
    let broken = global_norm(&[Gradient::Dense(&[1.0, f32::NAN])]);
    assert!(broken.is_nan() && clip_factor(broken, 1.0).is_nan());
    assert!(clip_factor(f32::INFINITY, 1.0).is_nan());
}

#[track_caller]
fn refused(config: &proto::Optimizer, field: &str, message: &str) {
    let error = Optimizer::from_config(config).expect_err("a configuration to refuse");
    assert_eq!(error.field, field);
    assert!(error.message.contains(message), "{error}");
}

fn only(kind: Kind) -> proto::Optimizer {
    proto::Optimizer { optimizer: Some(kind), ..Default::default() }
}

#[test]
fn what_easyrec_cannot_do_on_tensorflow_2_is_refused() {
    refused(&only(Kind::AdamAsyncOptimizer(proto::AdamAsyncOptimizer::default())), "adam_async_optimizer", "use adam_optimizer");
    refused(&only(Kind::AdamAsyncwOptimizer(proto::AdamAsyncWOptimizer::default())), "adam_asyncw_optimizer", "use adamw_optimizer");
    let adam = Kind::AdamOptimizer(proto::AdamOptimizer { learning_rate: constant(0.1), ..Default::default() });
    let averaged = proto::Optimizer { use_moving_average: Some(true), ..only(adam) };
    refused(&averaged, "use_moving_average", "remove the line");
}

#[test]
fn incomplete_or_impossible_settings_name_their_field() {
    refused(&proto::Optimizer::default(), "optimizer", "no optimizer is set");
    refused(&only(Kind::AdamOptimizer(proto::AdamOptimizer::default())), "adam_optimizer.learning_rate", "no learning rate");
    refused(
        &only(Kind::AdamwOptimizer(proto::AdamWOptimizer { learning_rate: constant(0.1), beta2: Some(1.0), ..Default::default() })),
        "adamw_optimizer.beta2",
        "is 1; expected at least 0 and less than 1",
    );
    refused(
        &only(Kind::AdagradOptimizer(proto::AdagradOptimizer { learning_rate: constant(0.1), initial_accumulator_value: Some(0.0) })),
        "adagrad_optimizer.initial_accumulator_value",
        "expected more than 0",
    );
    let ftrl = proto::FtrlOptimizer { learning_rate: constant(0.1), ..Default::default() };
    refused(
        &only(Kind::FtrlOptimizer(proto::FtrlOptimizer { l1_reg: Some(-0.5), ..ftrl.clone() })),
        "ftrl_optimizer.l1_reg",
        "is -0.5; expected at least 0",
    );
    refused(
        &only(Kind::FtrlOptimizer(proto::FtrlOptimizer { learning_rate_power: Some(0.5), ..ftrl })),
        "ftrl_optimizer.learning_rate_power",
        "expected at most 0",
    );
    let manual = proto::LearningRate {
        learning_rate: Some(proto::learning_rate::LearningRate::ManualStepLearningRate(proto::ManualStepLearningRate::default())),
    };
    refused(
        &only(Kind::MomentumOptimizer(proto::MomentumOptimizer { learning_rate: Some(manual), ..Default::default() })),
        "momentum_optimizer.learning_rate.manual_step_learning_rate.schedule",
        "is empty",
    );
}

#[test]
fn wrong_lengths_and_rows_are_caught() {
    let attempt = |weights: usize, slot: usize, rows: &[u32], values: usize| {
        std::panic::catch_unwind(|| {
            let optimizer = configured("sgd");
            let rates = optimizer.begin_step(&[], 0);
            let mut slot = vec![0.0; slot];
            let gradient = Gradient::Rows { rows, values: &vec![0.0; values] };
            optimizer.update(&rates, &mut vec![0.0; weights], &mut [&mut slot], gradient, 2);
        })
    };
    assert!(attempt(8, 8, &[0, 3], 4).is_ok());
    assert!(attempt(8, 6, &[0, 3], 4).is_err(), "a short slot");
    assert!(attempt(8, 8, &[0, 4], 4).is_err(), "a row beyond the end");
    assert!(attempt(8, 8, &[3, 0], 4).is_err(), "rows out of order");
    assert!(attempt(8, 8, &[3, 3], 4).is_err(), "a row twice");
    assert!(attempt(8, 8, &[0, 3], 3).is_err(), "a short gradient");
    assert!(attempt(7, 7, &[0], 2).is_err(), "half a row");
}
