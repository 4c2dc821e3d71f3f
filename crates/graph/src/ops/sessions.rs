//! `ln Σ exp(x)` over the rows of a session, which losses over lists of rows are composed with (EasyRec behaviours 175 and 177).
//!
//! `y_i = ln Σ_j exp(x_j)` over the rows `j` of the session of row `i`. Rows that are marked count in their own sum alone.
//! `dx_k = Σ_i dy_i · exp(x_k - y_i)` over the rows `i` in whose sum row `k` counts. Sums over a session are formed once, in the order of
//! the rows, and serve all rows of it.

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

    fn value(&self, i: usize) -> f32 {
        self.0[0].row(i)[0]
    }

    fn sessions(&self) -> Sessions {
        Sessions::new(self.0[1])
    }

    fn is_marked(&self, i: usize) -> bool {
        self.0[2].row(i)[0] != 0.0
    }
}

/// The sessions of a batch, numbered from 0.
struct Sessions {
    /// The number of each row's session.
    of_row: Vec<u32>,
    count: usize,
}

impl Sessions {
    fn new(column: MatRef<'_>) -> Sessions {
        let keys = (0..column.rows()).map(|i| (column.row(i)[0] + 0.0).to_bits());
        let mut known: Vec<u32> = keys.clone().collect();
        known.sort_unstable();
        known.dedup();
        let number = |key: u32| known.partition_point(|other| *other < key) as u32;
        Sessions { of_row: keys.map(number).collect(), count: known.len() }
    }

    fn of(&self, row: usize) -> usize {
        self.of_row[row] as usize
    }

    /// For each session all of its rows, one after the other, folded.
    fn fold<T: Clone>(&self, start: T, mut fold: impl FnMut(&mut T, usize)) -> Vec<T> {
        let mut folded = vec![start; self.count];
        (0..self.of_row.len()).for_each(|row| fold(&mut folded[self.of(row)], row));
        folded
    }
}

/// The sum of `exp(x)`, as `exp(largest)·total`.
#[derive(Clone, Copy)]
struct ExpSum {
    largest: f32,
    total: f64,
}

impl ExpSum {
    const EMPTY: ExpSum = ExpSum { largest: f32::NEG_INFINITY, total: 0.0 };

    fn logarithm(self) -> f32 {
        self.largest + self.total.ln() as f32
    }

    /// The sum with one more term.
    fn with(self, x: f32) -> ExpSum {
        let largest = self.largest.max(x);
        let shrunk = if self.largest == largest { self.total } else { self.total * f64::from((self.largest - largest).exp()) };
        ExpSum { largest, total: shrunk + f64::from((x - largest).exp()) }
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
        let sessions = all.sessions();
        let unmarked = |row: &usize| !all.is_marked(*row);
        let largest = sessions.fold(f32::NEG_INFINITY, |largest, row| {
            if unmarked(&row) {
                *largest = largest.max(all.value(row));
            }
        });
        let sums = sessions.fold(0.0_f64, |total, row| {
            if unmarked(&row) {
                *total += f64::from((all.value(row) - largest[sessions.of(row)]).exp());
            }
        });
        for i in 0..output.rows() {
            let own = first_row + i;
            let session = sessions.of(own);
            let sum = match sums[session] {
                0.0 => ExpSum::EMPTY,
                total => ExpSum { largest: largest[session], total },
            };
            let sum = if all.is_marked(own) { sum.with(all.value(own)) } else { sum };
            output.row(i)[0] = sum.logarithm();
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
        let (sum, upstream) = (|row: usize| sums.row(row)[0], |row: usize| f64::from(upstream.row(row)[0]));
        let sessions = all.sessions();
        // No row's value is above the sums it counts in: with the least of them taken off, no power of e is above 1.
        let least = sessions.fold(f32::INFINITY, |least, row| *least = least.min(sum(row)));
        let shares = sessions.fold(0.0_f64, |total, row| *total += upstream(row) * f64::from(least[sessions.of(row)] - sum(row)).exp());
        for k in 0..output.rows() {
            let own = first_row + k;
            let (x, session) = (all.value(own), sessions.of(own));
            let gradient = match all.is_marked(own) {
                true => upstream(own) * f64::from(x - sum(own)).exp(),
                false => shares[session] * f64::from(x - least[session]).exp(),
            };
            output.row(k)[0] = gradient as f32;
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

    fn forward(&self, _: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let sessions = Sessions::new(inputs[3]);
        let sums = sessions.fold((0.0_f64, 0.0_f64), |(total, count), row| {
            *total += f64::from(inputs[2].row(row)[0]);
            *count += 1.0;
        });
        for i in 0..output.rows() {
            let (total, count) = sums[sessions.of(first_row + i)];
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
