//! Initial values: moments, bounds and shapes of every initializer, independence of order, configuration.

use proptest::prelude::*;
use rankmill_config::proto;
use rankmill_config::proto::initializer::InitializerOneof as Kind;
use rankmill_nn::init::{Initializer, InitializerError, fans};

const SHAPE: [usize; 2] = [400, 250];

fn filled(initializer: &Initializer, shape: &[usize]) -> Vec<f32> {
    let mut values = vec![f32::NAN; shape.iter().product()];
    initializer.fill(shape, 42, "block/kernel", &mut values);
    values
}

fn mean_and_deviation(values: &[f32]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// Checks mean, standard deviation and the largest distance from the mean of 100 000 values of shape [400, 250].
#[track_caller]
fn check(initializer: &Initializer, mean: f64, deviation: f64, reach: f64) {
    let values = filled(initializer, &SHAPE);
    let (actual_mean, actual_deviation) = mean_and_deviation(&values);
    // Four standard errors of a mean of 100 000; the deviation's own error is below 0.3 % for all of these.
    assert!((actual_mean - mean).abs() < 4.0 * deviation / 316.0, "mean {actual_mean}, not {mean}");
    assert!((actual_deviation / deviation - 1.0).abs() < 0.01, "deviation {actual_deviation}, not {deviation}");
    let farthest = values.iter().map(|&v| (f64::from(v) - mean).abs()).fold(0.0, f64::max);
    assert!(farthest <= reach * 1.000_001 && farthest > 0.99 * reach, "reach {farthest}, not {reach}");
}

/// Deviation of a standard normal variable truncated to [-2, 2].
const TRUNCATED: f64 = 0.879_625_661_034_239_8;

#[test]
fn uniform_families_have_keras_limits() {
    let uniform = |limit: f64| (limit / 3f64.sqrt(), limit);
    for (name, limit) in [
        ("uniform", 0.05),
        ("random_uniform", 0.05),
        ("glorot_uniform", (6.0f64 / 650.0).sqrt()),
        ("he_uniform", (6.0f64 / 400.0).sqrt()),
        ("lecun_uniform", (3.0f64 / 400.0).sqrt()),
    ] {
        let (deviation, reach) = uniform(limit);
        check(&Initializer::from_keras_name(name).expect("a known name"), 0.0, deviation, reach);
    }
    check(&Initializer::Uniform { minimum: 1.0, maximum: 3.0 }, 2.0, 1.0 / 3f64.sqrt(), 1.0);
}

#[test]
fn normal_families_have_keras_deviations_and_truncation() {
    for (name, variance) in
        [("glorot_normal", 2.0 / 650.0), ("he_normal", 2.0 / 400.0), ("lecun_normal", 1.0 / 400.0), ("variance_scaling", 1.0f64 / 400.0)]
    {
        let deviation = variance.sqrt();
        check(&Initializer::from_keras_name(name).expect("a known name"), 0.0, deviation, 2.0 * deviation / TRUNCATED);
    }
    // Without correction the deviation of what remains is smaller than the one asked for.
    check(&Initializer::from_keras_name("truncated_normal").expect("a known name"), 0.0, 0.05 * TRUNCATED, 0.1);
    check(&Initializer::TruncatedNormal { mean: -3.0, deviation: 0.5 }, -3.0, 0.5 * TRUNCATED, 1.0);
    check(&Initializer::embedding_default(16), 0.0, 0.0025 * TRUNCATED, 0.005);
}

#[test]
fn plain_normal_values_have_tails() {
    let values = filled(&Initializer::Normal { mean: 1.0, deviation: 2.0 }, &SHAPE);
    let (mean, deviation) = mean_and_deviation(&values);
    assert!((mean - 1.0).abs() < 0.026 && (deviation - 2.0).abs() < 0.02, "{mean} {deviation}");
    let beyond_two = values.iter().filter(|&&v| (v - 1.0).abs() > 4.0).count() as f64 / values.len() as f64;
    assert!((beyond_two - 0.0455).abs() < 0.003, "{beyond_two}");
}

#[test]
fn constants_and_lists_of_values() {
    assert_eq!(filled(&Initializer::from_keras_name("zeros").expect("a known name"), &[2, 2]), [0.0; 4]);
    assert_eq!(filled(&Initializer::from_keras_name("Ones").expect("a known name"), &[3]), [1.0; 3]);
    assert_eq!(filled(&Initializer::Values(vec![1.0, 2.0]), &[2, 2]), [1.0, 2.0, 2.0, 2.0]);
    let mut tail = [0.0; 2];
    Initializer::Values(vec![1.0, 2.0, 3.0]).fill_range(&[5], 0, "x", 2, &mut tail);
    assert_eq!(tail, [3.0, 3.0]);
    assert_eq!(filled(&Initializer::Identity, &[2, 3]), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn orthogonal_matrices_are_orthonormal_along_their_short_side() {
    for (rows, columns) in [(12, 5), (5, 12), (7, 7)] {
        let matrix = filled(&Initializer::Orthogonal, &[rows, columns]);
        let at =
            |vector: usize, i: usize| f64::from(if rows >= columns { matrix[i * columns + vector] } else { matrix[vector * columns + i] });
        for a in 0..rows.min(columns) {
            for b in 0..=a {
                let product: f64 = (0..rows.max(columns)).map(|i| at(a, i) * at(b, i)).sum();
                let expected = f64::from(u8::from(a == b));
                assert!((product - expected).abs() < 1e-6, "[{rows}, {columns}] vectors {a} and {b}: {product}");
            }
        }
    }
    assert_eq!(filled(&Initializer::Orthogonal, &[2, 3, 4]), filled(&Initializer::Orthogonal, &[6, 4]));
}

#[test]
fn fans_are_those_of_keras() {
    assert_eq!(fans(&[]), (1.0, 1.0));
    assert_eq!(fans(&[7]), (7.0, 7.0));
    assert_eq!(fans(&[3, 5]), (3.0, 5.0));
    assert_eq!(fans(&[2, 3, 5]), (6.0, 10.0));
}

#[test]
fn shapes_without_elements_are_fine() {
    for name in ["he_uniform", "glorot_normal", "orthogonal", "identity"] {
        let initializer = Initializer::from_keras_name(name).expect("a known name");
        assert!(filled(&initializer, &[0, 4]).is_empty());
        assert!(filled(&initializer, &[4, 0]).is_empty());
        assert!(filled(&initializer, &[]).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn seed_and_name_choose_the_values() {
    let mut fills = [("a", 1), ("b", 1), ("a", 2), ("a", 1)].map(|(name, seed)| {
        let mut values = [0.0; 16];
        Initializer::HeUniform.fill(&[4, 4], seed, name, &mut values);
        values
    });
    assert_eq!(fills[0], fills[3]);
    fills[3] = [0.0; 16];
    for first in 0..4 {
        for second in 0..first {
            assert_ne!(fills[first], fills[second]);
        }
    }
}

#[test]
fn the_first_values_stay_what_they_are() {
    // Changing these means that old configurations with old seeds train to other numbers.
    let mut values = [0.0; 3];
    Initializer::GlorotUniform.fill(&[3, 1], 1, "output/kernel", &mut values);
    assert_eq!(values, [-0.9953578, 0.13151896, -0.8982415]);
}

proptest! {
    #[test]
    fn any_piece_equals_the_same_piece_of_the_whole(kind in 0usize..8, start in 0usize..120, length in 0usize..120) {
        let shape = [10, 12];
        let name = ["uniform", "normal", "truncated_normal", "he_normal", "glorot_uniform", "orthogonal", "identity", "ones"][kind];
        let initializer = Initializer::from_keras_name(name).expect("a known name");
        let whole = filled(&initializer, &shape);
        let end = (start + length).min(120);
        let mut piece = vec![f32::NAN; end - start];
        initializer.fill_range(&shape, 42, "block/kernel", start, &mut piece);
        prop_assert_eq!(&piece[..], &whole[start..end]);
    }
}

#[test]
fn both_spellings_of_a_name_mean_the_same() {
    for (class, snake) in [("HeUniform", "he_uniform"), ("GlorotNormal", "glorot_normal"), ("TruncatedNormal", "truncated_normal")] {
        assert_eq!(Initializer::from_keras_name(class), Initializer::from_keras_name(snake));
        assert!(Initializer::from_keras_name(class).is_ok());
    }
}

#[test]
fn an_unknown_name_is_answered_with_the_nearest() {
    for (wrong, near) in
        [("he_unifrom", Some("he_uniform")), ("GlorotNormall", Some("glorot_normal")), ("zeroes", Some("zeros")), ("", None), ("xyz", None)]
    {
        let Err(InitializerError::UnknownName { name, nearest, .. }) = Initializer::from_keras_name(wrong) else {
            panic!("`{wrong}` is no initializer");
        };
        assert_eq!((name.as_str(), nearest), (wrong, near));
    }
    let message = Initializer::from_keras_name("he_unifrom").expect_err("a wrong name").to_string();
    assert!(message.contains("did you mean `he_uniform`?") && message.contains("lecun_normal"), "{message}");
    let message = Initializer::from_keras_name("").expect_err("a wrong name").to_string();
    assert!(message.starts_with("`` is not an initializer; expected one of zeros, "), "{message}");
}

fn from_config(kind: Kind) -> Result<Initializer, InitializerError> {
    Initializer::from_config(&proto::Initializer { initializer_oneof: Some(kind) })
}

#[test]
fn configured_initializers() {
    assert_eq!(
        from_config(Kind::TruncatedNormalInitializer(proto::TruncatedNormalInitializer { mean: None, stddev: Some(0.1) })),
        Ok(Initializer::TruncatedNormal { mean: 0.0, deviation: 0.1 })
    );
    assert_eq!(
        from_config(Kind::RandomNormalInitializer(proto::RandomNormalInitializer { mean: Some(0.5), stddev: None })),
        Ok(Initializer::Normal { mean: 0.5, deviation: 1.0 })
    );
    assert_eq!(from_config(Kind::GlorotNormalInitializer(proto::GlorotNormalInitializer {})), Ok(Initializer::GlorotNormal));
    let constant = |consts: &[f32]| from_config(Kind::ConstantInitializer(proto::ConstantInitializer { consts: consts.to_vec() }));
    assert_eq!(constant(&[0.25]), Ok(Initializer::Constant(0.25)));
    assert_eq!(constant(&[1.0, 2.0]), Ok(Initializer::Values(vec![1.0, 2.0])));
    assert_eq!(constant(&[]), Err(InitializerError::NoConstants));
}

#[test]
fn configured_nonsense_is_refused() {
    assert_eq!(Initializer::from_config(&proto::Initializer { initializer_oneof: None }), Err(InitializerError::Empty));
    for stddev in [-1.0, f32::NAN] {
        let error = from_config(Kind::RandomNormalInitializer(proto::RandomNormalInitializer { mean: None, stddev: Some(stddev) }))
            .expect_err("a deviation that cannot be");
        assert!(error.to_string().contains("random_normal_initializer.stddev"), "{error}");
    }
}
