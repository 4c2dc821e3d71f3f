//! Functions of one number that configs name by their TensorFlow paths, such as `tf.math.log1p`.

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    Ceil,
    Cos,
    Exp,
    Expm1,
    Floor,
    Identity,
    Log,
    Log1p,
    Negative,
    Reciprocal,
    Relu,
    /// To the nearest whole number, halves to the even one.
    Round,
    Rsqrt,
    Sigmoid,
    /// -1, 0 or 1; NaN stays NaN.
    Sign,
    Sin,
    Softplus,
    Sqrt,
    Square,
    Tanh,
}

/// The functions by the last part of their paths.
const FUNCTIONS: [(&str, Function); 21] = [
    ("abs", Function::Abs),
    ("ceil", Function::Ceil),
    ("cos", Function::Cos),
    ("exp", Function::Exp),
    ("expm1", Function::Expm1),
    ("floor", Function::Floor),
    ("identity", Function::Identity),
    ("log", Function::Log),
    ("log1p", Function::Log1p),
    ("negative", Function::Negative),
    ("reciprocal", Function::Reciprocal),
    ("relu", Function::Relu),
    ("round", Function::Round),
    ("rsqrt", Function::Rsqrt),
    ("sigmoid", Function::Sigmoid),
    ("sign", Function::Sign),
    ("sin", Function::Sin),
    ("softplus", Function::Softplus),
    ("sqrt", Function::Sqrt),
    ("square", Function::Square),
    ("tanh", Function::Tanh),
];

/// A path in TensorFlow without the modules that have functions of numbers: `log1p` for `tf.math.log1p` and `tf.log1p`.
pub(crate) fn base_name(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("tf.").or_else(|| path.strip_prefix("tensorflow."))?;
    let rest = rest.strip_prefix("compat.v1.").unwrap_or(rest);
    Some(rest.strip_prefix("math.").or_else(|| rest.strip_prefix("nn.")).unwrap_or(rest))
}

impl Function {
    /// The function with that path.
    pub(crate) fn from_path(path: &str) -> Option<Function> {
        let name = base_name(path)?;
        FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    /// The names that paths may end with, for messages.
    pub(crate) fn names() -> String {
        FUNCTIONS.map(|(name, _)| name).join(", ")
    }
}

/// Floating-point numbers of one of two precisions.
pub(crate) trait Real:
    Copy
    + Debug
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Rem<Output = Self>
    + Neg<Output = Self>
{
    const ZERO: Self;
    const ONE: Self;
    fn from_f64(value: f64) -> Self;
    fn apply(self, function: Function) -> Self;
    fn floor(self) -> Self;
    fn trunc(self) -> Self;
    fn power(self, exponent: Self) -> Self;
    fn is_nan(self) -> bool;
    /// The number that is nearest in single precision.
    fn to_single(self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            fn from_f64(value: f64) -> Self {
                value as $float
            }

            fn apply(self, function: Function) -> Self {
                match function {
                    Function::Abs => self.abs(),
                    Function::Ceil => self.ceil(),
                    Function::Cos => self.cos(),
                    Function::Exp => self.exp(),
                    Function::Expm1 => self.exp_m1(),
                    Function::Floor => self.floor(),
                    Function::Identity => self,
                    Function::Log => self.ln(),
                    Function::Log1p => self.ln_1p(),
                    Function::Negative => -self,
                    Function::Reciprocal => 1.0 / self,
                    Function::Relu if self.is_nan() => self,
                    Function::Relu => self.max(0.0),
                    Function::Round => self.round_ties_even(),
                    Function::Rsqrt => 1.0 / self.sqrt(),
                    Function::Sigmoid => 1.0 / (1.0 + (-self).exp()),
                    Function::Sign if self == 0.0 || self.is_nan() => self,
                    Function::Sign => self.signum(),
                    Function::Sin => self.sin(),
                    Function::Softplus => self.max(0.0) + (-self.abs()).exp().ln_1p(),
                    Function::Sqrt => self.sqrt(),
                    Function::Square => self * self,
                    Function::Tanh => self.tanh(),
                }
            }

            fn floor(self) -> Self {
                self.floor()
            }

            fn trunc(self) -> Self {
                self.trunc()
            }

            fn power(self, exponent: Self) -> Self {
                self.powf(exponent)
            }

            fn is_nan(self) -> bool {
                self.is_nan()
            }

            fn to_single(self) -> Self {
                self as f32 as $float
            }
        }
    };
}

real!(f32);
real!(f64);
