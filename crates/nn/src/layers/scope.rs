//! What layers compose their operations with: a graph under construction and the place in the variable names where they are.

use std::collections::BTreeMap;

use rankmill_graph::ops::axis::{FromAxis, ToAxis};
use rankmill_graph::ops::batch_norm::{BatchMoments, BatchNorm, MovingNorm};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::Concat;
use rankmill_graph::ops::dropout::Dropout;
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::layer_norm::LayerNorm;
use rankmill_graph::ops::leaf::Parameter;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::penalty::KernelPenalty;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Axis, Graph, GraphError, Length, Op, Shape, Value};

pub use super::activation::Activation;
use crate::init::Initializer;
use crate::random::name_hash;

/// What the graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, dropout, losses.
    Training,
    /// Moving statistics, no dropout.
    Inference,
}

/// Which half of [`BatchMoments`] a moving statistic follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The mean.
    Mean,
    /// The biased variance.
    Variance,
}

/// A moving statistic that follows a batch statistic: `moving -= (moving - batch)·(1 - momentum)` after each step.
#[derive(Clone, Copy, Debug)]
pub struct MovingUpdate {
    /// Number of the moving statistic among the parameters.
    pub parameter: usize,
    /// The batch's moments, `[2N]`.
    pub moments: Value,
    /// Which half.
    pub moment: Moment,
    /// Share of the old value that is kept.
    pub momentum: f32,
}

/// Names of unnamed layers of one kind in one scope.
#[derive(Debug, Default)]
struct LayerNames {
    names: Vec<String>,
    asked: usize,
}

/// A graph under construction.
#[derive(Debug)]
pub struct Builder {
    /// The graph.
    pub graph: Graph,
    /// What it is for.
    pub mode: Mode,
    /// How each parameter starts, by number.
    pub initializers: Vec<Initializer>,
    /// The moving statistics.
    pub updates: Vec<MovingUpdate>,
    /// Scalars that layers add to the regularisation: penalties on kernels, scaled already.
    pub penalties: Vec<Value>,
    /// What the few components of a backbone whose kernels are penalised multiply half of their sum of squares by (EasyRec behaviour 26).
    pub kernel_penalty: f32,
    /// Scalars that layers add to the losses, by name.
    pub losses: Vec<(String, Value)>,
    /// Tensors that layers add to the predictions, by name.
    pub predictions: Vec<(String, Value)>,
    /// Named tensors for tests, explanations and pictures.
    pub taps: Vec<(String, Value)>,
    /// The axes whose lengths in each row these values are.
    lengths: BTreeMap<Value, Axis>,
    unique_names: Vec<String>,
    /// The names of unnamed layers by scope and base, in order, and how many of them the component being built has asked for.
    layer_names: BTreeMap<(String, String), LayerNames>,
    /// The trainable parameters' values, by number.
    parameters: BTreeMap<usize, Value>,
}

/// Batch norm as in Keras and `tf.layers` (EasyRec behaviour 29).
#[derive(Clone, Copy, Debug)]
pub struct BatchNormSettings {
    /// Share of the old moving statistics that is kept.
    pub momentum: f32,
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether there is an offset, `beta`.
    pub center: bool,
    /// Whether there is a factor, `gamma`.
    pub scale: bool,
}

impl Default for BatchNormSettings {
    fn default() -> Self {
        BatchNormSettings { momentum: 0.99, epsilon: 1e-3, center: true, scale: true }
    }
}

/// The variables of a batch norm: values of γ and β, numbers of the moving statistics among the parameters.
struct NormParameters {
    gamma: Value,
    beta: Value,
    mean: usize,
    variance: usize,
}

/// Epsilon of Keras' layer norm (EasyRec behaviour 30).
pub const LAYER_NORM_EPSILON: f32 = 1e-3;

/// Whether a dense layer has a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// It has one, which starts at 0.
    Zeros,
    /// It has none.
    None,
}

impl Builder {
    /// An empty graph.
    pub fn new(mode: Mode) -> Builder {
        Builder {
            graph: Graph::new(),
            mode,
            initializers: Vec::new(),
            updates: Vec::new(),
            penalties: Vec::new(),
            kernel_penalty: 0.0,
            losses: Vec::new(),
            predictions: Vec::new(),
            taps: Vec::new(),
            lengths: BTreeMap::new(),
            unique_names: Vec::new(),
            layer_names: BTreeMap::new(),
            parameters: BTreeMap::new(),
        }
    }

    /// A name that no earlier call gave: `base`, then `base_1`, `base_2`, … as TensorFlow names unnamed layers.
    pub fn unique(&mut self, base: &str) -> String {
        let taken = self.unique_names.iter().filter(|name| *name == base).count();
        self.unique_names.push(base.to_owned());
        if taken == 0 { base.to_owned() } else { format!("{base}_{taken}") }
    }

    /// The scope in which variable names start with `path/`.
    pub fn scope(&mut self, path: &str) -> Scope<'_> {
        self.graph.set_scope(path);
        Scope { builder: self, path: path.to_owned() }
    }
}

/// A place in the variable names.
pub struct Scope<'a> {
    builder: &'a mut Builder,
    path: String,
}

impl Scope<'_> {
    /// The scope `name` inside of this one.
    pub fn child(&mut self, name: &str) -> Scope<'_> {
        let path = self.name(name);
        self.builder.scope(&path)
    }

    /// The scope in which variable names start with `path/`, outside of this one: what EasyRec makes with `tf.get_variable` is not below
    /// the backbone's name.
    pub fn root(&mut self, path: &str) -> Scope<'_> {
        self.builder.scope(path)
    }

    /// The last part of this scope's name: that of the block.
    pub fn block_name(&self) -> String {
        self.path.rsplit('/').next().unwrap_or_default().to_owned()
    }

    /// The name of an unnamed layer, as [`Builder::unique`] gives it. A component that is built again in the same scope, because its
    /// package is called again, gets the names it had.
    pub fn unique(&mut self, base: &str) -> String {
        let key = (self.path.clone(), base.to_owned());
        let known = self.builder.layer_names.entry(key.clone()).or_default();
        known.asked += 1;
        if let Some(name) = known.names.get(known.asked - 1) {
            return name.clone();
        }
        let name = self.builder.unique(base);
        self.builder.layer_names.entry(key).or_default().names.push(name.clone());
        name
    }

    /// A name as [`Builder::unique`] gives it, a new one each time.
    pub(super) fn fresh(&mut self, base: &str) -> String {
        self.builder.unique(base)
    }

    /// Begins a component: names of unnamed layers are given out from the first on again.
    pub(super) fn begin(&mut self) {
        self.builder.layer_names.values_mut().for_each(|known| known.asked = 0);
    }

    /// A name that this scope has not given out yet: `base`, `base_1`, `base_2`, … A component that is built again gets the same ones.
    pub fn numbered(&mut self, base: &str) -> String {
        let known = self.builder.layer_names.entry((self.path.clone(), format!("{base} here"))).or_default();
        known.asked += 1;
        if known.asked == 1 { base.to_owned() } else { format!("{base}_{}", known.asked - 1) }
    }

    /// What tells the random numbers of a layer from those of others; a layer that is called again draws anew.
    pub fn salt(&mut self, name: &str) -> u64 {
        let name = self.name(name);
        name_hash(&self.builder.unique(&name))
    }

    /// Adds a scalar to the losses, by the name under which it is shown.
    pub fn add_loss(&mut self, name: &str, loss: Value) {
        self.builder.losses.push((name.to_owned(), loss));
    }

    /// Adds a tensor to the predictions; one of the same name gives way to it.
    pub fn add_prediction(&mut self, name: &str, value: Value) {
        self.builder.predictions.retain(|(known, _)| known != name);
        self.builder.predictions.push((name.to_owned(), value));
    }

    /// [`Builder::kernel_penalty`].
    pub fn kernel_penalty(&self) -> f32 {
        self.builder.kernel_penalty
    }

    /// What the graph is for.
    pub fn mode(&self) -> Mode {
        self.builder.mode
    }

    pub(super) fn name(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// Width of the rows of a value.
    pub fn width(&self, value: Value) -> usize {
        self.builder.graph.shape(value).elements()
    }

    /// The shape of a value.
    pub fn shape(&self, value: Value) -> &Shape {
        self.builder.graph.shape(value)
    }

    /// The axis of that length; a second call gives the same axis.
    pub fn axis(&mut self, length: Length) -> Axis {
        self.builder.graph.axis(length)
    }

    /// Notes that a value holds for each row how many of the positions along `axis` it has.
    pub fn note_lengths(&mut self, lengths: Value, axis: Axis) {
        self.builder.lengths.insert(lengths, axis);
    }

    /// The axis whose lengths a value holds.
    pub fn axis_of_lengths(&self, lengths: Value) -> Option<Axis> {
        self.builder.lengths.get(&lengths).copied()
    }

    /// Adds any operation.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn add(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value, GraphError> {
        self.builder.graph.set_scope(&self.path);
        self.builder.graph.add(op, inputs)
    }

    /// Names a tensor, for tests, explanations and pictures.
    pub fn tap(&mut self, name: &str, value: Value) -> Value {
        let name = self.name(name);
        self.builder.taps.push((name, value));
        value
    }

    fn declare(&mut self, name: &str, shape: &[usize], initializer: Initializer, trainable: bool) -> Result<usize, GraphError> {
        let index = self.builder.graph.declare(&self.name(name), Shape::fixed(shape), trainable)?;
        if index == self.builder.initializers.len() {
            self.builder.initializers.push(initializer);
        }
        Ok(index)
    }

    /// The trainable parameter `name` of this scope; a second call gives the same parameter.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn parameter(&mut self, name: &str, shape: &[usize], initializer: Initializer) -> Result<Value, GraphError> {
        let index = self.declare(name, shape, initializer, true)?;
        if let Some(known) = self.builder.parameters.get(&index) {
            return Ok(*known);
        }
        let value = self.add(Parameter { index, shape: Shape::fixed(shape) }, &[])?;
        self.builder.parameters.insert(index, value);
        Ok(value)
    }

    /// The table `name` of this scope, which gets rows `[width]` as keys come: first one of zeros, then others that start as
    /// `initializer` says. A second call gives the same table.
    ///
    /// # Errors
    /// If it exists with another shape.
    pub fn growing_table(&mut self, name: &str, width: usize, initializer: Initializer, keys: &str) -> Result<Value, GraphError> {
        let index = self.declare(name, &[1, width], initializer.clone(), true)?;
        self.builder.graph.let_grow(index, keys);
        self.parameter(name, &[1, width], initializer)
    }

    /// `x·kernel (+ bias)`: variables `name/kernel [K, N]`, `name/bias [N]`.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn dense(&mut self, name: &str, x: Value, units: usize, kernel: Initializer, bias: Bias) -> Result<Value, GraphError> {
        self.child(name).dense_here(x, units, kernel, bias)
    }

    /// As [`Scope::dense`], with the variables `kernel` and `bias` in this scope.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn dense_here(&mut self, x: Value, units: usize, kernel: Initializer, bias: Bias) -> Result<Value, GraphError> {
        let bias = (bias == Bias::Zeros).then_some(Initializer::Constant(0.0));
        self.dense_with(x, units, kernel, bias)
    }

    /// A dense layer of `tf.layers`: variables `name/kernel`, which starts with `glorot_uniform`, and `name/bias`; `penalty` times half
    /// the kernel's sum of squares is added to the regularisation (EasyRec behaviour 26).
    ///
    /// # Errors
    /// If `x` is not `[B, K]`.
    pub fn penalised_dense(&mut self, name: &str, x: Value, units: usize, penalty: f32) -> Result<Value, GraphError> {
        self.penalised(name, x, units, penalty, Bias::Zeros)
    }

    /// As [`Scope::penalised_dense`], without a bias.
    ///
    /// # Errors
    /// If `x` is not `[B, K]`.
    pub fn penalised_projection(&mut self, name: &str, x: Value, units: usize, penalty: f32) -> Result<Value, GraphError> {
        self.penalised(name, x, units, penalty, Bias::None)
    }

    fn penalised(&mut self, name: &str, x: Value, units: usize, penalty: f32, bias: Bias) -> Result<Value, GraphError> {
        let y = self.dense(name, x, units, Initializer::GlorotUniform, bias)?;
        let width = self.width(x);
        let mut scope = self.child(name);
        let kernel = scope.parameter("kernel", &[width, units], Initializer::GlorotUniform)?;
        scope.penalise(kernel, penalty)?;
        Ok(y)
    }

    /// Adds `penalty` times half the sum of a kernel's squares to the regularisation (EasyRec behaviour 26).
    ///
    /// # Errors
    /// If the kernel has batch rows.
    pub fn penalise(&mut self, kernel: Value, penalty: f32) -> Result<(), GraphError> {
        if penalty > 0.0 {
            let half = self.add(KernelPenalty, &[kernel])?;
            let scaled = self.add(Unary::Scale(penalty), &[half])?;
            self.builder.penalties.push(scaled);
        }
        Ok(())
    }

    /// As [`Scope::dense_here`], with a bias that starts in any way. Of fields, `[B, n, K]`, each is multiplied by the same kernel.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn dense_with(&mut self, x: Value, units: usize, kernel: Initializer, bias: Option<Initializer>) -> Result<Value, GraphError> {
        let width = self.shape(x).width();
        let weights = self.parameter("kernel", &[width, units], kernel)?;
        let offset = match bias {
            Some(initializer) => Some(self.parameter("bias", &[units], initializer)?),
            None => None,
        };
        self.each_field(x, |s, x| {
            let product = s.add(MatMul::PLAIN, &[x, weights])?;
            match offset {
                Some(offset) => s.add(Binary::Add, &[product, offset]),
                None => Ok(product),
            }
        })
    }

    /// Layer norm over the last dimension: variables `name/gamma`, `name/beta`.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn layer_norm(&mut self, name: &str, x: Value, epsilon: f32) -> Result<Value, GraphError> {
        self.child(name).layer_norm_here(x, epsilon)
    }

    /// As [`Scope::layer_norm`], with the variables in this scope.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn layer_norm_here(&mut self, x: Value, epsilon: f32) -> Result<Value, GraphError> {
        let width = self.shape(x).width();
        let gamma = self.parameter("gamma", &[width], Initializer::Constant(1.0))?;
        let beta = self.parameter("beta", &[width], Initializer::Constant(0.0))?;
        self.each_field(x, |s, x| s.add(LayerNorm { epsilon, relu: false }, &[x, gamma, beta]))
    }

    /// Batch norm over the rows: variables `name/gamma`, `name/beta`, `name/moving_mean`, `name/moving_variance`.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn batch_norm(&mut self, name: &str, x: Value, settings: BatchNormSettings) -> Result<Value, GraphError> {
        self.child(name).batch_norm_here(x, settings)
    }

    /// As [`Scope::batch_norm`], with the variables in this scope. Of fields, `[B, n, D]`, the rows are all fields of all rows.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn batch_norm_here(&mut self, x: Value, settings: BatchNormSettings) -> Result<Value, GraphError> {
        match self.shape(x).dims[..] {
            [1, width] => {
                let flat = self.reshape(x, &[width])?;
                let y = self.batch_norm_of_rows(flat, settings)?;
                self.reshape(y, &[1, width])
            }
            [fields, width] => {
                let axis = self.axis(Length::Fixed(fields));
                let flat = self.flat(x)?;
                let rows = self.add(ToAxis { axis, width }, &[flat])?;
                let y = self.batch_norm_of_rows(rows, settings)?;
                self.add(FromAxis { dims: vec![fields, width] }, &[y])
            }
            _ => self.batch_norm_of_rows(x, settings),
        }
    }

    fn batch_norm_of_rows(&mut self, x: Value, settings: BatchNormSettings) -> Result<Value, GraphError> {
        let parameters = self.norm_parameters(x, settings)?;
        if self.mode() == Mode::Inference {
            return self.by_moving_statistics(x, settings, &parameters);
        }
        let moments = self.add(BatchMoments, &[x])?;
        for (parameter, moment) in [(parameters.mean, Moment::Mean), (parameters.variance, Moment::Variance)] {
            let update = MovingUpdate { parameter, moments, moment, momentum: settings.momentum };
            self.builder.updates.push(update);
        }
        self.add(BatchNorm { epsilon: settings.epsilon, relu: false }, &[x, moments, parameters.gamma, parameters.beta])
    }

    /// Batch norm by the moving statistics, in training too: `γ·(x - μ)/√(σ² + ε) + β`. The statistics stay as they are.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn moving_norm(&mut self, name: &str, x: Value, settings: BatchNormSettings) -> Result<Value, GraphError> {
        let mut scope = self.child(name);
        let parameters = scope.norm_parameters(x, settings)?;
        scope.by_moving_statistics(x, settings, &parameters)
    }

    fn norm_parameters(&mut self, x: Value, settings: BatchNormSettings) -> Result<NormParameters, GraphError> {
        let width = self.width(x);
        Ok(NormParameters {
            gamma: self.affine("gamma", width, 1.0, settings.scale)?,
            beta: self.affine("beta", width, 0.0, settings.center)?,
            mean: self.declare("moving_mean", &[width], Initializer::Constant(0.0), false)?,
            variance: self.declare("moving_variance", &[width], Initializer::Constant(1.0), false)?,
        })
    }

    fn by_moving_statistics(&mut self, x: Value, settings: BatchNormSettings, parameters: &NormParameters) -> Result<Value, GraphError> {
        let shape = Shape::fixed(&[self.width(x)]);
        let mean = self.add(Parameter { index: parameters.mean, shape: shape.clone() }, &[])?;
        let variance = self.add(Parameter { index: parameters.variance, shape }, &[])?;
        let norm = MovingNorm { epsilon: settings.epsilon, relu: false };
        self.add(norm, &[x, parameters.gamma, parameters.beta, mean, variance])
    }

    /// A parameter of a norm, or its initial value for good.
    fn affine(&mut self, name: &str, width: usize, start: f32, learnt: bool) -> Result<Value, GraphError> {
        if learnt {
            return self.parameter(name, &[width], Initializer::Constant(start));
        }
        self.add(Fill { shape: Shape::fixed(&[width]), value: start }, &[])
    }

    /// Dropout in training, nothing in inference or at rate 0.
    ///
    /// # Errors
    /// If the rate is not in `[0, 1)`.
    pub fn dropout(&mut self, name: &str, x: Value, rate: f32) -> Result<Value, GraphError> {
        if rate == 0.0 || self.mode() == Mode::Inference {
            return Ok(x);
        }
        let salt = self.salt(name);
        self.add(Dropout { rate, salt }, &[x])
    }

    /// `a ⊙ b`.
    ///
    /// # Errors
    /// If the shapes don't fit.
    pub fn multiply(&mut self, a: Value, b: Value) -> Result<Value, GraphError> {
        self.add(Binary::Multiply, &[a, b])
    }

    /// The values side by side; one alone stays as it is.
    ///
    /// # Errors
    /// If one has no batch rows, or there are none.
    pub fn concat(&mut self, values: &[Value]) -> Result<Value, GraphError> {
        match values {
            [only] => Ok(*only),
            _ => self.add(Concat, values),
        }
    }
}
