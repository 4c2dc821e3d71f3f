//! The elementwise functions as ONNX nodes.

use super::Unary;
use super::values::{GELU_CUBIC, GELU_SCALE, LEAST_PROBABILITY, SELU_ALPHA, SELU_SCALE};
use crate::onnx::{Attribute, Emitter, Tensor};

/// The nodes of a function of `x`: one operator, or several.
pub(super) fn nodes(function: Unary, emit: &mut Emitter<'_>, x: Tensor) -> Tensor {
    if let Some(operator) = single(function) {
        return emit.node(operator, &[x]);
    }
    match function {
        Unary::Copy => x,
        Unary::Square => emit.node("Mul", &[x, x]),
        Unary::Scale(factor) => with_number(emit, "Mul", x, factor),
        Unary::Power(exponent) => with_number(emit, "Pow", x, exponent),
        Unary::Relu6 => clip(emit, x, 0.0, 6.0),
        Unary::Clip { least, most } => clip(emit, x, least, most),
        Unary::Log(added) => logarithm_of_sum(emit, x, added),
        Unary::LogarithmOfNext => logarithm_of_sum(emit, x, 1.0),
        Unary::LogOdds => log_odds(emit, x),
        Unary::LeakyRelu(slope) => {
            let scaled = with_number(emit, "Mul", x, slope);
            emit.node("Max", &[x, scaled])
        }
        Unary::Selu => {
            let settings = [("alpha", Attribute::Float(SELU_ALPHA)), ("gamma", Attribute::Float(SELU_SCALE))];
            emit.node_with("Selu", &[x], &settings)
        }
        Unary::HardSigmoid => emit.node_with("HardSigmoid", &[x], &[("alpha", Attribute::Float(0.2)), ("beta", Attribute::Float(0.5))]),
        Unary::GeluTanh => gelu_tanh(emit, x),
        Unary::GeluErf => {
            let scaled = with_number(emit, "Div", x, std::f32::consts::SQRT_2);
            let t = emit.node("Erf", &[scaled]);
            half_of_next(emit, x, t)
        }
        Unary::Swish => {
            let s = emit.node("Sigmoid", &[x]);
            emit.node("Mul", &[x, s])
        }
        Unary::Mish => {
            let s = emit.node("Softplus", &[x]);
            let t = emit.node("Tanh", &[s]);
            emit.node("Mul", &[x, t])
        }
        Unary::InverseRoot { least } => {
            let positive = with_number(emit, "Max", x, least);
            let root = emit.node("Sqrt", &[positive]);
            emit.node("Reciprocal", &[root])
        }
        _ => unreachable!("a single operator, emitted above"),
    }
}

/// The operator that is the function, where there is one.
fn single(function: Unary) -> Option<&'static str> {
    Some(match function {
        Unary::Relu => "Relu",
        Unary::Sigmoid => "Sigmoid",
        Unary::Tanh => "Tanh",
        Unary::Elu => "Elu",
        Unary::Softplus => "Softplus",
        Unary::Softsign => "Softsign",
        Unary::Exponential => "Exp",
        Unary::Sine => "Sin",
        Unary::Cosine => "Cos",
        Unary::Root => "Sqrt",
        Unary::Absolute => "Abs",
        _ => return None,
    })
}

fn with_number(emit: &mut Emitter<'_>, operator: &'static str, x: Tensor, number: f32) -> Tensor {
    let number = emit.scalar(number);
    emit.node(operator, &[x, number])
}

fn clip(emit: &mut Emitter<'_>, x: Tensor, least: f32, most: f32) -> Tensor {
    let [least, most] = [least, most].map(|number| emit.scalar(number));
    emit.node("Clip", &[x, least, most])
}

/// `ln(x + added)`.
fn logarithm_of_sum(emit: &mut Emitter<'_>, x: Tensor, added: f32) -> Tensor {
    let sum = if added == 0.0 { x } else { with_number(emit, "Add", x, added) };
    emit.node("Log", &[sum])
}

fn log_odds(emit: &mut Emitter<'_>, x: Tensor) -> Tensor {
    let p = clip(emit, x, LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY);
    let one = emit.scalar(1.0);
    let complement = emit.node("Sub", &[one, p]);
    let odds = emit.node("Div", &[p, complement]);
    emit.node("Log", &[odds])
}

fn gelu_tanh(emit: &mut Emitter<'_>, x: Tensor) -> Tensor {
    let square = emit.node("Mul", &[x, x]);
    let cube = emit.node("Mul", &[square, x]);
    let bent = with_number(emit, "Mul", cube, GELU_CUBIC);
    let sum = emit.node("Add", &[x, bent]);
    let scaled = with_number(emit, "Mul", sum, GELU_SCALE);
    let t = emit.node("Tanh", &[scaled]);
    half_of_next(emit, x, t)
}

/// `x/2 · (1 + t)`.
fn half_of_next(emit: &mut Emitter<'_>, x: Tensor, t: Tensor) -> Tensor {
    let [half, one] = [0.5, 1.0].map(|number| emit.scalar(number));
    let next = emit.node("Add", &[t, one]);
    let halved = emit.node("Mul", &[x, half]);
    emit.node("Mul", &[halved, next])
}
