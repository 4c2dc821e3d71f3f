//! What a task predicts from the output of its tower, by EasyRec's names (behaviours 170, 171, 175, 176).

use rankmill_config::proto::LossType;
use rankmill_config::proto::loss::LossParam;
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::row_max::{RowArgMax, RowMax};
use rankmill_graph::ops::softmax::Softmax;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::layers::scope::Scope;

use crate::losses::ziln;
use crate::tasks::TaskConfig;

/// A loss whose predictions need another number of classes.
fn classes_wanted(loss: LossType, classes: usize) -> Option<usize> {
    let wanted = match loss {
        LossType::Classification | LossType::OrderCalibrateLoss => classes.max(1),
        LossType::JrcLoss => 2,
        LossType::ZilnLoss => 3,
        _ => 1,
    };
    (wanted != classes).then_some(wanted)
}

/// The predictions of a task from its tower's output `[B, num_class]`: names with their values, each once.
///
/// # Errors
/// If a loss needs another `num_class`.
pub(crate) fn predictions(s: &mut Scope<'_>, task: &TaskConfig, output: Value) -> Result<Vec<(String, Value)>, String> {
    let mut made: Vec<(String, Value)> = Vec::new();
    for loss in &task.losses {
        let (kind, classes) = (loss.loss_type(), task.classes);
        if let Some(wanted) = classes_wanted(kind, classes) {
            return Err(format!("{} needs num_class: {wanted}, but it is {classes}", kind.as_str_name()));
        }
        let named = match kind {
            LossType::OrderCalibrateLoss => Ok(Vec::new()),
            LossType::L2Loss => Ok(vec![("y", output)]),
            LossType::SigmoidL2Loss => s.add(Unary::Sigmoid, &[output]).map(|y| vec![("y", y)]),
            LossType::JrcLoss => jrc(s, output),
            LossType::ZilnLoss => match &loss.loss_param {
                Some(LossParam::ZilnLoss(params)) => ziln::predictions(s, params, output),
                _ => ziln::predictions(s, &Default::default(), output),
            },
            LossType::Classification if classes > 1 => softmax(s, output),
            _ => s.add(Unary::Sigmoid, &[output]).map(|probabilities| vec![("probs", probabilities), ("logits", output)]),
        };
        for (name, value) in named.map_err(|error| error.to_string())? {
            let name = task.output_name(name);
            if !made.iter().any(|(known, _)| *known == name) {
                made.push((name, value));
            }
        }
    }
    Ok(made)
}

type Named = Result<Vec<(&'static str, Value)>, GraphError>;

fn softmax(s: &mut Scope<'_>, logits: Value) -> Named {
    let second = Columns { first: 1, width: 1 };
    let probabilities = s.add(Softmax { width: s.width(logits) }, &[logits])?;
    Ok(vec![
        ("probs", probabilities),
        ("logits", logits),
        ("probs_1", s.add(second, &[probabilities])?),
        ("logits_1", s.add(second, &[logits])?),
        ("probs_y", s.add(RowMax, &[probabilities])?),
        ("logits_y", s.add(RowMax, &[logits])?),
        ("y", s.add(RowArgMax, &[logits])?),
    ])
}

fn jrc(s: &mut Scope<'_>, logits: Value) -> Named {
    let second = Columns { first: 1, width: 1 };
    let probabilities = s.add(Softmax { width: s.width(logits) }, &[logits])?;
    Ok(vec![("probs", s.add(second, &[probabilities])?), ("logits", logits), ("pos_logits", s.add(second, &[logits])?)])
}
