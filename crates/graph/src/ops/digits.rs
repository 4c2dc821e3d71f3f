//! Embeddings of the digits of numbers in several number systems (Chen et al. 2022, "Numerical Feature Representation with Hybrid N-ary
//! Encoding", CIKM; doi 10.1145/3511808.3557090).
//!
//! A number is taken as a whole number of 32 bits without a sign: what stands behind the point is cut off, and negative numbers count from
//! 2³² down. In base `b` its k-th digit `d`, from the last one on, has row `k·b + d` of the base's part of the table; leading zeros have no
//! digit, but 0 has one. The rows of a number's digits are added up, or averaged.

use std::ops::Range;
use std::sync::Arc;

use rankmill_kernels::elementwise::add_scaled;
use rankmill_kernels::substrate::{Blocks, Cut};
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::onnx::{Attribute, Emitter, FLOAT, INT64, NoForm, Tensor};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::shape::Shape;

/// How the rows of a number's digits become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

/// Numbers `[B, N]` and a table `[N·V, D]`, V the rows of all bases, feature after feature → `[B, N, bases·D]`.
#[derive(Clone, Debug)]
pub struct Digits {
    /// The bases, from 2 on.
    pub bases: Arc<[u32]>,
    /// How digits are pooled.
    pub pooling: Pooling,
}

/// How many digits numbers of 32 bits have at most in a base.
fn most_digits(base: u32) -> usize {
    let mut digits = 1;
    let mut rest = u32::MAX / base;
    while rest > 0 {
        digits += 1;
        rest /= base;
    }
    digits
}

impl Digits {
    /// V: a row for each digit at each place of each base.
    pub fn rows(bases: &[u32]) -> usize {
        bases.iter().map(|base| most_digits(*base) * *base as usize).sum()
    }

    fn fits(&self, numbers: &Shape, rows: usize) -> Result<usize, String> {
        let fields = numbers.elements();
        let fits = numbers.batch && numbers.axis.is_none() && rows == fields * Digits::rows(&self.bases);
        if fits { Ok(fields) } else { Err(format!("a table of {rows} rows does not have those of {numbers}")) }
    }

    /// Calls `visit(base's number, row, factor)` for each digit of the number of a field.
    fn for_each_digit(&self, field: usize, number: f32, mut visit: impl FnMut(usize, usize, f32)) {
        let mut first = field * Digits::rows(&self.bases);
        // A cast of floats stops at the least and the largest integer.
        let whole = number as i32 as u32;
        for (which, base) in self.bases.iter().enumerate() {
            let count = 1 + (0..most_digits(*base)).scan(whole / base, |rest, _| (*rest > 0).then(|| *rest /= base)).count();
            let factor = if self.pooling == Pooling::Mean { 1.0 / count as f32 } else { 1.0 };
            let mut rest = whole;
            for place in 0..count {
                visit(which, first + place * *base as usize + (rest % base) as usize, factor);
                rest /= base;
            }
            first += most_digits(*base) * *base as usize;
        }
    }
}

/// Numbers as whole numbers of 32 bits without a sign, in 64 bits.
fn emit_whole(emit: &mut Emitter<'_>, numbers: Tensor) -> Tensor {
    let (least, most) = (emit.scalar(i32::MIN as f32), emit.scalar(i32::MAX as f32));
    let inside = emit.node("Clip", &[numbers, least, most]);
    let whole = emit.node_with("Cast", &[inside], &[("to", INT64)]);
    // As a float the largest integer is one too large.
    let largest = emit.int(i64::from(i32::MAX));
    let whole = emit.node("Min", &[whole, largest]);
    let (zero, turn) = (emit.int(0), emit.int(1 << 32));
    let is_negative = emit.node("Less", &[whole, zero]);
    let is_negative = emit.node_with("Cast", &[is_negative], &[("to", INT64)]);
    let turn = emit.node("Mul", &[is_negative, turn]);
    emit.node("Add", &[whole, turn])
}

impl Digits {
    /// The pooled rows of one base: whole numbers `[B, N]` → `[B, N, D]`; each field's rows of the base begin at one of `firsts`.
    fn emit_base(&self, emit: &mut Emitter<'_>, wholes: Tensor, table: Tensor, base: u32, firsts: &[usize]) -> Tensor {
        let places = most_digits(base);
        let powers: Vec<i64> = (0..places as u32).map(|place| i64::from(base).pow(place)).collect();
        let powers = emit.ints(&powers);
        let wholes = emit.unsqueeze(wholes, -1);
        let leading = emit.node("Div", &[wholes, powers]);
        let base_value = emit.int(i64::from(base));
        let digits = emit.node("Mod", &[leading, base_value]);
        let starts: Vec<i64> = firsts.iter().flat_map(|first| (0..places).map(move |k| (first + k * base as usize) as i64)).collect();
        let starts = emit.ints(&starts);
        let sizes = emit.ints(&[firsts.len() as i64, places as i64]);
        let starts = emit.node("Reshape", &[starts, sizes]);
        let ids = emit.node("Add", &[digits, starts]);
        let rows = emit.node("Gather", &[table, ids]);
        // The last digit is there for 0, too.
        let always: Vec<i64> = (0..places).map(|place| i64::from(place == 0)).collect();
        let (always, zero) = (emit.ints(&always), emit.int(0));
        let present = emit.node("Add", &[leading, always]);
        let present = emit.node("Greater", &[present, zero]);
        let present = emit.node_with("Cast", &[present], &[("to", FLOAT)]);
        let factors = emit.unsqueeze(present, -1);
        let kept = emit.node("Mul", &[rows, factors]);
        let sum = emit.sum(kept, -2);
        if self.pooling == Pooling::Sum {
            return sum;
        }
        let last = emit.ints(&[-1]);
        let count = emit.node("ReduceSum", &[present, last]);
        emit.node("Div", &[sum, count])
    }
}

impl Op for Digits {
    fn name(&self) -> &'static str {
        "digits"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        match (inputs[1].batch, inputs[1].dims.as_slice()) {
            (false, [rows, width]) => {
                let fields = self.fits(inputs[0], *rows)?;
                Ok(inputs[0].with_dims(&[fields, self.bases.len() * width]))
            }
            _ => Err("a table is a matrix".to_owned()),
        }
    }
    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let table = inputs[1];
        let width = table.cols();
        for i in 0..output.rows() {
            let fields = output.row(i).chunks_exact_mut(self.bases.len() * width);
            for (field, (y, number)) in fields.zip(inputs[0].row(i)).enumerate() {
                y.fill(0.0);
                self.for_each_digit(field, *number, |which, row, factor| {
                    add_scaled(&mut y[which * width..(which + 1) * width], factor, table.row(row));
                });
            }
        }
    }
    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let [rows, width] = backward.shape(inputs[1]).dims[..] else { unreachable!("inferred before") };
        let sums = DigitSums { digits: self.clone(), rows, width };
        Ok(vec![None, Some(backward.add(sums, &[inputs[0], upstream])?)])
    }
    fn onnx(&self, emit: &mut Emitter<'_>, inputs: &[Tensor], shapes: &[&Shape], _: &Shape) -> Result<Tensor, NoForm> {
        let fields = shapes[0].elements();
        let numbers = emit.flat(inputs[0], shapes[0]);
        let wholes = emit_whole(emit, numbers);
        let mut first = 0;
        let mut parts = Vec::with_capacity(self.bases.len());
        for base in self.bases.iter() {
            let firsts: Vec<usize> = (0..fields).map(|field| field * Digits::rows(&self.bases) + first).collect();
            parts.push(self.emit_base(emit, wholes, inputs[1], *base, &firsts));
            first += most_digits(*base) * *base as usize;
        }
        Ok(emit.node_with("Concat", &parts, &[("axis", Attribute::Int(-1))]))
    }
    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        let digits: usize = self.bases.iter().map(|base| most_digits(*base)).sum();
        Cost { flops_per_row: (inputs[0].elements() * digits * inputs[1].width()) as f64 }
    }
}

/// The gradient of the table of [`Digits`]: numbers `[B, N]`, upstream `[B, N, bases·D]` → `[N·V, D]`.
#[derive(Clone, Debug)]
pub struct DigitSums {
    /// The operation whose gradient it is.
    pub digits: Digits,
    /// N·V.
    pub rows: usize,
    /// D.
    pub width: usize,
}

impl Op for DigitSums {
    fn name(&self) -> &'static str {
        "sums by digit"
    }
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let fields = self.digits.fits(inputs[0], self.rows)?;
        let fits = inputs[1].elements() == fields * self.digits.bases.len() * self.width;
        if fits { Ok(Shape::fixed(&[self.rows, self.width])) } else { Err("a gradient for each base is needed".to_owned()) }
    }
    fn execution(&self) -> Execution {
        Execution::Blocks
    }
    fn blocks(&self, _: &Shape) -> Blocks {
        let unit = Digits::rows(&self.digits.bases);
        Blocks { cut: Cut::Rows, unit, count: (self.rows / unit).max(1) }
    }
    fn block(&self, inputs: &[MatRef<'_>], range: Range<usize>, mut output: MatMut<'_>) {
        output.fill(0.0);
        let unit = Digits::rows(&self.digits.bases);
        let wide = self.digits.bases.len() * self.width;
        for field in range.start / unit..range.end / unit {
            for i in 0..inputs[0].rows() {
                let dy = &inputs[1].row(i)[field * wide..(field + 1) * wide];
                self.digits.for_each_digit(field, inputs[0].row(i)[field], |which, row, factor| {
                    add_scaled(output.row(row - range.start), factor, &dy[which * self.width..(which + 1) * self.width]);
                });
            }
        }
    }
    fn cost(&self, inputs: &[&Shape], _: &Shape) -> Cost {
        Cost { flops_per_row: 2.0 * inputs[1].elements() as f64 }
    }
}
