//! Settings that a feature of its type does not read, in EasyRec or here.

use std::collections::BTreeSet;

use super::Finder;
use crate::proto::FeatureConfig;
use crate::proto::feature_config::FeatureType::{
    self, ComboFeature, ExprFeature, IdFeature, LookupFeature, PassThroughFeature, RawFeature, SequenceFeature, TagFeature,
};

/// A setting, which types of features read it, and whether a feature has it.
type Setting = (&'static str, &'static [FeatureType], fn(&FeatureConfig) -> bool);

const SETTINGS: [Setting; 17] = [
    ("boundaries[0]", &[RawFeature, SequenceFeature], |config| !config.boundaries.is_empty()),
    ("combo_input_seps[0]", &[ComboFeature], |config| !config.combo_input_seps.is_empty()),
    ("combo_join_sep", &[ComboFeature], |config| !config.combo_join_sep().is_empty()),
    ("expression", &[ExprFeature], |config| !config.expression().is_empty()),
    ("hash_bucket_size", &[IdFeature, TagFeature, ComboFeature, LookupFeature, SequenceFeature], |config| config.hash_bucket_size() > 0),
    ("kv_separator", &[TagFeature, LookupFeature], |config| !config.kv_separator().is_empty()),
    ("lookup_max_sel_elem_num", &[LookupFeature], |config| config.lookup_max_sel_elem_num.is_some()),
    ("max_seq_len", &[SequenceFeature], |config| config.max_seq_len.is_some()),
    ("normalizer_fn", &[RawFeature], |config| !config.normalizer_fn().is_empty()),
    ("precision", &[IdFeature, ComboFeature], |config| config.precision() > 0),
    ("raw_input_dim", &[RawFeature, SequenceFeature], |config| config.raw_input_dim() > 1),
    ("seq_multi_sep", &[RawFeature, SequenceFeature], |config| config.seq_multi_sep.is_some()),
    ("separator", &[TagFeature, LookupFeature, RawFeature, SequenceFeature], |config| config.separator() != "|"),
    ("sequence_combiner", &[SequenceFeature], |config| config.sequence_combiner.is_some()),
    ("sequence_length", &[SequenceFeature], |config| config.sequence_length() > 1),
    ("sub_feature_type", &[SequenceFeature], |config| config.sub_feature_type() != IdFeature),
    ("vocab_list[0]", &[IdFeature, TagFeature, ComboFeature, LookupFeature, SequenceFeature], |config| !config.vocab_list.is_empty()),
];

/// Each setting once, however many features its message declares.
pub(super) fn find(finder: &mut Finder<'_>) {
    let mut told = BTreeSet::new();
    for feature in finder.pipeline.features() {
        let kind = feature.config.feature_type();
        for (setting, readers, is_set) in SETTINGS {
            let path = format!("{}.{setting}", feature.path);
            if kind == PassThroughFeature || readers.contains(&kind) || !is_set(&feature.config) || !told.insert(path.clone()) {
                continue;
            }
            let setting = setting.trim_end_matches("[0]");
            let message = format!("`{setting}` of `{}` has no effect", feature.name);
            let effect = format!("a feature of the type {} does not read it", kind.as_str_name());
            finder.note_as("setting_without_effect", &path, message, &effect, "remove it, or choose the feature_type that reads it");
        }
    }
}
