//! A model from variables that another system trained, by EasyRec's variable names.

mod npy;
mod read;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rankmill_config::{Diagnostics, Pipeline, nearest};
use rankmill_data::FeatureSet;
use rankmill_graph::Graph;
use rankmill_model::bundle::{BundleError, GoldenRows, Manifest, write_bundle};
use rankmill_model::{Model, Parameter, Parameters, Purpose};

pub use read::{Variable, read_variables};

/// Why variables can't become a model.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file can't be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The config can't be built.
    #[error(transparent)]
    Config(#[from] Diagnostics),
    /// The variables are not those of the config's model.
    #[error("{}", list(mismatches))]
    Mismatch {
        /// Each variable of the model that has no values.
        mismatches: Vec<Mismatch>,
    },
    /// A dynamic table, whose rows say nothing without their keys.
    #[error("`{name}` has ev_params; the variables of dynamic tables can't be imported, since the files hold no keys of their rows")]
    DynamicTable {
        /// The feature, or the shared table.
        name: String,
    },
    /// There is something already where the model is to be.
    #[error("{}: exists already", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// The model can't be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// A variable of the model for which the file has no values, or none of its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The variable.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The shape in the file.
    pub found: Option<Vec<usize>>,
    /// A variable of the file that is not the model's and may be meant.
    pub nearest: Option<String>,
}

fn list(mismatches: &[Mismatch]) -> String {
    let line = |mismatch: &Mismatch| {
        let Mismatch { name, shape, found, nearest } = mismatch;
        match (found, nearest) {
            (Some(found), _) => format!("  {name} {shape:?}: the file has it with shape {found:?}"),
            (None, Some(nearest)) => format!("  {name} {shape:?}: is missing; is it `{nearest}`?"),
            (None, None) => format!("  {name} {shape:?}: is missing"),
        }
    };
    let lines: Vec<String> = mismatches.iter().map(line).collect();
    format!("{} of the model's variables have no values:\n{}", lines.len(), lines.join("\n"))
}

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Variables of the model.
    pub variables: usize,
    /// Their elements.
    pub elements: usize,
    /// Variables of the file that the model does not have.
    pub ignored: Vec<String>,
}

/// Writes a bundle of the config and the variables into `directory`, which must not exist; `global_step` is how many steps they were
/// trained for.
///
/// # Errors
/// All variables that are missing or have another shape, or else the first thing that is wrong.
pub fn import(pipeline: &Pipeline, variables: Vec<Variable>, directory: &Path, global_step: u64) -> Result<Imported, ImportError> {
    if directory.exists() {
        return Err(ImportError::Exists { path: directory.to_owned() });
    }
    let features = FeatureSet::new(pipeline)?;
    let model = Model::build(pipeline, &features, Purpose::Prediction)?;
    if let Some(table) = model.dynamic.first() {
        return Err(ImportError::DynamicTable { name: table.name.clone() });
    }
    let (parameters, ignored) = matched(&model.graph, variables)?;
    let manifest = Manifest::new(global_step, &[], GoldenRows::default());
    write_aside(directory, |aside| write_bundle(aside, pipeline, &parameters, &manifest))?;
    Ok(Imported { variables: parameters.entries.len(), elements: parameters.count(), ignored })
}

/// The values of the parameters of `graph`, and the names of what it does not have.
fn matched(graph: &Graph, variables: Vec<Variable>) -> Result<(Parameters, Vec<String>), ImportError> {
    let slots = graph.parameters();
    let (known, others): (Vec<Variable>, Vec<Variable>) =
        variables.into_iter().partition(|variable| slots.iter().any(|slot| slot.name == variable.name));
    let mut entries = Vec::with_capacity(slots.len());
    let mut mismatches = Vec::new();
    let mut known: Vec<Option<Variable>> = known.into_iter().map(Some).collect();
    for slot in slots {
        let found = known.iter_mut().find(|known| known.as_ref().is_some_and(|variable| variable.name == slot.name));
        let (name, shape) = (slot.name.clone(), slot.shape.dims.clone());
        match found.and_then(Option::take) {
            Some(Variable { shape: found, values, .. }) if found == shape => {
                entries.push(Parameter { name, shape, trainable: slot.trainable, values });
            }
            Some(Variable { shape: found, .. }) => mismatches.push(Mismatch { name, shape, found: Some(found), nearest: None }),
            None => {
                let nearest = meant(&name, &shape, &others);
                mismatches.push(Mismatch { name, shape, found: None, nearest });
            }
        }
    }
    let others = others.into_iter().map(|variable| variable.name).collect();
    if mismatches.is_empty() { Ok((Parameters { entries, keys: Vec::new() }, others)) } else { Err(ImportError::Mismatch { mismatches }) }
}

/// Which of the file's variables may be meant: one of a similar name, or else the only one of that shape with the same last word.
fn meant(name: &str, shape: &[usize], others: &[Variable]) -> Option<String> {
    if let Some(near) = nearest(name, others.iter().map(|other| other.name.as_str())) {
        return Some(near.to_owned());
    }
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let mut alike = others.iter().filter(|other| other.shape == shape && last(&other.name) == last(name));
    alike.next().filter(|_| alike.next().is_none()).map(|other| other.name.clone())
}

/// Fills a directory aside, syncs it and gives it its name.
fn write_aside(directory: &Path, fill: impl FnOnce(&Path) -> Result<(), BundleError>) -> Result<(), BundleError> {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or("model");
    let aside = directory.with_file_name(format!(".{name}.partial"));
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(BundleError::io(&aside)(error)),
        _ => {}
    }
    fs::create_dir_all(&aside).map_err(BundleError::io(&aside))?;
    let sync = || File::open(&aside).and_then(|folder| folder.sync_all()).map_err(BundleError::io(&aside));
    let written = fill(&aside).and_then(|()| sync()).and_then(|()| fs::rename(&aside, directory).map_err(BundleError::io(directory)));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&aside);
    }
    written
}

#[cfg(test)]
mod tests {
    use rankmill_graph::Shape;

    use super::*;

    fn variable(name: &str, shape: &[usize]) -> Variable {
        Variable { name: name.to_owned(), shape: shape.to_vec(), values: vec![1.5; shape.iter().product()] }
    }

    fn graph() -> Graph {
        let mut graph = Graph::new();
        for (name, dims) in [("output/kernel", &[4, 1][..]), ("output/bias", &[1]), ("backbone/mlp/layer_0/kernel", &[3, 4])] {
            graph.declare(name, Shape::fixed(dims), true).expect("another name");
        }
        graph
    }

    #[test]
    fn variables_are_taken_by_name_in_the_order_of_the_model() {
        let names = ["global_step", "output/bias", "backbone/mlp/layer_0/kernel", "output/kernel", "output/kernel/Adam"];
        let shapes: [&[usize]; 5] = [&[], &[1], &[3, 4], &[4, 1], &[4, 1]];
        let variables = names.iter().zip(shapes).map(|(name, shape)| variable(name, shape)).collect();
        let (parameters, ignored) = matched(&graph(), variables).expect("all are there");
        let found: Vec<&str> = parameters.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(found, ["output/kernel", "output/bias", "backbone/mlp/layer_0/kernel"]);
        assert_eq!(ignored, ["global_step", "output/kernel/Adam"]);
    }

    #[test]
    fn all_that_is_missing_or_misshapen_is_listed_with_what_may_be_meant() {
        let variables = vec![variable("output/kernel", &[1, 4]), variable("output/biass", &[1]), variable("mlp/0/kernel", &[3, 4])];
        let error = matched(&graph(), variables).expect_err("nothing fits");
        let expected = "3 of the model's variables have no values:\n  \
                        output/kernel [4, 1]: the file has it with shape [1, 4]\n  \
                        output/bias [1]: is missing; is it `output/biass`?\n  \
                        backbone/mlp/layer_0/kernel [3, 4]: is missing; is it `mlp/0/kernel`?";
        assert_eq!(error.to_string(), expected);
    }
}
