//! Parity with EasyRec: whole training runs against traces of it.
//!
//! Every case folder is run: those beside this file, and those in the directories that the environment variable `RANKMILL_GOLDEN` names
//! (separated by `:`; `RANKMILL_GOLDEN_ONLY` picks cases by the starts of their names, `RANKMILL_GOLDEN_EXCEPT` leaves out cases by their
//! names, separated by `,`).
//! A case holds `pipeline.config`, `rows.tsv`, `manifest.json` and `trace.safetensors`.
//!
//! Tolerances: at step 1 every tensor within 1e-5 of its largest magnitude; later losses and logits within 1e-3 of theirs; variables after 1, 2, 5
//! steps within 1e-4 and after 20 within 1e-3 in relative L2 norm; evaluation with the trace's final variables within 1e-5.
//!
//! Where EasyRec's own numbers are rounding noise, no closer agreement can be asked for. An offset or a constant feature in front of a batch norm has the
//! gradient 0 in exact arithmetic; what a trace holds are a few units in the last place of the large terms that cancel. So a gradient may err
//! by 4 units in the last place of the case's largest gradient, or by 4 times as much as that of its variable changes when the rows of the
//! batch are summed in reverse; moments of gradients may err alike. Elements whose gradient does not exceed that in the root mean square
//! over the steps (by the trace's own second moments), which Adam moves by the sign of noise, are held to the most that Adam can have
//! moved them instead. Losses over pairs and lists do not change when all logits are moved alike: where the output's bias is such noise,
//! later logits are compared up to a common offset that Adam can have made.
//!
//! Where a pre-activation of a ReLU, or the lead of a maximum, is within rounding of 0, no agreement can be asked for after that step. A case that fails is therefore run
//! again, and compared up to the first step at which its gradient provably jumps (see [`kinks`]), if there is one; the line of the case
//! then says so.

#![expect(clippy::print_stdout, reason = "a line for each case is what the runner is for")]

mod kinks;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureBatch, FeatureSet, Reader, ReaderOptions};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::{Model, Parameter, Parameters, Purpose, Scorer, Scores, feature_set};
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

/// How far elements, or their roots, may be apart.
#[derive(Clone, Copy)]
enum Bound {
    OfElements(f64),
    OfRoots(f64),
}

impl Verdict {
    fn passes(&self) -> bool {
        self.worst <= 1.0 && self.compared > self.least
    }

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

    /// As [`Verdict::norm`] over the elements whose second moments `v` in the trace are above that of noise. The others, which Adam moved
    /// by the sign of rounding noise, may differ by `bound`.
    #[expect(clippy::too_many_arguments, reason = "a rule with this many figures")]
    fn norm_without_noise(&mut self, tensor: String, found: &[f32], expected: &[f32], v: &[f32], noise: f64, bound: f64, tolerance: f64) {
        if found.len() != expected.len() || v.len() != expected.len() {
            return self.norm(tensor, found, expected, tolerance);
        }
        let is_noise = |i: &usize| f64::from(v[*i]) <= noise;
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

    /// As [`Verdict::norm`], or as [`Verdict::magnitude_within`] of the elements or their roots, whichever is met better.
    fn norm_or_within(&mut self, tensor: String, found: &[f32], expected: &[f32], bound: Bound, tolerance: f64) {
        let alone = || Verdict { worst: 0.0, tensor: String::new(), compared: 0, least: 0 };
        let roots = |values: &[f32]| -> Vec<f32> { values.iter().map(|v| v.sqrt()).collect() };
        let (mut norm, mut within) = (alone(), alone());
        norm.norm(tensor.clone(), found, expected, tolerance);
        match bound {
            Bound::OfElements(bound) => within.magnitude_within(tensor.clone(), found, expected, bound),
            Bound::OfRoots(bound) => within.magnitude_within(tensor.clone(), &roots(found), &roots(expected), bound),
        }
        self.note(tensor, norm.worst.min(within.worst));
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
struct Noise {
    /// The largest of them in any variable.
    least: f64,
    /// The largest of them in a variable, where it is larger.
    measured: BTreeMap<String, f64>,
    /// Steps of the case.
    steps: u64,
}

impl Noise {
    /// Measures how far the gradients of the first batch change when its rows are summed in reverse.
    fn measure(least: f64, steps: u64, trainer: &mut Trainer, pipeline: &Pipeline, features: &FeatureSet, rows: &Path) -> Noise {
        let batch_size = pipeline.proto.data_config.as_ref().map_or(32, |data| data.batch_size()) as usize;
        let text = fs::read_to_string(rows).expect("the rows can be read");
        let mut first: Vec<&str> = text.lines().take(batch_size).collect();
        let mut gradients = |lines: &[&str]| -> BTreeMap<String, Vec<f32>> {
            let file = tempfile::NamedTempFile::new().expect("a temporary file");
            fs::write(file.path(), lines.join("\n") + "\n").expect("rows can be written");
            let options = ReaderOptions::train(pipeline, vec![file.path().display().to_string()], 0).expect("reading options");
            let batch = Reader::new(options, features.clone()).expect("rows").next().expect("a batch").expect("good rows");
            trainer.backward(&batch.features);
            trainer.dense_gradients().into_iter().collect()
        };
        let forwards = gradients(&first);
        first.reverse();
        let backwards = gradients(&first);
        let change = |(name, values): (String, Vec<f32>)| {
            let other = &backwards[&name];
            let largest = values.iter().zip(other).fold(0.0_f64, |a, (x, y)| a.max(f64::from((x - y).abs())));
            (name, 4.0 * largest)
        };
        Noise { least, measured: forwards.into_iter().map(change).collect(), steps }
    }

    /// The noise of a variable's gradients.
    fn of(&self, variable: &str) -> f64 {
        self.measured.get(variable).copied().unwrap_or(0.0).max(self.least)
    }

    /// Whether Adam's second moment after all steps can be that of noise alone, with β₂ = 0.999.
    fn explains(&self, variable: &str, second_moment: f32) -> bool {
        f64::from(second_moment) <= self.second_moment(variable)
    }

    /// Adam's second moment after all steps of gradients that are noise.
    fn second_moment(&self, variable: &str) -> f64 {
        let gradient = self.of(variable);
        gradient * gradient * 1e-3 * self.steps as f64
    }
}

/// The verdict on a case, and what else there is to say of it.
fn run_case(folder: &Path, threads: usize, idle_rows: IdleRows) -> (Verdict, String) {
    let whole = compare(folder, threads, idle_rows, u64::MAX);
    match if whole.passes() { None } else { first_kink(folder) } {
        Some(step) => {
            let verdict = compare(folder, threads, idle_rows, step - 1);
            (verdict, format!(" (compared up to a kink within rounding, step {step})"))
        }
        None => (whole, String::new()),
    }
}

/// The first step of a case whose gradient rounding decides.
fn first_kink(folder: &Path) -> Option<u64> {
    let (mut trainer, batches) = fresh_run(folder);
    kinks::first_kink(&mut trainer, batches.into_iter())
}

/// A trainer with the trace's initial values, and the batches.
fn fresh_run(folder: &Path) -> (Trainer, Vec<FeatureBatch>) {
    let pipeline = Pipeline::load(&folder.join("pipeline.config"), &Edits::default()).expect("the config can be read");
    let features = feature_set(&pipeline).expect("the features can be built");
    let pool = Arc::new(Pool::new(1).expect("threads"));
    let options = TrainerOptions { keep: Keep::Everything, idle_rows: IdleRows::EveryStep, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&pipeline, &features, pool, options).expect("the model can be built");
    let missing = set_initial_values(&mut trainer, &Trace::read(&folder.join("trace.safetensors")));
    assert_eq!(missing, Vec::<String>::new(), "variables that the trace lacks");
    let rows = vec![folder.join("rows.tsv").display().to_string()];
    let reader = Reader::new(ReaderOptions::train(&pipeline, rows, 0).expect("reading options"), features).expect("the rows can be read");
    let manifest = fs::read_to_string(folder.join("manifest.json")).expect("a manifest");
    let steps = serde_json::from_str::<serde_json::Value>(&manifest).expect("JSON")["steps"].as_u64().expect("steps");
    (trainer, reader.take(steps as usize).map(|batch| batch.expect("the rows are right").features).collect())
}

/// Sets the trace's initial values; gives the variables that it lacks.
fn set_initial_values(trainer: &mut Trainer, trace: &Trace) -> Vec<String> {
    let mut missing = Vec::new();
    for entry in &mut trainer.parameters_mut().entries {
        match trace.0.get(&format!("init/{}", entry.name)) {
            // The trace has scalars as vectors of one element.
            Some(tensor) if tensor.shape == entry.shape || entry.shape.is_empty() && tensor.shape == [1] => {
                entry.values.clone_from(&tensor.values)
            }
            _ => missing.push(entry.name.clone()),
        }
    }
    missing
}

/// Whether the model drops tokens or columns at random in training, by a rate that its config sets or leaves at EasyRec's default.
fn drops(pipeline: &Pipeline, features: &FeatureSet) -> bool {
    let model = Model::build(pipeline, features, Purpose::Training).expect("the model can be built");
    model.graph.values().any(|value| model.graph.node(value).op.name() == "dropout")
}

/// Compares a run with its trace, as far as the gradients of the steps up to `last` decide it.
fn compare(folder: &Path, threads: usize, idle_rows: IdleRows, last: u64) -> Verdict {
    let manifest: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).expect("a manifest")).expect("JSON");
    let pipeline = Pipeline::load(&folder.join("pipeline.config"), &Edits::default()).expect("the config can be read");
    let trace = Trace::read(&folder.join("trace.safetensors"));
    let rows = vec![folder.join("rows.tsv").display().to_string()];
    let features = feature_set(&pipeline).expect("the features can be built");
    let pool = Arc::new(Pool::new(threads).expect("threads"));
    let options = TrainerOptions { keep: Keep::Everything, idle_rows, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&pipeline, &features, Arc::clone(&pool), options).expect("the model can be built");
    let mut verdict = Verdict { worst: 0.0, tensor: "-".to_owned(), compared: 0, least: 20 };

    // Every variable of either side must be one of the other's.
    for name in set_initial_values(&mut trainer, &trace) {
        verdict.note(format!("init/{name} (not in the trace)"), f64::INFINITY);
    }
    for variable in manifest["variables"].as_array().expect("variables").iter().filter(|variable| variable["trainable"] == true) {
        let name = variable["name"].as_str().expect("a name");
        if trainer.parameters().get(name).is_none() {
            verdict.note(format!("{name} (not in the model)"), f64::INFINITY);
        }
    }

    let largest = trace.under("grad1/").flat_map(|(_, tensor)| &tensor.values).fold(0.0_f32, |a, g| a.max(g.abs()));
    let steps = manifest["steps"].as_u64().expect("steps");
    let least = 4.0 * f64::from(largest) * f64::from(f32::EPSILON);
    let noise = Noise::measure(least, steps, &mut trainer, &pipeline, &features, &folder.join("rows.tsv"));
    let finally = format!("after{steps}/");
    let moments = trace.under(&finally).filter_map(|(name, tensor)| Some((name.strip_suffix("/Adam_1")?, tensor)));
    let mut moments = moments.filter(|(name, _)| !name.contains("embedding_weights"));
    let bias = trace.get(&format!("after{steps}/output/bias/Adam_1"));
    let has_free_offset = bias.is_some_and(|v| v.iter().all(|v| noise.explains("output/bias", *v)));
    let has_noise = moments.any(|(name, tensor)| tensor.values.iter().any(|v| noise.explains(name, *v)));
    // Of a case with random numbers in its losses only what comes before them can be compared; with dropout, nothing before evaluation.
    let note = manifest["note"].as_str().unwrap_or_default();
    // Learnt dropout of features is random, too (EasyRec behaviour 163), and so is any other.
    let drops_features = pipeline.proto.model_config.as_ref().is_some_and(|model| model.variational_dropout.is_some());
    let has_random_layers = drops_features || note.starts_with("RANDOM: training differs") || drops(&pipeline, &features);
    let is_random = has_random_layers || note.starts_with("RANDOM");
    if is_random {
        verdict.least = if has_random_layers { 1 } else { 4 };
    }
    let mut rates = 0.0;
    let options = ReaderOptions::train(&pipeline, rows.clone(), 0).expect("reading options");
    let reader = Reader::new(options, features.clone()).expect("the rows can be read");
    for batch in reader.take(steps as usize) {
        let batch = batch.expect("the rows are right").features;
        let step = trainer.global_step + 1;
        if step > last.saturating_add(1) {
            trainer.step(&batch);
            continue;
        }
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
        for (i, output) in trainer.outputs().iter().enumerate().filter(|_| !has_random_layers) {
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
        if drops_features {
            // The loss of the rates is what the total has besides all others.
            let sum = |prefix: &str| trace.under(prefix).flat_map(|(_, tensor)| &tensor.values).map(|x| f64::from(*x)).sum::<f64>();
            let total = sum("step1/total_loss");
            let rest = total - sum("step1/loss_dict/") - sum("step1/reg_terms");
            let found = trainer.loss_terms().find(|(name, _)| *name == "variational_dropout_loss").map_or(f32::NAN, |(_, loss)| loss);
            verdict.note("step1/variational_dropout_loss".to_owned(), (f64::from(found) - rest).abs() / (f64::from(f32::EPSILON) * total));
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
                verdict.gradient(format!("grad1/{variable}"), found, &expected.values, noise.of(variable), tolerance);
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
        if step > last || trace.under(&format!("after{step}/")).next().is_none() {
            // Reading the variables would end the waiting of idle rows.
            continue;
        }
        let (parameters, state) = trainer.state();
        let state: BTreeMap<String, Vec<f32>> = state.into_iter().map(|(name, _, values)| (name, values.to_vec())).collect();
        for (variable, expected) in trace.under(&format!("after{step}/")).filter(|(variable, _)| *variable != "global_step") {
            let weights = parameters.get(variable).map(|entry| &entry.values);
            let found = weights.or_else(|| state.get(variable)).map_or(&[][..], Vec::as_slice);
            let name = format!("after{step}/{variable}");
            let weight = variable.rsplit_once("/Adam").or(variable.rsplit_once("/Momentum")).map_or(variable, |(weight, _)| weight);
            let v = ["Adam_1", "AdamW_1"].iter().find_map(|slot| trace.get(&format!("after{steps}/{weight}/{slot}")));
            let (gradient, second) = (noise.of(weight), noise.second_moment(weight));
            match v {
                Some(v) if weight == variable => {
                    verdict.norm_without_noise(name, found, &expected.values, v, second, 2.2 * rates, tolerance);
                }
                Some(_) if variable.ends_with("_1") => {
                    verdict.norm_or_within(name, found, &expected.values, Bound::OfRoots(second.sqrt()), tolerance);
                }
                Some(_) => verdict.norm_or_within(name, found, &expected.values, Bound::OfElements(gradient), tolerance),
                // Momentum adds up to ten gradients up.
                None if variable.ends_with("/Momentum") => {
                    verdict.norm_or_within(name, found, &expected.values, Bound::OfElements(10.0 * gradient), tolerance);
                }
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
    // The trace has scalars as vectors of one element.
    let declared = manifest["variables"].as_array().expect("variables");
    let is_scalar =
        |name: &str| declared.iter().any(|variable| variable["name"] == name && variable["shape"].as_array().is_some_and(Vec::is_empty));
    let entries = trace.under(&last).map(|(name, tensor)| Parameter {
        name: name.to_owned(),
        shape: if is_scalar(name) { Vec::new() } else { tensor.shape.clone() },
        trainable: true,
        values: tensor.values.clone(),
    });
    let parameters = Parameters { entries: entries.collect(), ..Parameters::default() };
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
            Ok((verdict, note)) => (if verdict.passes() { "ok" } else { "FAIL" }, format!("{} {:.3}{note}", verdict.tensor, verdict.worst)),
            Err(panic) => ("FAIL", panic.downcast_ref::<String>().cloned().unwrap_or_default()),
        };
        println!("{name} {state} {line}");
        if state == "FAIL" {
            failed.push(name);
        }
    }
    failed
}

/// Whether the environment asks for a case.
fn wanted(name: &str) -> bool {
    let list = |variable: &str| std::env::var(variable).ok();
    let is_in = |names: String| names.split(',').any(|prefix| name.starts_with(prefix));
    let left_out = |names: String| names.split(',').any(|other| other == name);
    list("RANKMILL_GOLDEN_ONLY").is_none_or(is_in) && !list("RANKMILL_GOLDEN_EXCEPT").is_some_and(left_out)
}

#[test]
fn the_repositorys_own_cases() {
    let own = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    assert!(own.len() >= 6, "the repository has its own traces");
    assert_eq!(run_all(&own), Vec::<String>::new(), "cases that differ from EasyRec");
}

/// Biases that cancel the rest of the first row's pre-activations up to rounding.
#[test]
fn kinks_are_found_where_there_are_some() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/masknet_serial");
    let (mut trainer, batches) = fresh_run(&folder);
    assert_eq!(kinks::first_kink(&mut trainer, batches.into_iter().take(3)), None, "all instruction sets agree with the trace here");

    let (mut trainer, batches) = fresh_run(&folder);
    trainer.backward(&batches[0]);
    let parameters = trainer.parameters().clone();
    let values = |name: &str| &parameters.get(&format!("backbone/mask_net/{name}")).expect("a variable of the case").values;
    let (gamma, beta, kernel) = (values("input_ln/gamma"), values("input_ln/beta"), values("block_0/aggregation/kernel"));
    let width = gamma.len();
    let row: Vec<f64> = trainer.group_tensors()[0].1[..width].iter().map(|x| f64::from(*x)).collect();
    let mean = row.iter().sum::<f64>() / width as f64;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
    let normed = |i: usize| (row[i] - mean) / (variance + 1e-3).sqrt() * f64::from(gamma[i]) + f64::from(beta[i]);
    let name = "backbone/mask_net/block_0/aggregation/bias";
    let bias = trainer.parameters_mut().entries.iter_mut().find(|entry| entry.name == name).expect("a variable of the case");
    let units = bias.values.len();
    for (j, bias) in bias.values.iter_mut().enumerate() {
        *bias = -(0..width).map(|i| normed(i) * f64::from(kernel[i * units + j])).sum::<f64>() as f32;
    }
    assert_eq!(kinks::first_kink(&mut trainer, batches.into_iter()), Some(1));
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
