//! What a version takes and gives, in the words of the protocols.

use std::collections::BTreeSet;
use std::sync::Arc;

use rankmill_config::proto::dataset_config::FieldType;
use rankmill_config::proto::feature_config::FeatureType;
use rankmill_data::FieldNames;
use rankmill_model::{ConcurrentPredictor, OutputSpec};

use crate::error::ServeError;

/// Up to so many names are listed in a message.
const MOST_SHOWN: usize = 20;

/// The inputs and outputs of a version.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    pub(crate) names: Arc<FieldNames>,
    /// In the order of `names`.
    pub(crate) fields: Vec<Field>,
    pub(crate) outputs: Vec<OutputSpec>,
}

/// An input.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: FieldType,
    /// Whether the model needs it.
    pub(crate) is_read: bool,
    /// What stands between the elements of a list, if the features that read the field agree on it.
    pub(crate) separator: Option<String>,
}

impl Schema {
    pub(crate) fn new(predictor: &ConcurrentPredictor) -> Schema {
        let features = predictor.pipeline().features();
        let separator = |name: &str| {
            let reads = |feature: &&rankmill_config::Feature<'_>| {
                let is_list =
                    !matches!(feature.config.feature_type(), FeatureType::IdFeature | FeatureType::ComboFeature | FeatureType::ExprFeature);
                is_list && feature.config.input_names.iter().any(|input| input == name)
            };
            let mut all: BTreeSet<String> = features.iter().filter(reads).map(|feature| feature.config.separator().to_owned()).collect();
            if all.len() == 1 { all.pop_first() } else { None }
        };
        let describe = |field: &rankmill_data::ScoringField| Field {
            separator: separator(&field.name),
            name: field.name.clone(),
            kind: field.kind,
            is_read: field.is_read,
        };
        let fields: Vec<Field> = predictor.fields().iter().map(describe).collect();
        let names = Arc::clone(predictor.rows().fields());
        Schema { names, fields, outputs: predictor.outputs().to_vec() }
    }

    /// The place of an input among the fields.
    pub(crate) fn place(&self, name: &str) -> Result<usize, ServeError> {
        self.names.place(name).map_err(|_| {
            let shown = rankmill_data::shown(name.as_bytes());
            let known = self.names.names();
            let hint = if known.len() <= MOST_SHOWN {
                format!("they are {}", known.join(", "))
            } else {
                rankmill_config::did_you_mean(&shown, known.iter().map(String::as_str))
            };
            ServeError::invalid(format!("field `{shown}` is none of the model's inputs; {hint}"))
        })
    }

    /// The inputs that the model needs.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.is_read)
    }
}

impl Field {
    /// The datatype of KServe's protocol.
    pub(crate) fn datatype(&self) -> &'static str {
        match self.kind {
            FieldType::Int32 => "INT32",
            FieldType::Int64 => "INT64",
            FieldType::String => "BYTES",
            FieldType::Bool => "BOOL",
            FieldType::Float => "FP32",
            FieldType::Double => "FP64",
        }
    }

    /// TensorFlow's type.
    pub(crate) fn tensorflow_type(&self) -> &'static str {
        match self.kind {
            FieldType::Int32 => "DT_INT32",
            FieldType::Int64 => "DT_INT64",
            FieldType::String => "DT_STRING",
            FieldType::Bool => "DT_BOOL",
            FieldType::Float => "DT_FLOAT",
            FieldType::Double => "DT_DOUBLE",
        }
    }
}
