//! Features, feature groups and input columns with EasyRec's shorthands written out (EasyRec behaviour 57).
//!
//! `field[1-3]` means `field1`, `field2`, `field3`: always in a group's `feature_names`, and in `input_fields` and
//! `shared_names` only with `auto_expand_input_fields`. `shared_names` clones a feature onto other inputs.

use std::borrow::Cow;

use crate::pipeline::Pipeline;
use crate::proto;

/// Longest list that a `field[1-3]` shorthand may stand for.
const MAX_EXPANSION: u64 = 1_000_000;

/// A feature and where it is declared.
#[derive(Clone, Debug)]
pub struct Feature<'a> {
    /// `feature_name`, or the first of `input_names`.
    pub name: String,
    /// Its settings; owned if the feature is a clone made by `shared_names`.
    pub config: Cow<'a, proto::FeatureConfig>,
    /// Path of its declaration; a clone has the path of its original.
    pub path: String,
}

/// A feature group and where it is declared.
#[derive(Clone, Debug)]
pub struct FeatureGroup<'a> {
    /// `group_name`.
    pub name: &'a str,
    /// The settings as written.
    pub config: &'a proto::FeatureGroupConfig,
    /// Names of its features, written out.
    pub features: Vec<GroupFeature>,
    /// Path of its declaration.
    pub path: String,
}

/// A feature's name in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFeature {
    /// Name of the feature.
    pub name: String,
    /// Path of the entry of `feature_names` that names it.
    pub path: String,
}

/// A column of the input and where it is declared.
#[derive(Clone, Debug)]
pub struct InputField<'a> {
    /// Name of the column.
    pub name: String,
    /// Its settings as written.
    pub config: &'a proto::dataset_config::Field,
    /// Path of its declaration.
    pub path: String,
}

impl Pipeline {
    /// All features: the old `feature_configs` if there are any, else `feature_config.features`; clones come last.
    #[must_use]
    pub fn features(&self) -> Vec<Feature<'_>> {
        let new = self.proto.feature_config.as_ref().map(|config| config.features.as_slice());
        let (configs, path) = match self.proto.feature_configs.as_slice() {
            [] => (new.unwrap_or_default(), "feature_config.features"),
            old => (old, "feature_configs"),
        };
        let mut features = Vec::with_capacity(configs.len());
        let mut clones = Vec::new();
        for (at, config) in configs.iter().enumerate() {
            let path = format!("{path}[{at}]");
            for name in self.shared_names(config) {
                let mut clone = config.clone();
                clone.shared_names.clear();
                clone.feature_name = None;
                clone.input_names = vec![name.clone()];
                clones.push(Feature { name, config: Cow::Owned(clone), path: path.clone() });
            }
            features.push(Feature { name: feature_name(config).to_owned(), config: Cow::Borrowed(config), path });
        }
        features.extend(clones);
        features
    }

    /// The feature groups of `model_config`.
    #[must_use]
    pub fn feature_groups(&self) -> Vec<FeatureGroup<'_>> {
        let configs = self.proto.model_config.as_ref().map(|model| model.feature_groups.as_slice());
        let mut groups = Vec::new();
        for (at, config) in configs.unwrap_or_default().iter().enumerate() {
            let path = format!("model_config.feature_groups[{at}]");
            let mut features = Vec::new();
            for (at, name) in config.feature_names.iter().enumerate() {
                let path = format!("{path}.feature_names[{at}]");
                features.extend(expand(name).into_iter().map(|name| GroupFeature { name, path: path.clone() }));
            }
            groups.push(FeatureGroup { name: config.group_name(), config, features, path });
        }
        groups
    }

    /// The features that sequence groups name, those of feature groups and of `seq_att_groups`, each with the place of its name.
    #[must_use]
    pub fn sequence_group_features(&self) -> Vec<(&str, String)> {
        let Some(model) = &self.proto.model_config else { return Vec::new() };
        let mut groups = Vec::new();
        for (at, group) in model.feature_groups.iter().enumerate() {
            let path = format!("model_config.feature_groups[{at}].sequence_features");
            groups.extend(group.sequence_features.iter().enumerate().map(|(at, group)| (group, format!("{path}[{at}]"))));
        }
        groups.extend(model.seq_att_groups.iter().enumerate().map(|(at, group)| (group, format!("model_config.seq_att_groups[{at}]"))));
        let mut features = Vec::new();
        for (group, path) in groups {
            for (at, map) in group.seq_att_map.iter().enumerate() {
                for (names, field) in [(&map.key, "key"), (&map.hist_seq, "hist_seq"), (&map.aux_hist_seq, "aux_hist_seq")] {
                    let place = |(name_at, name)| (String::as_str(name), format!("{path}.seq_att_map[{at}].{field}[{name_at}]"));
                    features.extend(names.iter().enumerate().map(place));
                }
            }
        }
        features
    }

    /// The columns of the input, in their order.
    #[must_use]
    pub fn input_fields(&self) -> Vec<InputField<'_>> {
        let Some(data) = &self.proto.data_config else { return Vec::new() };
        let mut fields = Vec::new();
        for (at, config) in data.input_fields.iter().enumerate() {
            let names = match data.auto_expand_input_fields() {
                true => expand(config.input_name()),
                false => vec![config.input_name().to_owned()],
            };
            let path = format!("data_config.input_fields[{at}]");
            fields.extend(names.into_iter().map(|name| InputField { name, config, path: path.clone() }));
        }
        fields
    }

    fn shared_names(&self, config: &proto::FeatureConfig) -> Vec<String> {
        let expands = self.proto.data_config.as_ref().is_some_and(proto::DatasetConfig::auto_expand_input_fields);
        if !expands {
            return config.shared_names.clone();
        }
        config.shared_names.iter().flat_map(|name| expand(name)).collect()
    }
}

fn feature_name(config: &proto::FeatureConfig) -> &str {
    match &config.feature_name {
        Some(name) if !name.is_empty() => name,
        _ => config.input_names.first().map_or("", String::as_str),
    }
}

/// Writes out `field[1-3]`; any other name stands for itself.
pub(crate) fn expand(name: &str) -> Vec<String> {
    let alone = || vec![name.to_owned()];
    let Some((prefix, rest)) = name.split_once('[') else { return alone() };
    let Some((first, rest)) = rest.split_once('-') else { return alone() };
    let Some((last, _)) = rest.split_once(']') else { return alone() };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let letters = prefix.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if prefix.is_empty() || !letters || !digits(first) || !digits(last) {
        return alone();
    }
    let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else { return alone() };
    if last.saturating_sub(first) >= MAX_EXPANSION {
        return alone();
    }
    (first..=last).map(|number| format!("{prefix}{number}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorthands() {
        assert_eq!(expand("field[1-3]"), ["field1", "field2", "field3"]);
        assert_eq!(expand("a_b[09-10]"), ["a_b9", "a_b10"]);
        assert_eq!(expand("a[3-1]"), [""; 0]);
        for name in ["plain", "a[1]", "a1[1-2]", "[1-2]", "a[1-x]", "a[1-2", "a[0-99999999999]"] {
            assert_eq!(expand(name), [name]);
        }
    }
}
