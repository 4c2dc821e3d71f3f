//! Made-up rows shaped like MovieLens-1M, with known click probabilities.
//!
//! A universe of users and films is drawn from the seed (`universe`). Each row then draws a user and a film by their
//! activity and popularity, and the label from
//!
//! ```text
//! p(click | user, film) = sigmoid(base + user bias + film bias + taste of (age, gender) for the film's genres
//!                                 + user taste · film taste)
//! ```
//!
//! rounded to 1/65536, so that the best AUC that any model could reach on the test rows follows exactly from a histogram.
//! The rating is drawn from the label: 4 or 5 for a click, 1 or 2 for none. Every tenth row is a test row.
//!
//! Same rows and seed, same bytes, on any machine: random numbers come from Xoshiro256++, `exp` from the crate `libm`, and
//! everything else is exact arithmetic. The first rows do not depend on how many follow. Memory does not grow with the rows.

mod titles;
mod universe;

use std::path::Path;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use self::universe::Universe;
use super::SynthError;
use super::layout::{LayoutRow, LayoutWriter, Part, label_of};

/// Probabilities are multiples of one over this.
const PROBABILITY_STEPS: usize = 1 << 16;
/// One row of so many is a test row.
const TEST_EVERY: u64 = 10;
/// How often `progress` is called, in rows.
const PROGRESS_ROWS: u64 = 1 << 16;

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SynthSummary {
    /// Rows of the training file.
    pub train_rows: u64,
    /// Rows of the test file.
    pub test_rows: u64,
    /// The share of rows with label 1, in both files together; `None` without rows.
    pub click_rate: Option<f64>,
    /// The exact AUC of the true probabilities on the test rows, which no model can be expected to beat; `None` unless the
    /// test rows hold both labels.
    pub best_auc: Option<f64>,
}

/// Writes `rows` rows to the files [`TRAIN_FILE`](super::TRAIN_FILE) and [`TEST_FILE`](super::TEST_FILE) of `folder`;
/// `progress` is told the rows written so far.
///
/// # Errors
/// If the folder or the files cannot be written.
pub fn write_movielens(folder: &Path, rows: u64, seed: u64, progress: &mut dyn FnMut(u64)) -> Result<SynthSummary, SynthError> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let universe = Universe::draw(&mut random);
    // The rows have a stream of their own, 2^128 numbers away, whatever the universe took.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    random.jump();
    let mut writer = LayoutWriter::create(folder)?;
    let mut tally = Tally::new();
    for index in 0..rows {
        let part = if index % TEST_EVERY == TEST_EVERY - 1 { Part::Test } else { Part::Train };
        let user = &universe.users[universe.activity.draw(&mut random)];
        let film = &universe.films[universe.popularity.draw(&mut random)];
        let step = probability_step(universe.logit(user, film));
        let bits = random.next_u64();
        let clicked = (bits & 0xffff) < step as u64;
        let fond = (bits >> 16 & 0xffff) < 26_000;
        let rating = match (clicked, fond) {
            (true, true) => 5,
            (true, false) => 4,
            (false, false) => 2,
            (false, true) => 1,
        };
        let label = label_of(rating).expect("1, 2, 4 and 5 have labels");
        tally.add(part, step, label);
        let (user_fields, film_fields) = (&user.fields, &film.fields);
        writer.row(part, &LayoutRow { label, user: user.id, film: film.id, rating, user_fields, film_fields })?;
        if (index + 1) % PROGRESS_ROWS == 0 {
            progress(index + 1);
        }
    }
    writer.finish()?;
    progress(rows);
    Ok(tally.summary())
}

/// The click probability in steps of 1/65536, never 0 nor 1.
fn probability_step(logit: f64) -> usize {
    let probability = 1.0 / (1.0 + libm::exp(-logit));
    ((probability * PROBABILITY_STEPS as f64) as usize).clamp(1, PROBABILITY_STEPS - 1)
}

/// Counts for the summary.
struct Tally {
    rows: [u64; 2],
    clicks: u64,
    /// Test rows without and with a click, per probability step.
    test: Vec<[u64; 2]>,
}

impl Tally {
    fn new() -> Tally {
        Tally { rows: [0; 2], clicks: 0, test: vec![[0; 2]; PROBABILITY_STEPS] }
    }

    fn add(&mut self, part: Part, step: usize, label: u8) {
        self.rows[usize::from(part == Part::Test)] += 1;
        self.clicks += u64::from(label);
        if part == Part::Test {
            self.test[step][usize::from(label)] += 1;
        }
    }

    fn summary(&self) -> SynthSummary {
        let [train_rows, test_rows] = self.rows;
        let rows = train_rows + test_rows;
        let click_rate = (rows > 0).then(|| self.clicks as f64 / rows as f64);
        SynthSummary { train_rows, test_rows, click_rate, best_auc: exact_auc(&self.test) }
    }
}

/// The share of (click, no click) pairs that the probability puts in the right order, ties counted as half.
fn exact_auc(histogram: &[[u64; 2]]) -> Option<f64> {
    let (mut below, mut twice_ordered, mut clicks) = (0_u128, 0_u128, 0_u128);
    for &[without, with] in histogram {
        let (without, with) = (u128::from(without), u128::from(with));
        twice_ordered += with * (2 * below + without);
        below += without;
        clicks += with;
    }
    let pairs = below * clicks;
    (pairs > 0).then(|| twice_ordered as f64 / (2 * pairs) as f64)
}

#[cfg(test)]
mod tests;
