//! Calibration against scikit-learn's numbers, and its properties.

use proptest::prelude::*;
use rankmill_model::calibration::{CalibratedOutput, Curve, Method, Quality, Sample};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    probability: Vec<f32>,
    label: Vec<f32>,
    weight: Vec<f32>,
    at: Vec<f32>,
    isotonic: Vec<f64>,
    platt: Vec<f64>,
}

fn cases() -> Vec<(Case, Vec<Sample>)> {
    let reference: Reference = serde_json::from_str(include_str!("data/calibration.json")).expect("JSON");
    let samples = |case: &Case| {
        let rows = case.probability.iter().zip(&case.label).zip(&case.weight);
        rows.map(|((probability, label), weight)| Sample { probability: *probability, label: *label, weight: *weight }).collect()
    };
    reference.cases.into_iter().map(|case| (samples(&case), case)).map(|(samples, case)| (case, samples)).collect()
}

#[test]
fn both_curves_are_those_of_scikit_learn() {
    for (case, samples) in cases() {
        // Isotonic values are means of labels, rounded once; scikit-learn ends Platt's search earlier.
        for (method, expected, tolerance) in [(Method::Isotonic, &case.isotonic, 1e-6), (Method::Platt, &case.platt, 2e-4)] {
            let curve = Curve::fit(method, &samples).expect("rows");
            for (at, expected) in case.at.iter().zip(expected) {
                let found = f64::from(curve.apply(*at));
                assert!((found - expected).abs() <= tolerance, "{method:?} of {} rows at {at}: {found}, not {expected}", samples.len());
            }
        }
    }
}

#[test]
fn probabilities_that_are_too_extreme_get_better() {
    for (_, samples) in cases().into_iter().filter(|(_, samples)| samples.len() >= 300) {
        for method in [Method::Isotonic, Method::Platt] {
            let fitted = CalibratedOutput::fit("probs", method, &samples).expect("rows");
            assert!(fitted.after.ece < fitted.before.ece, "{method:?}: {:?} {:?}", fitted.before, fitted.after);
            // Isotonic curves reach 0 and 1, where a single row of the other kind costs much.
            assert!(method == Method::Isotonic || fitted.after.log_loss < fitted.before.log_loss, "{method:?}");
        }
    }
}

#[test]
fn the_quality_of_known_rows() {
    let row = |probability, label| Sample { probability, label, weight: 1.0 };
    // Two bins: a mean of 0.25 against 0.5, of 0.95 against 1; a third of the rows in the second.
    let quality = Quality::of(&[row(0.25, 0.0), row(0.25, 1.0), row(0.95, 1.0)], |sample| sample.probability);
    assert!((quality.ece - (2.0 * 0.25 + 0.05) / 3.0).abs() < 1e-7, "{quality:?}");
    let loss = -(0.75_f64.ln() + 0.25_f64.ln() + 0.95_f64.ln()) / 3.0;
    assert!((quality.log_loss - loss).abs() < 1e-6, "{quality:?}");
}

#[test]
fn rows_that_do_not_count_give_no_curve() {
    let row = Sample { probability: 0.5, label: 1.0, weight: 0.0 };
    for method in [Method::Isotonic, Method::Platt] {
        assert_eq!(Curve::fit(method, &[]), None);
        assert_eq!(Curve::fit(method, &[row]), None);
        let alone = Curve::fit(method, &[Sample { weight: 1.0, ..row }]).expect("a row");
        assert!(alone.apply(0.1).is_finite() && alone.apply(f32::NAN).is_finite() == (method == Method::Isotonic));
    }
}

proptest! {
    #[test]
    fn isotonic_curves_rise_and_keep_the_mean(rows in prop::collection::vec((0..=50_u8, 0..=1_u8), 1..200)) {
        let samples: Vec<Sample> = rows.iter().map(|(p, label)| Sample {
            probability: f32::from(*p) / 50.0, label: f32::from(*label), weight: 1.0,
        }).collect();
        let curve = Curve::fit(Method::Isotonic, &samples).expect("rows");
        let values: Vec<f32> = (0..=200).map(|i| curve.apply(i as f32 / 200.0)).collect();
        prop_assert!(values.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6));
        let total = |of: &dyn Fn(&Sample) -> f32| samples.iter().map(|sample| f64::from(of(sample))).sum::<f64>();
        let (predicted, actual) = (total(&|sample| curve.apply(sample.probability)), total(&|sample| sample.label));
        prop_assert!((predicted - actual).abs() < 1e-4, "{predicted} {actual}");
    }
}
