//! `export_config.exporter_type`: models that are put aside for those who use them, in `export/TYPE/STEP` of the model directory.
//!
//! | type | what is exported |
//! |---|---|
//! | `final` | the model at the end of the run |
//! | `latest` | every checkpoint; the newest `exports_to_keep` stay |
//! | `best` | every model whose `best_exporter_metric` is better than all before; the newest `exports_to_keep` stay |
//! | `none` | nothing |
//!
//! An export is the bundle of a checkpoint without the optimizer's state. Its files are links to those of the checkpoint where the file
//! system has links, so it takes no room while the checkpoint is there.

use std::fs;
use std::path::{Path, PathBuf};

use rankmill_config::{Diagnostic, Pipeline};
use rankmill_model::bundle::{BundleError, MANIFEST_FILE};

use crate::checkpoint::{self, UNFINISHED};
use crate::early_stop::improves;
use crate::history::History;

/// The folder in the model directory.
const FOLDER: &str = "export";

/// When a model is exported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExportRule {
    /// Never.
    Never,
    /// At the end.
    Final,
    /// With each checkpoint.
    Latest,
    /// When a metric is better than ever.
    Best { metric: String, bigger: bool },
}

/// What a config exports.
#[derive(Clone, Debug)]
pub(crate) struct Exporter {
    pub(crate) rule: ExportRule,
    folder: PathBuf,
    keep: usize,
    /// Files that are put beside those of the model.
    assets: Vec<PathBuf>,
}

impl Exporter {
    /// The exporter of a config: none if it does not choose one, as the last checkpoint is the model already.
    pub(crate) fn new(pipeline: &Pipeline, model_dir: &Path) -> Result<Exporter, Diagnostic> {
        let export = pipeline.proto.export_config.clone().unwrap_or_default();
        let rule = match export.exporter_type.as_deref() {
            None | Some("none") => ExportRule::Never,
            Some("final") => ExportRule::Final,
            Some("latest") => ExportRule::Latest,
            Some("best") => ExportRule::Best { metric: export.best_exporter_metric().to_owned(), bigger: export.metric_bigger() },
            Some(other) => {
                let message = format!("there is no exporter `{other}`; expected best, latest, final or none");
                return Err(pipeline.error("export_config.exporter_type", message));
            }
        };
        let keep = usize::try_from(export.exports_to_keep()).ok().filter(|keep| *keep > 0);
        let keep = keep.ok_or_else(|| pipeline.error("export_config.exports_to_keep", "must be above 0"))?;
        if let Some((i, path)) = export.asset_files.iter().enumerate().find(|(_, path)| !Path::new(path).is_file()) {
            return Err(pipeline.error(&format!("export_config.asset_files[{i}]"), format!("there is no file {path}")));
        }
        let folder = model_dir.join(FOLDER).join(export.exporter_type());
        Ok(Exporter { rule, folder, keep, assets: export.asset_files.iter().map(PathBuf::from).collect() })
    }

    /// Whether the evaluation of a step, the last one of `history`, makes its model the best so far.
    pub(crate) fn is_best(&self, history: &History, step: u64) -> bool {
        let ExportRule::Best { metric, bigger } = &self.rule else { return false };
        let mut best: Option<(u64, f64)> = None;
        for (at, value) in history.values(metric) {
            if best.is_none_or(|(_, best)| improves(*bigger, best, value)) {
                best = Some((at, value));
            }
        }
        best.is_some_and(|(at, _)| at == step)
    }

    /// Exports a checkpoint, and removes the oldest exports above the number to keep.
    ///
    /// # Errors
    /// If the file system refuses; exports that are there are then untouched.
    pub(crate) fn export(&self, checkpoint: &Path, step: u64) -> Result<PathBuf, BundleError> {
        let target = self.folder.join(step.to_string());
        let manifest = |folder: &Path| fs::read(folder.join(MANIFEST_FILE)).ok();
        if manifest(&target).is_some_and(|known| Some(known) == manifest(checkpoint)) {
            // A resumed run comes by here with the same bits.
            return Ok(target);
        }
        fs::create_dir_all(&self.folder).map_err(BundleError::io(&self.folder))?;
        // One of another run, whose checkpoints are gone.
        checkpoint::remove(&target)?;
        let aside = self.folder.join(format!("{UNFINISHED}{step}"));
        checkpoint::remove(&aside)?;
        let made = self.fill(checkpoint, &aside).and_then(|()| fs::rename(&aside, &target).map_err(BundleError::io(&target)));
        if let Err(error) = made {
            // What was put aside only takes room. The first error is the one to report.
            let _ = fs::remove_dir_all(&aside);
            return Err(error);
        }
        checkpoint::sync_directory(&self.folder)?;
        let mut all = exports(&self.folder)?;
        all.truncate(all.len().saturating_sub(self.keep));
        all.iter().try_for_each(|(_, old)| checkpoint::remove(old))?;
        Ok(target)
    }

    fn fill(&self, checkpoint: &Path, aside: &Path) -> Result<(), BundleError> {
        link_files(checkpoint, aside)?;
        for file in &self.assets {
            let folder = aside.join("assets");
            fs::create_dir_all(&folder).map_err(BundleError::io(&folder))?;
            fs::copy(file, folder.join(file.file_name().unwrap_or_default())).map_err(BundleError::io(file))?;
        }
        checkpoint::sync_directory(aside)
    }
}

/// Removes all exports of a model directory.
///
/// # Errors
/// If the file system refuses.
pub(crate) fn clear(model_dir: &Path) -> Result<(), BundleError> {
    checkpoint::remove(&model_dir.join(FOLDER))
}

/// Links, or else copies, all files of a bundle but those that only a run reads.
fn link_files(from: &Path, to: &Path) -> Result<(), BundleError> {
    fs::create_dir(to).map_err(BundleError::io(to))?;
    for entry in fs::read_dir(from).map_err(BundleError::io(from))? {
        let source = entry.map_err(BundleError::io(from))?.path();
        let name = source.file_name().unwrap_or_default();
        if source.is_dir() {
            link_files(&source, &to.join(name))?;
        } else if !checkpoint::is_state(&source) {
            let target = to.join(name);
            fs::hard_link(&source, &target).or_else(|_| fs::copy(&source, &target).map(|_| ())).map_err(BundleError::io(&target))?;
        }
    }
    Ok(())
}

/// The exports in a folder, by step.
fn exports(folder: &Path) -> Result<Vec<(u64, PathBuf)>, BundleError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(BundleError::io(folder))? {
        let path = entry.map_err(BundleError::io(folder))?.path();
        let step = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exporter(folder: &Path, rule: ExportRule, keep: usize) -> Exporter {
        Exporter { rule, folder: folder.join("export/best"), keep, assets: Vec::new() }
    }

    #[test]
    fn the_best_is_better_than_all_before() {
        let mut history = History::default();
        let best = |bigger| exporter(Path::new(""), ExportRule::Best { metric: "auc".to_owned(), bigger }, 1);
        for (step, value, bigger, smaller) in
            [(1, 0.5, true, true), (2, 0.6, true, false), (3, 0.6, false, false), (4, f64::NAN, false, false), (5, 0.4, false, true)]
        {
            history.push(step, [("auc".to_owned(), value)]);
            assert_eq!((best(true).is_best(&history, step), best(false).is_best(&history, step)), (bigger, smaller), "step {step}");
        }
        assert!(!exporter(Path::new(""), ExportRule::Latest, 1).is_best(&history, 1));
    }

    #[test]
    fn the_newest_exports_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoint = folder.path().join("checkpoint");
        fs::create_dir_all(checkpoint.join("assets")).expect("made");
        for file in ["manifest.json", "optimizer.safetensors", "trainer.json", "assets/0_words"] {
            fs::write(checkpoint.join(file), file).expect("written");
        }
        let exporter = exporter(folder.path(), ExportRule::Latest, 2);
        for step in [9, 10, 100] {
            exporter.export(&checkpoint, step).expect("exported");
        }
        let left: Vec<u64> = exports(&exporter.folder).expect("listed").into_iter().map(|(step, _)| step).collect();
        assert_eq!(left, [10, 100]);
        let export = exporter.folder.join("100");
        assert!(export.join("manifest.json").is_file() && export.join("assets/0_words").is_file());
        assert!(!export.join("optimizer.safetensors").exists() && !export.join("trainer.json").exists());
        fs::remove_dir_all(&checkpoint).expect("removed");
        assert_eq!(fs::read_to_string(export.join("manifest.json")).expect("it outlives the checkpoint"), "manifest.json");
    }
}
