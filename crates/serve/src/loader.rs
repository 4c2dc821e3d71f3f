//! Keeps the served versions at what the directories hold. A new version is loaded, its golden rows are checked and every executor is
//! warmed up before it takes requests; one that can't be used is refused, and what was served goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use rankmill_config::proto::dataset_config::FieldType;
use rankmill_model::bundle::BundleError;
use rankmill_model::{ConcurrentPredictor, LoadOptions, Part, Sharing};

use crate::catalog::{self, Found, Stamp};
use crate::metrics::Metrics;
use crate::registry::{Model, Registry, Version};
use crate::schema::Schema;
use crate::settings::{ModelSettings, Policy};
use crate::statistics::Statistics;

/// What loads versions.
pub(crate) struct Loader {
    pub(crate) registry: Arc<Registry>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Vec<ModelSettings>,
    pub(crate) load: LoadOptions,
    pub(crate) sharing: Sharing,
    /// What could not be loaded, so that it is not tried again until it changes.
    pub(crate) refused: BTreeMap<(String, u64), (Stamp, String)>,
}

/// A model of which nothing can be served, and why.
pub(crate) struct Unserved {
    pub(crate) name: String,
    pub(crate) reason: String,
}

impl Loader {
    /// Serves these models from the next look on.
    pub(crate) fn set(&mut self, settings: Vec<ModelSettings>) {
        self.registry.keep(&settings);
        self.settings = settings;
    }

    /// Looks into the directories once. Returns the models that have no version at all.
    pub(crate) fn refresh(&mut self) -> Vec<Unserved> {
        let mut unserved = Vec::new();
        for settings in self.settings.clone() {
            if let Err(reason) = self.refresh_model(&settings) {
                unserved.push(Unserved { name: settings.name, reason });
            }
        }
        unserved
    }

    fn refresh_model(&mut self, settings: &ModelSettings) -> Result<(), String> {
        let models = self.registry.models();
        let Some(current) = models.get(&settings.name) else { return Ok(()) };
        let found = match catalog::versions(&settings.path) {
            Ok(found) => found,
            Err(error) if current.versions.is_empty() => return Err(error.to_string()),
            Err(error) => {
                tracing::warn!(model = settings.name, %error, "the model's directory can't be read; what was loaded stays");
                return Ok(());
            }
        };
        let mut model = Model::clone(current);
        model.settings = settings.clone();
        let mut reason = format!("{}: there is no version to serve", settings.path.display());
        // Versions that are refused give their places to others.
        let mut before = Vec::new();
        let mut wanted = self.wanted(settings, &found);
        while wanted != before {
            for &number in &wanted {
                let Some(version) = found.get(&number) else { continue };
                if model.versions.get(&number).is_some_and(|loaded| loaded.stamp == version.stamp) {
                    continue;
                }
                match self.load(settings, number, version) {
                    Ok(loaded) => {
                        model.versions.insert(number, Arc::new(loaded));
                        model.refused.remove(&number);
                    }
                    Err(message) => {
                        model.refused.insert(number, message.clone());
                        reason = message;
                    }
                }
            }
            before = std::mem::replace(&mut wanted, self.wanted(settings, &found));
        }
        let keep: BTreeSet<u64> = wanted.into_iter().filter(|number| model.versions.contains_key(number)).collect();
        // While nothing newer can be served, what is served stays, even if its directory is gone.
        if !keep.is_empty() {
            for number in model.versions.keys().filter(|number| !keep.contains(number)) {
                tracing::info!(model = settings.name, version = number, "version retired");
            }
            model.versions.retain(|number, _| keep.contains(number));
        }
        model.refused.retain(|number, _| found.contains_key(number));
        let is_served = !model.versions.is_empty();
        let same = |a: &Model, b: &Model| {
            let pairs = a.versions.values().zip(b.versions.values());
            a.versions.len() == b.versions.len() && a.refused == b.refused && pairs.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if !same(&model, current) || model.settings != current.settings {
            self.registry.replace(model);
        }
        if is_served { Ok(()) } else { Err(reason) }
    }

    /// The versions that should be served; those known to be unusable give their places to older ones.
    fn wanted(&self, settings: &ModelSettings, found: &BTreeMap<u64, Found>) -> Vec<u64> {
        let usable = |number: &&u64| !self.is_refused(&settings.name, **number, found[number].stamp);
        match &settings.versions {
            Policy::All => found.keys().copied().collect(),
            Policy::Only(only) => only.clone(),
            Policy::Newest(count) => found.keys().rev().filter(usable).take(*count).copied().collect(),
        }
    }

    fn is_refused(&self, name: &str, number: u64, stamp: Stamp) -> bool {
        self.refused.get(&(name.to_owned(), number)).is_some_and(|(refused, _)| *refused == stamp)
    }

    fn load(&mut self, settings: &ModelSettings, number: u64, found: &Found) -> Result<Version, String> {
        let key = (settings.name.clone(), number);
        if let Some((stamp, message)) = self.refused.get(&key)
            && *stamp == found.stamp
        {
            return Err(message.clone());
        }
        let started = Instant::now();
        match self.load_now(settings, number, found) {
            Ok(version) => {
                self.refused.remove(&key);
                self.metrics.reload(&settings.name, "loaded");
                let seconds = started.elapsed().as_secs_f64();
                tracing::info!(model = settings.name, version = number, seconds, path = %found.path.display(), "version loaded");
                Ok(version)
            }
            Err(error) => {
                self.metrics.reload(&settings.name, "refused");
                tracing::error!(model = settings.name, version = number, %error, "version refused");
                self.refused.insert(key, (found.stamp, error.to_string()));
                Err(error.to_string())
            }
        }
    }

    fn load_now(&self, settings: &ModelSettings, number: u64, found: &Found) -> Result<Version, BundleError> {
        let predictor = ConcurrentPredictor::load_with(&found.path, self.load)?;
        // Rows that are made up are all equal, and should go through the whole graph.
        let predictor = predictor.with_sharing(Sharing::Off);
        warm_up(&predictor);
        let predictor = predictor.with_sharing(self.sharing);
        let metrics = self.metrics.version(&settings.name, number, predictor.outputs(), predictor.feature_names());
        let schema = Schema::new(&predictor);
        let statistics = Statistics::default();
        Ok(Version { model: settings.name.clone(), number, stamp: found.stamp, predictor, schema, metrics, statistics })
    }
}

/// Scores a batch on every executor, so that weights are packed and buffers are there when requests come.
fn warm_up(predictor: &ConcurrentPredictor) {
    let mut rows = predictor.rows();
    rows.add_rows(256);
    for (place, field) in predictor.fields().iter().enumerate() {
        if field.kind != FieldType::String
            && let Ok(zero) = rows.store(b"0")
        {
            rows.broadcast(place, zero);
        }
    }
    for slot in 0..predictor.threads() {
        let part = Part { rows: &rows, range: 0..rows.rows() };
        // The made-up rows may break a rule of the config; then the first request packs the weights.
        let _ = predictor.score_parts(slot, &[part]);
    }
}
