//! The normal distribution, as far as intervals and tests need it.

/// The two-sided p-value of a standard normal number: how likely one at least as far from 0 is.
pub(super) fn two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The number that a standard normal one stays within, on both sides, with probability `confidence`.
pub(super) fn quantile(confidence: f64) -> f64 {
    let (mut low, mut high) = (0.0, 40.0);
    // Halving until neighbouring numbers are reached.
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if two_sided(middle) > 1.0 - confidence {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        for (confidence, z) in [(0.0, 0.0), (0.5, 0.674_489_750_196_081_7), (0.95, 1.959_963_984_540_054), (0.999, 3.290_526_731_491_926)] {
            assert!((quantile(confidence) - z).abs() < 1e-12, "{confidence}");
            assert!((two_sided(z) - (1.0 - confidence)).abs() < 1e-12, "{confidence}");
        }
    }
}
