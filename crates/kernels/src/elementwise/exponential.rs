//! The exponential function and its relatives, without calls and branches, so that compilers put many arguments into one vector.
//!
//! `exp(x) = 2ⁿ · exp(r)` with `n` the integer nearest to `x / ln 2` and `|r| ≤ ln 2 / 2`, where a polynomial is enough. The polynomials are
//! minimax fits of relative error, 5e-11 and 1.5e-10. All is computed in double precision and rounded once: a unit in the last place
//! that is lost on the way to a norm or a loss arrives magnified. The same bits come from slices and single numbers, with every
//! instruction set.

use crate::dispatch::multiversion;

/// Adding it rounds a number below 2⁵¹ to an integer, whose bits are then the last ones of the sum.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// Arguments below give 0 in single precision, and those above infinity.
const RANGE: [f32; 2] = [-104.0, 104.0];
/// `(exp(r) - 1 - r) / r²`.
const EXP: [f64; 6] = [0.500_000_006_843, 0.166_666_658_597, 0.041_666_292_17, 0.008_333_498_342, 0.001_394_486_874, 0.000_197_901_357];
/// `(tanh(x) / x - 1) / x²` by powers of `x²`, up to [`TANH_SMALL`].
const TANH: [f64; 6] =
    [-0.333_333_309_067, 0.133_332_097_661, -0.053_947_204_517, 0.021_702_968_274, -0.008_182_676_395, 0.002_147_538_925];
const TANH_SMALL: f32 = 0.625;

#[inline(always)]
fn polynomial(coefficients: [f64; 6], x: f64) -> f64 {
    let [first, rest @ ..] = coefficients;
    first + x * rest.iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

/// `exp(x)` before it is rounded.
#[inline(always)]
fn exp_wide(x: f32) -> f64 {
    let [least, most] = RANGE;
    // Neither comparison holds for what is not a number; it stays one.
    let x = if x < least { least } else { x };
    let x = if x > most { most } else { x };
    let x = f64::from(x);
    let rounded = x * std::f64::consts::LOG2_E + ROUNDER;
    let r = x - (rounded - ROUNDER) * std::f64::consts::LN_2;
    let value = 1.0 + (r + r * r * polynomial(EXP, r));
    // The integer, from the last bits, as an exponent.
    let power = f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52);
    value * power
}

/// `exp(x)`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    exp_wide(x) as f32
}

/// The logistic function `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + exp_wide(-x))) as f32
}

/// `tanh(x)`.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let wide = f64::from(x);
    let square = wide * wide;
    let small = wide + wide * square * polynomial(TANH, square);
    let large = 1.0 - 2.0 / (exp_wide(2.0 * x.abs()) + 1.0);
    let size = if x.abs() < TANH_SMALL { small } else { large };
    (size as f32).copysign(x)
}

multiversion! {
    /// `out = exp(a)`, see [`exp`].
    pub fn exp_all(out: &mut [f32], a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o = exp(*x);
        }
    }
}

multiversion! {
    /// `out = exp(out - a)`: what softmax needs.
    pub fn exp_of_difference(out: &mut [f32], a: f32) {
        for o in out {
            *o = exp(*o - a);
        }
    }
}

multiversion! {
    /// `out = sigmoid(a)`, see [`sigmoid`].
    pub fn sigmoid_all(out: &mut [f32], a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o = sigmoid(*x);
        }
    }
}

multiversion! {
    /// `out = tanh(a)`, see [`tanh`].
    pub fn tanh_all(out: &mut [f32], a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o = tanh(*x);
        }
    }
}

multiversion! {
    /// `out = a * sigmoid(a)`, see [`sigmoid`].
    pub fn swish_all(out: &mut [f32], a: &[f32]) {
        for (o, x) in out.iter_mut().zip(a) {
            *o = x * sigmoid(*x);
        }
    }
}

multiversion! {
    /// `out = dy * slope` with the slope `y * (1 - y)` of the logistic function, from its value `y`.
    pub fn sigmoid_gradient(out: &mut [f32], y: &[f32], dy: &[f32]) {
        for ((o, y), dy) in out.iter_mut().zip(y).zip(dy) {
            *o = dy * (y * (1.0 - y));
        }
    }
}

multiversion! {
    /// `out = dy * slope` with the slope `1 - y²` of the hyperbolic tangent, from its value `y`.
    pub fn tanh_gradient(out: &mut [f32], y: &[f32], dy: &[f32]) {
        for ((o, y), dy) in out.iter_mut().zip(y).zip(dy) {
            *o = dy * (1.0 - y * y);
        }
    }
}

/// The slope of `x · sigmoid(x)`.
#[inline(always)]
pub fn swish_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

multiversion! {
    /// `out = dy * slope` with the slope of `x * sigmoid(x)`, see [`swish_slope`].
    pub fn swish_gradient(out: &mut [f32], x: &[f32], dy: &[f32]) {
        for ((o, x), dy) in out.iter_mut().zip(x).zip(dy) {
            *o = dy * swish_slope(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from all over, close to each other, of both signs.
    fn arguments(most: f32) -> impl Iterator<Item = f32> {
        let last = most.to_bits();
        (0..=last).step_by(7001).chain([last]).flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
    }

    /// The distance in units in the last place of the expected number.
    fn units(found: f32, expected: f64) -> f64 {
        let nearest = expected as f32;
        if found == nearest {
            return 0.0;
        }
        let unit =
            f64::from(f32::from_bits(nearest.abs().max(f32::MIN_POSITIVE).to_bits() + 1)) - f64::from(nearest.abs().max(f32::MIN_POSITIVE));
        (f64::from(found) - expected).abs() / unit
    }

    fn check(name: &str, most: f32, bound: f64, found: impl Fn(f32) -> f32, expected: impl Fn(f64) -> f64) {
        let worst = arguments(most).map(|x| (units(found(x), expected(f64::from(x))), x)).max_by(|a, b| a.0.total_cmp(&b.0));
        let (units, at) = worst.expect("arguments");
        assert!(units <= bound, "{name}({at}) is {units} units in the last place off");
    }

    #[test]
    fn the_nearest_numbers_almost_always() {
        check("exp", 88.7, 0.51, exp, f64::exp);
        check("sigmoid", 87.0, 0.51, sigmoid, |x| 1.0 / (1.0 + (-x).exp()));
        check("tanh", 88.0, 0.51, tanh, f64::tanh);
    }

    #[test]
    fn ends_and_what_is_not_a_number() {
        assert_eq!(
            [exp(f32::NEG_INFINITY), exp(-1e9), exp(0.0), exp(f32::INFINITY), exp(89.0)],
            [0.0, 0.0, 1.0, f32::INFINITY, f32::INFINITY]
        );
        assert_eq!([sigmoid(f32::NEG_INFINITY), sigmoid(0.0), sigmoid(f32::INFINITY)], [0.0, 0.5, 1.0]);
        assert_eq!([tanh(f32::NEG_INFINITY), tanh(0.0), tanh(f32::INFINITY)], [-1.0, 0.0, 1.0]);
        assert!(tanh(-0.0).is_sign_negative());
        for function in [exp, sigmoid, tanh] {
            assert!(function(f32::NAN).is_nan());
        }
        let smallest = exp(-100.0);
        assert!(smallest > 0.0 && smallest < f32::MIN_POSITIVE, "{smallest}");
    }

    #[test]
    fn slices_and_numbers_have_the_same_bits() {
        let x: Vec<f32> = arguments(100.0).chain([f32::NAN, f32::INFINITY, f32::NEG_INFINITY]).collect();
        let mut y = vec![0.0; x.len()];
        let mut check = |all: fn(&mut [f32], &[f32]), one: fn(f32) -> f32| {
            for length in [0, 1, 15, 17, x.len()] {
                all(&mut y[..length], &x[..length]);
                assert!(y[..length].iter().zip(&x).all(|(y, x)| y.to_bits() == one(*x).to_bits() || y.is_nan() && x.is_nan()));
            }
        };
        check(exp_all, exp);
        check(sigmoid_all, sigmoid);
        check(tanh_all, tanh);
        check(swish_all, |x| x * sigmoid(x));
        let mut check = |all: fn(&mut [f32], &[f32], &[f32]), slope: fn(f32) -> f32| {
            let dy: Vec<f32> = x.iter().rev().copied().collect();
            for length in [0, 1, 15, 17, x.len()] {
                all(&mut y[..length], &x[..length], &dy[..length]);
                let same = |((y, x), dy): ((&f32, &f32), &f32)| {
                    let expected = dy * slope(*x);
                    y.to_bits() == expected.to_bits() || y.is_nan() && expected.is_nan()
                };
                assert!(y[..length].iter().zip(&x).zip(&dy).all(same));
            }
        };
        check(sigmoid_gradient, |y| y * (1.0 - y));
        check(tanh_gradient, |y| 1.0 - y * y);
        check(swish_gradient, swish_slope);
        let mut z = x.clone();
        exp_of_difference(&mut z, 2.5);
        assert!(z.iter().zip(&x).all(|(z, x)| z.to_bits() == exp(x - 2.5).to_bits() || x.is_nan()));
    }
}
