//! Every metric against values recorded from EasyRec 0.8.7 on TensorFlow 2.12, and the properties that hold for any rows.
//!
//! `data/metrics/trace.safetensors` holds synthetic labels, scores and user ids; `manifest.json` what EasyRec computed of them.
//! Tolerance: EasyRec's results are float32 near 1, whose unit in the last place is 2^-24 = 6e-8; sums over 2000 rows in float32 move the
//! result by a unit or two. The metrics here are f64 rounded once, so the difference allowed is EasyRec's own rounding.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use rankmill_config::proto::eval_metrics::Metric as Configured;
use rankmill_config::proto::{self, EvalMetrics};
use rankmill_train::metrics::{
    Accuracy, Auc, AucExact, GroupedAuc, LogLoss, MaxF1, MaxF1Input, MeanAbsoluteError, MeanSquaredError, Metric, MetricError, MetricSet,
    Predictions, Reduction, Remark, RootMeanSquaredError, Task, TopK, TopKScore,
};
use safetensors::SafeTensors;
use serde_json::Value;

/// `auc`: one unit of float32 and the difference between its rounded and our exact rates.
const AUC_TOLERANCE: f64 = 1e-7;
/// Means over 2000 rows that EasyRec accumulates in float32: two units.
const MEAN_TOLERANCE: f64 = 1.2e-7;
/// Exact AUCs are f64 in scikit-learn, then rounded to float32.
const GROUPED_TOLERANCE: f64 = 6e-8;

struct Golden {
    manifest: Value,
    tensors: Vec<u8>,
}

struct Rows {
    labels: Vec<f32>,
    probabilities: Vec<f32>,
    logits: Vec<f32>,
    keys: Vec<u64>,
}

impl Golden {
    fn load() -> Self {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/metrics"));
        let text = fs::read_to_string(folder.join("manifest.json")).expect("manifest.json");
        // Python wrote the one undefined value as NaN, which is no JSON.
        let manifest = serde_json::from_str(&text.replace("NaN", "null")).expect("JSON");
        Self { manifest, tensors: fs::read(folder.join("trace.safetensors")).expect("trace.safetensors") }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.tensors).expect("safetensors");
        let bytes = tensors.tensor(name).expect(name).data().chunks_exact(4);
        bytes.map(|bytes| f32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensors = SafeTensors::deserialize(&self.tensors).expect("safetensors");
        let bytes = tensors.tensor(name).expect(name).data().chunks_exact(8);
        bytes.map(|bytes| i64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect()
    }

    fn rows(&self, set: &str) -> Rows {
        Rows {
            labels: self.integers(&format!("{set}/label")).into_iter().map(|label| label as f32).collect(),
            probabilities: self.floats(&format!("{set}/prob")),
            logits: self.floats(&format!("{set}/logit")),
            keys: self.integers(&format!("{set}/uid")).into_iter().map(|key| key as u64).collect(),
        }
    }
}

impl Rows {
    /// Feeds the rows in uneven batches and returns the result.
    fn measure(&self, mut metric: impl Metric) -> f64 {
        let mut from = 0;
        for size in [1, 0, 2, 500, 7].into_iter().cycle() {
            let to = (from + size).min(self.labels.len());
            let keys = [&self.keys[from..to]];
            metric.update(&Predictions {
                labels: &self.labels[from..to],
                probabilities: &self.probabilities[from..to],
                values: &[],
                logits: &self.logits[from..to],
                classes: 1,
                keys: &keys,
            });
            from = to;
            if from == self.labels.len() {
                return metric.finish();
            }
        }
        unreachable!("the cycle has no end")
    }
}

fn binary<'a>(labels: &'a [f32], probabilities: &'a [f32]) -> Predictions<'a> {
    Predictions { labels, probabilities, values: &[], logits: &[], classes: 1, keys: &[] }
}

fn of(mut metric: impl Metric, labels: &[f32], probabilities: &[f32]) -> f64 {
    metric.update(&binary(labels, probabilities));
    metric.finish()
}

#[track_caller]
fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found} where EasyRec has {expected} (± {tolerance:e})");
}

#[test]
fn every_recorded_binary_metric_agrees_with_easyrec() {
    let golden = Golden::load();
    let mut compared = 0;
    for set in ["uniform", "good", "ties", "extreme", "lowctr", "allpos"] {
        let rows = golden.rows(set);
        assert_eq!(rows.labels.len(), 2000);
        for (name, expected) in golden.manifest[set].as_object().expect("an object") {
            let grouped = |reduction| rows.measure(GroupedAuc::new(0, reduction));
            let (found, tolerance) = match name.as_str() {
                "auc_50" => (rows.measure(Auc::new(50).expect("valid")), AUC_TOLERANCE),
                "auc_200" => (rows.measure(Auc::new(200).expect("valid")), AUC_TOLERANCE),
                "auc_1000" => (rows.measure(Auc::new(1000).expect("valid")), AUC_TOLERANCE),
                "gauc_mean" | "session_auc_mean" => (grouped(Reduction::Mean), GROUPED_TOLERANCE),
                "gauc_mean_by_sample_num" => (grouped(Reduction::MeanBySampleNum), GROUPED_TOLERANCE),
                "gauc_mean_by_positive_num" => (grouped(Reduction::MeanByPositiveNum), GROUPED_TOLERANCE),
                "mean_absolute_error" => (rows.measure(MeanAbsoluteError::default()), MEAN_TOLERANCE),
                "mean_squared_error" => (rows.measure(MeanSquaredError::default()), MEAN_TOLERANCE),
                "root_mean_squared_error" => (rows.measure(RootMeanSquaredError::default()), MEAN_TOLERANCE),
                "max_f1_on_logits" => (rows.measure(MaxF1::new(MaxF1Input::Logits)), MEAN_TOLERANCE),
                "fast_auc_1e5" => (binned_auc(&rows), MEAN_TOLERANCE),
                other => panic!("no test for the recorded metric {other}"),
            };
            compared += 1;
            match expected.as_f64() {
                Some(expected) => assert_near(&format!("{set}/{name}"), found, expected, tolerance),
                None => assert!(found.is_nan(), "{set}/{name}: {found} where EasyRec has NaN"),
            }
        }
    }
    assert_eq!(compared, 68);
}

/// EasyRec's "fast AUC" is the exact AUC of scores cut to 100,000 steps; it serves here as an independent witness for the exact one.
fn binned_auc(rows: &Rows) -> f64 {
    let binned: Vec<f32> = rows.probabilities.iter().map(|&probability| (probability * 1e5).floor()).collect();
    of(AucExact::default(), &rows.labels, &binned)
}

#[test]
fn every_recorded_metric_of_several_classes_agrees_with_easyrec() {
    let golden = Golden::load();
    let labels: Vec<f32> = golden.integers("multi/label").into_iter().map(|label| label as f32).collect();
    let logits = golden.floats("multi/logits");
    let rows = Predictions { labels: &labels, probabilities: &[], values: &[], logits: &logits, classes: 6, keys: &[] };
    let mut compared = 0;
    for (name, expected) in golden.manifest["multi"].as_object().expect("an object") {
        let found = if name == "accuracy" {
            finished(Accuracy::default(), &rows)
        } else {
            let k = name.strip_prefix("recall_at_topk_").expect("a recorded name").parse().expect("a number");
            finished(TopK::new(k, TopKScore::Recall), &rows)
        };
        // Whole thousandths of 1000 rows; only EasyRec's accuracy is rounded to float32.
        assert_near(name, found, expected.as_f64().expect("a number"), 3e-8);
        compared += 1;
    }
    assert_eq!(compared, 4);
}

fn finished(mut metric: impl Metric, rows: &Predictions<'_>) -> f64 {
    metric.update(rows);
    metric.finish()
}

#[test]
fn thresholded_auc_is_far_from_the_exact_one_at_low_click_rates() {
    let rows = Golden::load().rows("lowctr");
    let exact = rows.measure(AucExact::default());
    let thresholded = rows.measure(Auc::new(200).expect("valid"));
    assert!(exact - thresholded > 5e-3, "{exact} {thresholded}");
    assert_eq!(rows.measure(MaxF1::new(MaxF1Input::Logits)), 0.0);
    assert!(rows.measure(MaxF1::new(MaxF1Input::Probabilities)) > 0.1);
}

#[test]
fn figures_worked_out_by_hand() {
    let labels = [1.0, 0.0, 1.0, 0.0];
    let scores = [0.8, 0.6, 0.4, 0.2];
    let set = all_binary();
    let figures = fed(&set, &binary_with_keys(&labels, &scores, &[1.0, -1.0, 0.5, -2.0], &[&[1, 1, 2, 2]]));
    let expect = |name: &str, value: f64| {
        let found = figure(&figures, name);
        assert!((found - value).abs() < 1e-7, "{name}: {found} is not {value}");
    };
    expect("auc_exact", 0.75);
    expect("gauc", 1.0);
    expect("accuracy", 0.5);
    expect("precision", 0.5);
    expect("recall", 0.5);
    expect("mean_absolute_error", (0.2 + 0.6 + 0.6 + 0.2) / 4.0);
    expect("mean_squared_error", (0.04 + 0.36 + 0.36 + 0.04) / 4.0);
    expect("root_mean_squared_error", 0.2f64.sqrt());
    expect("max_f1", 1.0);
    let log_loss = -(0.8f64.ln() + 0.4f64.ln() + 0.4f64.ln() + 0.8f64.ln()) / 4.0;
    expect("log_loss", log_loss);
    expect("normalized_entropy", log_loss / 2f64.ln());
    expect("calibration", 1.0);
}

#[test]
fn log_loss_clips_certain_mistakes() {
    let certain = of(LogLoss::default(), &[1.0, 0.0], &[0.0, 1.0]);
    assert!((certain + 1e-7f64.ln()).abs() < 1e-9, "{certain}");
    let soft = of(LogLoss::default(), &[0.25], &[0.5]);
    assert!((soft - 2f64.ln()).abs() < 1e-15, "{soft}");
}

#[test]
fn top_k_breaks_ties_by_class_and_never_finds_a_label_that_is_no_class() {
    let labels = [1.0, 2.0, 7.0, -1.0, 0.0];
    let logits = [5.0, 5.0, 1.0, f32::NAN, 3.0, 4.0, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, f32::NAN, 0.0, 1.0];
    let rows = Predictions { labels: &labels, probabilities: &[], values: &[], logits: &logits, classes: 3, keys: &[] };
    assert_eq!(finished(TopK::new(1, TopKScore::Recall), &rows), 0.2);
    assert_eq!(finished(TopK::new(2, TopKScore::Recall), &rows), 0.4);
    assert_eq!(finished(TopK::new(u32::MAX, TopKScore::Recall), &rows), 0.6);
    let average = (1.0 / 2.0 + 1.0 + 1.0 / 3.0) / 5.0;
    assert!((finished(TopK::new(3, TopKScore::AveragePrecision), &rows) - average).abs() < 1e-15);
    assert_eq!(finished(Accuracy::default(), &rows), 0.2);
}

fn configured(metric: Configured) -> EvalMetrics {
    EvalMetrics { metric: Some(metric) }
}

fn auc(num_thresholds: Option<u32>) -> EvalMetrics {
    configured(Configured::Auc(proto::Auc { num_thresholds }))
}

fn gauc(field: Option<&str>, reduction: Option<&str>) -> EvalMetrics {
    let (uid_field, reduction) = (field.map(str::to_owned), reduction.map(str::to_owned));
    configured(Configured::Gauc(proto::Gauc { uid_field, reduction }))
}

fn session_auc(field: &str) -> EvalMetrics {
    configured(Configured::SessionAuc(proto::SessionAuc { session_id_field: Some(field.to_owned()), reduction: None }))
}

fn recall_at(topk: Option<u32>) -> EvalMetrics {
    configured(Configured::RecallAtTopk(proto::RecallAtTopK { topk }))
}

fn precision_at(topk: Option<u32>) -> EvalMetrics {
    configured(Configured::PrecisionAtTopk(proto::AvgPrecisionAtTopK { topk }))
}

fn errors() -> [EvalMetrics; 3] {
    [
        configured(Configured::MeanAbsoluteError(proto::MeanAbsoluteError {})),
        configured(Configured::MeanSquaredError(proto::MeanSquaredError {})),
        configured(Configured::RootMeanSquaredError(proto::RootMeanSquaredError {})),
    ]
}

/// Every metric that a binary task can have.
fn all_binary() -> MetricSet {
    let mut metrics_set = vec![
        auc(None),
        gauc(Some("user_id"), None),
        configured(Configured::MaxF1(proto::MaxF1 {})),
        configured(Configured::Accuracy(proto::Accuracy {})),
        configured(Configured::Precision(proto::Precision {})),
        configured(Configured::Recall(proto::Recall {})),
    ];
    metrics_set.extend(errors());
    MetricSet::new(&metrics_set, Task::Binary, MaxF1Input::Logits).expect("valid")
}

fn binary_with_keys<'a>(labels: &'a [f32], probabilities: &'a [f32], logits: &'a [f32], keys: &'a [&'a [u64]]) -> Predictions<'a> {
    Predictions { labels, probabilities, values: &[], logits, classes: 1, keys }
}

fn fed(set: &MetricSet, rows: &Predictions<'_>) -> Vec<(&'static str, f64)> {
    let mut set = set.clone();
    set.update(rows).expect("columns fit");
    set.finish()
}

#[track_caller]
fn figure(figures: &[(&'static str, f64)], name: &str) -> f64 {
    figures.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no {name}")).1
}

fn names(set: &MetricSet) -> Vec<&'static str> {
    set.finish().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_set_reports_what_the_config_names_and_what_is_always_reported() {
    let always = ["auc_exact", "log_loss", "normalized_entropy", "calibration"];
    assert_eq!(names(&MetricSet::new(&[], Task::Binary, MaxF1Input::Logits).expect("valid")), always);
    let set = MetricSet::new(&[session_auc("day"), auc(Some(50))], Task::Classes(2), MaxF1Input::Logits).expect("valid");
    assert_eq!(names(&set), [&["session_auc", "auc"][..], &always].concat());
    assert_eq!(set.key_fields(), ["day"]);
    assert!(set.remarks().is_empty());

    let set = MetricSet::new(&errors(), Task::Regression, MaxF1Input::Logits).expect("valid");
    assert_eq!(names(&set), ["mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "calibration"]);
    let set = MetricSet::new(&[recall_at(None), precision_at(None)], Task::Classes(6), MaxF1Input::Logits).expect("valid");
    assert_eq!(names(&set), ["recall_at_topk", "precision_at_topk"]);
}

#[test]
fn a_set_takes_defaults_and_settings_from_the_config() {
    let rows = Golden::load().rows("lowctr");
    let keys = [&rows.keys[..], &rows.keys[..]];
    for (num_thresholds, expected) in [(None, "auc_200"), (Some(1000), "auc_1000")] {
        let metrics_set = [auc(num_thresholds), gauc(Some("user_id"), Some("mean_by_sample_num")), session_auc("visit")];
        let set = MetricSet::new(&metrics_set, Task::Binary, MaxF1Input::Logits).expect("valid");
        assert_eq!(set.key_fields(), ["user_id", "visit"]);
        let figures = fed(&set, &binary_with_keys(&rows.labels, &rows.probabilities, &[], &keys));
        let golden = Golden::load().manifest["lowctr"].clone();
        let recorded = |name: &str| golden[name].as_f64().expect("a number");
        assert_near("auc", figure(&figures, "auc"), recorded(expected), AUC_TOLERANCE);
        assert_near("gauc", figure(&figures, "gauc"), recorded("gauc_mean_by_sample_num"), GROUPED_TOLERANCE);
        assert_near("session_auc", figure(&figures, "session_auc"), recorded("session_auc_mean"), GROUPED_TOLERANCE);
    }
}

#[test]
fn the_second_of_two_logits_is_the_positive_one() {
    let max_f1 = [configured(Configured::MaxF1(proto::MaxF1 {}))];
    let set = MetricSet::new(&max_f1, Task::Classes(2), MaxF1Input::Logits).expect("valid");
    let rows =
        Predictions { labels: &[1.0, 0.0], probabilities: &[0.6, 0.4], values: &[], logits: &[0.1, 0.6, 0.9, 0.3], classes: 2, keys: &[] };
    assert!((figure(&fed(&set, &rows), "max_f1") - 1.0).abs() < 1e-11);
}

#[test]
fn grouped_metrics_of_one_feature_share_a_key_column() {
    let metrics_set = [gauc(Some("user_id"), None), session_auc("user_id")];
    let set = MetricSet::new(&metrics_set, Task::Binary, MaxF1Input::Logits).expect("valid");
    assert_eq!(set.key_fields(), ["user_id"]);
}

#[track_caller]
fn check_refused(metric: EvalMetrics, task: Task, expected: &str) {
    let error = MetricSet::new(&[metric], task, MaxF1Input::Logits).expect_err("not valid");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn settings_out_of_range_are_refused() {
    let range = "metric auc: num_thresholds is 1; expected 2 to 4194304";
    check_refused(auc(Some(1)), Task::Binary, range);
    check_refused(auc(None), Task::Classes(3), "metric auc cannot be computed for a task of 3 classes");
    check_refused(auc(None), Task::Regression, "metric auc cannot be computed for a regression task");
    check_refused(recall_at(None), Task::Binary, "metric recall_at_topk cannot be computed for a binary task");
    check_refused(recall_at(Some(0)), Task::Classes(3), "metric recall_at_topk: topk is 0; expected at least 1");
    let no_field = "metric gauc: uid_field is not set; it names the feature whose values group the rows";
    check_refused(gauc(None, None), Task::Binary, no_field);
    let reduction = "metric gauc: unknown reduction `max`; expected mean, mean_by_sample_num or mean_by_positive_num";
    check_refused(gauc(Some("user_id"), Some("max")), Task::Binary, reduction);
    let [absolute, ..] = errors();
    check_refused(absolute, Task::Classes(3), "metric mean_absolute_error cannot be computed for a task of 3 classes");
}

#[test]
fn settings_without_effect_are_remarked() {
    let precision = configured(Configured::Precision(proto::Precision {}));
    let metrics_set = [auc(Some(50)), EvalMetrics { metric: None }, precision_at(None), auc(None), precision.clone()];
    let set = MetricSet::new(&metrics_set, Task::Binary, MaxF1Input::Logits).expect("valid");
    let ignored = Remark::Ignored { metric: "precision_at_topk", task: Task::Binary };
    assert_eq!(set.remarks(), [Remark::Repeated { metric: "auc" }, Remark::Empty { entry: 2 }, ignored]);
    assert_eq!(names(&set)[..2], ["auc", "precision"]);
    let rows = Golden::load().rows("lowctr");
    let figures = fed(&set, &binary(&rows.labels, &rows.probabilities));
    let expected = Golden::load().manifest["lowctr"]["auc_200"].as_f64().expect("a number");
    assert_near("the last auc", figure(&figures, "auc"), expected, AUC_TOLERANCE);

    let set = MetricSet::new(&[precision], Task::Regression, MaxF1Input::Logits).expect("valid");
    assert_eq!(set.remarks()[0].to_string(), "metric precision cannot be computed for a regression task; it is ignored, as EasyRec does");
}

#[test]
fn columns_that_do_not_fit_are_refused_and_change_nothing() {
    let mut set = all_binary();
    let keys: [&[u64]; 1] = [&[1, 2]];
    let right = binary_with_keys(&[1.0, 0.0], &[0.5, 0.5], &[0.0, 0.0], &keys);
    let short_keys: [&[u64]; 1] = [&[1]];
    let cases = [
        (Predictions { probabilities: &[0.5], ..right }, "probabilities", 2, 1),
        (Predictions { logits: &[], ..right }, "logits", 2, 0),
        (Predictions { classes: 2, ..right }, "classes", 1, 2),
        (Predictions { keys: &[], ..right }, "key columns", 1, 0),
        (Predictions { keys: &short_keys, ..right }, "keys", 2, 1),
    ];
    for (rows, column, expected, found) in cases {
        let mut set = set.clone();
        assert_eq!(set.update(&rows), Err(MetricError::ColumnLength { column, expected, found }));
        assert_eq!(set.rows(), 0);
    }
    assert_eq!(set.update(&right), Ok(()));
    assert_eq!(set.rows(), 2);
}

#[test]
fn sets_of_different_settings_are_not_merged() {
    let make = |num_thresholds| MetricSet::new(&[auc(num_thresholds)], Task::Binary, MaxF1Input::Logits).expect("valid");
    let error = make(Some(50)).merge(make(None)).expect_err("different thresholds");
    assert!(matches!(error, MetricError::DifferentSets { .. }), "{error}");
    assert_eq!(make(None).merge(make(None)), Ok(()));
}

#[test]
fn no_rows_at_all() {
    let set = all_binary();
    assert_eq!(set.rows(), 0);
    let keys: [&[u64]; 1] = [&[]];
    for figures in [set.finish(), fed(&set, &binary_with_keys(&[], &[], &[], &keys))] {
        for (name, value) in figures {
            match name {
                "auc_exact" | "log_loss" | "normalized_entropy" | "calibration" => assert!(value.is_nan(), "{name}: {value}"),
                _ => assert_eq!(value, 0.0, "{name}"),
            }
        }
    }
}

#[test]
fn one_class_only() {
    let scores = [0.9, 0.6, 0.2];
    let keys: [&[u64]; 1] = [&[1, 1, 2]];
    for (label, thresholded, precision) in [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0)] {
        let figures = fed(&all_binary(), &binary_with_keys(&[label; 3], &scores, &[2.0, 0.4, -1.4], &keys));
        assert_near("auc", figure(&figures, "auc"), thresholded, 1e-6);
        assert_eq!(figure(&figures, "gauc"), 0.0);
        assert_eq!(figure(&figures, "precision"), precision);
        assert!(figure(&figures, "auc_exact").is_nan());
        assert!(figure(&figures, "normalized_entropy").is_nan());
        assert!(figure(&figures, "log_loss").is_finite());
        assert_eq!(figure(&figures, "calibration").is_nan(), label == 0.0);
    }
}

#[test]
fn scores_that_are_not_finite() {
    let labels = [1.0, 0.0, 0.0, 1.0];
    let scores = [f32::INFINITY, f32::NAN, f32::NEG_INFINITY, 0.5];
    let keys: [&[u64]; 1] = [&[1, 1, 1, 1]];
    let mut set = all_binary();
    set.update(&binary_with_keys(&labels, &scores, &scores, &keys)).expect("columns fit");
    assert_eq!((set.rows(), set.not_finite()), (4, 3));
    let figures = set.finish();
    // Both positives rank above both negatives.
    assert_eq!(figure(&figures, "auc_exact"), 1.0);
    assert_eq!(figure(&figures, "gauc"), 1.0);
    assert_near("auc", figure(&figures, "auc"), 1.0, 1e-6);
    assert_eq!(figure(&figures, "accuracy"), 0.75);
    assert!(figure(&figures, "log_loss").is_nan());
    assert!(figure(&figures, "mean_squared_error").is_nan());
    // NaN and −∞ tie as lowest.
    assert_eq!(of(AucExact::default(), &[1.0, 0.0], &[f32::NAN, f32::NEG_INFINITY]), 0.5);
    assert_eq!(of(AucExact::default(), &[1.0, 0.0], &[-0.0, 0.0]), 0.5);
}

/// The definition: each pair of a positive and a negative row counts 1, ½ or 0.
fn auc_by_pairs(rows: &[(bool, f32)]) -> f64 {
    let (mut wins, mut pairs) = (0.0, 0.0);
    for positive in rows.iter().filter(|row| row.0) {
        for negative in rows.iter().filter(|row| !row.0) {
            pairs += 1.0;
            wins += if positive.1 > negative.1 {
                1.0
            } else if positive.1 == negative.1 {
                0.5
            } else {
                0.0
            };
        }
    }
    wins / pairs
}

/// Scores with many ties and with odd values.
fn score() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => (0u8..=10).prop_map(|tenths| f32::from(tenths) / 10.0),
        4 => 0f32..1.0,
        1 => any::<f32>(),
    ]
}

fn row() -> impl Strategy<Value = (bool, f32, f32, u64)> {
    (any::<bool>(), score(), -3f32..3.0, 0u64..5)
}

/// A set fed with these rows.
fn set_of(rows: &[(bool, f32, f32, u64)]) -> MetricSet {
    let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.0))).collect();
    let probabilities: Vec<f32> = rows.iter().map(|row| row.1).collect();
    let logits: Vec<f32> = rows.iter().map(|row| row.2).collect();
    let keys: Vec<u64> = rows.iter().map(|row| row.3).collect();
    let mut set = all_binary();
    set.update(&binary_with_keys(&labels, &probabilities, &logits, &[&keys])).expect("columns fit");
    set
}

/// The figures as bits, any NaN as the same one.
fn bits(set: &MetricSet) -> Vec<(&'static str, u64)> {
    let canonical = |value: f64| if value.is_nan() { f64::NAN } else { value };
    set.finish().into_iter().map(|(name, value)| (name, canonical(value).to_bits())).collect()
}

proptest! {
    #[test]
    fn merged_parts_equal_one_pass_bit_for_bit(rows in prop::collection::vec(row(), 0..80), first in 0usize..80, second in 0usize..80) {
        let (first, second) = (first.min(second).min(rows.len()), first.max(second).min(rows.len()));
        let mut merged = set_of(&rows[second..]);
        merged.merge(set_of(&rows[..first])).expect("equal settings");
        merged.merge(set_of(&rows[first..second])).expect("equal settings");
        let whole = set_of(&rows);
        prop_assert_eq!((merged.rows(), merged.not_finite()), (whole.rows(), whole.not_finite()));
        prop_assert_eq!(bits(&merged), bits(&whole));
    }

    #[test]
    fn merged_metrics_of_several_classes_equal_one_pass(labels in prop::collection::vec(-1i8..5, 1..40), values in prop::collection::vec(0u8..6, 160), cut in 0usize..40) {
        let labels: Vec<f32> = labels.into_iter().map(f32::from).collect();
        let logits: Vec<f32> = values.into_iter().map(f32::from).take(labels.len() * 4).collect();
        let cut = cut.min(labels.len());
        let metrics_set = [recall_at(Some(2)), precision_at(Some(3)), configured(Configured::Accuracy(proto::Accuracy {}))];
        let set = |from: usize, to: usize| {
            let mut set = MetricSet::new(&metrics_set, Task::Classes(4), MaxF1Input::Logits).expect("valid");
            let rows = Predictions { labels: &labels[from..to], probabilities: &[], values: &[], logits: &logits[from * 4..to * 4], classes: 4, keys: &[] };
            set.update(&rows).expect("columns fit");
            set
        };
        let mut merged = set(cut, labels.len());
        merged.merge(set(0, cut)).expect("equal settings");
        prop_assert_eq!(bits(&merged), bits(&set(0, labels.len())));
    }

    #[test]
    fn exact_auc_is_its_definition(rows in prop::collection::vec((any::<bool>(), (0u8..20).prop_map(f32::from)), 2..60)) {
        let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.0))).collect();
        let scores: Vec<f32> = rows.iter().map(|row| row.1).collect();
        let (found, expected) = (of(AucExact::default(), &labels, &scores), auc_by_pairs(&rows));
        prop_assert!(found == expected || found.is_nan() && expected.is_nan(), "{} {}", found, expected);
    }

    #[test]
    fn grouped_auc_is_the_mean_of_the_groups_that_have_both_classes(rows in prop::collection::vec((any::<bool>(), (0u8..9).prop_map(f32::from), 0u64..6), 0..80)) {
        let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.0))).collect();
        let scores: Vec<f32> = rows.iter().map(|row| row.1).collect();
        let keys: Vec<u64> = rows.iter().map(|row| row.2).collect();
        let groups = (0..6).map(|key| rows.iter().filter(|row| row.2 == key).map(|row| (row.0, row.1)).collect::<Vec<_>>());
        let groups: Vec<_> = groups.map(|group| (auc_by_pairs(&group), group)).filter(|(auc, _)| !auc.is_nan()).collect();
        for reduction in [Reduction::Mean, Reduction::MeanBySampleNum, Reduction::MeanByPositiveNum] {
            let weight = |group: &[(bool, f32)]| match reduction {
                Reduction::Mean => 1.0,
                Reduction::MeanBySampleNum => group.len() as f64,
                Reduction::MeanByPositiveNum => group.iter().filter(|row| row.0).count() as f64,
            };
            let total: f64 = groups.iter().map(|(_, group)| weight(group)).sum();
            let weighted: f64 = groups.iter().map(|(auc, group)| auc * weight(group)).sum();
            let expected = if groups.is_empty() { 0.0 } else { weighted / total };
            let mut metric = GroupedAuc::new(0, reduction);
            metric.update(&binary_with_keys(&labels, &scores, &[], &[&keys]));
            // A few additions of f64 in another grouping.
            prop_assert!((metric.finish() - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn thresholded_auc_tends_to_the_exact_one(rows in prop::collection::vec((any::<bool>(), 0u8..=100), 2..80)) {
        let labels: Vec<f32> = rows.iter().map(|row| f32::from(u8::from(row.0))).collect();
        prop_assume!(labels.contains(&1.0) && labels.contains(&0.0));
        // Scores at the middle between hundredths: each lies alone between two of the 1001 thresholds.
        let scores: Vec<f32> = rows.iter().map(|row| (f32::from(row.1) + 0.55) / 102.0).collect();
        let found = of(Auc::new(1001).expect("valid"), &labels, &scores);
        // The formula's 1e-6 beside counts of at least 1 moves each rate by up to 1e-6.
        prop_assert!((found - of(AucExact::default(), &labels, &scores)).abs() < 4e-6);
    }
}
