//! The original MovieLens-1M files (`users.dat`, `movies.dat`, `ratings.dat`; fields separated by `::`, ISO-8859-1) in
//! EasyRec's layout.
//!
//! Ratings of 3 are dropped; the rest is shuffled with a fixed seed, and the first nine tenths become the training file. The
//! title loses the year but keeps the blank before it ("Toy Story (1995)" becomes "Toy Story " and 1995). Gender, age group
//! and occupation are coded F 0, M 1; 0 to 6 for the age groups 1, 18, 25, 35, 45, 50, 56; the occupation as it is.
//!
//! The data belong to GroupLens: see [`TERMS`].

mod members;

use std::collections::BTreeMap;
use std::path::Path;

use rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use self::members::{Line, Members};
use super::SynthError;
use super::layout::{LayoutRow, LayoutWriter, Part, film_fields, label_of, user_fields};
use super::random::shuffle;

/// The terms of the data set, for help texts and documentation.
pub const TERMS: &str = "The MovieLens data belong to GroupLens Research (University of Minnesota): they may be used for research, not \
redistributed, and not used commercially without permission. Publications cite F. Maxwell Harper and Joseph A. Konstan, \
2015. The MovieLens Datasets: History and Context. ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. \
https://doi.org/10.1145/2827872";

/// The seed of the shuffle.
const SHUFFLE_SEED: u64 = 1;
/// The least ages of the groups.
const AGE_GROUPS: [u32; 7] = [1, 18, 25, 35, 45, 50, 56];
/// Occupations are numbered below this.
const OCCUPATIONS: u32 = 21;

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConversionSummary {
    /// Rows of the training file.
    pub train_rows: u64,
    /// Rows of the test file.
    pub test_rows: u64,
    /// Ratings of 3, which were dropped.
    pub dropped_rows: u64,
    /// The share of rows with label 1; `None` without rows.
    pub click_rate: Option<f64>,
}

struct Rating {
    user: u32,
    film: u32,
    rating: u8,
    label: u8,
}

/// Converts the files of the folder or ZIP archive `from` to [`TRAIN_FILE`](super::TRAIN_FILE) and
/// [`TEST_FILE`](super::TEST_FILE) in the folder `to`. Files of a folder may be compressed (`.gz`, `.zst`).
///
/// # Errors
/// If a file is missing or cannot be read, or a line of one is not as it should be.
pub fn convert_movielens_1m(from: &Path, to: &Path) -> Result<ConversionSummary, SynthError> {
    let mut members = Members::open(from)?;
    let mut users = BTreeMap::new();
    members.lines("users.dat", &mut |line| {
        let (id, fields) = parse_user(line)?;
        add_once(&mut users, "user", id, fields)
    })?;
    let mut films = BTreeMap::new();
    members.lines("movies.dat", &mut |line| {
        let (id, fields) = parse_film(line)?;
        add_once(&mut films, "movie", id, fields)
    })?;
    let mut ratings = Vec::new();
    let mut dropped_rows = 0;
    members.lines("ratings.dat", &mut |line| {
        let [user, film, rating, _timestamp] = line.fields("UserID::MovieID::Rating::Timestamp")?;
        let (user, film) = (number(user, "UserID")?, number(film, "MovieID")?);
        if !users.contains_key(&user) {
            return Err(format!("UserID {user} is not in users.dat"));
        }
        if !films.contains_key(&film) {
            return Err(format!("MovieID {film} is not in movies.dat"));
        }
        let rating = match number(rating, "Rating")? {
            rating @ 1..=5 => rating as u8,
            other => return Err(format!("Rating is {other}; expected 1 to 5")),
        };
        match label_of(rating) {
            Some(label) => ratings.push(Rating { user, film, rating, label }),
            None => dropped_rows += 1,
        }
        Ok(())
    })?;
    shuffle(&mut ratings, &mut Xoshiro256PlusPlus::seed_from_u64(SHUFFLE_SEED));
    let train_rows = ratings.len() / 10 * 9 + ratings.len() % 10 * 9 / 10;
    let mut writer = LayoutWriter::create(to)?;
    for (index, &Rating { user, film, rating, label }) in ratings.iter().enumerate() {
        let part = if index < train_rows { Part::Train } else { Part::Test };
        writer.row(part, &LayoutRow { label, user, film, rating, user_fields: &users[&user], film_fields: &films[&film] })?;
    }
    writer.finish()?;
    let clicks = ratings.iter().filter(|rating| rating.label == 1).count();
    Ok(ConversionSummary {
        train_rows: train_rows as u64,
        test_rows: (ratings.len() - train_rows) as u64,
        dropped_rows,
        click_rate: (!ratings.is_empty()).then(|| clicks as f64 / ratings.len() as f64),
    })
}

fn parse_user(line: &Line<'_>) -> Result<(u32, String), String> {
    let [id, gender, age, occupation, zip] = line.fields("UserID::Gender::Age::Occupation::Zip-code")?;
    let gender = match gender {
        "F" => 0,
        "M" => 1,
        other => return Err(format!("Gender is \"{other}\"; expected F or M")),
    };
    let age = number(age, "Age")?;
    let Some(group) = AGE_GROUPS.iter().position(|&least| least == age) else {
        return Err(format!("Age is {age}; expected one of {AGE_GROUPS:?}"));
    };
    let occupation = number(occupation, "Occupation")?;
    if occupation >= OCCUPATIONS {
        return Err(format!("Occupation is {occupation}; expected 0 to {}", OCCUPATIONS - 1));
    }
    Ok((number(id, "UserID")?, user_fields(gender, group as u8, occupation as u8, zip)))
}

fn parse_film(line: &Line<'_>) -> Result<(u32, String), String> {
    let [id, title, genres] = line.fields("MovieID::Title::Genres")?;
    let year = title.strip_suffix(')').and_then(|title| title.rsplit_once('('));
    let four_digits = |year: &str| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    let Some((name, year)) = year.filter(|(_, year)| four_digits(year)) else {
        return Err("the title does not end in a year such as (1995)".to_owned());
    };
    let year = year.parse().map_err(|_| "the title does not end in a year such as (1995)".to_owned())?;
    Ok((number(id, "MovieID")?, film_fields(name, genres, year)))
}

fn number(text: &str, name: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{name} is \"{text}\"; expected a number"))
}

fn add_once(things: &mut BTreeMap<u32, String>, what: &str, id: u32, fields: String) -> Result<(), String> {
    match things.insert(id, fields) {
        None => Ok(()),
        Some(_) => Err(format!("{what} {id} occurs twice")),
    }
}

#[cfg(test)]
mod tests;
