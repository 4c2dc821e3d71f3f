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
//! A case is first compared by these plain tolerances. If it fails, it is compared once more with the rules below, each of which holds
//! where EasyRec's own numbers are rounding noise. The line of a case names the rules it needs, each with the tensor that is the farthest
//! off and how many plain tolerances that is; the last line counts them.
//!
//! - *Spread*: an offset in front of a batch norm has the gradient 0 in exact arithmetic; a trace then holds a few units in the last place
//!   of the large terms that cancel, and Adam, which divides a gradient by its own size, makes full steps of them. How far that goes is
//!   measured: a tensor may differ by 4 times as much as our own run does from itself when the rows of every batch are shuffled and the
//!   initial values move by one unit in the last place, in any of eight ways (see [`parity::spread`]), and a gradient
//!   by 4 units in the last place of the case's largest one.
//! - *Nearer to exact values*: through many batch norms EasyRec errs by more than 1e-5 itself. Where `reference/exact.py` has computed a
//!   tensor of the first step in double precision (`tests/exact`), ours must be at least as near to it as the trace.
//! - *Kink*: where a pre-activation of a ReLU, or the lead of a maximum, is within rounding of 0, no agreement can be asked for after that
//!   step. A case that still fails is compared up to the first step at which its gradient provably jumps (see [`kinks`]), if there is one.

#![expect(clippy::print_stdout, reason = "a line for each case is what the runner is for")]

mod parity;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use parity::compare::{Judge, Way, compare, trainer};
use parity::kinks;
use parity::spread::Spread;
use parity::trace::{Case, name};
use parity::verdict::{Rule, Verdict};
use rankmill_train::step::IdleRows;

/// The verdict on a case: by the plain tolerances if they are met, else by the rules, else by the rules up to a kink.
fn run_case(folder: &Path, way: Way) -> Verdict {
    let case = Case::read(folder);
    let plain = compare(&case, way, Judge::Plainly);
    if plain.passes() {
        return plain;
    }
    let spread = Spread::measure(&case);
    let whole = compare(&case, way, Judge::ByRules(&spread, u64::MAX));
    let mut fresh = trainer(&case, Way { threads: 1, idle_rows: IdleRows::EveryStep }).0;
    match if whole.passes() { None } else { kinks::first_kink(&mut fresh, case.batches()) } {
        Some(step) => {
            let mut verdict = compare(&case, way, Judge::ByRules(&spread, step - 1));
            verdict.rules.insert(Rule::Kink, (whole.worst, format!("step {step}, {}", whole.tensor)));
            verdict
        }
        None => whole,
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

/// What came of all cases.
#[derive(Default)]
struct Summary {
    passed: usize,
    plain: usize,
    by_rule: BTreeMap<Rule, usize>,
    failed: Vec<String>,
}

impl Summary {
    fn print(&self) {
        let rules: Vec<String> = self.by_rule.iter().map(|(rule, cases)| format!("{rule} {cases}")).collect();
        println!(
            "{} cases passed, {} of them by the plain tolerances alone; the others need (some several): {}; {} failed",
            self.passed,
            self.plain,
            if rules.is_empty() { "-".to_owned() } else { rules.join(", ") },
            self.failed.len()
        );
    }
}

fn run_all(folders: &[PathBuf]) -> Vec<String> {
    let mut summary = Summary::default();
    for (i, folder) in folders.iter().enumerate() {
        // One and two threads, and rows that move at once or wait, in turn: the bits are the same.
        let idle_rows = if i % 4 < 2 { IdleRows::Waiting } else { IdleRows::EveryStep };
        let result = std::panic::catch_unwind(|| run_case(folder, Way { threads: 1 + i % 2, idle_rows }));
        let (passes, line) = match &result {
            Ok(verdict) => (verdict.passes(), line(verdict)),
            Err(panic) => (false, panic.downcast_ref::<String>().cloned().unwrap_or_default()),
        };
        println!("{} {} {line}", name(folder), if passes { "ok" } else { "FAIL" });
        match result {
            Ok(verdict) if passes => {
                summary.passed += 1;
                summary.plain += usize::from(verdict.rules.is_empty());
                verdict.rules.keys().for_each(|rule| *summary.by_rule.entry(*rule).or_default() += 1);
            }
            _ => summary.failed.push(name(folder)),
        }
    }
    summary.print();
    summary.failed
}

/// The tensor that is nearest to what is allowed, then the rules that are needed, each with the tensor that is the farthest from its plain
/// tolerance and how many times that it is off.
fn line(verdict: &Verdict) -> String {
    let rules = verdict.rules.iter().map(|(rule, (times, tensor))| format!("; {rule}: {tensor} {times:.1}"));
    format!("{} {:.3}{}", verdict.tensor, verdict.worst, rules.collect::<String>())
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
    let case = Case::read(&folder);
    let way = Way { threads: 1, idle_rows: IdleRows::EveryStep };
    let (mut run, _) = trainer(&case, way);
    assert_eq!(kinks::first_kink(&mut run, case.batches().take(3)), None, "all instruction sets agree with the trace here");

    let (mut trainer, _) = trainer(&case, way);
    trainer.backward(&case.batches().next().expect("a batch"));
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
    assert_eq!(kinks::first_kink(&mut trainer, case.batches()), Some(1));
}

#[test]
fn the_cases_of_other_directories() {
    let Ok(directories) = std::env::var("RANKMILL_GOLDEN") else {
        println!("SKIPPED: RANKMILL_GOLDEN names no directories of traces");
        return;
    };
    let all: Vec<PathBuf> = directories.split(':').flat_map(|directory| cases(Path::new(directory))).collect();
    assert!(!all.is_empty(), "RANKMILL_GOLDEN={directories} holds no cases");
    let chosen: Vec<PathBuf> = all.into_iter().filter(|path| wanted(&name(path))).collect();
    assert_eq!(run_all(&chosen), Vec::<String>::new(), "cases that differ from EasyRec");
}
