//! The versions that lie in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rankmill_model::bundle::{self, BundleError, Manifest};
use rankmill_model::calibration::CALIBRATION_FILE;

/// A version on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// What changes when a directory gets another content, or while it is still being copied: times and sizes of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp([Option<(SystemTime, u64)>; 4]);

/// The versions in `directory`: its own if it is a bundle, packed or not, its checkpoints if it is a model directory, or else its subdirectories that
/// have numbers as names. A directory that is not complete yet is none.
pub(crate) fn versions(directory: &Path) -> Result<BTreeMap<u64, Found>, BundleError> {
    let mut versions = BTreeMap::new();
    if let Some(stamp) = stamp(directory) {
        let global_step = Manifest::read(directory)?.global_step;
        versions.insert(global_step, Found { path: directory.to_owned(), stamp });
        return Ok(versions);
    }
    for (step, path) in bundle::checkpoints(directory)? {
        versions.extend(stamp(&path).map(|stamp| (step, Found { path, stamp })));
    }
    if !versions.is_empty() {
        return Ok(versions);
    }
    for entry in fs::read_dir(directory).map_err(BundleError::io(directory))? {
        let path = entry.map_err(BundleError::io(directory))?.path();
        let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let (Some(number), Ok(path)) = (number, bundle::locate(&path)) else { continue };
        versions.extend(stamp(&path).map(|stamp| (number, Found { path, stamp })));
    }
    Ok(versions)
}

/// The stamp of a bundle, if it is one.
fn stamp(bundle: &Path) -> Option<Stamp> {
    let of_file = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    if bundle.is_file() {
        return Some(Stamp([of_file(bundle), None, None, None]));
    }
    let files = [bundle::MANIFEST_FILE, bundle::CONFIG_FILE, bundle::VARIABLES_FILE, CALIBRATION_FILE];
    let stamp = files.map(|name| of_file(&bundle.join(name)));
    stamp[0].is_some().then_some(Stamp(stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(path: &Path, step: u64) {
        fs::create_dir_all(path).expect("made");
        let manifest = Manifest::new(step, &[], Default::default());
        let text = serde_json::to_string(&manifest).expect("JSON");
        fs::write(path.join(bundle::MANIFEST_FILE), text).expect("written");
    }

    fn numbers(path: &Path) -> Vec<u64> {
        versions(path).expect("readable").into_keys().collect()
    }

    #[test]
    fn every_layout_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        bundle(&dir.path().join("bundle"), 7);
        bundle(&dir.path().join("model/checkpoints/model.ckpt-10"), 10);
        bundle(&dir.path().join("model/checkpoints/model.ckpt-20"), 20);
        fs::create_dir_all(dir.path().join("model/checkpoints/model.ckpt-30")).expect("made");
        bundle(&dir.path().join("versions/1"), 500);
        bundle(&dir.path().join("versions/12/checkpoints/model.ckpt-3"), 3);
        bundle(&dir.path().join("versions/new"), 9);
        assert_eq!(numbers(&dir.path().join("bundle")), [7]);
        assert_eq!(numbers(&dir.path().join("model")), [10, 20]);
        assert_eq!(numbers(&dir.path().join("versions")), [1, 12]);
        assert!(versions(&dir.path().join("nowhere")).is_err());
    }
}
