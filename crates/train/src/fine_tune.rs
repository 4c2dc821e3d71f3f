//! `train_config.fine_tune_checkpoint`: a run that starts from the variables of another model.
//!
//! Every variable that the other model has under the same name and in the same shape starts with its values, and so does every tensor of
//! the optimizer's state, as in EasyRec; the others start anew. The steps are counted from 0.
//!
//! - A `fine_tune_ckpt_var_map`, a file of lines `VARIABLE NAME_IN_THE_OTHER_MODEL`, says under which names the other model has the
//!   variables that it lists; the others have their own.
//! - With `force_restore_shape_compatible` a variable of another shape, but as many dimensions, is taken, too: what is too long is cut
//!   off, what is too short filled up with zeros.
//! - Variables whose names contain one of `model_config.restore_filters` start anew (where there is no map, as in EasyRec, which stops
//!   with an error if there is none).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rankmill_config::{Diagnostics, Pipeline};
use rankmill_model::Parameter;
use rankmill_model::bundle::Bundle;

use crate::checkpoint::read_optimizer;
use crate::error::TrainError;
use crate::step::{Tensor, Trainer};

/// Names shown of the variables that start anew.
const SHOWN: usize = 5;

/// Which tensors of the other model start which ones of this.
struct Choice {
    names: BTreeMap<String, String>,
    filters: Vec<String>,
    fits_shapes: bool,
}

impl Choice {
    fn new(pipeline: &Pipeline) -> Result<Choice, TrainError> {
        let train = pipeline.proto.train_config.clone().unwrap_or_default();
        let names = match train.fine_tune_ckpt_var_map() {
            "" => BTreeMap::new(),
            path => read_map(pipeline, path)?,
        };
        let filters = pipeline.proto.model_config.as_ref().map_or(&[][..], |model| &model.restore_filters);
        let filters = if names.is_empty() { filters.to_vec() } else { Vec::new() };
        Ok(Choice { names, filters, fits_shapes: train.force_restore_shape_compatible() })
    }

    /// The tensor of the other model that a tensor starts with.
    fn find<'a>(&self, others: &'a [Parameter], name: &str, shape: &[usize]) -> Option<&'a Parameter> {
        if self.filters.iter().any(|filter| name.contains(filter)) {
            return None;
        }
        let name = self.names.get(name).map_or(name, String::as_str);
        let fits = |other: &&Parameter| other.shape == shape || self.fits_shapes && other.shape.len() == shape.len();
        others.iter().find(|other| other.name == name).filter(fits)
    }
}

/// What was done with the variables.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    whole: usize,
    fitted: Vec<String>,
    anew: Vec<String>,
}

/// Sets variables and the optimizer's state from the config's checkpoint, if it names one; tells what was done.
pub(crate) fn start_from_checkpoint(pipeline: &Pipeline, trainer: &mut Trainer) -> Result<Option<String>, TrainError> {
    let Some(train) = pipeline.proto.train_config.as_ref().filter(|train| !train.fine_tune_checkpoint().is_empty()) else {
        return Ok(None);
    };
    let choice = Choice::new(pipeline)?;
    let other = Bundle::open(Path::new(train.fine_tune_checkpoint()))?;
    let state = read_optimizer(&other.path)?;
    let mut taken = Taken::default();
    trainer.set_each(|tensor, name, shape, values| {
        let others = if tensor == Tensor::Variable { &other.parameters.entries } else { &state };
        let found = choice.find(others, name, shape);
        match found {
            Some(found) if found.shape == shape => values.copy_from_slice(&found.values),
            Some(found) => fit(values, shape, found),
            None => {}
        }
        if tensor == Tensor::Variable {
            match found {
                Some(found) if found.shape == shape => taken.whole += 1,
                Some(_) => taken.fitted.push(name.to_owned()),
                None => taken.anew.push(name.to_owned()),
            }
        }
    });
    Ok(Some(told(train.fine_tune_checkpoint(), &taken)))
}

/// Puts a tensor of as many dimensions into `values` of a shape: cut off where it is too long, zeros where it is too short.
fn fit(values: &mut [f32], shape: &[usize], other: &Parameter) {
    values.fill(0.0);
    let Some((width, outer)) = shape.split_last() else { return };
    let (other_width, other_outer) = other.shape.split_last().map_or((1, &[][..]), |(width, outer)| (*width, outer));
    let common = *width.min(&other_width);
    for (i, row) in values.chunks_exact_mut((*width).max(1)).enumerate() {
        // The place of the row along each dimension, the last first, and the number of the row there in the other tensor.
        let (mut rest, mut place, mut stride, mut inside) = (i, 0, 1, true);
        for (length, other_length) in outer.iter().zip(other_outer).rev() {
            let at = rest % length;
            rest /= length;
            inside &= at < *other_length;
            place += at * stride;
            stride *= other_length;
        }
        if inside {
            row[..common].copy_from_slice(&other.values[place * other_width..place * other_width + common]);
        }
    }
}

fn told(checkpoint: &str, taken: &Taken) -> String {
    let list = |names: &[String]| {
        let more = if names.len() > SHOWN { ", …" } else { "" };
        format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
    };
    let mut text = format!("{} variables start with the values of {checkpoint}", taken.whole + taken.fitted.len());
    if !taken.fitted.is_empty() {
        text += &format!(", {} of them cut or filled up: {}", taken.fitted.len(), list(&taken.fitted));
    }
    if !taken.anew.is_empty() {
        text += &format!("; {} start anew: {}", taken.anew.len(), list(&taken.anew));
    }
    text
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
    fn what_is_taken_is_told() {
        let names = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let told = |whole, fitted, anew| told("m", &Taken { whole, fitted: names(fitted), anew: names(anew) });
        assert_eq!(told(3, "", ""), "3 variables start with the values of m");
        assert_eq!(told(0, "", "a b"), "0 variables start with the values of m; 2 start anew: a, b");
        assert_eq!(told(1, "", "a b c d e f"), "1 variables start with the values of m; 6 start anew: a, b, c, d, e, …");
        assert_eq!(told(1, "x y", "a"), "3 variables start with the values of m, 2 of them cut or filled up: x, y; 1 start anew: a");
    }

    #[test]
    fn tensors_of_another_shape_are_cut_and_filled_up() {
        let fitted = |shape: &[usize], other: &[usize]| {
            let values = (1..=other.iter().product::<usize>()).map(|x| x as f32).collect();
            let other = Parameter { name: "x".to_owned(), shape: other.to_vec(), trainable: true, values };
            let mut values = vec![9.0; shape.iter().product()];
            fit(&mut values, shape, &other);
            values
        };
        assert_eq!(fitted(&[3, 2], &[2, 3]), [1.0, 2.0, 4.0, 5.0, 0.0, 0.0]);
        assert_eq!(fitted(&[1, 4], &[2, 3]), [1.0, 2.0, 3.0, 0.0]);
        assert_eq!(fitted(&[3], &[2]), [1.0, 2.0, 0.0]);
        assert_eq!(fitted(&[2, 1, 2], &[1, 2, 2]), [1.0, 2.0, 0.0, 0.0]);
        assert_eq!(fitted(&[2, 2, 1], &[3, 1, 2]), [1.0, 0.0, 3.0, 0.0]);
    }
}
