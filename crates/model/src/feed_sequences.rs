//! How the sequences of a batch meet the graph: along which axes their positions lie, and how long those are.
//!
//! A sequence may be read several ways: its ids added up, its positions for a combiner of its own, or side by side with other
//! sequences. Each way has an id column of its own, with every row filled up to the length of the axis. That is the longest row's
//! length in the batch, as in TensorFlow: batch norms over positions count the padding, too.

use std::borrow::Cow;

use rankmill_data::{Column, FeatureBatch, FeatureKind, FeatureSpec, Positions, SequenceColumn};
use rankmill_graph::onnx::{IdCount, IdInput};
use rankmill_graph::{Axis, Graph, Length};
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::view::MatRef;

use crate::feed::Slots;

/// Where a sequence finds its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SequenceSlot {
    /// Which of the sequences it is.
    pub(crate) place: usize,
    /// The first of its dense columns.
    pub(crate) dense: usize,
}

impl SequenceSlot {
    /// Dense columns of a sequence: for each [`Cut`] the lengths of the rows `[B, 1]`, then for each the numbers `[B, L, N]`, if it is one
    /// of numbers.
    pub(crate) const DENSE: usize = 4;

    /// The dense column with the rows' lengths.
    pub(crate) fn lengths(self, cut: Cut) -> usize {
        self.dense + cut as usize
    }

    fn numbers(self, cut: Cut) -> usize {
        self.dense + 2 + cut as usize
    }
}

/// Whether a sequence is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All positions: for combiners.
    Whole,
    /// The first `max_seq_len`: where it is handed on as a sequence (EasyRec behaviour 116).
    AtMaximum,
}

/// Whether what follows depends on the positions that rows are filled up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filling {
    /// They add exact zeros, or are cut off: a row's result is that of the row alone.
    Hidden,
    /// It may.
    Read,
}

const CUTS: [Cut; 2] = [Cut::Whole, Cut::AtMaximum];

/// What a graph reads of the sequences of a batch.
#[derive(Clone, Debug)]
pub struct FeedPlan {
    /// All sequences, in the order of the batch's columns.
    sequences: Vec<SequencePlan>,
    /// The id columns that are made, in the order of their slots.
    ids: Vec<IdPlan>,
    /// The axes, by the place of their lengths.
    axes: Vec<AxisPlan>,
}

#[derive(Clone, Debug)]
struct SequencePlan {
    /// Its column of the batch.
    column: usize,
    max_seq_len: Option<usize>,
    /// The positions of all rows, if that is a number.
    length: Option<usize>,
    /// The id that rows are filled up with.
    fill: Option<u32>,
    /// For each [`Cut`] the place of the axis along which its numbers lie.
    numbers: [Option<usize>; 2],
}

/// An id column that is made of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IdPlan {
    /// All ids of a row together.
    Pooled { sequence: usize },
    /// The ids of each position along an axis.
    Along { sequence: usize, cut: Cut, axis: usize },
}

/// Where the lengths of sequences come from before there are any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// From `max_seq_len` or `sequence_length`.
    Stated,
    /// Some from an assumption.
    Assumed,
}

#[derive(Clone, Debug)]
struct AxisPlan {
    axis: Axis,
    /// The sequences that lie along it.
    sequences: Vec<usize>,
    cut: Cut,
    filling: Filling,
}

impl FeedPlan {
    /// A plan in which nothing is read yet.
    pub(crate) fn new(specs: &[FeatureSpec]) -> FeedPlan {
        let sequence = |(column, spec): (usize, &FeatureSpec)| {
            let sequence = spec.sequence.as_ref()?;
            let (max_seq_len, length, fill) = (sequence.max_seq_len, sequence.length, sequence.fill);
            Some(SequencePlan { column, max_seq_len, length, fill, numbers: [None; 2] })
        };
        FeedPlan { sequences: specs.iter().enumerate().filter_map(sequence).collect(), ids: Vec::new(), axes: Vec::new() }
    }

    /// The axis along which these sequences lie side by side, for one who treats their filling as stated.
    pub(crate) fn axis(&mut self, graph: &mut Graph, sequences: &[SequenceSlot], cut: Cut, filling: Filling) -> Axis {
        let mut places: Vec<usize> = sequences.iter().map(|slot| slot.place).collect();
        places.sort_unstable();
        places.dedup();
        if let Some(known) = self.axes.iter_mut().find(|known| known.cut == cut && known.sequences == places) {
            if filling == Filling::Read {
                known.filling = filling;
            }
            return known.axis;
        }
        let axis = graph.axis(Length::Fed(self.axes.len()));
        self.axes.push(AxisPlan { axis, sequences: places, cut, filling });
        axis
    }

    /// The id slot with the ids of each position along `axis`.
    pub(crate) fn ids_along(&mut self, slots: &Slots, sequence: SequenceSlot, cut: Cut, axis: Axis) -> usize {
        let axis = self.place(axis);
        self.ids(slots, IdPlan::Along { sequence: sequence.place, cut, axis })
    }

    /// The id slot with all ids of each row.
    pub(crate) fn pooled_ids(&mut self, slots: &Slots, sequence: SequenceSlot) -> usize {
        self.ids(slots, IdPlan::Pooled { sequence: sequence.place })
    }

    /// The dense slot with the numbers of each position along `axis`, of which a sequence of numbers can have one for each cut.
    pub(crate) fn numbers_along(&mut self, sequence: SequenceSlot, cut: Cut, axis: Axis) -> Result<usize, String> {
        let place = self.place(axis);
        let known = self.sequences[sequence.place].numbers[cut as usize].get_or_insert(place);
        if *known != place {
            return Err("a sequence of numbers can stand beside one set of other sequences only".to_owned());
        }
        Ok(sequence.numbers(cut))
    }

    /// The id columns as inputs of an exported model. A sequence that is read in several ways has several.
    pub(crate) fn id_inputs(&self, specs: &[FeatureSpec]) -> Vec<IdInput> {
        let mut inputs: Vec<IdInput> = Vec::with_capacity(self.ids.len());
        for plan in &self.ids {
            let (sequence, way) = match *plan {
                IdPlan::Pooled { sequence } => (sequence, "_pooled"),
                IdPlan::Along { sequence, cut: Cut::Whole, .. } => (sequence, ""),
                IdPlan::Along { sequence, cut: Cut::AtMaximum, .. } => (sequence, "_cut"),
            };
            let spec = &specs[self.sequences[sequence].column];
            let is_weighted = matches!(spec.kind, FeatureKind::IdSequence { weighted: true, .. });
            let own = format!("{}{way}", spec.name);
            let same = inputs.iter().filter(|input| input.name.starts_with(&own)).count();
            let name = if same == 0 { own } else { format!("{own}_{same}") };
            inputs.push(IdInput { name, is_weighted, count: IdCount::Any });
        }
        inputs
    }

    /// The id columns that are made.
    pub(crate) fn id_count(&self) -> usize {
        self.ids.len()
    }

    fn place(&self, axis: Axis) -> usize {
        self.axes.iter().position(|known| known.axis == axis).expect("the axis is one of this plan")
    }

    fn ids(&mut self, slots: &Slots, wanted: IdPlan) -> usize {
        let known = self.ids.iter().position(|known| *known == wanted);
        slots.ids()
            + known.unwrap_or_else(|| {
                self.ids.push(wanted);
                self.ids.len() - 1
            })
    }

    /// Whether rows may have other scores in other company: what is read is filled up to the longest row of a batch.
    pub(crate) fn follows_longest(&self) -> bool {
        let read = self.axes.iter().filter(|axis| axis.filling == Filling::Read);
        read.flat_map(|axis| &axis.sequences).any(|sequence| self.sequences[*sequence].length.is_none())
    }

    /// The lengths of the axes when the sequences are as long as the config lets them be, and whether it says how long all of them can be:
    /// else they are taken to have `assumed` positions.
    pub fn longest(&self, assumed: usize) -> (Vec<usize>, Bounds) {
        let mut bounds = Bounds::Stated;
        let lengths = self.axes.iter().map(|axis| {
            let length = |&sequence: &usize| {
                let SequencePlan { max_seq_len, length, .. } = self.sequences[sequence];
                let stated = length.or(max_seq_len.filter(|length| *length > 0));
                if stated.is_none() {
                    bounds = Bounds::Assumed;
                }
                self.sequences[sequence].cut(stated.unwrap_or(assumed), axis.cut)
            };
            axis.sequences.iter().map(length).max().unwrap_or(0).max(1)
        });
        (lengths.collect(), bounds)
    }

    /// Makes what the graph reads of a batch's sequences.
    #[must_use]
    pub fn sequences(&self, batch: &FeatureBatch) -> FedSequences {
        let column = |sequence: usize| match &batch.columns[self.sequences[sequence].column] {
            Column::Sequence(column) => column,
            _ => unreachable!("the batch has the columns of the specs"),
        };
        let longest = |axis: &AxisPlan| {
            let length = |&sequence: &usize| self.sequences[sequence].cut(column(sequence).longest, axis.cut);
            axis.sequences.iter().map(length).max().unwrap_or(0).max(1)
        };
        let lengths: Vec<usize> = self.axes.iter().map(longest).collect();
        let ids = |plan: &IdPlan| match *plan {
            IdPlan::Pooled { sequence } => pooled(column(sequence)),
            IdPlan::Along { sequence, cut, axis } => {
                let column = cut_rows(column(sequence), self.sequences[sequence].maximum(cut));
                if let Some(id) = self.sequences[sequence].fill {
                    return column.filled(lengths[axis], id);
                }
                match column.padded(lengths[axis]) {
                    Positions::Ids(ids) => ids,
                    Positions::Dense(_) => unreachable!("sequences of numbers have no ids"),
                }
            }
        };
        let dense = |sequence: usize| {
            let plan = &self.sequences[sequence];
            let whole = column(sequence);
            CUTS.map(|cut| {
                let rows = (0..whole.rows()).map(|row| plan.cut(whole.length(row), cut) as f32).collect();
                let numbers = plan.numbers[cut as usize].map(|axis| match cut_rows(whole, plan.maximum(cut)).padded(lengths[axis]) {
                    Positions::Dense(numbers) => (numbers.width, numbers.values),
                    Positions::Ids(_) => unreachable!("sequences of ids have no numbers"),
                });
                (rows, numbers.unwrap_or_default())
            })
        };
        let ids = self.ids.iter().map(ids).collect();
        let dense = (0..self.sequences.len()).map(dense).collect();
        FedSequences { lengths, ids, dense }
    }
}

impl SequencePlan {
    /// The most positions of a row.
    fn maximum(&self, cut: Cut) -> Option<usize> {
        self.max_seq_len.filter(|length| cut == Cut::AtMaximum && *length > 0)
    }

    fn cut(&self, length: usize, cut: Cut) -> usize {
        self.maximum(cut).map_or(length, |maximum| length.min(maximum))
    }
}

/// The sequences with no row longer than `maximum`.
fn cut_rows(column: &SequenceColumn, maximum: Option<usize>) -> Cow<'_, SequenceColumn> {
    match maximum.filter(|maximum| (0..column.rows()).any(|row| column.length(row) > *maximum)) {
        Some(maximum) => Cow::Owned(column.cut(maximum)),
        None => Cow::Borrowed(column),
    }
}

/// All ids of each row, of all its positions.
fn pooled(column: &SequenceColumn) -> IdColumn {
    let Positions::Ids(ids) = &column.positions else { unreachable!("sequences of numbers have no ids") };
    let offsets = column.offsets.iter().map(|position| ids.offsets[*position as usize]).collect();
    IdColumn { offsets, ids: ids.ids.clone(), weights: ids.weights.clone() }
}

/// A column of numbers and its width.
type Numbers = (usize, Vec<f32>);

/// What a [`FeedPlan`] made of the sequences of a batch.
#[derive(Clone, Debug, Default)]
pub struct FedSequences {
    lengths: Vec<usize>,
    ids: Vec<IdColumn>,
    /// For each sequence and each [`Cut`] the lengths of its rows and its numbers.
    dense: Vec<[(Vec<f32>, Numbers); 2]>,
}

impl FedSequences {
    pub(crate) fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &IdColumn> {
        self.ids.iter()
    }

    /// The dense columns of each sequence.
    pub(crate) fn dense(&self) -> impl Iterator<Item = [MatRef<'_>; SequenceSlot::DENSE]> {
        self.dense.iter().map(|[whole, cut]| {
            let [lengths, cut_lengths] = [&whole.0, &cut.0].map(|rows| MatRef::new(rows, rows.len(), 1));
            let [numbers, cut_numbers] = [&whole.1, &cut.1].map(|(width, all)| MatRef::new(all, all.len() / (*width).max(1), *width));
            [lengths, cut_lengths, numbers, cut_numbers]
        })
    }
}
