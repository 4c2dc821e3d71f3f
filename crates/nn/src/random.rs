//! Counter-based random numbers: every draw is a pure function of (seed, stream, index).
//!
//! A sequential generator would tie a value to the order of the calls before it. Here element 17 of a variable is the same
//! number whether it is drawn first, last, alone or by another thread, so tables can be filled in parallel, in pieces, and
//! rows that appear later get the values they would have had from the start.
//!
//! ```text
//! key₁ = mix(seed + γ)                  key₂ = mix(key₁ ⊕ stream)
//! bits(index, k) = mix(mix(key₂ + index·γ) ⊕ (key₁ + k·δ))        (arithmetic modulo 2⁶⁴)
//! ```
//! `mix` is the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014),
//! γ its golden-ratio increment, δ another odd constant. `k` numbers the several words that one element may need.
//! EasyRec seeds nothing (behaviour 54), so no particular sequence has to be reproduced.

use std::f64::consts::TAU;

use rankmill_kernels::fingerprint::fingerprint64;
use rankmill_kernels::normal::{ERROR, normals};

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
const DELTA: u64 = 0xd1b5_4a32_d192_ed03;

/// The random numbers of one seed and one stream (for instance one variable), addressed by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    word_key: u64,
    index_key: u64,
}

impl Stream {
    /// The stream with a number.
    pub fn new(seed: u64, stream: u64) -> Stream {
        let word_key = mix(seed.wrapping_add(GAMMA));
        Stream { word_key, index_key: mix(word_key ^ stream) }
    }

    /// The stream of a named thing, such as a variable: its number is the name's Fingerprint64.
    pub fn named(seed: u64, name: &str) -> Stream {
        Stream::new(seed, name_hash(name))
    }

    /// Word `word` of element `index`: 64 uniform bits.
    #[inline]
    pub fn bits(&self, index: u64, word: u64) -> u64 {
        self.word(self.element(index), word)
    }

    #[inline]
    fn element(&self, index: u64) -> u64 {
        mix(self.index_key.wrapping_add(index.wrapping_mul(GAMMA)))
    }

    #[inline]
    fn word(&self, element: u64, word: u64) -> u64 {
        mix(element ^ self.word_key.wrapping_add(word.wrapping_mul(DELTA)))
    }

    /// A multiple of 2⁻²⁴ in [0, 1).
    #[inline]
    pub fn uniform(&self, index: u64) -> f32 {
        (self.bits(index, 0) >> 40) as f32 * (1.0 / (1u64 << 24) as f32)
    }

    /// A multiple of 2⁻⁵³ in [0, 1).
    #[inline]
    pub fn uniform_f64(&self, index: u64) -> f64 {
        unit(self.bits(index, 0))
    }

    /// A standard normal value.
    #[inline]
    pub fn normal(&self, index: u64) -> f64 {
        let (radius, angle) = self.polar(index, 0);
        radius * angle.cos()
    }

    /// A standard normal value conditioned on |z| ≤ 2, by rejection over further words of the same element.
    #[inline]
    pub fn truncated_normal(&self, index: u64) -> f64 {
        // 95.4 % of the values pass, so the chance of 64 failures in a row is below 10⁻⁸⁵.
        for attempt in 0..32 {
            let (radius, angle) = self.polar(index, 2 * attempt);
            // Sines take long, and are seldom needed.
            let first = radius * angle.cos();
            if first.abs() <= 2.0 {
                return first;
            }
            let second = radius * angle.sin();
            if second.abs() <= 2.0 {
                return second;
            }
        }
        0.0
    }

    /// Radius and angle of two independent standard normal values, by the Box-Muller transform of two words.
    #[inline]
    fn polar(&self, index: u64, word: u64) -> (f64, f64) {
        // 1 - u lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - unit(self.bits(index, word))).ln()).sqrt();
        (radius, TAU * unit(self.bits(index, word + 1)))
    }
}

/// Elements that are drawn together.
const BLOCK: usize = 128;

/// Which normal values there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tails {
    /// All.
    Whole,
    /// Those up to two deviations from the mean.
    Truncated,
}

/// `out[i]` = `finish` of the standard normal value of element `start + i`, which must rise or fall with it. The bits are those of
/// [`Stream::normal`] or [`Stream::truncated_normal`], in a fraction of the time: a value that is known nearly decides the `f32` that
/// becomes of it, unless that is near the middle between two.
pub fn fill_normal(stream: &Stream, tails: Tails, start: u64, out: &mut [f32], finish: impl Fn(f64) -> f32) {
    let (mut first, mut second, mut values) = ([0; BLOCK], [0; BLOCK], [0.0; BLOCK]);
    let mut index = start;
    for part in out.chunks_mut(BLOCK) {
        let count = part.len();
        for (i, (u, v)) in first.iter_mut().zip(&mut second).take(count).enumerate() {
            let element = stream.element(index.wrapping_add(i as u64));
            (*u, *v) = (stream.word(element, 0), stream.word(element, 1));
        }
        normals(&mut values[..count], &first[..count], &second[..count]);
        for (slot, z) in part.iter_mut().zip(&values) {
            let (low, high) = (finish(z - ERROR), finish(z + ERROR));
            let is_inside = tails == Tails::Whole || z.abs() + ERROR <= 2.0;
            *slot = if is_inside && low.to_bits() == high.to_bits() {
                low
            } else {
                finish(match tails {
                    Tails::Whole => stream.normal(index),
                    Tails::Truncated => stream.truncated_normal(index),
                })
            };
            index = index.wrapping_add(1);
        }
    }
}

/// The stream number of a name.
pub fn name_hash(name: &str) -> u64 {
    fingerprint64(name.as_bytes())
}

#[inline]
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[inline]
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: u64 = 200_000;

    /// Chi-square of equal-width bins; with 63 degrees of freedom its mean is 63 and its standard deviation 11.2.
    fn chi_square(values: impl Iterator<Item = f64>) -> f64 {
        let mut counts = [0u32; 64];
        let mut total = 0u32;
        for value in values {
            counts[(value * 64.0) as usize] += 1;
            total += 1;
        }
        let expected = f64::from(total) / 64.0;
        counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
    }

    fn correlation(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for (a, b) in pairs {
            sum += (a - 0.5) * (b - 0.5) * 12.0;
            count += 1.0;
        }
        sum / count
    }

    #[test]
    fn mix_is_the_finalizer_of_splitmix64() {
        // First outputs of SplitMix64 seeded with 1234567, from the reference implementation.
        let output = |n: u64| mix(1_234_567u64.wrapping_add(n.wrapping_mul(GAMMA)));
        assert_eq!([output(1), output(2), output(3)], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn uniform_values_are_spread_evenly_over_indices_streams_seeds_and_words() {
        let stream = Stream::new(7, 11);
        let by_index = chi_square((0..DRAWS).map(|i| stream.uniform_f64(i)));
        let by_stream = chi_square((0..DRAWS).map(|s| Stream::new(7, s).uniform_f64(0)));
        let by_seed = chi_square((0..DRAWS).map(|s| Stream::new(s, 11).uniform_f64(0)));
        let by_word = chi_square((0..DRAWS).map(|w| unit(stream.bits(3, w))));
        for statistic in [by_index, by_stream, by_seed, by_word] {
            // Six standard deviations either side: too even is as suspicious as too uneven.
            assert!((20.0..130.0).contains(&statistic), "chi-square {statistic}");
        }
    }

    #[test]
    fn neighbouring_indices_streams_and_seeds_are_uncorrelated() {
        let at = |seed, stream, index| Stream::new(seed, stream).uniform_f64(index);
        let correlations = [
            correlation((0..DRAWS).map(|i| (at(1, 2, i), at(1, 2, i + 1)))),
            correlation((0..DRAWS).map(|i| (at(1, 2, i), at(1, 3, i)))),
            correlation((0..DRAWS).map(|i| (at(1, 2, i), at(2, 2, i)))),
            correlation((0..DRAWS).map(|i| (at(1, 2, i), at(2, 1, i)))),
        ];
        for value in correlations {
            // The standard deviation of each is 1/sqrt(200 000) = 0.0022.
            assert!(value.abs() < 0.012, "correlation {value}");
        }
    }

    #[test]
    fn normal_values_have_the_moments_of_the_normal_distribution() {
        let stream = Stream::named(3, "normal");
        let values: Vec<f64> = (0..DRAWS).map(|i| stream.normal(i)).collect();
        let moment = |power: i32| values.iter().map(|z| z.powi(power)).sum::<f64>() / values.len() as f64;
        assert!(moment(1).abs() < 0.012, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.016, "{}", moment(2));
        assert!(moment(3).abs() < 0.05, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.13, "{}", moment(4));
    }

    #[test]
    fn truncated_values_stay_within_two_and_have_the_truncated_deviation() {
        let stream = Stream::named(3, "truncated");
        let values: Vec<f64> = (0..DRAWS).map(|i| stream.truncated_normal(i)).collect();
        assert!(values.iter().all(|z| z.abs() <= 2.0));
        assert!(values.iter().any(|z| z.abs() > 1.99));
        let variance = values.iter().map(|z| z * z).sum::<f64>() / values.len() as f64;
        assert!((variance.sqrt() - 0.879_625_661_034_239_8).abs() < 0.006, "{variance}");
    }

    #[test]
    fn many_values_have_the_bits_of_single_ones() {
        // Some are so near the middle between two numbers of 24 bits, or so near two deviations, that they are drawn again.
        for (seed, mean, deviation) in [(1, 0.0, 0.0025), (2, 0.0, 1.0), (3, 1.0, 0.5), (4, -3.0, 1e-3), (5, 0.0, 0.0)] {
            let stream = Stream::named(seed, "many");
            let start = u64::MAX - DRAWS / 2;
            let finish = |z: f64| (mean + deviation * z) as f32;
            let (mut truncated, mut whole) = (vec![f32::NAN; DRAWS as usize], vec![f32::NAN; 1000]);
            fill_normal(&stream, Tails::Truncated, start, &mut truncated, finish);
            fill_normal(&stream, Tails::Whole, start, &mut whole, finish);
            for (i, value) in truncated.iter().enumerate() {
                let index = start.wrapping_add(i as u64);
                assert_eq!(value.to_bits(), finish(stream.truncated_normal(index)).to_bits(), "element {index}, {mean} ± {deviation}");
                assert!(whole.get(i).is_none_or(|value| value.to_bits() == finish(stream.normal(index)).to_bits()));
            }
        }
    }

    #[test]
    fn values_do_not_depend_on_the_order_of_drawing() {
        let stream = Stream::named(5, "table");
        let forward: Vec<u32> = (0..100).map(|i| stream.uniform(i).to_bits()).collect();
        let mut backward: Vec<u32> = (0..100).rev().map(|i| Stream::named(5, "table").uniform(i).to_bits()).collect();
        backward.reverse();
        assert_eq!(forward, backward);
    }

    #[test]
    fn uniform_f32_stays_below_one() {
        let stream = Stream::new(0, 0);
        assert!((0..DRAWS).all(|i| (0.0..1.0).contains(&stream.uniform(i))));
        assert_eq!((u64::MAX >> 40) as f32 * (1.0 / (1u64 << 24) as f32), 1.0 - f32::EPSILON / 2.0);
    }

    #[test]
    fn names_have_their_own_streams() {
        assert_eq!(Stream::named(1, "a"), Stream::new(1, 12_917_804_110_809_363_939));
        assert_ne!(Stream::named(1, "a").bits(0, 0), Stream::named(1, "b").bits(0, 0));
        assert_ne!(Stream::named(1, "a").bits(0, 0), Stream::named(2, "a").bits(0, 0));
    }
}
