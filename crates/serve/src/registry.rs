//! The models that take requests, and which version answers a request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rankmill_model::ConcurrentPredictor;

use crate::catalog::Stamp;
use crate::error::{ErrorKind, ServeError};
use crate::metrics::{Metrics, VersionMetrics};
use crate::schema::Schema;
use crate::settings::{ModelSettings, Share};
use crate::statistics::Statistics;

/// A version of a model, ready to score.
pub(crate) struct Version {
    pub(crate) model: String,
    pub(crate) number: u64,
    pub(crate) stamp: Stamp,
    pub(crate) predictor: ConcurrentPredictor,
    pub(crate) schema: Schema,
    pub(crate) metrics: VersionMetrics,
    pub(crate) statistics: Statistics,
}

/// A model and its versions.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) settings: ModelSettings,
    pub(crate) versions: BTreeMap<u64, Arc<Version>>,
    /// Versions that can't be served, and why.
    pub(crate) refused: BTreeMap<u64, String>,
    turns: Arc<Turns>,
}

/// Requests so far: shares are taken in turn, and not by chance.
#[derive(Default)]
struct Turns {
    canary: AtomicU64,
    shadow: AtomicU64,
}

/// Which version a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted<'a> {
    /// Whichever takes requests.
    Any,
    /// A number or a label.
    Named(&'a str),
    /// A number.
    Number(u64),
    /// A label.
    Label(&'a str),
}

/// The version that answers, and the one that is compared with it.
#[derive(Clone)]
pub(crate) struct Choice {
    pub(crate) version: Arc<Version>,
    pub(crate) shadow: Option<Arc<Version>>,
}

impl Model {
    pub(crate) fn new(settings: ModelSettings) -> Model {
        Model { settings, versions: BTreeMap::new(), refused: BTreeMap::new(), turns: Arc::default() }
    }

    fn newest(&self) -> Option<&Arc<Version>> {
        self.versions.values().next_back()
    }

    fn shared(&self, share: Share) -> Option<&Arc<Version>> {
        match share.version {
            Some(number) => self.versions.get(&number),
            None => self.newest(),
        }
    }

    /// The version for requests that ask for none and are not the canary's: the newest one that is not a canary, if there is another.
    fn usual(&self) -> Option<&Arc<Version>> {
        let canary = self.settings.canary.and_then(|share| self.shared(share)).map(|version| version.number);
        let usual = self.versions.values().rev().find(|version| Some(version.number) != canary);
        usual.or_else(|| self.newest())
    }

    fn any(&self) -> Option<&Arc<Version>> {
        match self.settings.canary {
            Some(share) if takes_turn(&self.turns.canary, share.share) => self.shared(share),
            _ => self.usual(),
        }
    }

    /// The version that is asked for.
    pub(crate) fn version(&self, wanted: Wanted<'_>) -> Result<&Arc<Version>, ServeError> {
        let name = &self.settings.name;
        let not_found = |what: String| ServeError::new(ErrorKind::NotFound, format!("model `{name}` has no {what}"));
        match wanted {
            Wanted::Any => self.any().ok_or_else(|| ServeError::new(ErrorKind::Unavailable, format!("model `{name}` is not loaded yet"))),
            Wanted::Number(number) => self.versions.get(&number).ok_or_else(|| not_found(format!("version {number} loaded"))),
            Wanted::Label(label) => {
                let number = self.settings.labels.get(label).ok_or_else(|| not_found(format!("label `{label}`")))?;
                self.version(Wanted::Number(*number))
            }
            Wanted::Named(text) => match text.parse() {
                Ok(number) => self.version(Wanted::Number(number)),
                Err(_) => self.version(Wanted::Label(text)),
            },
        }
    }
}

/// Whether the next request is one of the share.
fn takes_turn(turns: &AtomicU64, share: f64) -> bool {
    let turn = turns.fetch_add(1, Ordering::Relaxed) as f64;
    ((turn + 1.0) * share).floor() > (turn * share).floor()
}

/// All models.
pub(crate) struct Registry {
    models: RwLock<Arc<BTreeMap<String, Arc<Model>>>>,
    metrics: Arc<Metrics>,
    /// Whether every model of the start has had a version: what is served then stays, and a model that comes later is no reason to
    /// send requests elsewhere.
    was_ready: AtomicBool,
}

impl Registry {
    /// The models, without versions.
    pub(crate) fn new(settings: &[ModelSettings], metrics: Arc<Metrics>) -> Registry {
        let models = settings.iter().map(|model| (model.name.clone(), Arc::new(Model::new(model.clone())))).collect();
        Registry { models: RwLock::new(Arc::new(models)), metrics, was_ready: AtomicBool::new(false) }
    }

    /// The models as they are now.
    pub(crate) fn models(&self) -> Arc<BTreeMap<String, Arc<Model>>> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a model in the place of that with its name. Requests that have chosen a version keep it.
    pub(crate) fn replace(&self, model: Model) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let old = Arc::make_mut(&mut models).insert(model.settings.name.clone(), Arc::new(model.clone()));
        drop(models);
        for (number, version) in old.iter().flat_map(|old| &old.versions) {
            if !model.versions.contains_key(number) {
                self.forget(version);
            }
        }
    }

    /// Whether every model of the start has a version that takes requests.
    pub(crate) fn is_ready(&self) -> bool {
        let is_ready = self.was_ready.load(Ordering::Relaxed) || self.models().values().all(|model| !model.versions.is_empty());
        if is_ready {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        is_ready
    }

    /// Adds models that are new among `settings`, without versions, and takes away those that are not among them.
    pub(crate) fn keep(&self, settings: &[ModelSettings]) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let kept = settings.iter().map(|settings| {
            let known = models.get(&settings.name).cloned();
            (settings.name.clone(), known.unwrap_or_else(|| Arc::new(Model::new(settings.clone()))))
        });
        let kept = Arc::new(kept.collect());
        let before = std::mem::replace(&mut *models, Arc::clone(&kept));
        drop(models);
        for model in before.values().filter(|model| !kept.contains_key(&model.settings.name)) {
            tracing::info!(model = model.settings.name, "model taken away");
            model.versions.values().for_each(|version| self.forget(version));
        }
    }

    fn forget(&self, version: &Version) {
        self.metrics.forget(&version.model, version.number, version.predictor.outputs(), version.predictor.feature_names());
    }

    /// A model by its name; the only one, if the request names none.
    pub(crate) fn model(&self, name: Option<&str>) -> Result<Arc<Model>, ServeError> {
        let models = self.models();
        let names = || models.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let found = match name {
            Some(name) => models.get(name),
            None if models.len() == 1 => models.values().next(),
            None => return Err(ServeError::new(ErrorKind::NotFound, format!("several models are served; name one of {}", names()))),
        };
        found.cloned().ok_or_else(|| {
            let name = rankmill_data::shown(name.unwrap_or_default().as_bytes());
            ServeError::new(ErrorKind::NotFound, format!("there is no model `{name}`; served are {}", names()))
        })
    }

    /// The version that answers a request.
    pub(crate) fn choose(&self, name: Option<&str>, wanted: Wanted<'_>) -> Result<Choice, ServeError> {
        let model = self.model(name)?;
        let version = Arc::clone(model.version(wanted)?);
        let shadow = match model.settings.shadow {
            Some(share) if takes_turn(&model.turns.shadow, share.share) => model.shared(share).cloned(),
            _ => None,
        };
        let shadow = shadow.filter(|shadow| !Arc::ptr_eq(shadow, &version));
        Ok(Choice { version, shadow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        for (share, expected) in [(0.0, 0), (0.25, 25), (0.5, 50), (1.0, 100)] {
            let turns = AtomicU64::new(0);
            assert_eq!((0..100).filter(|_| takes_turn(&turns, share)).count(), expected);
        }
    }
}
