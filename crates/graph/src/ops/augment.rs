//! Random augmentation of sequences (CL4SRec, Xie et al. 2022, arXiv 2010.14395, section 3.2): each row's sequence is cropped, masked or
//! reordered, one of the three being drawn.
//!
//! What is drawn depends on the step's seed, the layer's salt and the row's place in the batch alone, so the backward pass draws the same
//! again and the number of threads does not matter.

use rankmill_kernels::elementwise::add_assign;
use rankmill_kernels::view::{MatMut, MatRef};

use crate::differentiate::Backward;
use crate::graph::{GraphError, Value};
use crate::op::{Context, Cost, Execution, InputGradients, Op};
use crate::ops::dropout::mix;
use crate::shape::{Axis, Shape};

/// What is done to sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augmentation {
    /// The axis of the positions.
    pub axis: Axis,
    /// Share of a cropped sequence that is left, from a random position on.
    pub crop: f32,
    /// Share of the positions of a masked sequence that are replaced.
    pub mask: f32,
    /// Share of a reordered sequence that is shuffled, from a random position on.
    pub reorder: f32,
    /// Tells layers apart.
    pub salt: u64,
}

/// Where a position comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Position(usize),
    Mask,
    Nothing,
}

/// Random numbers of one row.
struct Draws {
    key: u64,
    count: u64,
}

impl Draws {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.count += 1;
        (mix(self.key.wrapping_add(self.count)) % end as u64) as usize
    }

    /// Shuffles by Fisher and Yates.
    fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            values.swap(i, self.below(i + 1));
        }
    }
}

impl Augmentation {
    /// Where the positions of row `row` come from, and how many it has then.
    fn sources(&self, context: &Context<'_>, row: usize, held: f32) -> (Vec<Source>, usize) {
        let length = context.length(Some(self.axis));
        let held = (held.max(0.0) as usize).min(length);
        let share = |rate: f32| ((held as f32 * rate) as usize).min(held);
        let mut draws = Draws { key: mix(context.seed ^ mix(self.salt)) ^ mix(row as u64), count: 0 };
        let mut sources: Vec<Source> = (0..length).map(Source::Position).collect();
        if held == 0 {
            return (sources, 0);
        }
        match draws.below(3) {
            0 => {
                let left = share(self.crop).max(1);
                let first = draws.below(held - left + 1);
                for (j, source) in sources.iter_mut().enumerate() {
                    *source = if j < left { Source::Position(first + j) } else { Source::Nothing };
                }
                return (sources, left);
            }
            1 => {
                let mut positions: Vec<usize> = (0..held).collect();
                draws.shuffle(&mut positions);
                positions.iter().take(share(self.mask)).for_each(|j| sources[*j] = Source::Mask);
            }
            _ => {
                let shuffled = share(self.reorder);
                let first = draws.below(held - shuffled + 1);
                draws.shuffle(&mut sources[first..first + shuffled]);
            }
        }
        (sources, held)
    }

    fn check(&self, inputs: &[&Shape]) -> Result<(), String> {
        let [x, lengths, mask, ..] = inputs else { return Err("a sequence, its lengths and a mask are needed".to_owned()) };
        let rates = [self.crop, self.mask, self.reorder];
        if rates.iter().any(|rate| !(0.0..=1.0).contains(rate)) {
            return Err("rates lie in [0, 1]".to_owned());
        }
        if x.axis != Some(self.axis) || x.dims.len() != 1 || **lengths != Shape::batch(&[1]) || mask.elements() != x.width() {
            return Err("a sequence needs lengths, one for each row, and a mask of its width".to_owned());
        }
        Ok(())
    }
}

/// `x [B, L, D]`, lengths `[B, 1]`, mask of D elements → `[B, L, D]`.
#[derive(Clone, Copy, Debug)]
pub struct Augment(pub Augmentation);

impl Op for Augment {
    fn name(&self) -> &'static str {
        "augmentation"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.0.check(inputs)?;
        Ok(inputs[0].clone())
    }

    fn depends_on_place(&self) -> bool {
        true
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.0.axis));
        let mask = inputs[2].as_slice().expect("tensors without batch rows are contiguous");
        for i in 0..inputs[1].rows() {
            let (sources, _) = self.0.sources(context, first_row / length + i, inputs[1].row(i)[0]);
            for (j, source) in sources.into_iter().enumerate() {
                let y = output.row(i * length + j);
                match source {
                    Source::Position(p) => y.copy_from_slice(inputs[0].row(i * length + p)),
                    Source::Mask => y.copy_from_slice(mask),
                    Source::Nothing => y.fill(0.0),
                }
            }
        }
    }

    fn gradient(&self, backward: &mut Backward<'_>, inputs: &[Value], _: Value, upstream: Value) -> Result<InputGradients, GraphError> {
        let (x, lengths, mask) = (inputs[0], inputs[1], inputs[2]);
        let dx = if backward.wants(x) { Some(backward.add(AugmentGradient(self.0), &[upstream, lengths, mask])?) } else { None };
        let shape = backward.shape(mask).clone();
        let dm =
            if backward.wants(mask) { Some(backward.add(MaskGradient { of: self.0, shape }, &[upstream, lengths, mask])?) } else { None };
        Ok(vec![dx, None, dm])
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}

/// `dx` of [`Augment`] from `dy`, the lengths and the mask.
#[derive(Clone, Copy, Debug)]
pub struct AugmentGradient(pub Augmentation);

impl Op for AugmentGradient {
    fn name(&self) -> &'static str {
        "augmentation gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.0.check(inputs)?;
        Ok(inputs[0].clone())
    }

    fn depends_on_place(&self) -> bool {
        true
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        let length = context.length(Some(self.0.axis));
        output.fill(0.0);
        for i in 0..inputs[1].rows() {
            let (sources, _) = self.0.sources(context, first_row / length + i, inputs[1].row(i)[0]);
            for (j, source) in sources.into_iter().enumerate() {
                if let Source::Position(p) = source {
                    add_assign(output.row(i * length + p), inputs[0].row(i * length + j));
                }
            }
        }
    }
}

/// The gradient of the mask of [`Augment`] from `dy`, the lengths and the mask.
#[derive(Clone, Debug)]
pub struct MaskGradient {
    /// What was done.
    pub of: Augmentation,
    /// The shape of the mask.
    pub shape: Shape,
}

impl Op for MaskGradient {
    fn name(&self) -> &'static str {
        "augmentation mask gradient"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        self.of.check(inputs)?;
        Ok(self.shape.clone())
    }

    fn execution(&self) -> Execution {
        Execution::Reduce
    }

    fn partial_width(&self, _: &[&Shape]) -> usize {
        self.shape.elements()
    }

    fn partial(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, output: &mut [f32]) {
        let length = context.length(Some(self.of.axis));
        output.fill(0.0);
        for i in 0..inputs[1].rows() {
            let (sources, _) = self.of.sources(context, first_row / length + i, inputs[1].row(i)[0]);
            let masked = sources.into_iter().enumerate().filter(|(_, source)| *source == Source::Mask);
            masked.for_each(|(j, _)| add_assign(output, inputs[0].row(i * length + j)));
        }
    }
}

/// How many positions rows have behind [`Augment`]: lengths `[B, 1]` → `[B, 1]`.
#[derive(Clone, Copy, Debug)]
pub struct AugmentedLengths(pub Augmentation);

impl Op for AugmentedLengths {
    fn name(&self) -> &'static str {
        "augmented lengths"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, String> {
        if *inputs[0] == Shape::batch(&[1]) { Ok(inputs[0].clone()) } else { Err("lengths are a column".to_owned()) }
    }

    fn depends_on_place(&self) -> bool {
        true
    }

    fn forward(&self, context: &Context<'_>, inputs: &[MatRef<'_>], first_row: usize, mut output: MatMut<'_>) {
        for i in 0..output.rows() {
            let (_, held) = self.0.sources(context, first_row + i, inputs[0].row(i)[0]);
            output.row(i)[0] = held as f32;
        }
    }

    fn cost(&self, _: &[&Shape], _: &Shape) -> Cost {
        Cost::default()
    }
}
