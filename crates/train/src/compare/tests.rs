//! Against `reference/compare.py`, and what must hold of every comparison.

use serde_json::Value;

use super::*;

const EXPECTED: &str = include_str!("../../tests/data/compare.json");

struct Case {
    expected: Value,
    labels: Vec<f32>,
    scores: [Vec<f32>; 2],
    users: Vec<u64>,
}

impl Case {
    fn read() -> Case {
        let expected: Value = serde_json::from_str(EXPECTED).expect("JSON");
        let numbers =
            |value: &Value| -> Vec<f64> { value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect() };
        let singles = |value: &Value| numbers(value).into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let labels = singles(&expected["labels"]);
        let scores = [singles(&expected["scores"][0]), singles(&expected["scores"][1])];
        let users = numbers(&expected["users"]).into_iter().map(|user| user as u64).collect();
        Case { expected, labels, scores, users }
    }

    fn rows(&self, reduction: Option<Reduction>) -> Rows<'_> {
        let users = reduction.map(|reduction| (self.users.as_slice(), reduction));
        Rows { labels: &self.labels, scores: [&self.scores[0], &self.scores[1]], users }
    }
}

fn parts(figure: &Figure) -> [(&'static str, Estimate); 3] {
    [("a", figure.a), ("b", figure.b), ("difference", figure.difference)]
}

/// `tolerance` of what, and of which of value, low and high.
#[track_caller]
fn check_figure(figure: &Figure, expected: &Value, tolerance: impl Fn(&str, usize) -> f64) {
    for (name, estimate) in parts(figure) {
        for (i, found) in [estimate.value, estimate.low, estimate.high].into_iter().enumerate() {
            let expected = expected[name][i].as_f64().expect("a number");
            assert!((found - expected).abs() <= tolerance(name, i), "{} {name} {i}: {found} not {expected}", figure.name);
        }
    }
}

fn pool(threads: usize) -> Pool {
    Pool::new(threads).expect("threads")
}

#[test]
fn normal_intervals_and_tests_agree_with_the_reference() {
    let case = Case::read();
    let comparison = compare_probabilities(&case.rows(None), &Settings::default(), &pool(1));
    let values = compare_values(&case.rows(None), &Settings::default());
    let names: Vec<&str> = comparison.figures.iter().chain(&values.figures).map(|figure| figure.name.as_str()).collect();
    assert_eq!((names, comparison.users), (vec!["auc_exact", "log_loss", "mean_squared_error"], None));
    for figure in comparison.figures.iter().chain(&values.figures) {
        let expected = &case.expected[&figure.name];
        check_figure(figure, expected, |_, _| 1e-12);
        let p_value = expected["p_value"].as_f64().expect("a number");
        assert!((figure.p_value - p_value).abs() < 1e-10 && p_value > 0.0 && p_value < 1.0, "{}: {}", figure.name, figure.p_value);
    }
}

#[test]
fn resampled_users_agree_with_the_reference_within_the_noise_of_resampling() {
    let case = Case::read();
    let settings = Settings { resamples: 20_000, ..Settings::default() };
    for name in ["mean", "mean_by_sample_num", "mean_by_positive_num"] {
        let reduction = Reduction::from_name(name).expect("a reduction");
        let comparison = compare_probabilities(&case.rows(Some(reduction)), &settings, &pool(2));
        let figure = comparison.figures.iter().find(|figure| figure.name == "gauc").expect("users give a gauc");
        let expected = &case.expected["gauc"][name];
        assert_eq!(comparison.users, expected["users"].as_u64());
        // A percentile at 2.5 % of 20,000 normal numbers has a standard error of 0.019 deviations, and the reference's own half of its
        // square: five of them.
        let noise = |part: &str, i: usize| if i == 0 { 1e-12 } else { 0.12 * expected["deviation"][part].as_f64().expect("a number") };
        check_figure(figure, expected, noise);
        let p_value = expected["p_value"].as_f64().expect("a number");
        assert!((figure.p_value - p_value).abs() < 0.02, "{name}: {} not {p_value}", figure.p_value);
    }
}

#[test]
fn the_seed_alone_decides_what_is_drawn() {
    let case = Case::read();
    let compare = |seed, threads| {
        let settings = Settings { seed, resamples: 100, ..Settings::default() };
        compare_probabilities(&case.rows(Some(Reduction::Mean)), &settings, &pool(threads))
    };
    assert_eq!(compare(3, 1), compare(3, 3));
    assert_ne!(compare(3, 1), compare(4, 1));
}

#[test]
fn a_model_does_not_differ_from_itself_and_mirrors_when_swapped() {
    let case = Case::read();
    let rows = case.rows(Some(Reduction::Mean));
    let same = compare_probabilities(&Rows { scores: [rows.scores[0]; 2], ..rows }, &Settings::default(), &pool(1));
    for figure in &same.figures {
        let Estimate { value, low, high } = figure.difference;
        assert_eq!((value, low, high, figure.p_value), (0.0, 0.0, 0.0, 1.0), "{}", figure.name);
    }
    let one = compare_probabilities(&rows, &Settings::default(), &pool(1));
    let other = compare_probabilities(&Rows { scores: [rows.scores[1], rows.scores[0]], ..rows }, &Settings::default(), &pool(1));
    for (one, other) in one.figures.iter().zip(&other.figures) {
        assert_eq!((one.a, one.b, one.p_value), (other.b, other.a, other.p_value));
        assert!((one.difference.low + other.difference.high).abs() < 1e-12, "{}", one.name);
    }
}

#[test]
fn what_cannot_be_told_is_not_a_number() {
    let settings = Settings::default();
    let one_class = Rows { labels: &[1.0, 1.0], scores: [&[0.2, 0.3], &[0.4, 0.1]], users: Some((&[1, 1][..], Reduction::Mean)) };
    let comparison = compare_probabilities(&one_class, &settings, &pool(1));
    assert_eq!(comparison.users, Some(0));
    for figure in &comparison.figures[..2] {
        assert!(figure.a.value.is_nan() && figure.difference.low.is_nan() && figure.p_value.is_nan(), "{figure:?}");
    }
    let one_of_each = Rows { labels: &[1.0, 0.0], scores: [&[0.2, 0.3], &[0.4, 0.1]], users: None };
    let auc = &compare_probabilities(&one_of_each, &settings, &pool(1)).figures[0];
    assert_eq!((auc.a.value, auc.b.value), (0.0, 1.0));
    assert!(auc.a.low.is_nan() && auc.p_value.is_nan(), "two rows have no variance");
    let none = compare_probabilities(&Rows { labels: &[], scores: [&[], &[]], users: None }, &settings, &pool(1));
    assert!(none.figures.iter().all(|figure| figure.a.value.is_nan() && figure.p_value.is_nan()));
}
