//! The functions of blocks: whether they can be read, and take what they are given.

use super::Check;
use crate::expression::{ExpressionError, Function};
use crate::proto::{Block, Lambda, RepeatLayer, block, layer};

pub(super) fn check(check: &mut Check<'_>, block: &Block, path: &str) {
    for (at, input) in block.inputs.iter().enumerate() {
        let path = format!("{path}.inputs[{at}]");
        if let Some(text) = &input.input_slice {
            report(check, &format!("{path}.input_slice"), Function::subscripts(text, &["x"]));
        }
        for (field, text) in [("input_fn", &input.input_fn), ("package_input_fn", &input.package_input_fn)] {
            if let Some(text) = text {
                report(check, &format!("{path}.{field}"), Function::parse(text, 1));
            }
        }
    }
    if let Some(text) = &block.extra_input_fn {
        report(check, &format!("{path}.extra_input_fn"), Function::parse(text, 1));
    }
    match &block.layer {
        Some(block::Layer::Lambda(layer)) => lambda(check, layer, &format!("{path}.lambda")),
        Some(block::Layer::Repeat(layer)) => repeat(check, layer, &format!("{path}.repeat")),
        _ => {}
    }
    for (at, layer) in block.layers.iter().enumerate() {
        let path = format!("{path}.layers[{at}]");
        match &layer.layer {
            Some(layer::Layer::Lambda(layer)) => lambda(check, layer, &format!("{path}.lambda")),
            Some(layer::Layer::Repeat(layer)) => repeat(check, layer, &format!("{path}.repeat")),
            _ => {}
        }
    }
}

fn lambda(check: &mut Check<'_>, layer: &Lambda, path: &str) {
    // That there is none has been reported.
    if !layer.expression().trim().is_empty() {
        report(check, &format!("{path}.expression"), Function::parse(layer.expression(), 1));
    }
}

fn repeat(check: &mut Check<'_>, layer: &RepeatLayer, path: &str) {
    if let Some(text) = &layer.input_slice {
        report(check, &format!("{path}.input_slice"), Function::subscripts(text, &["x", "i"]));
    }
    if let Some(text) = &layer.input_fn {
        report(check, &format!("{path}.input_fn"), Function::parse(text, 2));
    }
}

fn report(check: &mut Check<'_>, path: &str, function: Result<Function, ExpressionError>) {
    if let Err(error) = function {
        check.problems.push(check.pipeline.error_within(path, error.span, error.message));
    }
}
