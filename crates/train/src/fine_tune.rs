//! `train_config.fine_tune_checkpoint`: a run that starts from the variables of another model.
//!
//! Every variable that the other model has under the same name and in the same shape starts with its values; the others start anew.
//! With a `fine_tune_ckpt_var_map`, a file of lines `VARIABLE NAME_IN_THE_OTHER_MODEL`, only the variables that it names do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_model::Parameters;
use rankmill_model::bundle::Bundle;

use crate::error::TrainError;

/// Names shown of the variables that start anew.
const SHOWN: usize = 5;

/// Sets variables from the config's checkpoint, if it names one; tells what was done.
pub(crate) fn start_from_checkpoint(pipeline: &Pipeline, parameters: &mut Parameters) -> Result<Option<String>, TrainError> {
    let Some(train) = pipeline.proto.train_config.as_ref().filter(|train| !train.fine_tune_checkpoint().is_empty()) else {
        return Ok(None);
    };
    let names = match train.fine_tune_ckpt_var_map() {
        "" => None,
        path => Some(read_map(pipeline, path)?),
    };
    let other = Bundle::open(Path::new(train.fine_tune_checkpoint()))?;
    let (mut taken, mut anew) = (0, Vec::new());
    for entry in &mut parameters.entries {
        let name = match &names {
            Some(names) => names.get(&entry.name),
            None => Some(&entry.name),
        };
        match name.and_then(|name| other.parameters.get(name)).filter(|found| found.shape == entry.shape) {
            Some(found) => {
                entry.values.clone_from(&found.values);
                taken += 1;
            }
            None => anew.push(entry.name.as_str()),
        }
    }
    Ok(Some(told(train.fine_tune_checkpoint(), taken, &anew)))
}

fn told(checkpoint: &str, taken: usize, anew: &[&str]) -> String {
    let more = if anew.len() > SHOWN { ", …" } else { "" };
    let shown = anew[..anew.len().min(SHOWN)].join(", ");
    let rest = if anew.is_empty() { String::new() } else { format!("; {} start anew: {shown}{more}", anew.len()) };
    format!("{taken} variables start with the values of {checkpoint}{rest}")
}

/// The lines of a map of variable names.
fn read_map(pipeline: &Pipeline, path: &str) -> Result<BTreeMap<String, String>, TrainError> {
    let at = |message: String| Diagnostics::from(pipeline.error("train_config.fine_tune_ckpt_var_map", message));
    let text = fs::read_to_string(path).map_err(|error| at(format!("{path}: {error}")))?;
    let mut names = BTreeMap::new();
    for (i, line) in text.lines().enumerate() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            [own, other] => {
                names.insert(own.to_owned(), other.to_owned());
            }
            _ => return Err(at(format!("{path}:{}: expected two names, of a variable and of one of the other model", i + 1)).into()),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_anew_is_told() {
        assert_eq!(told("m", 3, &[]), "3 variables start with the values of m");
        assert_eq!(told("m", 0, &["a", "b"]), "0 variables start with the values of m; 2 start anew: a, b");
        assert_eq!(told("m", 1, &["a", "b", "c", "d", "e", "f"]), "1 variables start with the values of m; 6 start anew: a, b, c, d, e, …");
    }
}
