//! Parity with EasyRec: whole training runs against traces of it.
//!
//! Every case folder is run: those beside this file, and those in the directories that the environment variable `RANKMILL_GOLDEN` names
//! (separated by `:`; `RANKMILL_GOLDEN_ONLY` picks cases by the starts of their names, separated by `,`).
//! A case holds `pipeline.config`, `rows.tsv`, `manifest.json` and `trace.safetensors`.
//!
//! Tolerances: at step 1 every tensor within 1e-5 of its largest magnitude; later losses and logits within 1e-3 of theirs; variables after 1, 2, 5
//! steps within 1e-4 and after 20 within 1e-3 in relative L2 norm; evaluation with the trace's final variables within 1e-5.
//!
//! Where EasyRec's own numbers are rounding noise, no closer agreement can be asked for. An offset or a constant feature in front of a batch norm has the
//! gradient 0 in exact arithmetic; what a trace holds are a few units in the last place of the large terms that cancel. So a gradient may err
//! by 4 units in the last place of the case's largest gradient, and elements whose gradient does not exceed that in the root mean square
//! over the steps (by the trace's own second moments), which Adam moves by the sign of noise, are held to the most that Adam can have
//! moved them instead. Losses over pairs and lists do not change when all logits are moved alike: where the output's bias is such noise,
//! later logits are compared up to a common offset that Adam can have made.

#![expect(clippy::print_stdout, reason = "a line for each case is what the runner is for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Reader, ReaderOptions};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::{Parameter, Parameters, Purpose, Scorer, Scores};
use rankmill_train::evaluate::Evaluator;
use rankmill_train::step::{IdleRows, Keep, Trainer, TrainerOptions};
use safetensors::{Dtype, SafeTensors};

/// The widest input of a dense layer in a case with noise, whose weights are below 1.
const MOST_INPUTS: f64 = 48.0;

/// What a trace holds of a step besides predictions.
const NOT_PREDICTED: [&str; 4] = ["loss_terms", "reg_terms", "total_loss", "lr"];

struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

struct Trace(BTreeMap<String, Tensor>);

impl Trace {
    fn read(path: &Path) -> Trace {
        let bytes = fs::read(path).expect("the trace can be read");
        let file = SafeTensors::deserialize(&bytes).expect("the trace is whole");
        let convert = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                Dtype::I32 => data.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32).collect(),
                Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as f32).collect(),
                _ => Vec::new(),
            };
            (name.to_owned(), Tensor { shape: view.shape().to_vec(), values })
        };
        Trace(file.iter().map(convert).collect())
    }

    fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(|tensor| tensor.values.as_slice())
    }

    /// All tensors whose name starts with `prefix`, the prefix taken off.
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.0.iter().filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
    }
}

/// The worst error seen in a case, as a share of its tolerance.
struct Verdict {
    worst: f64,
    tensor: String,
    compared: usize,
    /// How many tensors are to be compared at least.
    least: usize,
}

impl Verdict {
    fn note(&mut self, tensor: String, share: f64) {
        self.compared += 1;
        if share.is_nan() || share > self.worst {
            (self.worst, self.tensor) = (if share.is_nan() { f64::INFINITY } else { share }, tensor);
        }
    }

    /// Largest difference against the largest magnitude.
    fn magnitude(&mut self, tensor: String, found: &[f32], expected: &[f32], tolerance: f64) {
        if found.len() != expected.len() {
            return self.note(format!("{tensor} (length {} not {})", found.len(), expected.len()), f64::INFINITY);
        }
        let largest = expected.iter().fold(0.0_f64, |a, x| a.max(f64::from(x.abs())));
        let error = found.iter().zip(expected).fold(0.0_f64, |a, (x, y)| a.max(f64::from((x - y).abs())));
        // A tensor of zeros must be met to rounding of numbers of order 1e-3.
        self.note(tensor, error / (tolerance * largest.max(1e-5)));
    }

    /// As [`Verdict::magnitude`], with `noise` as the least error that is allowed.
    fn gradient(&mut self, tensor: String, found: &[f32], expected: &[f32], noise: f64, tolerance: f64) {
        let largest = expected.iter().fold(0.0_f64, |a, x| a.max(f64::from(x.abs())));
        if found.len() != expected.len() || tolerance * largest >= noise {
            return self.magnitude(tensor, found, expected, tolerance);
        }
        self.magnitude_within(tensor, found, expected, noise);
    }

    /// As [`Verdict::norm`] over the elements that ever had a gradient above `noise`, according to the trace's second moments `v`. The
    /// others, which Adam moved by the sign of rounding noise, may differ by `bound`.
    #[expect(clippy::too_many_arguments, reason = "a rule with this many figures")]
    fn norm_without_noise(&mut self, tensor: String, found: &[f32], expected: &[f32], v: &[f32], noise: Noise, bound: f64, tolerance: f64) {
        if found.len() != expected.len() || v.len() != expected.len() {
            return self.norm(tensor, found, expected, tolerance);
        }
        let is_noise = |i: &usize| noise.explains(v[*i]);
        let moved = (0..v.len()).filter(is_noise).fold(0.0_f64, |a, i| a.max(f64::from((found[i] - expected[i]).abs())));
        self.note(format!("{tensor} (elements without a gradient)"), moved / bound);
        let masked: Vec<f32> = (0..v.len()).map(|i| if is_noise(&i) { expected[i] } else { found[i] }).collect();
        self.norm(tensor, &masked, expected, tolerance);
    }

    /// As [`Verdict::magnitude`], once a common offset of at most `bound` is taken off.
    fn up_to_offset(&mut self, tensor: String, found: &[f32], expected: &[f32], bound: f64, tolerance: f64) {
        let mean = |values: &[f32]| values.iter().map(|x| f64::from(*x)).sum::<f64>() / values.len().max(1) as f64;
        let offset = mean(found) - mean(expected);
        self.note(format!("{tensor} (offset)"), offset.abs() / bound);
        let moved: Vec<f32> = found.iter().map(|x| (f64::from(*x) - offset) as f32).collect();
        self.magnitude(tensor, &moved, expected, tolerance);
    }

    /// Largest difference against a bound.
    fn magnitude_within(&mut self, tensor: String, found: &[f32], expected: &[f32], bound: f64) {
        let error = found.iter().zip(expected).fold(0.0_f64, |a, (x, y)| a.max(f64::from((x - y).abs())));
        self.note(tensor, if found.len() == expected.len() { error / bound } else { f64::INFINITY });
    }

    /// Relative L2 norm of the difference.
    fn norm(&mut self, tensor: String, found: &[f32], expected: &[f32], tolerance: f64) {
        if found.len() != expected.len() {
            return self.note(format!("{tensor} (length {} not {})", found.len(), expected.len()), f64::INFINITY);
        }
        let square = |x: f64| x * x;
        let total: f64 = expected.iter().map(|x| square(f64::from(*x))).sum();
        let error: f64 = found.iter().zip(expected).map(|(x, y)| square(f64::from(x - y))).sum();
        self.note(tensor, error.sqrt() / (tolerance * total.sqrt().max(1e-6)));
    }
}

/// Gradients that are rounding alone.
#[derive(Clone, Copy)]
struct Noise {
    /// The largest of them.
    gradient: f64,
    /// Steps of the case.
    steps: u64,
}

impl Noise {
    /// Whether Adam's second moment after all steps can be that of noise alone, with β₂ = 0.999.
    fn explains(self, second_moment: f32) -> bool {
        f64::from(second_moment) <= self.gradient * self.gradient * 1e-3 * self.steps as f64
    }
}

fn run_case(folder: &Path, threads: usize, idle_rows: IdleRows) -> Verdict {
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).expect("a manifest")).expect("JSON");
    let pipeline = Pipeline::load(&folder.join("pipeline.config"), &Edits::default()).expect("the config can be read");
    let trace = Trace::read(&folder.join("trace.safetensors"));
    let rows = vec![folder.join("rows.tsv").display().to_string()];
    let features = FeatureSet::new(&pipeline).expect("the features can be built");
    let pool = Arc::new(Pool::new(threads).expect("threads"));
    let options = TrainerOptions { keep: Keep::Everything, idle_rows, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&pipeline, &features, Arc::clone(&pool), options).expect("the model can be built");
    let mut verdict = Verdict { worst: 0.0, tensor: "-".to_owned(), compared: 0, least: 20 };

    // The trace's initial values; every variable of either side must be one of the other's.
    for entry in &mut trainer.parameters_mut().entries {
        match trace.0.get(&format!("init/{}", entry.name)) {
            // The trace has scalars as vectors of one element.
            Some(tensor) if tensor.shape == entry.shape || entry.shape.is_empty() && tensor.shape == [1] => {
                entry.values.clone_from(&tensor.values)
            }
            _ => verdict.note(format!("init/{} (not in the trace)", entry.name), f64::INFINITY),
        }
    }
    for variable in manifest["variables"].as_array().expect("variables").iter().filter(|variable| variable["trainable"] == true) {
        let name = variable["name"].as_str().expect("a name");
        if trainer.parameters().get(name).is_none() {
            verdict.note(format!("{name} (not in the model)"), f64::INFINITY);
        }
    }

    let largest = trace.under("grad1/").flat_map(|(_, tensor)| &tensor.values).fold(0.0_f32, |a, g| a.max(g.abs()));
    let steps = manifest["steps"].as_u64().expect("steps");
    let noise = Noise { gradient: 4.0 * f64::from(largest) * f64::from(f32::EPSILON), steps };
    let is_noise = |v: &f32| noise.explains(*v);
    let moments = trace.under("after").filter(|(name, _)| name.ends_with("/Adam_1") && !name.contains("embedding_weights"));
    let bias = trace.get(&format!("after{steps}/output/bias/Adam_1"));
    let has_free_offset = bias.is_some_and(|v| v.iter().all(is_noise));
    let has_noise = moments.flat_map(|(_, tensor)| &tensor.values).any(is_noise);
    // Of a case with random numbers in its losses only what comes before them can be compared.
    let is_random = manifest["note"].as_str().is_some_and(|note| note.starts_with("RANDOM"));
    if is_random {
        verdict.least = 4;
    }
    let mut rates = 0.0;
    let options = ReaderOptions::train(&pipeline, rows.clone(), 0).expect("reading options");
    let reader = Reader::new(options, features.clone()).expect("the rows can be read");
    for batch in reader.take(steps as usize) {
        let batch = batch.expect("the rows are right").features;
        let step = trainer.global_step + 1;
        let name = |what: &str| format!("step{step}/{what}");
        trainer.backward(&batch);
        let losses = trainer.losses();
        let tolerance = if step == 1 { 1e-5 } else { 1e-3 };
        if step == 1 {
            let names: Vec<&str> = trainer.outputs().iter().map(|output| output.name.as_str()).collect();
            let is_predicted = |name: &str| !NOT_PREDICTED.contains(&name) && !name.contains('/') && !name.starts_with("similarity_");
            for (prediction, _) in trace.under("step1/").filter(|(name, _)| is_predicted(name)) {
                assert!(names.contains(&prediction), "{prediction} is predicted, as it is in the trace");
            }
        }
        for (i, output) in trainer.outputs().iter().enumerate() {
            if let Some(expected) = trace.get(&name(&output.name)) {
                let (tensor, found) = (name(&output.name), trainer.prediction(i));
                match output.name.as_str() {
                    "logits" if has_free_offset && step > 1 => verdict.up_to_offset(tensor, &found, expected, 2.2 * rates, tolerance),
                    "probs" if has_free_offset && step > 1 => {
                        verdict.magnitude_within(tensor, &found, expected, 0.25 * 2.2 * rates + tolerance)
                    }
                    _ => verdict.magnitude(tensor, &found, expected, tolerance),
                }
            }
        }
        for (label, values) in trace.under(&name("label/")) {
            let place = features.label_names().iter().position(|known| known == label).expect("a label");
            verdict.magnitude(name(label), &batch.labels[place], &values.values, 1e-7);
        }
        if is_random {
            break;
        }
        if step == 1 {
            for (group, values) in trainer.group_tensors() {
                // Traces of models without a backbone have other names, or none.
                let names = [format!("step1/input_layer/{group}"), format!("step1/group/{group}")];
                let known = names.iter().find_map(|name| Some((name, trace.get(name)?)));
                assert!(known.is_some() || pipeline_has_no_backbone(&pipeline), "group {group} is in the trace");
                if let Some((name, expected)) = known {
                    verdict.magnitude(name.clone(), &values, expected, tolerance);
                }
            }
            let blocks: BTreeMap<String, Vec<f32>> = trainer.block_tensors().into_iter().collect();
            for (block, expected) in trace.under("step1/block/") {
                let found = blocks.get(block).map_or(&[][..], Vec::as_slice);
                verdict.magnitude(format!("step1/block/{block}"), found, &expected.values, tolerance);
            }
            let gradients: BTreeMap<String, Vec<f32>> = trainer.dense_gradients().into_iter().collect();
            for (variable, expected) in trace.under("grad1/") {
                let found = gradients.get(variable).map_or(&[][..], Vec::as_slice);
                verdict.gradient(format!("grad1/{variable}"), found, &expected.values, noise.gradient, tolerance);
            }
        }
        let regularization: Vec<f32> = trace.get(&name("reg_terms")).map_or(Vec::new(), |terms| vec![terms.iter().sum()]);
        let terms: BTreeMap<&str, f32> = trainer.loss_terms().collect();
        for (term, expected) in trace.under(&name("loss_dict/")) {
            let found = terms.get(term).map_or(Vec::new(), |loss| vec![*loss]);
            verdict.magnitude(name(&format!("loss_dict/{term}")), &found, &expected.values, tolerance);
        }
        if let Some(expected) = trace.get(&name("loss_terms")).filter(|_| trace.under(&name("loss_dict/")).next().is_none()) {
            verdict.magnitude(name("loss_terms"), &terms.values().copied().collect::<Vec<_>>(), expected, tolerance);
        }
        for (what, value) in [("total_loss", losses.total), ("lr", losses.learning_rate)] {
            if let Some(expected) = trace.get(&name(what)) {
                verdict.magnitude(name(what), &[value], expected, if what == "lr" { 1e-6 } else { tolerance });
            }
        }
        if !regularization.is_empty() {
            verdict.magnitude(name("reg_terms"), &[losses.regularization], &regularization, tolerance);
        }
        rates += f64::from(trainer.apply().learning_rate);
        let tolerance = if step > 5 { 1e-3 } else { 1e-4 };
        if trace.under(&format!("after{step}/")).next().is_none() {
            // Reading the variables would end the waiting of idle rows.
            continue;
        }
        let (parameters, state) = trainer.state();
        let state: BTreeMap<String, Vec<f32>> = state.into_iter().map(|(name, _, values)| (name, values.to_vec())).collect();
        for (variable, expected) in trace.under(&format!("after{step}/")).filter(|(variable, _)| *variable != "global_step") {
            let weights = parameters.get(variable).map(|entry| &entry.values);
            let found = weights.or_else(|| state.get(variable)).map_or(&[][..], Vec::as_slice);
            let name = format!("after{step}/{variable}");
            let weight = variable.rsplit_once("/Adam").map_or(variable, |(weight, _)| weight);
            let v = ["Adam_1", "AdamW_1"].iter().find_map(|slot| trace.get(&format!("after{steps}/{weight}/{slot}")));
            match v {
                Some(v) if weight == variable => {
                    verdict.norm_without_noise(name, found, &expected.values, v, noise, 2.2 * rates, tolerance);
                }
                Some(v) => verdict.norm_without_noise(name, found, &expected.values, v, noise, noise.gradient, tolerance),
                // What noise moved in front of a batch norm arrives in its mean, one hundredth a step, and is taken out again there.
                None if has_noise && variable.ends_with("/moving_mean") => {
                    let bound = 2.2 * rates * 0.01 * step as f64 * MOST_INPUTS;
                    verdict.magnitude_within(name, found, &expected.values, bound);
                }
                None => verdict.norm(name, found, &expected.values, tolerance),
            }
        }
    }
    assert!(is_random || trainer.global_step == steps, "{}: the rows give all steps", folder.display());
    evaluate(&pipeline, &features, &trace, &manifest, &rows, steps, &pool, &mut verdict);
    verdict
}

fn pipeline_has_no_backbone(pipeline: &Pipeline) -> bool {
    pipeline.proto.model_config.as_ref().is_some_and(|model| model.backbone.is_none())
}

#[expect(clippy::too_many_arguments, reason = "a test helper that needs all of the case")]
fn evaluate(
    pipeline: &Pipeline,
    features: &FeatureSet,
    trace: &Trace,
    manifest: &serde_json::Value,
    rows: &[String],
    steps: u64,
    pool: &Arc<Pool>,
    verdict: &mut Verdict,
) {
    let last = format!("after{steps}/");
    let entries = trace.under(&last).map(|(name, tensor)| Parameter {
        name: name.to_owned(),
        shape: tensor.shape.clone(),
        trainable: true,
        values: tensor.values.clone(),
    });
    let parameters = Parameters { entries: entries.collect() };
    let mut scorer =
        Scorer::new(pipeline, features, Purpose::Prediction, Arc::clone(pool), Precision::F32).expect("the model can be built");
    let outputs = scorer.outputs().to_vec();
    let options = ReaderOptions::sequential(pipeline, rows.to_vec()).expect("reading options");
    let mut scorer = scorer.with(&parameters).expect("all variables are there");
    let mut columns = vec![Vec::new(); outputs.len()];
    for batch in Reader::new(options, features.clone()).expect("the rows can be read") {
        let scores = scorer.score(&batch.expect("the rows are right").features);
        columns.iter_mut().zip(scores.columns).for_each(|(all, column)| all.extend(column));
    }
    for (output, found) in outputs.iter().zip(&columns) {
        let name = format!("eval/{}", output.name);
        if let Some(expected) = trace.get(&name) {
            verdict.magnitude(name, &found[..expected.len().min(found.len())], expected, 1e-5);
        }
    }
    let Some(figures) = manifest["eval_metrics"].as_object() else { return };
    // Metrics of the trace's own scores: two rows whose scores differ in the last bit may change places otherwise.
    let evaluator = Evaluator::new(pipeline, features, Arc::clone(pool), Precision::F32).expect("the metrics can be built");
    let traced: Option<Vec<&[f32]>> = outputs.iter().map(|output| trace.get(&format!("eval/{}", output.name))).collect();
    let Some(traced) = traced else { return };
    let mut first = 0;
    let mut metrics = evaluator.fresh_metrics();
    let options = ReaderOptions::sequential(pipeline, rows.to_vec()).expect("reading options");
    for batch in Reader::new(options, features.clone()).expect("the rows can be read") {
        let batch = batch.expect("the rows are right").features;
        let range = |width: usize| first * width..(first + batch.rows) * width;
        let columns = traced.iter().zip(&outputs).map(|(column, output)| column[range(output.width)].to_vec()).collect();
        metrics.update(&Scores { columns, losses: Vec::new() }, &batch).expect("the metrics take the rows");
        first += batch.rows;
    }
    let found: BTreeMap<String, f64> = metrics.finish().into_iter().collect();
    for (name, expected) in figures {
        if let (Some(found), Some(expected)) = (found.get(name.as_str()), expected.as_f64()) {
            // EasyRec sums and divides in f32.
            verdict.note(format!("metric {name}: {found} not {expected}"), (found - expected).abs() / 1e-6);
        }
    }
}

/// Case folders below `directory`, by name.
fn cases(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(directory)
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.join("trace.safetensors").is_file() && path.join("pipeline.config").is_file())
                .collect()
        })
        .unwrap_or_default();
    found.sort();
    found
}

fn run_all(folders: &[PathBuf]) -> Vec<String> {
    let mut failed = Vec::new();
    for (i, folder) in folders.iter().enumerate() {
        let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        // One and two threads, and rows that move at once or wait, in turn: the bits are the same.
        let idle_rows = if i % 4 < 2 { IdleRows::Waiting } else { IdleRows::EveryStep };
        let result = std::panic::catch_unwind(|| run_case(folder, 1 + i % 2, idle_rows));
        let (state, line) = match &result {
            Ok(verdict) if verdict.worst <= 1.0 && verdict.compared > verdict.least => {
                ("ok", format!("{} {:.3}", verdict.tensor, verdict.worst))
            }
            Ok(verdict) => ("FAIL", format!("{} {:.3}", verdict.tensor, verdict.worst)),
            Err(panic) => ("FAIL", panic.downcast_ref::<String>().cloned().unwrap_or_default()),
        };
        println!("{name} {state} {line}");
        if state == "FAIL" {
            failed.push(name);
        }
    }
    failed
}

/// Cases that need parts which are not there yet, by the start of their names.
fn wanted(name: &str) -> bool {
    match std::env::var("RANKMILL_GOLDEN_ONLY") {
        Ok(prefixes) => prefixes.split(',').any(|prefix| name.starts_with(prefix)),
        Err(_) => true,
    }
}

#[test]
fn the_repositorys_own_cases() {
    let own = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    assert!(own.len() >= 6, "the repository has its own traces");
    assert_eq!(run_all(&own), Vec::<String>::new(), "cases that differ from EasyRec");
}

#[test]
fn the_cases_of_other_directories() {
    let Ok(directories) = std::env::var("RANKMILL_GOLDEN") else {
        println!("SKIPPED: RANKMILL_GOLDEN names no directories of traces");
        return;
    };
    let all: Vec<PathBuf> = directories.split(':').flat_map(|directory| cases(Path::new(directory))).collect();
    assert!(!all.is_empty(), "RANKMILL_GOLDEN={directories} holds no cases");
    let name = |path: &PathBuf| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let chosen: Vec<PathBuf> = all.into_iter().filter(|path| wanted(&name(path))).collect();
    assert_eq!(run_all(&chosen), Vec::<String>::new(), "cases that differ from EasyRec");
}
