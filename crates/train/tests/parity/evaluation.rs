//! The evaluation graph with a trace's final variables, and the metrics of its scores.

use std::collections::BTreeMap;
use std::sync::Arc;

use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::{Parameter, Parameters, Purpose, Scorer, Scores};
use rankmill_train::evaluate::Evaluator;

use super::compare::FIRST_STEP;
use super::trace::Case;
use super::verdict::{Verdict, share_of_magnitude};

/// EasyRec sums and divides in `f32`.
const METRIC: f64 = 1e-6;

pub(crate) fn evaluate(case: &Case, threads: usize, verdict: &mut Verdict) {
    let pool = Arc::new(Pool::new(threads).expect("threads"));
    let parameters = final_variables(case);
    let mut scorer = Scorer::new(&case.pipeline, &case.features, Purpose::Prediction, Arc::clone(&pool), Precision::F32)
        .expect("the model can be built");
    let outputs = scorer.outputs().to_vec();
    let mut scorer = scorer.with(&parameters).expect("all variables are there");
    let mut columns = vec![Vec::new(); outputs.len()];
    for batch in case.evaluation_batches() {
        columns.iter_mut().zip(scorer.score(&batch).columns).for_each(|(all, column)| all.extend(column));
    }
    let traced: Vec<Option<&[f32]>> = outputs.iter().map(|output| case.trace.get(&format!("eval/{}", output.name))).collect();
    for ((output, found), expected) in outputs.iter().zip(&columns).zip(&traced) {
        if let Some(expected) = expected {
            let found = &found[..expected.len().min(found.len())];
            verdict.note(format!("eval/{}", output.name), share_of_magnitude(found, expected, FIRST_STEP));
        }
    }
    let widths: Vec<usize> = outputs.iter().map(|output| output.width).collect();
    if let Some(traced) = traced.into_iter().collect::<Option<Vec<&[f32]>>>() {
        metrics(case, &pool, &traced, &widths, verdict);
    }
}

fn final_variables(case: &Case) -> Parameters {
    // The trace has scalars as vectors of one element.
    let declared = case.manifest["variables"].as_array().expect("variables");
    let is_scalar =
        |name: &str| declared.iter().any(|variable| variable["name"] == name && variable["shape"].as_array().is_some_and(Vec::is_empty));
    let last = format!("after{}/", case.steps);
    let entries = case.trace.under(&last).map(|(name, tensor)| Parameter {
        name: name.to_owned(),
        shape: if is_scalar(name) { Vec::new() } else { tensor.shape.clone() },
        trainable: true,
        values: tensor.values.clone(),
    });
    Parameters { entries: entries.collect(), ..Parameters::default() }
}

/// Metrics of the trace's own scores: two rows whose scores differ in the last bit may change places otherwise.
fn metrics(case: &Case, pool: &Arc<Pool>, traced: &[&[f32]], widths: &[usize], verdict: &mut Verdict) {
    let Some(figures) = case.manifest["eval_metrics"].as_object() else { return };
    let evaluator = Evaluator::new(&case.pipeline, &case.features, Arc::clone(pool), Precision::F32).expect("the metrics can be built");
    let mut metrics = evaluator.fresh_metrics();
    let mut first = 0;
    for batch in case.evaluation_batches() {
        let range = |width: usize| first * width..(first + batch.rows) * width;
        let columns = traced.iter().zip(widths).map(|(column, width)| column[range(*width)].to_vec()).collect();
        metrics.update(&Scores { columns, losses: Vec::new() }, &batch).expect("the metrics take the rows");
        first += batch.rows;
    }
    let found: BTreeMap<String, f64> = metrics.finish().into_iter().collect();
    for (name, expected) in figures {
        if let (Some(found), Some(expected)) = (found.get(name.as_str()), expected.as_f64()) {
            verdict.note(format!("metric {name}: {found} not {expected}"), (found - expected).abs() / METRIC);
        }
    }
}
