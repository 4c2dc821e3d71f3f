//! What operations write their nodes with.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Attribute, Constant, Dim, Elements, IdCount, IdInput, InputKind, InputNames, NoForm, OnnxGraph, OnnxInput, OnnxNode, Tensor};
use crate::graph::{Graph, Value};
use crate::ops::leaf::DenseInput;
use crate::ops::lookup::Lookup;
use crate::shape::{Axis, Length, Shape};

/// Ids as operations use them.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// The ids, 0 where there is none.
    pub ids: Tensor,
    /// Their weights (1 where none are given), 0 where there is no id.
    pub weights: Tensor,
    /// Whether a row has one at most.
    pub is_single: bool,
}

/// What operations write their nodes with.
pub struct Emitter<'a> {
    source: &'a Graph,
    inputs: &'a InputNames,
    pub(super) is_needed: Vec<bool>,
    /// The tensor of each value.
    pub(super) made: Vec<Tensor>,
    pub(super) graph: OnnxGraph,
    /// Where nodes are from, for their names.
    pub(super) scope: String,
    /// How often each name was asked for.
    taken: BTreeMap<String, usize>,
    ids: BTreeMap<usize, Ids>,
}

impl<'a> Emitter<'a> {
    pub(super) fn new(source: &'a Graph, inputs: &'a InputNames, outputs: &[(&str, Value)]) -> Emitter<'a> {
        let mut is_needed = vec![false; source.nodes.len()];
        outputs.iter().for_each(|(_, value)| is_needed[value.0] = true);
        for (i, node) in source.nodes.iter().enumerate().rev() {
            if is_needed[i] {
                node.inputs.iter().for_each(|input| is_needed[input.0] = true);
            }
        }
        let taken = outputs.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect();
        let made = vec![Tensor(0); source.nodes.len()];
        Emitter { source, inputs, is_needed, made, graph: OnnxGraph::default(), scope: String::new(), taken, ids: BTreeMap::new() }
    }

    fn named(&mut self, name: String) -> Tensor {
        self.graph.names.push(name);
        Tensor(self.graph.names.len() - 1)
    }

    /// A tensor called `wanted`, or with a number behind it where that name is taken.
    fn unique(&mut self, wanted: &str) -> Tensor {
        let mut name = wanted.to_owned();
        while let Some(count) = self.taken.get_mut(&name) {
            *count += 1;
            name = format!("{wanted}_{count}");
        }
        self.taken.insert(name.clone(), 0);
        self.named(name)
    }

    pub(super) fn output(&mut self, name: &str, value: Value) {
        let shape = self.source.shape(value);
        let mut inputs = vec![self.made[value.0]];
        let (operator, dims) = if shape.dims == [1] {
            inputs.push(self.ints(&[-1]));
            ("Squeeze", Vec::new())
        } else {
            ("Identity", shape.dims.clone())
        };
        let output = self.named(name.to_owned());
        self.graph.nodes.push(OnnxNode { operator, inputs, output, attributes: Vec::new() });
        self.graph.outputs.push((output, shape.with_dims(&dims)));
    }

    /// Applies an operator.
    pub fn node(&mut self, operator: &'static str, inputs: &[Tensor]) -> Tensor {
        self.node_with(operator, inputs, &[])
    }

    /// Applies an operator with settings.
    pub fn node_with(&mut self, operator: &'static str, inputs: &[Tensor], attributes: &[(&'static str, Attribute)]) -> Tensor {
        let scope = if self.scope.is_empty() { String::new() } else { format!("{}/", self.scope) };
        let output = self.unique(&format!("{scope}{operator}"));
        self.graph.nodes.push(OnnxNode { operator, inputs: inputs.to_vec(), output, attributes: attributes.to_vec() });
        output
    }

    /// A constant; equal ones are one.
    fn constant(&mut self, name: &str, dims: &[usize], elements: Elements) -> Tensor {
        let is_same = |known: &&Constant| known.dims == dims && known.elements == elements;
        if let Some(known) = self.graph.constants.iter().find(is_same) {
            return known.tensor;
        }
        let tensor = self.unique(&format!("constant/{name}"));
        self.graph.constants.push(Constant { tensor, dims: dims.to_vec(), elements });
        tensor
    }

    /// Constant floats, by rows.
    pub fn floats(&mut self, dims: &[usize], values: Vec<f32>) -> Tensor {
        self.constant("floats", dims, Elements::Floats(values))
    }

    /// A float without dimensions.
    pub fn scalar(&mut self, value: f32) -> Tensor {
        self.constant(&value.to_string(), &[], Elements::Floats(vec![value]))
    }

    /// Constant integers, `[n]`.
    pub fn ints(&mut self, values: &[i64]) -> Tensor {
        let mut name = String::from("ints");
        values.iter().take(8).for_each(|value| write!(name, "_{value}").expect("strings take everything"));
        self.constant(&name, &[values.len()], Elements::Ints(values.to_vec()))
    }

    /// An integer without dimensions.
    pub fn int(&mut self, value: i64) -> Tensor {
        self.constant(&format!("int_{value}"), &[], Elements::Ints(vec![value]))
    }

    /// The parameter of that number.
    pub fn parameter(&mut self, index: usize) -> Tensor {
        if let Some((tensor, _)) = self.graph.parameters.iter().find(|(_, known)| *known == index) {
            return *tensor;
        }
        let name = self.source.parameters()[index].name.clone();
        let tensor = self.unique(&name);
        self.graph.parameters.push((tensor, index));
        tensor
    }

    fn input(&mut self, kind: InputKind, slot: usize, axis: Option<Axis>, name: &str, last: Dim) -> Tensor {
        if let Some(known) = self.graph.inputs.iter().find(|input| input.kind == kind && input.slot == slot) {
            return known.tensor;
        }
        let tensor = self.unique(name);
        let axis = axis.map(|axis| match self.source.length(axis) {
            Length::Fixed(length) => Dim::Fixed(*length),
            _ => Dim::Named(format!("length_{}", axis.0)),
        });
        let dims = [Dim::Named("batch".to_owned())].into_iter().chain(axis).chain([last]).collect();
        self.graph.inputs.push(OnnxInput { tensor, kind, dims, slot });
        tensor
    }

    /// The dense input of a slot.
    pub(crate) fn dense(&mut self, input: &DenseInput) -> Result<Tensor, NoForm> {
        let name = self.inputs.dense.get(input.slot).ok_or(NoForm)?;
        Ok(self.input(InputKind::Dense, input.slot, input.axis, name, Dim::Fixed(input.width)))
    }

    /// The ids of a slot: `[B, K]`, or `[B, L, K]` along an axis; without the last dimension where a row has one at most.
    pub(crate) fn ids(&mut self, lookup: &Lookup) -> Result<Ids, NoForm> {
        if let Some(known) = self.ids.get(&lookup.slot) {
            return Ok(*known);
        }
        let IdInput { name, is_weighted, count } = self.inputs.ids.get(lookup.slot).ok_or(NoForm)?;
        let last = match count {
            IdCount::One => Dim::Fixed(1),
            IdCount::Fixed(count) => Dim::Fixed(*count),
            IdCount::Any => Dim::Named(format!("{name}_count")),
        };
        let scope = std::mem::replace(&mut self.scope, name.clone());
        let given = self.input(InputKind::Ids, lookup.slot, lookup.axis, &format!("{name}_ids"), last.clone());
        let zero = self.int(0);
        let is_there = self.node("GreaterOrEqual", &[given, zero]);
        let mut weights = self.node_with("Cast", &[is_there], &[("to", FLOAT)]);
        let mut ids = self.node("Max", &[given, zero]);
        if *is_weighted {
            let given = self.input(InputKind::Weights, lookup.slot, lookup.axis, &format!("{name}_weights"), last);
            weights = self.node("Mul", &[given, weights]);
        }
        let is_single = *count == IdCount::One && !is_weighted;
        if is_single {
            ids = self.squeeze(ids, -1);
        }
        self.scope = scope;
        let ids = Ids { ids, weights, is_single };
        self.ids.insert(lookup.slot, ids);
        Ok(ids)
    }

    /// The number of rows of the batch, `[1]`.
    pub fn rows(&mut self) -> Result<Tensor, NoForm> {
        let first = self.input_where(|_| true)?;
        Ok(self.size(first, 0))
    }

    /// How long an axis is, `[1]`.
    ///
    /// # Errors
    /// If no input lies along an axis that has its length from the feed.
    pub fn length(&mut self, axis: Axis) -> Result<Tensor, NoForm> {
        match self.source.length(axis).clone() {
            Length::Fixed(length) => Ok(self.ints(&[length as i64])),
            Length::Fed(_) => {
                let along = self.input_where(|own| own == Some(axis))?;
                Ok(self.size(along, 1))
            }
            Length::Joined(axes) => self.lengths(&axes),
        }
    }

    /// How long axes are together, `[1]`; none counts one.
    pub fn lengths(&mut self, axes: &[Option<Axis>]) -> Result<Tensor, NoForm> {
        let mut total = self.ints(&[axes.iter().filter(|axis| axis.is_none()).count() as i64]);
        for axis in axes.iter().flatten() {
            let length = self.length(*axis)?;
            total = self.node("Add", &[total, length]);
        }
        Ok(total)
    }

    /// Size of a dimension, `[1]`.
    fn size(&mut self, x: Tensor, dim: i64) -> Tensor {
        self.node_with("Shape", &[x], &[("start", Attribute::Int(dim)), ("end", Attribute::Int(dim + 1))])
    }

    /// An input of the model along a chosen axis.
    fn input_where(&mut self, chosen: impl Fn(Option<Axis>) -> bool) -> Result<Tensor, NoForm> {
        for value in self.source.values().filter(|value| self.is_needed[value.0]) {
            if let Some(input) = self.source.op_as::<DenseInput>(value)
                && chosen(input.axis)
            {
                return self.dense(input);
            }
            if let Some(lookup) = self.source.op_as::<Lookup>(value)
                && chosen(lookup.axis)
            {
                self.ids(lookup)?;
                let is_same = |input: &&OnnxInput| input.kind == InputKind::Ids && input.slot == lookup.slot;
                return self.graph.inputs.iter().find(is_same).map(|input| input.tensor).ok_or(NoForm);
            }
        }
        Err(NoForm)
    }

    /// `x` of shape `from` with other dimensions behind those of its rows.
    pub fn reshape(&mut self, x: Tensor, from: &Shape, dims: &[usize]) -> Tensor {
        if from.dims == dims {
            return x;
        }
        // A size of 0 stands for that of the input.
        let leading = vec![0; leading(from)];
        let sizes: Vec<i64> = leading.into_iter().chain(dims.iter().map(|size| *size as i64)).collect();
        let sizes = self.ints(&sizes);
        self.node("Reshape", &[x, sizes])
    }

    /// `x` of shape `from` as a matrix of its rows, `[B, N]` or `[B, L, N]`; `[N]` without rows.
    pub fn flat(&mut self, x: Tensor, from: &Shape) -> Tensor {
        self.reshape(x, from, &[from.elements()])
    }

    /// `x` so that ONNX repeats it over `output` as [`Binary`](crate::ops::binary::Binary) does: a column gets dimensions of size 1, a row
    /// of as many elements the dimensions of the output, one number none.
    pub fn repeatable(&mut self, x: Tensor, from: &Shape, output: &Shape) -> Tensor {
        if from == output {
            return x;
        }
        if from.batch && from.dims == [1] {
            return self.reshape(x, from, &vec![1; output.dims.len()]);
        }
        if !from.batch && from.elements() == 1 {
            return self.reshape(x, from, &[]);
        }
        if !from.batch && from.elements() == output.elements() { self.reshape(x, from, &output.dims) } else { x }
    }

    /// Elements `first .. end` along a dimension.
    pub fn slice(&mut self, x: Tensor, dim: i64, first: i64, end: i64) -> Tensor {
        let first = self.ints(&[first]);
        let end = self.ints(&[end]);
        self.slice_between(x, dim, first, end)
    }

    /// Elements between two places, `[1]` each, along a dimension.
    pub fn slice_between(&mut self, x: Tensor, dim: i64, first: Tensor, end: Tensor) -> Tensor {
        let dim = self.ints(&[dim]);
        self.node("Slice", &[x, first, end, dim])
    }

    /// `x` of that rank, cut or filled up with zeros along a dimension to `length`, `[1]`.
    pub fn resize(&mut self, x: Tensor, rank: usize, dim: usize, length: Tensor) -> Tensor {
        let zero = self.ints(&[0]);
        let cut = self.slice_between(x, dim as i64, zero, length);
        let held = self.size(cut, dim as i64);
        let missing = self.node("Sub", &[length, held]);
        let before = self.ints(&vec![0; rank + dim]);
        let after = self.ints(&vec![0; rank - dim - 1]);
        let pads = self.node_with("Concat", &[before, missing, after], &[("axis", Attribute::Int(0))]);
        self.node("Pad", &[cut, pads])
    }

    /// `x` repeated to `[B, L, dims...]`, L for tensors along an axis.
    pub fn expand(&mut self, x: Tensor, output: &Shape) -> Result<Tensor, NoForm> {
        let mut sizes = vec![self.rows()?];
        if let Some(axis) = output.axis {
            sizes.push(self.length(axis)?);
        }
        let dims: Vec<i64> = output.dims.iter().map(|size| *size as i64).collect();
        sizes.push(self.ints(&dims));
        let sizes = self.node_with("Concat", &sizes, &[("axis", Attribute::Int(0))]);
        Ok(self.node("Expand", &[x, sizes]))
    }

    /// `x` with a dimension of size 1 added.
    pub fn unsqueeze(&mut self, x: Tensor, dim: i64) -> Tensor {
        let dim = self.ints(&[dim]);
        self.node("Unsqueeze", &[x, dim])
    }

    /// `x` without a dimension of size 1.
    pub fn squeeze(&mut self, x: Tensor, dim: i64) -> Tensor {
        let dim = self.ints(&[dim]);
        self.node("Squeeze", &[x, dim])
    }

    /// The sum along a dimension, which is dropped.
    pub fn sum(&mut self, x: Tensor, dim: i64) -> Tensor {
        let dim = self.ints(&[dim]);
        self.node_with("ReduceSum", &[x, dim], &[("keepdims", Attribute::Int(0))])
    }

    /// The ReLU, where one follows.
    pub fn relu_if(&mut self, relu: bool, x: Tensor) -> Tensor {
        if relu { self.node("Relu", &[x]) } else { x }
    }
}

/// Dimensions of the rows of a tensor.
pub fn leading(shape: &Shape) -> usize {
    usize::from(shape.batch) + usize::from(shape.axis.is_some())
}

/// ONNX's number of the element type of 32-bit floats.
pub const FLOAT: Attribute = Attribute::Int(1);
/// The type of 64-bit integers, for the attribute `to` of `Cast`.
pub const INT64: Attribute = Attribute::Int(7);
/// ONNX's number of the element type of truth values.
pub const BOOL: Attribute = Attribute::Int(9);
