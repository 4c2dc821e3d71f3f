//! A sum of f64 values without rounding, so that merged parts equal one pass bit for bit.
//!
//! The sum is one wide fixed-point number: Σ limb_i · 2^(32·i − 1088), which covers every finite f64.
//! Each term touches three limbs; carries are settled before a limb can overflow. Only [`ExactSum::value`] rounds, once.

const LIMBS: usize = 68;
const LOWEST_BIT: i32 = -1088;
/// After this many terms (each below 2^32 in a limb) a limb may reach 2^62.
const TERMS_BEFORE_CARRY: u32 = 1 << 30;

/// The exact sum of any number of f64 values, in any order.
#[derive(Clone, Debug)]
pub(crate) struct ExactSum {
    limbs: [i64; LIMBS],
    terms: u32,
    not_finite: f64,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], terms: 0, not_finite: 0.0 }
    }
}

impl ExactSum {
    /// Adds one term. Infinities and NaN are kept apart and decide the result.
    pub(crate) fn add(&mut self, term: f64) {
        if !term.is_finite() {
            self.not_finite += term;
            return;
        }
        if self.terms == TERMS_BEFORE_CARRY {
            self.carry();
        }
        self.terms += 1;
        let bits = term.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i32;
        let fraction = bits & ((1 << 52) - 1);
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let position = (exponent.max(1) - 1075 - LOWEST_BIT) as usize;
        let wide = u128::from(mantissa) << (position % 32);
        let first = position / 32;
        let sign = if term.is_sign_negative() { -1 } else { 1 };
        for (part, limb) in self.limbs[first..first + 3].iter_mut().enumerate() {
            *limb += sign * i64::from((wide >> (32 * part)) as u32);
        }
    }

    /// Adds all terms of `other`.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.carry();
        other.carry();
        for (limb, more) in self.limbs.iter_mut().zip(other.limbs) {
            *limb += more;
        }
        self.terms = 2;
        self.not_finite += other.not_finite;
    }

    /// The sum, rounded once to the nearest f64.
    pub(crate) fn value(&self) -> f64 {
        if !self.not_finite.is_finite() {
            return self.not_finite;
        }
        let mut settled = self.clone();
        settled.carry();
        let negative = settled.limbs[LIMBS - 1] < 0;
        if negative {
            settled.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            settled.carry();
        }
        let Some(highest) = settled.limbs.iter().rposition(|&limb| limb != 0) else { return 0.0 };
        let lowest = highest.saturating_sub(2);
        let leading = settled.limbs[lowest..=highest].iter().rev().fold(0u128, |all, &limb| all << 32 | limb as u128);
        // At least 65 leading bits are kept when there are lower limbs, so one sticky bit is enough to round rightly.
        let sticky = settled.limbs[..lowest].iter().any(|&limb| limb != 0);
        let exponent = 32 * lowest as i32 + LOWEST_BIT;
        let half = exponent / 2;
        let magnitude = (leading | u128::from(sticky)) as f64 * power_of_two(half) * power_of_two(exponent - half);
        if negative { -magnitude } else { magnitude }
    }

    /// Brings every limb but the last into 0..2^32, which makes the representation unique.
    fn carry(&mut self) {
        for index in 0..LIMBS - 1 {
            let carried = self.limbs[index] >> 32;
            self.limbs[index] -= carried << 32;
            self.limbs[index + 1] += carried;
        }
        self.terms = 1;
    }
}

/// 2^exponent for -1022 ≤ exponent ≤ 1023.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The mean of exactly summed values.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExactMean {
    sum: ExactSum,
    count: u64,
}

impl ExactMean {
    /// Adds one value.
    pub(crate) fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.count += 1;
    }

    /// Adds the values of `other`.
    pub(crate) fn merge(&mut self, other: Self) {
        self.sum.merge(other.sum);
        self.count += other.count;
    }

    /// The mean; NaN without values.
    pub(crate) fn value(&self) -> f64 {
        self.sum.value() / self.count as f64
    }

    /// The mean; 0 without values, as TensorFlow's `metrics.mean`.
    pub(crate) fn value_or_zero(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.value() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(terms: &[f64]) -> f64 {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|&term| sum.add(term));
        sum.value()
    }

    #[test]
    fn sums_where_plain_addition_fails() {
        assert_eq!(sum(&[1e300, 1.0, -1e300]), 1.0);
        assert_eq!(sum(&[0.1; 10]), 1.0);
        assert_eq!(sum(&[1e16, 1.0, 1.0]), 1e16 + 2.0);
        // Exactly half a unit in the last place above 2^53 goes to even; the smallest excess tips it.
        assert_eq!(sum(&[9007199254740992.0, 1.0]), 9007199254740992.0);
        assert_eq!(sum(&[9007199254740992.0, 1.0, 1e-300]), 9007199254740994.0);
    }

    #[test]
    fn covers_the_whole_range() {
        let smallest = f64::from_bits(1);
        assert_eq!(sum(&[smallest, smallest]), 2.0 * smallest);
        assert_eq!(sum(&[-f64::MAX, f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
        assert_eq!(sum(&[-f64::MAX, -f64::MAX]), f64::NEG_INFINITY);
        assert_eq!(sum(&[]), 0.0);
        assert_eq!(sum(&[1.0, f64::INFINITY]), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, 1.0, f64::NEG_INFINITY]).is_nan());
        assert!(sum(&[f64::NAN, 1.0]).is_nan());
    }

    #[test]
    fn carries_before_overflow() {
        let mut sum = ExactSum::default();
        for _ in 0..1000 {
            sum.add(4294967295.0);
            sum.terms = TERMS_BEFORE_CARRY;
        }
        assert_eq!(sum.value(), 4294967295000.0);
    }

    proptest! {
        #[test]
        fn one_and_two_terms_are_rounded_as_ieee_addition(a in any::<f64>(), b in any::<f64>()) {
            prop_assert_eq!(sum(&[a]).to_bits(), (a + 0.0).to_bits());
            let expected = a + b;
            if expected == 0.0 || expected.is_normal() {
                prop_assert_eq!(sum(&[a, b]), expected);
            }
        }

        #[test]
        fn any_order_and_any_cut_give_the_same_bits(terms in prop::collection::vec(-1e12f64..1e12, 0..60), cut in 0usize..60) {
            let cut = cut.min(terms.len());
            let (mut left, mut right) = (ExactSum::default(), ExactSum::default());
            terms[..cut].iter().rev().for_each(|&term| left.add(term));
            terms[cut..].iter().for_each(|&term| right.add(term));
            right.merge(left);
            prop_assert_eq!(right.value().to_bits(), sum(&terms).to_bits());
        }
    }
}
