//! Initial values of variables, with Keras' definitions (EasyRec behaviours 19 and 106: the default embedding initializer, and
//! any Keras name in `kernel_initializer`, `bias_initializer` and the MLP's `initializer`).
//!
//! ```text
//! fan_in, fan_out:  [] -> 1, 1    [n] -> n, n    [k, n] -> k, n    [.., k, n] -> product(..)·k, product(..)·n
//! variance scaling: v = scale / max(1, fan)
//!   uniform over ±sqrt(3 v), or normal truncated at two deviations with deviation sqrt(v) / 0.87962566103423978
//! glorot: scale 1, fan = (fan_in + fan_out) / 2     he: scale 2, fan_in     lecun: scale 1, fan_in
//! ```
//! The constant is the deviation of a standard normal truncated to [-2, 2]: dividing by it gives the values variance v.
//! Plain `truncated_normal` has no such correction, in Keras as here.
//!
//! A value depends on the seed, the variable's name and the element's index only, so any part of a variable can be drawn by
//! itself ([`Initializer::fill_range`]).

use rankmill_config::{nearest, proto};

use crate::random::{Stream, Tails, fill_normal};

/// Deviation of a standard normal variable truncated to [-2, 2].
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// What the initial values of dynamic tables take for the number of rows, as DeepRec does (`default_value_dim`).
pub const ROWS_OF_DYNAMIC_TABLES: usize = 4096;

/// Names that [`Initializer::from_keras_name`] knows, lower case, with what they mean.
const KERAS_NAMES: [(&str, Initializer); 19] = [
    ("zeros", Initializer::Constant(0.0)),
    ("zero", Initializer::Constant(0.0)),
    ("constant", Initializer::Constant(0.0)),
    ("ones", Initializer::Constant(1.0)),
    ("one", Initializer::Constant(1.0)),
    ("random_uniform", Initializer::Uniform { minimum: -0.05, maximum: 0.05 }),
    ("uniform", Initializer::Uniform { minimum: -0.05, maximum: 0.05 }),
    ("random_normal", Initializer::Normal { mean: 0.0, deviation: 0.05 }),
    ("normal", Initializer::Normal { mean: 0.0, deviation: 0.05 }),
    ("truncated_normal", Initializer::TruncatedNormal { mean: 0.0, deviation: 0.05 }),
    ("variance_scaling", Initializer::LecunNormal),
    ("glorot_uniform", Initializer::GlorotUniform),
    ("glorot_normal", Initializer::GlorotNormal),
    ("he_uniform", Initializer::HeUniform),
    ("he_normal", Initializer::HeNormal),
    ("lecun_uniform", Initializer::LecunUniform),
    ("lecun_normal", Initializer::LecunNormal),
    ("orthogonal", Initializer::Orthogonal),
    ("identity", Initializer::Identity),
];

/// How a variable starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Initializer {
    /// One value everywhere.
    Constant(f32),
    /// Values in row-major order; the last one is repeated to the end.
    Values(Vec<f32>),
    /// Uniform over [minimum, maximum).
    Uniform {
        /// Lower bound, included.
        minimum: f32,
        /// Upper bound, excluded.
        maximum: f32,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        deviation: f32,
    },
    /// Normal, redrawn until within two deviations of the mean.
    TruncatedNormal {
        /// Mean.
        mean: f32,
        /// Standard deviation before truncation.
        deviation: f32,
    },
    /// Uniform over ±sqrt(6 / (fan_in + fan_out)).
    GlorotUniform,
    /// Truncated normal of variance 2 / (fan_in + fan_out).
    GlorotNormal,
    /// Uniform over ±sqrt(6 / fan_in).
    HeUniform,
    /// Truncated normal of variance 2 / fan_in.
    HeNormal,
    /// Uniform over ±sqrt(3 / fan_in).
    LecunUniform,
    /// Truncated normal of variance 1 / fan_in.
    LecunNormal,
    /// Orthonormal rows or columns (whichever are fewer) of the matrix of all leading dimensions by the last one.
    Orthogonal,
    /// Ones on the diagonal of a matrix.
    Identity,
}

/// Why no initializer could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializerError {
    /// The name is none of Keras'.
    #[error("`{name}` is not an initializer; {}expected one of {known}", suggestion(*nearest))]
    UnknownName {
        /// The name as given.
        name: String,
        /// The known name that was probably meant.
        nearest: Option<&'static str>,
        /// All known names, separated by commas.
        known: String,
    },
    /// The message `Initializer` has no member set.
    #[error(
        "no initializer is set; expected truncated_normal_initializer, random_normal_initializer, glorot_normal_initializer or constant_initializer"
    )]
    Empty,
    /// `constant_initializer` lists no value.
    #[error("constant_initializer.consts is empty; expected at least one value")]
    NoConstants,
    /// A standard deviation is negative or not a number.
    #[error("{field} is {value}; expected a number that is not negative")]
    Deviation {
        /// Path of the field below `Initializer`.
        field: &'static str,
        /// The value as text.
        value: String,
    },
}

impl Initializer {
    /// The initializer that Keras makes of a name: its snake-case name (`he_uniform`) or its class name (`HeUniform`).
    ///
    /// # Errors
    /// [`InitializerError::UnknownName`], with the nearest known name.
    pub fn from_keras_name(name: &str) -> Result<Initializer, InitializerError> {
        let wanted = snake_case(name.trim());
        if let Some((_, initializer)) = KERAS_NAMES.iter().find(|(known, _)| *known == wanted) {
            return Ok(initializer.clone());
        }
        let names = KERAS_NAMES.iter().map(|(known, _)| *known);
        Err(InitializerError::UnknownName {
            name: name.to_owned(),
            nearest: nearest(&wanted, names),
            known: KERAS_NAMES.map(|(known, _)| known).join(", "),
        })
    }

    /// The initializer of a configuration's `initializer` field.
    ///
    /// # Errors
    /// When no member is set, a deviation is negative, or `constant_initializer` lists nothing.
    pub fn from_config(config: &proto::Initializer) -> Result<Initializer, InitializerError> {
        use proto::initializer::InitializerOneof as Kind;
        let kind = config.initializer_oneof.as_ref().ok_or(InitializerError::Empty)?;
        match kind {
            Kind::TruncatedNormalInitializer(normal) => Ok(Initializer::TruncatedNormal {
                mean: normal.mean(),
                deviation: checked_deviation("truncated_normal_initializer.stddev", normal.stddev())?,
            }),
            Kind::RandomNormalInitializer(normal) => Ok(Initializer::Normal {
                mean: normal.mean(),
                deviation: checked_deviation("random_normal_initializer.stddev", normal.stddev())?,
            }),
            Kind::GlorotNormalInitializer(_) => Ok(Initializer::GlorotNormal),
            Kind::ConstantInitializer(constant) => match constant.consts.as_slice() {
                [] => Err(InitializerError::NoConstants),
                [value] => Ok(Initializer::Constant(*value)),
                values => Ok(Initializer::Values(values.to_vec())),
            },
        }
    }

    /// The initializer of embedding tables whose feature names none: truncated normal, deviation 0.01 / sqrt(dimension).
    pub fn embedding_default(dimension: usize) -> Initializer {
        Initializer::TruncatedNormal { mean: 0.0, deviation: (0.01 / (dimension.max(1) as f64).sqrt()) as f32 }
    }

    /// Whether a part of a variable is drawn in the time that it takes of the whole.
    pub fn draws_apart(&self) -> bool {
        !matches!(self, Initializer::Orthogonal)
    }

    /// Fills a whole variable.
    ///
    /// # Panics
    /// When `out` does not hold exactly the elements of `shape`.
    pub fn fill(&self, shape: &[usize], seed: u64, name: &str, out: &mut [f32]) {
        assert_eq!(out.len(), shape.iter().product::<usize>(), "elements of `{name}`");
        self.fill_range(shape, seed, name, 0, out);
    }

    /// Fills the row of `key` of a table that has rows for some keys only, with the values that [`Initializer::fill`] would give it in a
    /// table of all keys; where these depend on the number of rows, it counts as [`ROWS_OF_DYNAMIC_TABLES`].
    pub fn fill_row(&self, seed: u64, name: &str, key: u64, out: &mut [f32]) {
        self.fill_elements(&[ROWS_OF_DYNAMIC_TABLES, out.len()], seed, name, key.wrapping_mul(out.len() as u64), out);
    }

    /// Fills the elements `start..start + out.len()` of a variable (row-major) with the values that [`Initializer::fill`]
    /// would give them.
    ///
    /// # Panics
    /// When the range ends beyond the elements of `shape`.
    pub fn fill_range(&self, shape: &[usize], seed: u64, name: &str, start: usize, out: &mut [f32]) {
        assert!(start + out.len() <= shape.iter().product::<usize>(), "range of `{name}`");
        self.fill_elements(shape, seed, name, start as u64, out);
    }

    fn fill_elements(&self, shape: &[usize], seed: u64, name: &str, start: u64, out: &mut [f32]) {
        let stream = Stream::named(seed, name);
        let (fan_in, fan_out) = fans(shape);
        let uniform = |scale: f64, fan: f64, out: &mut [f32]| {
            let limit = (3.0 * scale / fan.max(1.0)).sqrt() as f32;
            fill_uniform(&stream, start, -limit, limit, out);
        };
        let scaled_normal = |scale: f64, fan: f64, out: &mut [f32]| {
            let deviation = (scale / fan.max(1.0)).sqrt() / TRUNCATED_DEVIATION;
            fill_normal(&stream, Tails::Truncated, start, out, |z| (deviation * z) as f32);
        };
        match self {
            Initializer::Constant(value) => out.fill(*value),
            Initializer::Values(values) => {
                fill_with(start, out, |index| {
                    let last = values.last().copied().unwrap_or(0.0);
                    usize::try_from(index).ok().and_then(|index| values.get(index)).copied().unwrap_or(last)
                });
            }
            Initializer::Uniform { minimum, maximum } => fill_uniform(&stream, start, *minimum, *maximum, out),
            Initializer::Normal { mean, deviation } => {
                let (mean, deviation) = (f64::from(*mean), f64::from(*deviation));
                fill_normal(&stream, Tails::Whole, start, out, |z| (mean + deviation * z) as f32);
            }
            Initializer::TruncatedNormal { mean, deviation } => {
                let (mean, deviation) = (f64::from(*mean), f64::from(*deviation));
                fill_normal(&stream, Tails::Truncated, start, out, |z| (mean + deviation * z) as f32);
            }
            Initializer::GlorotUniform => uniform(1.0, (fan_in + fan_out) / 2.0, out),
            Initializer::GlorotNormal => scaled_normal(1.0, (fan_in + fan_out) / 2.0, out),
            Initializer::HeUniform => uniform(2.0, fan_in, out),
            Initializer::HeNormal => scaled_normal(2.0, fan_in, out),
            Initializer::LecunUniform => uniform(1.0, fan_in, out),
            Initializer::LecunNormal => scaled_normal(1.0, fan_in, out),
            Initializer::Orthogonal => {
                let matrix = orthogonal(&stream, shape);
                let start = start as usize;
                out.copy_from_slice(&matrix[start..start + out.len()]);
            }
            Initializer::Identity => {
                let columns = shape.last().copied().unwrap_or(1).max(1) as u64;
                fill_with(start, out, |index| f32::from(u8::from(index / columns == index % columns)));
            }
        }
    }
}

/// Keras' number of inputs and outputs of a variable of this shape.
pub fn fans(shape: &[usize]) -> (f64, f64) {
    match shape {
        [] => (1.0, 1.0),
        [size] => (*size as f64, *size as f64),
        [receptive @ .., inputs, outputs] => {
            let receptive = receptive.iter().product::<usize>() as f64;
            (receptive * *inputs as f64, receptive * *outputs as f64)
        }
    }
}

fn fill_with(start: u64, out: &mut [f32], value: impl Fn(u64) -> f32) {
    for (offset, slot) in out.iter_mut().enumerate() {
        *slot = value(start.wrapping_add(offset as u64));
    }
}

fn fill_uniform(stream: &Stream, start: u64, minimum: f32, maximum: f32, out: &mut [f32]) {
    let width = maximum - minimum;
    fill_with(start, out, |index| {
        let value = minimum + width * stream.uniform(index);
        // Rounding can carry the sum up to the excluded bound.
        if value < maximum { value } else { minimum }
    });
}

/// Orthonormal columns of a tall (or transposed wide) normal matrix, by Gram-Schmidt run twice for accuracy. Taking each
/// column's own direction is the QR decomposition with positive diagonal, which makes the result uniformly distributed.
fn orthogonal(stream: &Stream, shape: &[usize]) -> Vec<f32> {
    let columns = shape.last().copied().unwrap_or(1);
    let rows = shape.split_last().map_or(1, |(_, leading)| leading.iter().product());
    let (length, count) = (rows.max(columns), rows.min(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    for vector in 0..count {
        let mut candidate: Vec<f64> = (0..length).map(|i| stream.normal((vector * length + i) as u64)).collect();
        for _ in 0..2 {
            for earlier in &basis {
                let projection: f64 = earlier.iter().zip(&candidate).map(|(a, b)| a * b).sum();
                candidate.iter_mut().zip(earlier).for_each(|(value, direction)| *value -= projection * direction);
            }
        }
        let norm = candidate.iter().map(|value| value * value).sum::<f64>().sqrt();
        candidate.iter_mut().for_each(|value| *value /= norm);
        basis.push(candidate);
    }
    let element = |row: usize, column: usize| if rows >= columns { basis[column][row] } else { basis[row][column] };
    (0..rows * columns).map(|index| element(index / columns, index % columns) as f32).collect()
}

fn checked_deviation(field: &'static str, deviation: f32) -> Result<f32, InitializerError> {
    if deviation >= 0.0 {
        return Ok(deviation);
    }
    Err(InitializerError::Deviation { field, value: deviation.to_string() })
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("did you mean `{name}`? "))
}

/// `HeUniform` and `he_uniform` both become `he_uniform`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for (position, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && position > 0 && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
