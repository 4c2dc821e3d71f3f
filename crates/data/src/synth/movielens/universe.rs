//! The users and films of a made-up data set and what makes a user like a film.
//!
//! The numbers of users, films, genres, ages and occupations follow MovieLens-1M, as do the skews: the k-th most active of
//! the users (and popular of the films) has a share proportional to 1 / (k + shift).

use rand_core::Rng;

use super::titles;
use crate::synth::layout::{film_fields, user_fields};
use crate::synth::random::{below, shuffle};

const USERS: usize = 6040;
const FILMS: usize = 3883;
const ACTIVITY_SHIFT: u64 = 150;
const POPULARITY_SHIFT: u64 = 60;
const AGES: usize = 7;
const TASTES: usize = 4;

/// The logit of an average user and an average film.
const BASE: f64 = 1.15;
/// How much more a popular film is liked than an unknown one.
const POPULAR_IS_GOOD: f64 = 1.6;
/// Standard deviations of the parts of the logit.
const USER_BIAS: f64 = 0.6;
const FILM_BIAS: f64 = 2.0;
const GENRE_TASTE: f64 = 1.1;
const TASTE_PRODUCT: f64 = 0.3;

/// Users of each age group, occupation and genre in MovieLens-1M: used as weights.
const AGE_WEIGHTS: [u64; AGES] = [222, 1103, 2096, 1193, 550, 496, 380];
const JOB_WEIGHTS: [u64; 21] = [711, 528, 267, 173, 759, 112, 236, 679, 17, 92, 195, 129, 388, 142, 302, 144, 241, 502, 70, 72, 281];
const GENRES: [(&str, u64); 18] = [
    ("Action", 503),
    ("Adventure", 283),
    ("Animation", 105),
    ("Children's", 251),
    ("Comedy", 1200),
    ("Crime", 211),
    ("Documentary", 127),
    ("Drama", 1603),
    ("Fantasy", 68),
    ("Film-Noir", 44),
    ("Horror", 343),
    ("Musical", 114),
    ("Mystery", 106),
    ("Romance", 471),
    ("Sci-Fi", 276),
    ("Thriller", 492),
    ("War", 143),
    ("Western", 68),
];

/// A user.
pub(super) struct User {
    /// From 1 on.
    pub(super) id: u32,
    /// Gender, age, job_id and zip_id as they are written.
    pub(super) fields: String,
    bias: f64,
    /// Index of the (age, gender) pair.
    kind: usize,
    taste: [f64; TASTES],
}

/// A film.
pub(super) struct Film {
    /// From 1 on.
    pub(super) id: u32,
    /// Title, genres and year as they are written.
    pub(super) fields: String,
    bias: f64,
    /// Indices into [`GENRES`], ascending.
    genres: Vec<usize>,
    taste: [f64; TASTES],
}

/// All users and films, the most active and popular ones first.
pub(super) struct Universe {
    pub(super) users: Vec<User>,
    pub(super) films: Vec<Film>,
    pub(super) activity: Weighted,
    pub(super) popularity: Weighted,
    /// What users of each (age, gender) think of each genre.
    genre_taste: Vec<[f64; GENRES.len()]>,
}

impl Universe {
    /// Draws a universe.
    pub(super) fn draw(random: &mut impl Rng) -> Universe {
        let genre_taste = (0..2 * AGES).map(|_| std::array::from_fn(|_| GENRE_TASTE * normal(random))).collect();
        let user_ids = shuffled_ids(USERS, random);
        let film_ids = shuffled_ids(FILMS, random);
        let ages = Weighted::new(AGE_WEIGHTS);
        let jobs = Weighted::new(JOB_WEIGHTS);
        let genres = Weighted::new(GENRES.map(|(_, weight)| weight));
        Universe {
            users: user_ids.into_iter().map(|id| draw_user(id, &ages, &jobs, random)).collect(),
            films: film_ids.into_iter().enumerate().map(|(rank, id)| draw_film(id, rank, &genres, random)).collect(),
            activity: Weighted::new(skewed(USERS, ACTIVITY_SHIFT)),
            popularity: Weighted::new(skewed(FILMS, POPULARITY_SHIFT)),
            genre_taste,
        }
    }

    /// The logit of the probability that the user likes the film.
    pub(super) fn logit(&self, user: &User, film: &Film) -> f64 {
        let taste = &self.genre_taste[user.kind];
        let genres: f64 = film.genres.iter().map(|&genre| taste[genre]).sum();
        let product: f64 = user.taste.iter().zip(&film.taste).map(|(user, film)| user * film).sum();
        BASE + user.bias + film.bias + genres / film.genres.len() as f64 + product
    }
}

fn draw_user(id: u32, ages: &Weighted, jobs: &Weighted, random: &mut impl Rng) -> User {
    let gender = usize::from(below(1000, random) < 717);
    let age = ages.draw(random);
    let job = jobs.draw(random);
    let zip = format!("{:05}", 501 + below(99_449, random));
    User {
        id,
        fields: user_fields(gender as u8, age as u8, job as u8, &zip),
        bias: USER_BIAS * normal(random),
        kind: 2 * age + gender,
        taste: taste(random),
    }
}

fn draw_film(id: u32, rank: usize, genre_weights: &Weighted, random: &mut impl Rng) -> Film {
    let wanted = match below(100, random) {
        0..50 => 1,
        50..85 => 2,
        _ => 3,
    };
    let mut genres = Vec::new();
    while genres.len() < wanted {
        let genre = genre_weights.draw(random);
        if !genres.contains(&genre) {
            genres.push(genre);
        }
    }
    genres.sort_unstable();
    let names: Vec<&str> = genres.iter().map(|&genre| GENRES[genre].0).collect();
    // The least of five draws: most films are recent, a few as old as 1919.
    let age = (0..5).map(|_| below(82, random)).min().unwrap_or(0);
    let quality = POPULAR_IS_GOOD * (0.5 - rank as f64 / FILMS as f64);
    Film {
        id,
        fields: film_fields(&titles::draw(random), &names.join("|"), 2000 - age as u16),
        bias: quality + FILM_BIAS * normal(random),
        genres,
        taste: taste(random),
    }
}

/// A taste vector; the products of two of them have the standard deviation [`TASTE_PRODUCT`].
fn taste(random: &mut impl Rng) -> [f64; TASTES] {
    const { assert!(TASTES == 4) };
    // TASTES terms of variance s^4 each: s^2 = TASTE_PRODUCT / sqrt(TASTES).
    let scale = (TASTE_PRODUCT / 2.0).sqrt();
    std::array::from_fn(|_| scale * normal(random))
}

/// 1..=count in random order, so that an id says nothing about activity or popularity.
fn shuffled_ids(count: usize, random: &mut impl Rng) -> Vec<u32> {
    let mut ids: Vec<u32> = (1..=count as u32).collect();
    shuffle(&mut ids, random);
    ids
}

fn skewed(count: usize, shift: u64) -> impl Iterator<Item = u64> {
    (1..=count as u64).map(move |rank| (1 << 40) / (rank + shift))
}

/// A choice among numbered things of different weights.
pub(super) struct Weighted {
    /// Sums of the weights up to and with each thing.
    sums: Vec<u64>,
}

impl Weighted {
    fn new(weights: impl IntoIterator<Item = u64>) -> Weighted {
        let sums = weights.into_iter().scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Weighted { sums: sums.collect() }
    }

    /// The number of a thing.
    pub(super) fn draw(&self, random: &mut impl Rng) -> usize {
        let total = self.sums.last().copied().unwrap_or(0);
        let at = below(total, random);
        self.sums.partition_point(|&sum| sum <= at)
    }
}

/// A nearly normal number, as the sum of twelve uniform ones: exact arithmetic, the same on every machine.
fn normal(random: &mut impl Rng) -> f64 {
    let sum: u64 = (0..12).map(|_| random.next_u64() >> 32).sum();
    sum as f64 / (1_u64 << 32) as f64 - 6.0
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn weights_decide_shares() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(5);
        let weighted = Weighted::new([0, 100, 0, 300, 600]);
        let mut counts = [0_u32; 5];
        (0..100_000).for_each(|_| counts[weighted.draw(&mut random)] += 1);
        assert_eq!((counts[0], counts[2]), (0, 0));
        for (index, expected) in [(1, 10_000), (3, 30_000), (4, 60_000)] {
            assert!(counts[index].abs_diff(expected) < 700, "{counts:?}");
        }
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(6);
        let draws: Vec<f64> = (0..100_000).map(|_| normal(&mut random)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|draw| draw * draw).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn ids_are_a_permutation() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(7);
        let mut ids = shuffled_ids(100, &mut random);
        assert_ne!(ids[..5], [1, 2, 3, 4, 5]);
        ids.sort_unstable();
        assert!(ids.into_iter().eq(1..=100));
    }
}
