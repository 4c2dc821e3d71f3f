//! What Prometheus reads at `/metrics`. All names begin with `rankmill_`; times are in seconds.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rankmill_data::FeatureCounts;
use rankmill_model::{OutputSpec, OutputValues};

use crate::drift::Drift;

/// 50 microseconds to 10 seconds.
const SECONDS: [f64; 17] =
    [0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0, 10.0];
const COUNTS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0, 20_000.0];
const DIFFERENCES: [f64; 9] = [0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProtocolLabels {
    protocol: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    model: String,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutputLabels {
    model: String,
    version: u64,
    output: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FeatureLabels {
    model: String,
    version: u64,
    feature: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    model: String,
    outcome: &'static str,
}

/// What a request goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From the body to texts.
    Parse,
    /// Waiting for a worker.
    Queue,
    /// From texts to numbers.
    Features,
    /// The model.
    Graph,
    /// From scores to the body.
    Encode,
}

/// All metrics of a server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<ProtocolLabels, Histogram, fn() -> Histogram>,
    stages: [Histogram; 5],
    batch_rows: Histogram,
    batch_requests: Histogram,
    queue_length: Gauge,
    /// Connections that are open.
    pub(crate) connections: Gauge,
    rows: Family<VersionLabels, Counter>,
    scores: Family<OutputLabels, Histogram, fn() -> Histogram>,
    feature_values: Family<FeatureLabels, Counter>,
    feature_missing: Family<FeatureLabels, Counter>,
    feature_out_of_range: Family<FeatureLabels, Counter>,
    shadow_differences: Family<VersionLabels, Histogram, fn() -> Histogram>,
    shadow_mean_difference: Family<VersionLabels, Fraction>,
    shadow_stability_index: Family<VersionLabels, Fraction>,
    versions: Family<VersionLabels, Gauge>,
    reloads: Family<ReloadLabels, Counter>,
}

/// The metrics of one version, found once.
pub(crate) struct VersionMetrics {
    rows: Counter,
    /// For each output that holds probabilities.
    scores: Vec<Option<Histogram>>,
    features: Vec<[Counter; 3]>,
    shadow: Shadow,
}

/// The comparison of a shadow version with those that answer; figures of the whole are shown from the first row on.
struct Shadow {
    differences: Histogram,
    drift: Drift,
    labels: VersionLabels,
    mean_difference: Family<VersionLabels, Fraction>,
    stability_index: Family<VersionLabels, Fraction>,
}

/// A gauge of any number.
type Fraction = Gauge<f64, AtomicU64>;

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

fn probabilities() -> Histogram {
    Histogram::new((1..=20).map(|i| f64::from(i) / 20.0))
}

fn differences() -> Histogram {
    Histogram::new(DIFFERENCES)
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("rankmill"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            stages: std::array::from_fn(|_| seconds()),
            batch_rows: Histogram::new(COUNTS),
            batch_requests: Histogram::new(COUNTS),
            queue_length: Gauge::default(),
            connections: Gauge::default(),
            rows: Family::default(),
            scores: Family::new_with_constructor(probabilities),
            feature_values: Family::default(),
            feature_missing: Family::default(),
            feature_out_of_range: Family::default(),
            shadow_differences: Family::new_with_constructor(differences),
            shadow_mean_difference: Family::default(),
            shadow_stability_index: Family::default(),
            versions: Family::default(),
            reloads: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests by protocol and outcome", self.requests.clone());
        registry.register("request_seconds", "From the request's head to its answer", self.request_seconds.clone());
        let stages: Family<StageLabels, Histogram, fn() -> Histogram> = Family::new_with_constructor(seconds);
        let names = ["parse", "queue", "features", "graph", "encode"];
        self.stages = names.map(|stage| stages.get_or_create(&StageLabels { stage }).clone());
        registry.register("stage_seconds", "What each stage of scoring took; features and graph by batch", stages);
        registry.register("batch_rows", "Rows scored together", self.batch_rows.clone());
        registry.register("batch_requests", "Requests scored together", self.batch_requests.clone());
        registry.register("queue_length", "Requests that wait for a worker", self.queue_length.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("rows", "Rows scored for answers", self.rows.clone());
        registry.register("scores", "The probabilities that were answered", self.scores.clone());
        registry.register("feature_values", "Rows in which a feature was looked at", self.feature_values.clone());
        registry.register("feature_missing", "Rows without a value of a feature", self.feature_missing.clone());
        registry.register("feature_out_of_range", "Values outside num_buckets or the vocabulary", self.feature_out_of_range.clone());
        let text = "Distance between the first output of the version that answered and that of the shadow version, by row";
        registry.register("shadow_difference", text, self.shadow_differences.clone());
        let text = "Mean of the first output of the shadow version less that of the version that answered";
        registry.register("shadow_mean_difference", text, self.shadow_mean_difference.clone());
        let text = "Population stability index of the shadow version's probabilities against those that were answered, over 20 bins";
        registry.register("shadow_stability_index", text, self.shadow_stability_index.clone());
        registry.register("model_version", "1 for each version that takes requests", self.versions.clone());
        registry.register("reloads", "Versions loaded and refused", self.reloads.clone());
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self, queue_length: usize) -> Result<String, std::fmt::Error> {
        self.queue_length.set(queue_length as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    pub(crate) fn request(&self, protocol: &'static str, outcome: &'static str, time: Duration) {
        self.requests.get_or_create(&RequestLabels { protocol, outcome }).inc();
        self.request_seconds.get_or_create(&ProtocolLabels { protocol }).observe(time.as_secs_f64());
    }

    pub(crate) fn stage(&self, stage: Stage, time: Duration) {
        self.stages[stage as usize].observe(time.as_secs_f64());
    }

    pub(crate) fn batch(&self, requests: usize, rows: usize) {
        self.batch_requests.observe(requests as f64);
        self.batch_rows.observe(rows as f64);
    }

    pub(crate) fn reload(&self, model: &str, outcome: &'static str) {
        self.reloads.get_or_create(&ReloadLabels { model: model.to_owned(), outcome }).inc();
    }

    /// The metrics of a version that is about to take requests.
    pub(crate) fn version(&self, model: &str, version: u64, outputs: &[OutputSpec], features: &[String]) -> VersionMetrics {
        let labels = VersionLabels { model: model.to_owned(), version };
        self.versions.get_or_create(&labels).set(1);
        let score = |output: &OutputSpec| {
            let labels = OutputLabels { model: model.to_owned(), version, output: output.name.clone() };
            output.name.starts_with("probs").then(|| self.scores.get_or_create(&labels).clone())
        };
        let counters = |feature: &String| {
            let labels = FeatureLabels { model: model.to_owned(), version, feature: feature.clone() };
            [&self.feature_values, &self.feature_missing, &self.feature_out_of_range].map(|family| family.get_or_create(&labels).clone())
        };
        VersionMetrics {
            rows: self.rows.get_or_create(&labels).clone(),
            scores: outputs.iter().map(score).collect(),
            features: features.iter().map(counters).collect(),
            shadow: Shadow {
                differences: self.shadow_differences.get_or_create(&labels).clone(),
                drift: Drift::default(),
                labels,
                mean_difference: self.shadow_mean_difference.clone(),
                stability_index: self.shadow_stability_index.clone(),
            },
        }
    }

    /// Stops to show a version that takes no requests any more.
    pub(crate) fn forget(&self, model: &str, version: u64, outputs: &[OutputSpec], features: &[String]) {
        let labels = VersionLabels { model: model.to_owned(), version };
        self.versions.remove(&labels);
        self.rows.remove(&labels);
        self.shadow_differences.remove(&labels);
        self.shadow_mean_difference.remove(&labels);
        self.shadow_stability_index.remove(&labels);
        for output in outputs {
            self.scores.remove(&OutputLabels { model: model.to_owned(), version, output: output.name.clone() });
        }
        for feature in features {
            let labels = FeatureLabels { model: model.to_owned(), version, feature: feature.clone() };
            for family in [&self.feature_values, &self.feature_missing, &self.feature_out_of_range] {
                family.remove(&labels);
            }
        }
    }
}

impl VersionMetrics {
    /// Counts rows that are answered, and what their features looked like.
    pub(crate) fn scored(&self, rows: usize, outputs: &[OutputValues], features: &[FeatureCounts]) {
        self.rows.inc_by(rows as u64);
        for (histogram, output) in self.scores.iter().zip(outputs) {
            if let Some(histogram) = histogram {
                output.values.iter().for_each(|value| histogram.observe(f64::from(*value)));
            }
        }
        for ([values, missing, out_of_range], counts) in self.features.iter().zip(features) {
            values.inc_by(rows as u64);
            missing.inc_by(counts.missing);
            out_of_range.inc_by(counts.out_of_range);
        }
    }

    /// Compares what was answered with what this version says of the same rows.
    pub(crate) fn shadowed(&self, answered: &[f32], shadow: &[f32]) {
        let Shadow { differences, drift, labels, mean_difference, stability_index } = &self.shadow;
        for (a, b) in answered.iter().zip(shadow) {
            differences.observe(f64::from((a - b).abs()));
        }
        let figures = drift.add(answered, shadow);
        mean_difference.get_or_create(labels).set(figures.mean_difference);
        // Values that are no probabilities have no bins.
        if let Some(Some(_)) = self.scores.first() {
            stability_index.get_or_create(labels).set(figures.stability_index);
        }
    }
}
