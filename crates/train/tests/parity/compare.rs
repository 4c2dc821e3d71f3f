//! A training run against its trace, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use rankmill_data::FeatureBatch;
use rankmill_kernels::pool::Pool;
use rankmill_train::step::{IdleRows, Keep, Trainer, TrainerOptions};

use super::evaluation::evaluate;
use super::spread::Spread;
use super::trace::{Case, Tensor};
use super::verdict::{Rule, Shares, Verdict, share_of_magnitude, share_of_norm, share_of_traced_error};

/// What a trace holds of a step besides predictions.
const NOT_PREDICTED: [&str; 4] = ["loss_terms", "reg_terms", "total_loss", "lr"];

/// Tensors at step 1, and in evaluation.
pub(crate) const FIRST_STEP: f64 = 1e-5;

/// Losses and logits of later steps.
const LATER_STEPS: f64 = 1e-3;

/// How a run is made: what must not change its bits.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) threads: usize,
    pub(crate) idle_rows: IdleRows,
}

/// A trainer with the trace's initial values; variables that the trace lacks are an error in the verdict.
pub(crate) fn trainer(case: &Case, way: Way) -> (Trainer, Vec<String>) {
    let pool = Arc::new(Pool::new(way.threads).expect("threads"));
    let options = TrainerOptions { keep: Keep::Everything, idle_rows: way.idle_rows, ..TrainerOptions::default() };
    let mut trainer = Trainer::new(&case.pipeline, &case.features, pool, options).expect("the model can be built");
    let mut missing = Vec::new();
    for entry in &mut trainer.parameters_mut().entries {
        match case.trace.tensor(&format!("init/{}", entry.name)) {
            // The trace has scalars as vectors of one element.
            Some(Tensor { shape, values }) if *shape == entry.shape || entry.shape.is_empty() && *shape == [1] => {
                entry.values.clone_from(values)
            }
            _ => missing.push(entry.name.clone()),
        }
    }
    (trainer, missing)
}

/// How strictly a run is judged.
#[derive(Clone, Copy)]
pub(crate) enum Judge<'a> {
    /// By the plain tolerances.
    Plainly,
    /// With the rules, and only as far as the gradients of the steps up to the last one decide it.
    ByRules(&'a Spread, u64),
}

/// Compares a run with its trace.
pub(crate) fn compare(case: &Case, way: Way, judge: Judge<'_>) -> Verdict {
    let (trainer, missing) = trainer(case, way);
    let (spread, last) = match judge {
        Judge::Plainly => (None, u64::MAX),
        Judge::ByRules(spread, last) => (Some(spread), last),
    };
    let mut run = Run::new(case, trainer, spread);
    run.variables_are_the_same(&missing);
    for batch in case.batches() {
        let step = run.trainer.global_step + 1;
        if step > last.saturating_add(1) {
            run.trainer.step(&batch);
            continue;
        }
        run.trainer.backward(&batch);
        run.predictions(step);
        run.labels(step, &batch);
        if case.drops_features() {
            run.dropout_loss();
        }
        if case.is_random() {
            break;
        }
        if step == 1 {
            run.first_step();
        }
        run.losses(step);
        run.trainer.apply();
        if step <= last {
            run.variables(step);
        }
    }
    assert!(case.is_random() || run.trainer.global_step == case.steps, "{}: the rows give all steps", case.folder.display());
    let mut verdict = run.verdict;
    evaluate(case, way.threads, &mut verdict);
    verdict
}

/// A run under comparison.
struct Run<'a> {
    case: &'a Case,
    trainer: Trainer,
    /// What rounding explains; nothing for a plain comparison.
    spread: Option<&'a Spread>,
    verdict: Verdict,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, trainer: Trainer, spread: Option<&'a Spread>) -> Run<'a> {
        let mut run = Run { case, trainer, spread, verdict: Verdict::new(20) };
        if case.is_random() {
            run.verdict.least = if case.has_random_layers() { 1 } else { 4 };
        }
        run
    }

    /// Notes a tensor whose plain share is known.
    fn note(&mut self, tensor: String, plain: f64, found: &[f32], expected: &[f32]) {
        match self.spread {
            Some(spread) => {
                let ruled = spread.share(&tensor, found, expected);
                self.verdict.note_by(Rule::Spread, tensor, Shares { plain, ruled });
            }
            None => self.verdict.note(tensor, plain),
        }
    }

    /// Every variable of either side must be one of the other's.
    fn variables_are_the_same(&mut self, missing: &[String]) {
        for name in missing {
            self.verdict.note(format!("init/{name} (not in the trace)"), f64::INFINITY);
        }
        let declared = self.case.manifest["variables"].as_array().expect("variables");
        for variable in declared.iter().filter(|variable| variable["trainable"] == true) {
            let name = variable["name"].as_str().expect("a name");
            if self.trainer.parameters().get(name).is_none() {
                self.verdict.note(format!("{name} (not in the model)"), f64::INFINITY);
            }
        }
    }

    /// A tensor at step 1, where there may be exact values of it.
    fn first(&mut self, tensor: String, found: &[f32], expected: &[f32]) {
        let plain = share_of_magnitude(found, expected, FIRST_STEP);
        match self.case.exact.get(&tensor).filter(|_| self.spread.is_some()) {
            Some(exact) => {
                let ruled = share_of_traced_error(found, expected, exact);
                self.verdict.note_by(Rule::NearerToExact, tensor, Shares { plain, ruled });
            }
            None => self.verdict.note(tensor, plain),
        }
    }

    fn predictions(&mut self, step: u64) {
        let case = self.case;
        let outputs: Vec<String> = self.trainer.outputs().iter().map(|output| output.name.clone()).collect();
        if step == 1 {
            let is_predicted = |name: &str| !NOT_PREDICTED.contains(&name) && !name.contains('/') && !name.starts_with("similarity_");
            for (prediction, _) in case.trace.under("step1/").filter(|(name, _)| is_predicted(name)) {
                assert!(outputs.iter().any(|name| name == prediction), "{prediction} is predicted, as it is in the trace");
            }
        }
        if case.has_random_layers() {
            return;
        }
        for (i, output) in outputs.iter().enumerate() {
            let tensor = format!("step{step}/{output}");
            let Some(expected) = case.trace.get(&tensor) else { continue };
            let found = self.trainer.prediction(i);
            if step == 1 {
                self.first(tensor, &found, expected);
                continue;
            }
            self.note(tensor, share_of_magnitude(&found, expected, LATER_STEPS), &found, expected);
        }
    }

    fn labels(&mut self, step: u64, batch: &FeatureBatch) {
        let prefix = format!("step{step}/label/");
        for (label, values) in self.case.trace.under(&prefix) {
            let place = self.case.features.label_names().iter().position(|known| known == label).expect("a label");
            let share = share_of_magnitude(&batch.labels[place], &values.values, 1e-7);
            self.verdict.note(format!("{prefix}{label}"), share);
        }
    }

    /// The loss of learnt dropout rates, which is what the trace's total has besides all others.
    fn dropout_loss(&mut self) {
        let trace = &self.case.trace;
        let sum = |prefix: &str| trace.under(prefix).flat_map(|(_, tensor)| &tensor.values).map(|x| f64::from(*x)).sum::<f64>();
        let total = sum("step1/total_loss");
        let rest = total - sum("step1/loss_dict/") - sum("step1/reg_terms");
        let found = self.trainer.loss_terms().find(|(name, _)| *name == "variational_dropout_loss").map_or(f32::NAN, |(_, loss)| loss);
        let share = (f64::from(found) - rest).abs() / (f64::from(f32::EPSILON) * total);
        self.verdict.note("step1/variational_dropout_loss".to_owned(), share);
    }

    /// Group tensors, block outputs and gradients.
    fn first_step(&mut self) {
        let case = self.case;
        for (group, values) in self.trainer.group_tensors() {
            // Traces of models without a backbone have other names, or none.
            let names = [format!("step1/input_layer/{group}"), format!("step1/group/{group}")];
            let known = names.iter().find_map(|name| Some((name, case.trace.get(name)?)));
            let has_backbone = case.pipeline.proto.model_config.as_ref().is_none_or(|model| model.backbone.is_some());
            assert!(known.is_some() || !has_backbone, "group {group} is in the trace");
            if let Some((name, expected)) = known {
                self.first(name.clone(), &values, expected);
            }
        }
        let blocks: BTreeMap<String, Vec<f32>> = self.trainer.block_tensors().into_iter().collect();
        for (block, expected) in case.trace.under("step1/block/") {
            let found = blocks.get(block).map_or(&[][..], Vec::as_slice);
            self.first(format!("step1/block/{block}"), found, &expected.values);
        }
        let gradients: BTreeMap<String, Vec<f32>> = self.trainer.dense_gradients().into_iter().collect();
        for (variable, expected) in case.trace.under("grad1/") {
            let found = gradients.get(variable).map_or(&[][..], Vec::as_slice);
            let tensor = format!("grad1/{variable}");
            let plain = share_of_magnitude(found, &expected.values, FIRST_STEP);
            match self.spread.filter(|spread| spread.share(&tensor, found, &expected.values) > 1.0) {
                Some(_) => self.first(tensor, found, &expected.values),
                None => self.note(tensor, plain, found, &expected.values),
            }
        }
    }

    fn losses(&mut self, step: u64) {
        let case = self.case;
        let name = |what: &str| format!("step{step}/{what}");
        let tolerance = if step == 1 { FIRST_STEP } else { LATER_STEPS };
        let losses = self.trainer.losses();
        let terms: BTreeMap<String, f32> = self.trainer.loss_terms().map(|(term, loss)| (term.to_owned(), loss)).collect();
        let prefix = name("loss_dict/");
        for (term, expected) in case.trace.under(&prefix) {
            let found: Vec<f32> = terms.get(term).copied().into_iter().collect();
            let plain = share_of_magnitude(&found, &expected.values, tolerance);
            self.note(format!("{prefix}{term}"), plain, &found, &expected.values);
        }
        if let Some(expected) = case.trace.get(&name("loss_terms")).filter(|_| case.trace.under(&prefix).next().is_none()) {
            let found: Vec<f32> = terms.values().copied().collect();
            self.verdict.note(name("loss_terms"), share_of_magnitude(&found, expected, tolerance));
        }
        for (what, value, tolerance) in [("total_loss", losses.total, tolerance), ("lr", losses.learning_rate, 1e-6)] {
            if let Some(expected) = case.trace.get(&name(what)) {
                self.note(name(what), share_of_magnitude(&[value], expected, tolerance), &[value], expected);
            }
        }
        if let Some(terms) = case.trace.get(&name("reg_terms")) {
            let (found, expected) = ([losses.regularization], [terms.iter().sum::<f32>()]);
            self.note(name("reg_terms"), share_of_magnitude(&found, &expected, tolerance), &found, &expected);
        }
    }

    /// Variables and the optimizer's slots after a step.
    fn variables(&mut self, step: u64) {
        let case = self.case;
        if !case.has_variables(step) {
            // Reading the variables would end the waiting of idle rows.
            return;
        }
        let prefix = format!("after{step}/");
        let (parameters, state) = self.trainer.state();
        let mut found: BTreeMap<String, Vec<f32>> = state.into_iter().map(|(name, _, values)| (name, values.to_vec())).collect();
        found.extend(parameters.entries.iter().map(|entry| (entry.name.clone(), entry.values.clone())));
        for (variable, expected) in case.trace.under(&prefix).filter(|(variable, _)| *variable != "global_step") {
            let found = found.get(variable).map_or(&[][..], Vec::as_slice);
            let plain = share_of_norm(found, &expected.values, if step > 5 { 1e-3 } else { 1e-4 });
            self.note(format!("{prefix}{variable}"), plain, found, &expected.values);
        }
    }
}
