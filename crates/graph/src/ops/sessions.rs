//! `ln Σ exp(x)` over the rows of a session, which losses over lists of rows are composed with (EasyRec behaviours 175 and 177).
//!
//! `y_i = ln Σ_j exp(x_j)` over the rows `j` of the session of row `i`. Rows that are marked count in their own sum alone.
//! `dx_k = Σ_i dy_i · exp(x_k - y_i)` over the rows `i` in whose sum row `k` counts.

use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, InputGradients, Op};
use crate::shape::Shape;

/// Values, sessions and marks of rows, a column each: a row is marked if its mark is not 0.
#[derive(Clone, Copy)]
struct Rows<'a>([MatRef<'a>; 3]);

impl<'a> Rows<'a> {
    fn new(inputs: &[MatRef<'a>]) -> Rows<'a> {
        Rows([inputs[0], inputs[1], inputs[2]])
    }

    fn count(&self) -> usize {
        self.0[0].rows()
    }

    fn value(&self, i: usize) -> f32 {
        self.0[0].row(i)[0]
    }

    fn session(&self, i: usize) -> f32 {
        self.0[1].row(i)[0]
    }

    fn is_marked(&self, i: usize) -> bool {
        self.0[2].row(i)[0] != 0.0
    }
}

const COLUMNS: usize = 3;

fn six_columns(inputs: &[&Shape]) -> Result<Shape, String> {
    let column = Shape::batch(&[1]);
    if inputs.len() >= 2 * COLUMNS && inputs[..2 * COLUMNS].iter().all(|shape| **shape == column) {
        return Ok(column);
    }
    Err("values, sessions and marks of rows are needed, twice".to_owned())
}

/// Inputs values, sessions, marks `[B, 1]`, and the same three once more → `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct SessionLogSumExp;

impl Op for SessionLogSumExp {
    fn name(&self) -> &'static str {
        "log-sum-exp over sessions"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        six_columns(inputs)
    }

    fn reads_all_rows(&self, input: usize) -> bool {
        (COLUMNS..2 * COLUMNS).contains(&input)
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let all = Rows::new(&inputs[COLUMNS..]);
        for i in 0..output.rows() {
            let own = first_row + i;
            let session = all.session(own);
            let counts = |j: &usize| all.session(*j) == session && (*j == own || !all.is_marked(*j));
            let members = || (0..all.count()).filter(counts).map(|j| all.value(j));
            let largest = members().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = members().map(|x| f64::from((x - largest).exp())).sum();
            output.row(i)[0] = largest + total.ln() as f32;
        }
    }

    fn gradient(
        &self,
        backward: &mut Backward<'_>,
        inputs: &[Value],
        output: Value,
        upstream: Value,
    ) -> Result<InputGradients, GraphError> {
        let mut read = inputs.to_vec();
        read.extend([output, upstream]);
        let mut gradients = vec![None; inputs.len()];
        gradients[0] = Some(backward.add(SessionLogSumExpGradient, &read)?);
        Ok(gradients)
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// `dx` of [`SessionLogSumExp`]: its six inputs, its output and the upstream gradient → `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct SessionLogSumExpGradient;

impl Op for SessionLogSumExpGradient {
    fn name(&self) -> &'static str {
        "log-sum-exp over sessions gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        six_columns(inputs)
    }

    fn reads_all_rows(&self, input: usize) -> bool {
        input >= COLUMNS
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let all = Rows::new(&inputs[COLUMNS..]);
        let (sums, upstream) = (inputs[2 * COLUMNS], inputs[2 * COLUMNS + 1]);
        for k in 0..output.rows() {
            let own = first_row + k;
            let (x, session, marked) = (all.value(own), all.session(own), all.is_marked(own));
            let counts = |i: &usize| all.session(*i) == session && (*i == own || !marked);
            let terms = (0..all.count()).filter(counts).map(|i| f64::from(upstream.row(i)[0] * (x - sums.row(i)[0]).exp()));
            output.row(k)[0] = terms.sum::<f64>() as f32;
        }
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// The mean of a column over the session of each row: inputs values, sessions `[B, 1]`, and the same two once more → `[B, 1]`. It has no
/// gradient: weights are constants.
#[derive(Clone, Copy, Debug)]
pub struct SessionMean;

impl Op for SessionMean {
    fn name(&self) -> &'static str {
        "mean over sessions"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        let column = Shape::batch(&[1]);
        let fits = inputs.len() == 4 && inputs.iter().all(|shape| **shape == column);
        if fits { Ok(column) } else { Err("values and sessions of rows are needed, twice".to_owned()) }
    }

    fn reads_all_rows(&self, input: usize) -> bool {
        input >= 2
    }

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], _: usize, mut output: MatMut<'_>) {
        let (values, sessions) = (inputs[2], inputs[3]);
        for i in 0..output.rows() {
            let session = inputs[1].row(i)[0];
            let members = (0..values.rows()).filter(|j| sessions.row(*j)[0] == session);
            let (total, count) = members.fold((0.0_f64, 0.0_f64), |(total, count), j| (total + f64::from(values.row(j)[0]), count + 1.0));
            output.row(i)[0] = (total / count) as f32;
        }
    }

    fn gradient(&self, _: &mut Backward<'_>, inputs: &[Value], _: Value, _: Value) -> Result<InputGradients, GraphError> {
        Ok(vec![None; inputs.len()])
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}
