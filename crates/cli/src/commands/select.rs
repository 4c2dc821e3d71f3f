//! `rankmill select`: the ranking of features that a model with `variational_dropout` has learnt.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rankmill_config::Pipeline;
use rankmill_model::bundle::CONFIG_FILE;
use rankmill_model::{DroppedFeature, Predictor};
use serde::Serialize;

use crate::Outcome;
use crate::arguments::{ModelArgs, ThreadArgs};
use crate::output::Output;
use crate::table::Table;

/// Rank the features of a model that was trained with `variational_dropout`, by how often it drops them: the lower, the more a
/// feature is needed.
#[derive(Debug, Args)]
pub(crate) struct SelectArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Features to keep of each group in the config that is written.
    #[arg(long, value_name = "N", default_value = "100", alias = "topk")]
    pub(crate) top_k: NonZeroUsize,
    /// Write into this folder, for each group, `feature_dropout_ratio_GROUP.csv`, and `pipeline.config` without the features that are
    /// not among the first of their groups, as EasyRec's `feature_selection` does.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// A feature in the ranking of its group.
#[derive(Debug, Serialize)]
struct RankedFeature {
    feature: String,
    mean_drop_p: f32,
    /// The rates of its columns, if each has its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drop_p: Vec<f32>,
    kept: bool,
}

#[derive(Debug, Serialize)]
struct GroupRanking {
    group: String,
    features: Vec<RankedFeature>,
}

/// The rankings of all groups.
#[derive(Debug, Serialize)]
struct SelectReport {
    model: String,
    groups: Vec<GroupRanking>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<String>,
}

impl fmt::Display for SelectReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, GroupRanking { group, features }) in self.groups.iter().enumerate() {
            let mut table = Table::new(["feature", "mean drop p", ""]);
            for feature in features {
                let kept = if feature.kept { "" } else { "left out" };
                table.row([feature.feature.clone(), format!("{:.6}", feature.mean_drop_p), kept.to_owned()]);
            }
            let gap = if i > 0 { "\n" } else { "" };
            write!(f, "{gap}feature group `{group}`\n\n{table}")?;
        }
        self.files.iter().try_for_each(|file| write!(f, "\nwritten: {file}"))
    }
}

/// The features that are not among the first of their groups. Those of sequences stay, as in EasyRec.
fn left_out(pipeline: &Pipeline, rankings: &[(String, Vec<DroppedFeature>)], top_k: usize) -> BTreeSet<String> {
    let mut left_out: BTreeSet<String> =
        rankings.iter().flat_map(|(_, features)| features.iter().skip(top_k)).map(|feature| feature.name.clone()).collect();
    let model = pipeline.proto.model_config.as_ref();
    let in_groups = model.into_iter().flat_map(|model| &model.feature_groups).flat_map(|group| &group.sequence_features);
    let sequences = in_groups.chain(model.into_iter().flat_map(|model| &model.seq_att_groups));
    for map in sequences.flat_map(|sequence| &sequence.seq_att_map) {
        for name in map.key.iter().chain(&map.hist_seq).chain(&map.aux_hist_seq) {
            left_out.remove(name);
        }
    }
    left_out
}

/// The config without the features that are left out.
fn without(pipeline: &Pipeline, left_out: &BTreeSet<String>) -> Pipeline {
    let mut chosen = pipeline.clone();
    let groups: Vec<Vec<String>> =
        pipeline.feature_groups().into_iter().map(|group| group.features.into_iter().map(|feature| feature.name).collect()).collect();
    let model = chosen.proto.model_config.iter_mut().flat_map(|model| &mut model.feature_groups);
    for (group, names) in model.zip(groups) {
        group.feature_names = names.into_iter().filter(|name| !left_out.contains(name)).collect();
    }
    let keep = |config: &mut rankmill_config::proto::FeatureConfig| {
        config.shared_names.retain(|name| !left_out.contains(name));
        let name = config.feature_name.as_ref().or(config.input_names.first());
        !config.shared_names.is_empty() || !name.is_some_and(|name| left_out.contains(name))
    };
    chosen.proto.feature_configs.retain_mut(keep);
    chosen.proto.feature_config.iter_mut().for_each(|config| config.features.retain_mut(keep));
    chosen.take_over();
    chosen
}

/// The table of a group as EasyRec writes it.
fn csv(ranking: &GroupRanking) -> String {
    let quoted = |name: &str| match name.contains([',', '"', '\n']) {
        true => format!("\"{}\"", name.replace('"', "\"\"")),
        false => name.to_owned(),
    };
    let rows = ranking.features.iter().enumerate();
    let rows = rows.map(|(i, feature)| format!("{i},{},{}\n", quoted(&feature.feature), feature.mean_drop_p));
    std::iter::once(",feature_name,mean_drop_p\n".to_owned()).chain(rows).collect()
}

fn write(folder: &Path, groups: &[GroupRanking], chosen: &Pipeline) -> anyhow::Result<Vec<String>> {
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let tables = groups.iter().map(|group| (format!("feature_dropout_ratio_{}.csv", group.group), csv(group)));
    let files = tables.chain([(CONFIG_FILE.to_owned(), chosen.to_text())]);
    let mut written = Vec::new();
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

/// Runs the command.
pub(crate) fn run(arguments: &SelectArgs, output: &Output) -> anyhow::Result<Outcome> {
    let SelectArgs { model, top_k, .. } = arguments;
    let predictor = Predictor::load(&model.model, arguments.threads.pool()?)?;
    let dropouts = &predictor.model().feature_dropouts;
    let path = model.model.display();
    anyhow::ensure!(
        !dropouts.is_empty(),
        "{path}: the model has no model_config.variational_dropout, which learns how much features matter"
    );
    let mut rankings: Vec<(String, Vec<DroppedFeature>)> = Vec::new();
    for dropout in dropouts.iter() {
        if !rankings.iter().any(|(group, _)| *group == dropout.group) {
            rankings.push((dropout.group.clone(), dropout.ranking(predictor.parameters())?));
        }
    }
    let left_out = left_out(&predictor.pipeline, &rankings, top_k.get());
    let ranked = |feature: DroppedFeature| RankedFeature {
        kept: !left_out.contains(&feature.name),
        feature: feature.name,
        mean_drop_p: feature.rate,
        drop_p: feature.columns,
    };
    let groups: Vec<GroupRanking> = rankings
        .into_iter()
        .map(|(group, features)| GroupRanking { group, features: features.into_iter().map(ranked).collect() })
        .collect();
    let files = match &arguments.output {
        Some(folder) => write(folder, &groups, &without(&predictor.pipeline, &left_out))?,
        None => Vec::new(),
    };
    output.result(&SelectReport { model: path.to_string(), groups, files })?;
    Ok(Outcome::Done)
}
