//! From a config to its [`FeatureSet`]: which features, labels and keys there are and which fields they read.

use std::collections::BTreeMap;

use rankmill_config::expression::ExpressionError;
use rankmill_config::proto::dataset_config::{FieldType, InputType};
use rankmill_config::proto::feature_config::FeatureType;
use rankmill_config::proto::{self, WideOrDeep};
use rankmill_config::{Diagnostic, Diagnostics, Feature as Declared, Pipeline, did_you_mean};

use super::FeatureSet;
use super::block_columns::is_raw;
use super::build::{Built, Declaration, Problem};
use super::fields::{EmptyNumbers, Field, FieldDefault, Parsed};
use super::formula::Formula;
use super::memo::Memo;
use super::set::{Label, OnError, PlannedFeature};
use super::split::Separator;
use crate::batch::{DynamicSpec, FeatureKind, FeatureSpec, SequenceSpec};
use crate::sources::feature_types;

/// The settings that name a feature by whose values rows are told apart.
const KEY_SETTINGS: [&str; 4] = ["uid_field", "session_id_field", "session_name", "task_space_indicator_name"];

/// The most ids of a dynamic table: rows are numbered with 32 bits, and one is that of all other ids.
const MOST_KEYS: u64 = u32::MAX as u64 - 1;

/// How the groups use a feature.
#[derive(Clone, Debug, Default)]
struct Usage {
    deep: bool,
    wide: bool,
    /// The place in a group that names it first.
    path: String,
}

pub(super) fn feature_set(pipeline: &Pipeline) -> Result<FeatureSet, Diagnostics> {
    let mut planner = Planner { pipeline, problems: Vec::new(), fields: Vec::new() };
    let missing = proto::DatasetConfig::default();
    let data = pipeline.proto.data_config.as_ref().unwrap_or(&missing);
    if data.input_fields.is_empty() {
        planner.problem("data_config", "declares no input_fields");
    }
    planner.read_fields(data);
    if data.sampler.is_some() {
        planner.problem("data_config", "negative samplers are not supported yet");
    }
    let usages = planner.usages();
    let mut set = FeatureSet {
        specs: Vec::new(),
        features: Vec::new(),
        fields: Vec::new(),
        labels: Vec::new(),
        computed_labels: Vec::new(),
        label_names: Vec::new(),
        sample_weight: None,
        key_names: Vec::new(),
        keys: Vec::new(),
        kept: Vec::new(),
        on_error: if data.ignore_error() { OnError::Skip } else { OnError::Stop },
        parsed: Vec::new(),
    };
    planner.add_features(&usages, &mut set);
    planner.add_block_columns(&mut set);
    planner.add_labels(data, &mut set);
    planner.add_sample_weight(data, &mut set);
    planner.add_keys(&mut set);
    if !planner.problems.is_empty() {
        return Err(Diagnostics(planner.problems));
    }
    set.parsed = vec![Parsed::default(); planner.fields.len()];
    set.fields = planner.fields;
    Ok(set)
}

pub(super) struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    problems: Vec<Diagnostic>,
    pub(super) fields: Vec<Field>,
}

impl<'a> Planner<'a> {
    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>) {
        self.problems.push(self.pipeline.error(path, message));
    }

    /// The index of an input field, or a diagnostic at `path`.
    fn field(&mut self, name: &str, path: &str) -> Option<usize> {
        let found = self.fields.iter().position(|field| field.name == name);
        if found.is_none() {
            let near = did_you_mean(name, self.fields.iter().map(|field| field.name.as_str()));
            let message = format!("`{name}` is none of data_config.input_fields");
            self.problems.push(self.pipeline.error(path, message).with_help(near));
        }
        found
    }

    fn read_fields(&mut self, data: &proto::DatasetConfig) {
        let ex = data.input_type() == InputType::CsvInputEx;
        let empty_numbers = if ex { EmptyNumbers::Error } else { EmptyNumbers::Default };
        let types = feature_types(self.pipeline);
        for (column, (input, kind)) in self.pipeline.input_fields().into_iter().zip(types).enumerate() {
            let default_val = if ex && kind == FieldType::String { "" } else { input.config.default_val() };
            let default = FieldDefault::new(kind, default_val);
            if default.is_none() {
                let message = format!("\"{}\" is not of the type {}", default_val, input.config.input_type().as_str_name());
                self.problem(&format!("{}.default_val", input.path), message);
            }
            if self.fields.iter().any(|field| field.name == input.name) {
                self.problem(&format!("{}.input_name", input.path), format!("`{}` is declared twice", input.name));
            }
            let default = default.unwrap_or(FieldDefault::Integer(0));
            let ignored = match input.config.ignore_val.as_deref() {
                Some(value) if data.input_type() == InputType::ParquetInputV3 => {
                    let found = FieldDefault::new(kind, value);
                    if found.is_none() {
                        let message = format!("\"{value}\" is not of the type {}", input.config.input_type().as_str_name());
                        self.problem(&format!("{}.ignore_val", input.path), message);
                    }
                    // EasyRec asks whether there is a value, and takes 0 and an empty text for none.
                    found.filter(|value| !value.is_falsy())
                }
                _ => None,
            };
            self.fields.push(Field { column, name: input.name, kind, default, ignored, empty_numbers });
        }
    }

    /// Refuses a field with values that are none where there has to be one.
    fn refuse_ignored(&mut self, field: usize, path: &str) {
        if self.fields[field].ignored.is_some() {
            let name = &self.fields[field].name;
            let message =
                format!("`{name}` has an ignore_val, and only an IdFeature can leave a value out; remove it from the data instead");
            self.problem(path, message);
        }
    }

    /// The features that groups use, sequence groups included.
    fn usages(&mut self) -> BTreeMap<String, Usage> {
        let mut usages = BTreeMap::<String, Usage>::new();
        let mut add = |name: &str, path: String, kind: WideOrDeep| {
            let usage = usages.entry(name.to_string()).or_insert_with(|| Usage { path, ..Usage::default() });
            usage.wide |= kind != WideOrDeep::Deep;
            usage.deep |= kind != WideOrDeep::Wide;
        };
        let groups = self.pipeline.feature_groups();
        let kinds: BTreeMap<String, FeatureType> =
            self.pipeline.features().iter().map(|feature| (feature.name.clone(), feature.config.feature_type())).collect();
        for group in &groups {
            let readers = self.pipeline.group_readers(group.name);
            for feature in &group.features {
                // Of blocks that read a group raw only some kinds of features have columns of their own.
                let is_other = kinds.get(&feature.name).is_none_or(|kind| !is_raw(*kind));
                if readers.features || (readers.raw && is_other) {
                    add(&feature.name, feature.path.clone(), group.config.wide_deep());
                }
            }
        }
        for (feature, path) in self.pipeline.sequence_group_features() {
            add(feature, path, WideOrDeep::Deep);
        }
        if groups.is_empty() {
            self.problem("model_config", "has no feature_groups");
        }
        usages
    }

    fn add_features(&mut self, usages: &BTreeMap<String, Usage>, set: &mut FeatureSet) {
        let pipeline = self.pipeline;
        let declared = pipeline.features();
        for (name, usage) in usages {
            if !declared.iter().any(|feature| feature.name == *name) {
                self.unknown_feature(name, &usage.path);
            }
        }
        for (at, feature) in declared.iter().enumerate() {
            let Some(usage) = usages.get(&feature.name) else {
                continue;
            };
            if declared[..at].iter().any(|earlier| earlier.name == feature.name) {
                self.problem(&feature.path, format!("the feature `{}` is declared twice", feature.name));
                continue;
            }
            self.add_feature(feature, usage, &declared, set);
        }
    }

    pub(super) fn unknown_feature(&mut self, name: &str, path: &str) {
        let declared = self.pipeline.features();
        let near = did_you_mean(name, declared.iter().map(|feature| feature.name.as_str()));
        self.problems.push(self.pipeline.error(path, format!("no feature is named `{name}`")).with_help(near));
    }

    /// The fields that a feature reads, or diagnostics.
    pub(super) fn inputs(&mut self, feature: &Declared<'_>) -> Option<Vec<usize>> {
        let path = &feature.path;
        if feature.config.input_names.is_empty() {
            self.problem(path, format!("the feature `{}` has no input_names", feature.name));
            return None;
        }
        let mut inputs = Vec::new();
        for (at, name) in feature.config.input_names.iter().enumerate() {
            inputs.extend(self.field(name, &format!("{path}.input_names[{at}]")));
        }
        (inputs.len() == feature.config.input_names.len()).then_some(inputs)
    }

    /// A feature that a deep group uses.
    pub(super) fn declaration<'f>(&self, feature: &'f Declared<'_>, inputs: &[usize]) -> Declaration<'f> {
        Declaration {
            name: &feature.name,
            config: &feature.config,
            inputs: inputs.iter().map(|&input| self.fields[input].kind).collect(),
            ignored: self.fields[inputs[0]].ignored.clone(),
            deep: true,
            wide: false,
            dynamic: None,
        }
    }

    /// Notes what is wrong with a feature.
    pub(super) fn problem_of(&mut self, feature: &Declared<'_>, problem: Problem) {
        let path = &feature.path;
        let place = if problem.setting.is_empty() { path.clone() } else { format!("{path}.{}", problem.setting) };
        let message = format!("feature `{}`: {}", feature.name, problem.message);
        self.problems.push(match problem.span {
            Some(span) => self.pipeline.error_within(&place, span, message),
            None => self.pipeline.error(&place, message),
        });
    }

    fn add_feature(&mut self, feature: &Declared<'_>, usage: &Usage, declared: &[Declared<'_>], set: &mut FeatureSet) {
        let path = &feature.path;
        let Some(inputs) = self.inputs(feature) else { return };
        let dynamic = self.dynamic(feature);
        if feature.config.feature_type() != FeatureType::IdFeature {
            for (at, &input) in inputs.iter().enumerate() {
                self.refuse_ignored(input, &format!("{path}.input_names[{at}]"));
            }
        }
        let declaration = Declaration { deep: usage.deep, wide: usage.wide, dynamic, ..self.declaration(feature, &inputs) };
        let Built { feature: built, combiner, table_suffix } = match super::build(&declaration) {
            Ok(built) => built,
            Err(problem) => return self.problem_of(feature, problem),
        };
        let kind = built.kind();
        let embedding_dim = feature.config.embedding_dim() as usize;
        let has_ids = matches!(kind, FeatureKind::Ids { .. } | FeatureKind::IdSequence { .. });
        if usage.deep && embedding_dim == 0 && has_ids {
            self.problem(path, format!("feature `{}`: needs an embedding_dim above 0 in a deep group", feature.name));
            return;
        }
        let shares = |other: &&Declared<'_>| other.config.embedding_name == feature.config.embedding_name;
        let is_shared = feature.config.embedding_name.is_some() && declared.iter().filter(shares).count() > 1;
        let dynamic = dynamic.filter(|_| has_ids);
        let same_table = |other: &&FeatureSpec| other.embedding_name == feature.config.embedding_name;
        if let Some(other) = set.specs.iter().find(same_table).filter(|_| is_shared)
            && has_ids
            && other.dynamic != dynamic
        {
            let message = format!("feature `{}` shares its table with `{}`; both must have the same ev_params", feature.name, other.name);
            self.problem(&format!("{path}.embedding_name"), message);
        }
        set.specs.push(FeatureSpec {
            name: feature.name.clone(),
            path: path.clone(),
            kind,
            embedding_dim,
            combiner,
            table_suffix,
            embedding_name: feature.config.embedding_name.clone().filter(|_| is_shared),
            initializer: feature.config.initializer.clone(),
            sequence: matches!(kind, FeatureKind::IdSequence { .. } | FeatureKind::DenseSequence { .. }).then(|| SequenceSpec {
                max_seq_len: feature.config.max_seq_len.map(|length| length as usize),
                length: matches!(kind, FeatureKind::IdSequence { weighted: true, .. } | FeatureKind::DenseSequence { .. })
                    .then_some(feature.config.sequence_length() as usize),
                combiner: feature.config.sequence_combiner.clone(),
                fill: None,
            }),
            dynamic,
        });
        set.features.push(PlannedFeature { feature: built, inputs, memo: Memo::default() });
    }

    /// The `ev_params` of a feature, or else those of the model.
    fn dynamic(&mut self, feature: &Declared<'_>) -> Option<DynamicSpec> {
        let model = self.pipeline.proto.model_config.as_ref();
        let (config, path) = match (&feature.config.ev_params, model.and_then(|model| model.ev_params.as_ref())) {
            (Some(own), _) => (own, format!("{}.ev_params", feature.path)),
            (None, Some(all)) => (all, "model_config.ev_params".to_owned()),
            (None, None) => return None,
        };
        let max_capacity = config.max_capacity();
        if max_capacity == 0 || max_capacity > MOST_KEYS {
            let message = format!("is {max_capacity}; a dynamic table has room for 1 to {MOST_KEYS} ids");
            let problem = self.pipeline.error(&format!("{path}.max_capacity"), message);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        let steps_to_live = Some(config.steps_to_live()).filter(|steps| *steps > 0);
        Some(DynamicSpec { filter_freq: config.filter_freq(), steps_to_live, max_capacity })
    }

    fn add_labels(&mut self, data: &proto::DatasetConfig, set: &mut FeatureSet) {
        let computed = |name: &String| data.extra_label_func.iter().any(|label| label.label_name() == name);
        for (at, name) in data.label_fields.iter().enumerate() {
            if computed(name) && self.fields.iter().all(|field| field.name != *name) {
                continue;
            }
            let Some(field) = self.field(name, &format!("data_config.label_fields[{at}]")) else {
                continue;
            };
            self.refuse_ignored(field, &format!("data_config.label_fields[{at}]"));
            let width = data.label_dim.get(at).copied().unwrap_or(1).max(1) as usize;
            if width > 1 && self.fields[field].kind != FieldType::String {
                self.problem(&format!("data_config.label_dim[{at}]"), format!("label `{name}` must be STRING to hold several values"));
            }
            let separator = match data.label_sep.get(at) {
                Some(separator) => Separator::new(separator),
                None if width > 1 => {
                    self.problem("data_config.label_fields", format!("label `{name}` has several values but no label_sep"));
                    Separator::None
                }
                None => Separator::None,
            };
            let function = self.label_function(name);
            set.label_names.push(name.clone());
            set.labels.push(Label { field, width, separator, function });
        }
        self.add_computed_labels(data, set);
    }

    /// The `user_define_fn` of a label's field.
    fn label_function(&mut self, name: &str) -> Option<Formula> {
        let pipeline = self.pipeline;
        let input = pipeline.input_fields().into_iter().find(|input| input.name == name)?;
        let text = input.config.user_define_fn.as_ref()?;
        if input.config.user_define_fn_path.is_some() {
            let message = "files of Python are not run; name a function of TensorFlow in user_define_fn, or write a lambda there";
            self.problem(&format!("{}.user_define_fn_path", input.path), message);
            return None;
        }
        let found = Formula::of_one(text);
        found.map_err(|error| self.within(&format!("{}.user_define_fn", input.path), error)).ok()
    }

    /// The labels of `extra_label_func`: formulas over the labels before them.
    fn add_computed_labels(&mut self, data: &proto::DatasetConfig, set: &mut FeatureSet) {
        for (at, label) in data.extra_label_func.iter().enumerate() {
            let path = format!("data_config.extra_label_func[{at}]");
            let name = label.label_name();
            if name.is_empty() || set.label_names.iter().any(|known| known == name) {
                self.problem(&format!("{path}.label_name"), format!("`{name}` is no new name of a label"));
                continue;
            }
            if let Some(wide) = set.labels.iter().position(|label| label.width > 1) {
                let message = format!("labels are computed from single numbers, but `{}` has several", set.label_names[wide]);
                self.problem(&path, message);
                continue;
            }
            let names: Vec<&str> = set.label_names.iter().map(String::as_str).collect();
            match Formula::of_entries(label.label_func(), &names) {
                Ok(formula) => {
                    set.computed_labels.push(formula);
                    set.label_names.push(name.to_string());
                }
                Err(error) => self.within(&format!("{path}.label_func"), error),
            }
        }
    }

    /// Notes what is wrong with a part of the text at a path.
    fn within(&mut self, path: &str, error: ExpressionError) {
        self.problems.push(self.pipeline.error_within(path, error.span, error.message));
    }

    fn add_sample_weight(&mut self, data: &proto::DatasetConfig, set: &mut FeatureSet) {
        if let Some(name) = data.sample_weight.as_deref().filter(|name| !name.is_empty()) {
            set.sample_weight = self.field(name, "data_config.sample_weight");
            if let Some(field) = set.sample_weight {
                self.refuse_ignored(field, "data_config.sample_weight");
            }
        }
    }

    /// The keys of grouped metrics, of losses over sessions, and of task spaces: a feature stands for its first input (EasyRec
    /// behaviour 55).
    fn add_keys(&mut self, set: &mut FeatureSet) {
        let features = self.pipeline.features();
        for (path, name) in self.pipeline.strings(&KEY_SETTINGS) {
            let is_known = set.key_names.contains(&name);
            if name.is_empty() || is_known || !(path.starts_with("eval_config") || path.starts_with("model_config")) {
                continue;
            }
            let feature = features.iter().find(|feature| feature.name == name);
            let input = feature.and_then(|feature| feature.config.input_names.first()).map_or(name.as_str(), String::as_str);
            if let Some(field) = self.field(input, &path) {
                set.key_names.push(name);
                set.keys.push(field);
            }
        }
    }
}
