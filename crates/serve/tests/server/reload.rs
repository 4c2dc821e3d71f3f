//! Versions that come and go.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rankmill_serve::{ModelSettings, Policy, Server, Share, StartError};
use serde_json::json;
use tempfile::TempDir;

use crate::client::{get, post};
use crate::models::{bits, checkpoint, copy_folder, eventually, expected, inputs, options, rows};

/// A directory of versions.
fn versions(steps: &[u64]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    steps.iter().for_each(|step| copy_folder(&checkpoint(*step), &folder.path().join(step.to_string())));
    folder
}

/// Puts a version into place at once.
fn add(folder: &Path, name: &str, step: u64, change: impl FnOnce(&Path)) -> PathBuf {
    let aside = folder.join(format!("{name}.new"));
    copy_folder(&checkpoint(step), &aside);
    change(&aside);
    let place = folder.join(name);
    fs::rename(aside, &place).expect("renamed");
    place
}

fn start(settings: ModelSettings) -> Server {
    Server::start(options(vec![settings])).expect("it starts")
}

fn served(server: &Server) -> Vec<u64> {
    server.models().remove(0).1
}

#[test]
fn no_request_fails_and_none_mixes_versions_while_a_version_is_replaced() {
    let folder = versions(&[10]);
    let server = start(ModelSettings::new("ctr", folder.path()));
    let address = server.addresses()[0];
    let body = json!({"inputs": inputs(&rows(200))});
    let logits = |step| expected(step, 200).iter().map(|(_, logit)| *logit).collect::<Vec<_>>();
    let by_version = [("10", logits(10)), ("20", logits(20))];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let answer = post(address, "/v2/models/ctr/infer", &body).ok();
                        let version = answer["model_version"].as_str().expect("a version").to_owned();
                        let (_, expected) = by_version.iter().find(|(name, _)| *name == version).expect("a known version");
                        assert_eq!(&bits(&answer["outputs"][1]["data"]), expected);
                        seen.push(version);
                    }
                    seen
                })
            })
            .collect();
        add(folder.path(), "20", 20, |_| {});
        eventually("the new version is served", || served(&server) == [20]);
        std::thread::sleep(std::time::Duration::from_millis(200));
        done.store(true, Ordering::Relaxed);
        for client in clients {
            let seen = client.join().expect("no request failed");
            assert_eq!(seen.last().map(String::as_str), Some("20"));
        }
    });
    server.stop();
}

#[test]
fn a_damaged_version_is_refused_by_name_and_the_old_one_goes_on() {
    let folder = versions(&[10]);
    let server = start(ModelSettings::new("ctr", folder.path()));
    let address = server.addresses()[0];
    let variables = "variables.safetensors";
    let cut = |path: &Path| {
        let bytes = fs::read(path.join(variables)).expect("variables");
        fs::write(path.join(variables), &bytes[..bytes.len() - 100]).expect("written");
    };
    let swap = |path: &Path| {
        fs::copy(checkpoint(10).join(variables), path.join(variables)).expect("copied");
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path.join(variables)).expect("variables");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path.join(variables), bytes).expect("written");
    };
    let bad = add(folder.path(), "11", 20, cut);
    add(folder.path(), "12", 20, swap);
    add(folder.path(), "13", 20, flip);
    let status = |version: u32| get(address, &format!("/v1/models/ctr/versions/{version}"));
    let is_refused = |version: u32| {
        let answer = status(version);
        answer.status == 200 && answer.json()["model_version_status"][0]["state"] == "END"
    };
    eventually("all are refused", || is_refused(11) && is_refused(12) && is_refused(13));
    let message = |version: u32| status(version).json()["model_version_status"][0]["status"]["error_message"].to_string();
    for version in [11, 12, 13] {
        assert!(message(version).contains(variables), "{}", message(version));
    }
    assert_eq!(served(&server), [10]);
    assert_eq!(get(address, "/v2/health/ready").status, 200);
    // Mended in place, it is taken.
    ["12", "13"].iter().for_each(|version| fs::remove_dir_all(folder.path().join(version)).expect("removed"));
    fs::copy(checkpoint(20).join(variables), bad.join(variables)).expect("copied");
    eventually("the mended version is served", || served(&server) == [11]);
    server.stop();
}

#[test]
fn a_model_that_cannot_be_served_at_the_start_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = |path: &Path| Server::start(options(vec![ModelSettings::new("ctr", path)])).err().expect("an error");
    let error = start(folder.path());
    assert!(matches!(&error, StartError::Unserved { name, .. } if name == "ctr"), "{error}");
    let error = start(&folder.path().join("nowhere"));
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn labels_canary_and_shadow() {
    let folder = versions(&[10, 20]);
    let mut settings = ModelSettings::new("ctr", folder.path());
    settings.versions = Policy::All;
    settings.labels.insert("stable".into(), 10);
    settings.canary = Some(Share { version: None, share: 0.25 });
    settings.shadow = Some(Share { version: Some(20), share: 1.0 });
    let server = start(settings);
    let address = server.addresses()[0];
    let body = json!({"inputs": inputs(&rows(10))});
    let version = |path: &str| post(address, path, &body).ok()["model_version"].as_str().expect("a version").to_owned();
    let seen: Vec<String> = (0..8).map(|_| version("/v2/models/ctr/infer")).collect();
    assert_eq!(seen.iter().filter(|version| *version == "20").count(), 2, "{seen:?}");
    assert_eq!(version("/v2/models/ctr/versions/stable/infer"), "10");
    assert_eq!(version("/v2/models/ctr/versions/20/infer"), "20");
    assert!(post(address, "/v2/models/ctr/versions/new/infer", &body).error(404).contains("`new`"));
    let shadowed = || {
        let text = get(address, "/metrics").text();
        let line = text.lines().find(|line| line.starts_with("rankmill_shadow_difference_count{") && line.contains("version=\"20\""));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).unwrap_or(0)
    };
    // Six answers of version 10 without a name and one with a label, of 10 rows each.
    eventually("the shadow has scored", || shadowed() == 70);
    let (answered, shadow): (Vec<_>, Vec<_>) = expected(10, 10)
        .iter()
        .zip(expected(20, 10))
        .map(|(a, b)| (f64::from(f32::from_bits(a.0)), f64::from(f32::from_bits(b.0))))
        .unzip();
    let difference = (shadow.iter().sum::<f64>() - answered.iter().sum::<f64>()) / 10.0;
    let text = get(address, "/metrics").text();
    let figure = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("rankmill_shadow_{name}{{"))).expect("a figure");
        line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    assert!((figure("mean_difference") - difference).abs() < 1e-9, "{difference}\n{text}");
    assert!(figure("stability_index") >= 0.0);
    server.stop();
}

#[test]
fn the_file_of_models_is_read_again_when_it_changes() {
    let folder = versions(&[10, 20]);
    let file = folder.path().join("models.json");
    let write = |models: serde_json::Value| {
        let aside = folder.path().join("models.json.new");
        fs::write(&aside, json!({"models": models}).to_string()).expect("written");
        fs::rename(&aside, &file).expect("renamed");
    };
    let model = |name: &str, labels: serde_json::Value| json!({"name": name, "path": folder.path(), "versions": "all", "labels": labels});
    write(json!([model("a", json!({"stable": 10}))]));
    let mut options = options(Vec::new());
    options.models_file = Some(file.clone());
    let server = Server::start(options).expect("it starts");
    let address = server.addresses()[0];
    let version = |path: &str| {
        let answer = post(address, path, &json!({"rows": [{"user_id": 1}]}));
        (answer.status == 200).then(|| answer.json()["model_version"].as_str().expect("a version").to_owned())
    };
    assert_eq!(version("/score/a/versions/stable").as_deref(), Some("10"));
    write(json!([model("a", json!({"stable": 20})), model("b", json!({}))]));
    eventually("the label leads elsewhere", || version("/score/a/versions/stable").as_deref() == Some("20"));
    eventually("the new model is there", || version("/score/b").as_deref() == Some("20"));
    fs::write(&file, "{").expect("written");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(version("/score/a/versions/stable").as_deref(), Some("20"));
    write(json!([model("b", json!({}))]));
    eventually("the old model is gone", || version("/score/a").is_none());
    assert_eq!(version("/score/b").as_deref(), Some("20"));
    assert!(!get(address, "/metrics").text().contains("model=\"a\",version"));
    assert_eq!(get(address, "/v2/health/ready").status, 200);
    server.stop();
}
