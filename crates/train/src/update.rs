//! Updates of variables, cut into tasks that threads take: updates are elementwise, so it does not matter where they are cut.

use rankmill_kernels::elementwise::scale;
use rankmill_nn::optim::{Gradient, Optimizer, StepRates};

/// Elements of a parameter that one task updates.
const TASK_ELEMENTS: usize = 1 << 16;

/// Which rows of a table an update moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moving {
    /// All that the optimizer moves.
    All,
    /// Those with a gradient; the others wait.
    Touched,
}

/// A part of a variable with its slots and gradient.
pub(crate) struct UpdateTask<'a> {
    weights: &'a mut [f32],
    slots: Vec<&'a mut [f32]>,
    gradient: Gradient<'a>,
    first_row: u32,
    width: usize,
    moving: Moving,
}

impl UpdateTask<'_> {
    pub(crate) fn run(mut self, optimizer: &Optimizer, rates: &StepRates, factor: f32) {
        let (mut scaled, mut shifted) = (Vec::new(), Vec::new());
        let values = match self.gradient {
            Gradient::Dense(values) | Gradient::Rows { values, .. } => values,
        };
        if factor != 1.0 {
            scaled.resize(values.len(), 0.0);
            scale(&mut scaled, factor, values);
        }
        let values = if factor == 1.0 { values } else { &scaled };
        let gradient = match self.gradient {
            Gradient::Dense(_) => Gradient::Dense(values),
            Gradient::Rows { rows, .. } if self.first_row == 0 => Gradient::Rows { rows, values },
            Gradient::Rows { rows, .. } => {
                shifted.extend(rows.iter().map(|row| row - self.first_row));
                Gradient::Rows { rows: &shifted, values }
            }
        };
        match (gradient, self.moving) {
            (Gradient::Rows { rows, values }, Moving::Touched) => {
                optimizer.update_rows(rates, self.weights, &mut self.slots, rows, values, self.width);
            }
            _ => optimizer.update(rates, self.weights, &mut self.slots, gradient, self.width),
        }
    }
}

/// Cuts a variable into tasks of whole rows, at most about [`TASK_ELEMENTS`] elements each.
pub(crate) fn cut<'a>(
    tasks: &mut Vec<UpdateTask<'a>>,
    mut weights: &'a mut [f32],
    mut slots: Vec<&'a mut [f32]>,
    gradient: Gradient<'a>,
    width: usize,
    moving: Moving,
) {
    let all = weights.len() / width.max(1);
    let rows_each = match (moving, gradient) {
        // As many tasks as there are for the rows that move.
        (Moving::Touched, Gradient::Rows { values, .. }) => all.div_ceil(values.len().div_ceil(TASK_ELEMENTS).max(1)),
        _ => TASK_ELEMENTS / width.max(1),
    }
    .max(1);
    let mut first_row = 0;
    let mut rest = gradient;
    while !weights.is_empty() {
        let length = (rows_each * width).min(weights.len());
        let (part, others) = weights.split_at_mut(length);
        weights = others;
        let mut parts = Vec::with_capacity(slots.len());
        for slot in &mut slots {
            let (part, others) = std::mem::take(slot).split_at_mut(length);
            parts.push(part);
            *slot = others;
        }
        let (own, later) = match rest {
            Gradient::Dense(values) => {
                let (own, later) = values.split_at(length);
                (Gradient::Dense(own), Gradient::Dense(later))
            }
            Gradient::Rows { rows, values } => {
                let end = rows.partition_point(|row| (*row as usize) < first_row + rows_each);
                let ((own, later), (own_values, later_values)) = (rows.split_at(end), values.split_at(end * width));
                (Gradient::Rows { rows: own, values: own_values }, Gradient::Rows { rows: later, values: later_values })
            }
        };
        tasks.push(UpdateTask { weights: part, slots: parts, gradient: own, first_row: first_row as u32, width, moving });
        rest = later;
        first_row += rows_each;
    }
}
