//! What layers compose their operations with: a graph under construction and the place in the variable names where they are.

use std::collections::BTreeMap;

use rankmill_graph::ops::batch_norm::{BatchMoments, BatchNorm, MovingNorm};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::concat::Concat;
use rankmill_graph::ops::dropout::Dropout;
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::function::Function;
use rankmill_graph::ops::layer_norm::LayerNorm;
use rankmill_graph::ops::leaf::Parameter;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::penalty::KernelPenalty;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{Axis, Graph, GraphError, Length, Op, Shape, Value};

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
    /// Scalars that layers add to the losses, by name.
    pub losses: Vec<(String, Value)>,
    /// Named tensors for tests, explanations and pictures.
    pub taps: Vec<(String, Value)>,
    unique_names: Vec<String>,
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
}

impl Default for BatchNormSettings {
    fn default() -> Self {
        BatchNormSettings { momentum: 0.99, epsilon: 1e-3 }
    }
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

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// The logistic function.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// Names that configs may use, with what they mean (EasyRec behaviour 103).
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("", Activation::Linear),
    ("linear", Activation::Linear),
    ("relu", Activation::Relu),
    ("tf.nn.relu", Activation::Relu),
    ("sigmoid", Activation::Sigmoid),
    ("tf.nn.sigmoid", Activation::Sigmoid),
    ("tf.sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("tf.nn.tanh", Activation::Tanh),
    ("tf.tanh", Activation::Tanh),
];

impl Activation {
    /// The activation of that name, or the names there are.
    ///
    /// # Errors
    /// A list of the known names.
    pub fn from_name(name: &str) -> Result<Activation, String> {
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation).ok_or_else(|| {
            let known: Vec<&str> = ACTIVATIONS.iter().map(|(known, _)| *known).filter(|known| !known.is_empty()).collect();
            format!("activation `{name}` is not supported; known: {}", known.join(", "))
        })
    }
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
            losses: Vec::new(),
            taps: Vec::new(),
            unique_names: Vec::new(),
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

    /// The scope in which variable names start with `path/`, outside of this one.
    pub fn root(&mut self, path: &str) -> Scope<'_> {
        self.builder.scope(path)
    }

    /// What the graph is for.
    pub fn mode(&self) -> Mode {
        self.builder.mode
    }

    fn name(&self, name: &str) -> String {
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

    /// `x·kernel (+ bias)`: variables `name/kernel [K, N]`, `name/bias [N]`.
    ///
    /// # Errors
    /// If `x` is not `[B, K]`.
    pub fn dense(&mut self, name: &str, x: Value, units: usize, kernel: Initializer, bias: Bias) -> Result<Value, GraphError> {
        self.child(name).dense_here(x, units, kernel, bias)
    }

    /// As [`Scope::dense`], with the variables `kernel` and `bias` in this scope.
    ///
    /// # Errors
    /// If `x` is not `[B, K]`.
    pub fn dense_here(&mut self, x: Value, units: usize, kernel: Initializer, bias: Bias) -> Result<Value, GraphError> {
        let width = self.width(x);
        let weights = self.parameter("kernel", &[width, units], kernel)?;
        let product = self.add(MatMul::PLAIN, &[x, weights])?;
        if bias == Bias::None {
            return Ok(product);
        }
        let offset = self.parameter("bias", &[units], Initializer::Constant(0.0))?;
        self.add(Binary::Add, &[product, offset])
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

    /// The activation of `x`.
    ///
    /// # Errors
    /// Never for a value of this graph.
    pub fn activate(&mut self, x: Value, activation: Activation) -> Result<Value, GraphError> {
        match activation {
            Activation::Linear => Ok(x),
            Activation::Relu => self.add(Unary::Relu, &[x]),
            Activation::Sigmoid => self.add(Unary::Sigmoid, &[x]),
            Activation::Tanh => self.add(Unary::Tanh, &[x]),
        }
    }

    /// Layer norm over the columns: variables `name/gamma`, `name/beta`.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn layer_norm(&mut self, name: &str, x: Value, epsilon: f32) -> Result<Value, GraphError> {
        let width = self.width(x);
        let mut scope = self.child(name);
        let gamma = scope.parameter("gamma", &[width], Initializer::Constant(1.0))?;
        let beta = scope.parameter("beta", &[width], Initializer::Constant(0.0))?;
        scope.add(LayerNorm { epsilon, relu: false }, &[x, gamma, beta])
    }

    /// Batch norm over the rows: variables `name/gamma`, `name/beta`, `name/moving_mean`, `name/moving_variance`.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn batch_norm(&mut self, name: &str, x: Value, settings: BatchNormSettings) -> Result<Value, GraphError> {
        let width = self.width(x);
        let mode = self.mode();
        let mut scope = self.child(name);
        let gamma = scope.parameter("gamma", &[width], Initializer::Constant(1.0))?;
        let beta = scope.parameter("beta", &[width], Initializer::Constant(0.0))?;
        let mean = scope.declare("moving_mean", &[width], Initializer::Constant(0.0), false)?;
        let variance = scope.declare("moving_variance", &[width], Initializer::Constant(1.0), false)?;
        let epsilon = settings.epsilon;
        if mode == Mode::Inference {
            let mean = scope.add(Parameter { index: mean, shape: Shape::fixed(&[width]) }, &[])?;
            let variance = scope.add(Parameter { index: variance, shape: Shape::fixed(&[width]) }, &[])?;
            return scope.add(MovingNorm { epsilon, relu: false }, &[x, gamma, beta, mean, variance]);
        }
        let moments = scope.add(BatchMoments, &[x])?;
        for (parameter, moment) in [(mean, Moment::Mean), (variance, Moment::Variance)] {
            let update = MovingUpdate { parameter, moments, moment, momentum: settings.momentum };
            scope.builder.updates.push(update);
        }
        scope.add(BatchNorm { epsilon, relu: false }, &[x, moments, gamma, beta])
    }

    /// Batch norm by the moving statistics, in training too: `γ·(x - μ)/√(σ² + ε) + β`. The statistics stay as they are.
    ///
    /// # Errors
    /// If `x` has no batch rows.
    pub fn moving_norm(&mut self, name: &str, x: Value, settings: BatchNormSettings) -> Result<Value, GraphError> {
        if self.mode() == Mode::Inference {
            return self.batch_norm(name, x, settings);
        }
        let width = self.width(x);
        let mut scope = self.child(name);
        let gamma = scope.parameter("gamma", &[width], Initializer::Constant(1.0))?;
        let beta = scope.parameter("beta", &[width], Initializer::Constant(0.0))?;
        let mean = scope.declare("moving_mean", &[width], Initializer::Constant(0.0), false)?;
        let variance = scope.declare("moving_variance", &[width], Initializer::Constant(1.0), false)?;
        let mean = scope.add(Parameter { index: mean, shape: Shape::fixed(&[width]) }, &[])?;
        let variance = scope.add(Parameter { index: variance, shape: Shape::fixed(&[width]) }, &[])?;
        let epsilon = scope.add(Fill { shape: Shape::fixed(&[width]), value: settings.epsilon }, &[])?;
        let variance = scope.add(Binary::Add, &[variance, epsilon])?;
        let scale = scope.add(Function::InverseRoot { least: 0.0 }, &[variance])?;
        let centred = scope.add(Binary::Subtract, &[x, mean])?;
        let normed = scope.add(Binary::Multiply, &[centred, scale])?;
        let scaled = scope.add(Binary::Multiply, &[normed, gamma])?;
        scope.add(Binary::Add, &[scaled, beta])
    }

    /// Dropout in training, nothing in inference or at rate 0.
    ///
    /// # Errors
    /// If the rate is not in `[0, 1)`.
    pub fn dropout(&mut self, name: &str, x: Value, rate: f32) -> Result<Value, GraphError> {
        if rate == 0.0 || self.mode() == Mode::Inference {
            return Ok(x);
        }
        // A layer that is called again, as part of a package, draws anew.
        let name = self.name(name);
        let salt = name_hash(&self.builder.unique(&name));
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
