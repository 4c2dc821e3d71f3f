//! What components on sequences share: sequences along an axis, lengths and masks, and the forms in which blocks pass them on.
//!
//! A sequence is a tensor along an axis, `[B, L, D]`. Fields, `[B, n, D]`, are put along an axis of length n where a component works on
//! positions, and back again behind it.

use rankmill_graph::ops::axis::{FromAxis, PartAlong, PositionMask, ToAxis};
use rankmill_graph::ops::dropout::Dropout;
use rankmill_graph::{Axis, GraphError, Length, Value};

use super::scope::{Mode, Scope};
use super::{LayerError, Tensors};

/// The first position of a sequence.
pub(super) const FIRST_POSITION: PartAlong = PartAlong { before: Vec::new(), axis: None };

/// Positions of any kind as rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Positions {
    /// `[B, L, D]`, or `[B, D]` for a single position.
    pub(super) value: Value,
    /// The axis, if there is one.
    pub(super) axis: Option<Axis>,
    /// Number of fields, if they were fields.
    fields: Option<usize>,
}

impl Scope<'_> {
    /// A tensor's positions: a sequence as it is, fields along an axis of their number, a single field as a row.
    ///
    /// # Errors
    /// For a tensor that has neither positions nor fields.
    pub(super) fn positions(&mut self, x: Value) -> Result<Positions, LayerError> {
        let shape = self.shape(x).clone();
        match (shape.axis, shape.dims.as_slice()) {
            (Some(axis), [_]) => Ok(Positions { value: x, axis: Some(axis), fields: None }),
            (None, [1, _]) => Ok(Positions { value: self.flat(x)?, axis: None, fields: Some(1) }),
            (None, [fields, width]) => {
                let axis = self.axis(Length::Fixed(*fields));
                let flat = self.flat(x)?;
                let value = self.add(ToAxis { axis, width: *width }, &[flat])?;
                Ok(Positions { value, axis: Some(axis), fields: Some(*fields) })
            }
            _ => Err(LayerError::message(format!("positions are needed, [B, L, D], not {shape}"))),
        }
    }

    /// One number for each position, along an axis: of a sequence `[B, L]` or `[B, L, 1]`, or of a fixed number of positions, `[B, n]`.
    ///
    /// # Errors
    /// If a position has more than one number.
    pub(super) fn tokens(&mut self, x: Value) -> Result<Positions, LayerError> {
        let shape = self.shape(x).clone();
        match (shape.axis, shape.dims.as_slice()) {
            (Some(axis), [] | [1]) => Ok(Positions { value: self.reshape(x, &[1])?, axis: Some(axis), fields: None }),
            (None, [count] | [count, 1]) => {
                let axis = self.axis(Length::Fixed(*count));
                let flat = self.flat(x)?;
                let value = self.add(ToAxis { axis, width: 1 }, &[flat])?;
                Ok(Positions { value, axis: Some(axis), fields: Some(*count) })
            }
            _ => Err(LayerError::message(format!("one number for each position is needed, [B, L], not {shape}"))),
        }
    }

    /// What was made of positions in the form that they had.
    ///
    /// # Errors
    /// If `y` is not along their axis.
    pub(super) fn like_positions(&mut self, y: Value, positions: Positions) -> Result<Value, GraphError> {
        let width = self.shape(y).width();
        match (positions.fields, positions.axis) {
            (None, _) => Ok(y),
            (Some(fields), None) => self.reshape(y, &[fields, width]),
            (Some(fields), Some(_)) => self.add(FromAxis { dims: vec![fields, width] }, &[y]),
        }
    }

    /// The positions of `x` cut or filled up with zeros to `length`, along an axis of that length.
    ///
    /// # Errors
    /// Never for a sequence.
    pub(super) fn with_length(&mut self, x: Value, length: usize) -> Result<(Value, Axis), GraphError> {
        let width = self.shape(x).width();
        let flat = self.add(FromAxis { dims: vec![length * width] }, &[x])?;
        let axis = self.axis(Length::Fixed(length));
        Ok((self.add(ToAxis { axis, width }, &[flat])?, axis))
    }

    /// Dropout of attention's probabilities, in training.
    pub(super) fn attention_dropout(&mut self, rate: f32) -> Option<Dropout> {
        if rate == 0.0 || self.mode() == Mode::Inference {
            return None;
        }
        Some(Dropout { rate, salt: self.salt("attention_dropout") })
    }

    /// 1 at the positions that rows of these lengths have, 0 behind them.
    ///
    /// # Errors
    /// If the lengths are no column.
    pub(super) fn position_mask(&mut self, lengths: Value, axis: Axis) -> Result<Value, GraphError> {
        let lengths = self.flat(lengths)?;
        self.add(PositionMask { axis }, &[lengths])
    }

    /// A mask of positions as a column.
    ///
    /// # Errors
    /// If it has more than one number for each position.
    pub(super) fn mask_column(&mut self, mask: Value) -> Result<Value, GraphError> {
        self.reshape(mask, &[1])
    }
}

/// A sequence with the lengths of its rows, and perhaps what it is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequence {
    /// `[B, L, D]`.
    pub(super) value: Value,
    /// The axis of the positions.
    pub(super) axis: Axis,
    /// Positions of each row, `[B, 1]`.
    pub(super) lengths: Value,
    /// `[B, D]`.
    pub(super) target: Option<Value>,
}

impl Sequence {
    /// What an input_layer block with `output_seq_and_normal_feature` gives: the sequence, its lengths, and plain features if there are
    /// some.
    ///
    /// # Errors
    /// If the inputs are something else.
    pub(super) fn of(s: &Scope<'_>, inputs: &Tensors) -> Result<Sequence, LayerError> {
        const NEEDED: &str =
            "a sequence, its lengths and a target are needed; set output_seq_and_normal_feature in the input_layer block of their group";
        let (value, lengths, target) = match inputs.values()[..] {
            [value, lengths] => (value, lengths, None),
            [value, lengths, target] => (value, lengths, Some(target)),
            _ => return Err(LayerError::message(NEEDED)),
        };
        match s.shape(value).axis {
            Some(axis) => Ok(Sequence { value, axis, lengths, target }),
            None => Err(LayerError::message(NEEDED)),
        }
    }
}
