//! Data sets: a generator of MovieLens-shaped rows and the conversion of the original MovieLens-1M files.

mod error;
mod layout;
pub mod movielens;
pub mod movielens_1m;
mod random;

pub use error::SynthError;
pub use layout::{TEST_FILE, TRAIN_FILE};
