//! Normal values from uniform words, many at once: `z = sqrt(-2 ln(1 - u))·cos(2πv)`, u and v the multiples of 2⁻⁵³ in [0, 1) that the
//! upper bits of two words are (Box and Muller, 1958).
//!
//! Logarithm and cosine are series, so that the compiler makes vectors of them; who needs the digits of the mathematical library asks it
//! where [`ERROR`] could matter.
//!
//! ```text
//! ln x = e·ln 2 + 2 s·(1 + s²/3 + s⁴/5 + …),  x = m·2ᵉ,  √½ ≤ m < √2,  s = (m - 1)/(m + 1):  |s| < 0.172
//! 2πv = q·π/2 + a,  |a| ≤ π/4:  cos 2πv = cos a, -sin a, -cos a, sin a, cos a for q = 0 … 4
//! ```

use std::f64::consts::{LN_2, TAU};

use crate::dispatch::multiversion;

/// How far a value may be from the one that is rounded correctly: some hundred times what rounding and the terms that are left out come to
/// (|z| is below 8.6).
pub const ERROR: f64 = 1e-11;

multiversion! {
    /// `out[i] = z` of the words `u[i]` and `v[i]`, up to [`ERROR`].
    pub fn normals(out: &mut [f64], u: &[u64], v: &[u64]) {
        for ((z, u), v) in out.iter_mut().zip(u).zip(v) {
            *z = (-2.0 * logarithm_below_one(*u)).sqrt() * cosine(*v);
        }
    }
}

/// `ln(1 - u)`.
#[inline(always)]
fn logarithm_below_one(word: u64) -> f64 {
    const ROOT_OF_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let x = ((1 << 53) - (word >> 11)) as f64 * (1.0 / (1_u64 << 53) as f64);
    let exponent = (x.to_bits().wrapping_sub(ROOT_OF_HALF) as i64) >> 52;
    let m = f64::from_bits(x.to_bits().wrapping_sub((exponent << 52) as u64));
    let s = (m - 1.0) / (m + 1.0);
    let w = s * s;
    let mut series = 1.0 / 19.0;
    for odd in [17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        series = series * w + 1.0 / odd;
    }
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// `cos(2πv)`.
#[inline(always)]
fn cosine(word: u64) -> f64 {
    let turn = (word >> 11) as i64;
    let quarter = (turn + (1 << 50)) >> 51;
    let a = (turn - (quarter << 51)) as f64 * (TAU / (1_u64 << 53) as f64);
    let w = a * a;
    let (mut cosine, mut sine) = (1.0, 1.0);
    // 1 - w/(1·2)·(1 - w/(3·4)·(…)) and a·(1 - w/(2·3)·(1 - w/(4·5)·(…))).
    for n in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        cosine = 1.0 - cosine * w * (1.0 / (n * (n + 1.0)));
        sine = 1.0 - sine * w * (1.0 / ((n + 1.0) * (n + 2.0)));
    }
    let value = if quarter & 1 == 0 { cosine } else { a * sine };
    if (quarter + 1) & 2 == 0 { value } else { -value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(u: u64, v: u64) -> f64 {
        let unit = |word: u64| (word >> 11) as f64 * (1.0 / (1_u64 << 53) as f64);
        (-2.0 * (1.0 - unit(u)).ln()).sqrt() * (TAU * unit(v)).cos()
    }

    #[track_caller]
    fn check(u: &[u64], v: &[u64]) {
        let mut found = vec![f64::NAN; u.len()];
        normals(&mut found, u, v);
        for ((z, u), v) in found.iter().zip(u).zip(v) {
            // A hundredth of the error that callers reckon with.
            assert!((z - exact(*u, *v)).abs() < 0.01 * ERROR, "{z}, not {}, for {u:#x} and {v:#x}", exact(*u, *v));
        }
    }

    #[test]
    fn values_are_those_of_the_library_at_all_lengths() {
        let mut state = 1_u64;
        let mut word = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        for length in (0..130).chain([20_000]) {
            let (u, v): (Vec<u64>, Vec<u64>) = (0..length).map(|_| (word(), word())).unzip();
            check(&u, &v);
        }
    }

    #[test]
    fn the_ends_of_all_ranges_are_right() {
        let mut ends = vec![0, u64::MAX, 1 << 11, u64::MAX - (1 << 11)];
        // The bounds of quarters and of the range of m, from both sides.
        for bound in (1..16_u64).map(|sixteenth| sixteenth << 60).chain([0x4afb_0ccc_0621_9b7b, 0xb504_f333_f9de_6484]) {
            ends.extend([bound - (1 << 11), bound, bound + (1 << 11)]);
        }
        ends.extend((11..64).map(|bit| u64::MAX << bit));
        for u in &ends {
            check(&vec![*u; ends.len()], &ends);
        }
    }
}
