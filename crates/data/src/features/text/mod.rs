//! What components that read texts make of them: numbers. (EasyRec hands the texts to operations of its own, in C++, inside of the model.)
//!
//! A text is the value of a field, perhaps normalised ([`TextNormalization`]). A [`TextFunction`] makes of the texts of a row tokens, a
//! distance, shares of common words or a product.

mod dot_product;
mod edit_distance;
mod normalize;
mod overlap;
mod tokens;

use super::Made;
use super::fields::{TextValues, Values};
use super::formula::Formula;
use super::raw::bucket;
use crate::batch::{Column, DenseColumn, FeatureCounts, FeatureKind, Positions, SequenceColumn};

pub use edit_distance::Characters;
pub use normalize::{NormalizationError, TextNormalization};
pub use overlap::OverlapMethod;
pub use tokens::{TokenIds, Tokens};

/// A text that a component reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextSource {
    /// The feature whose input it is.
    pub feature: String,
    /// What is done to it, in order.
    pub normalizations: Vec<TextNormalization>,
}

/// A column of numbers that a component needs of texts.
#[derive(Clone, Debug)]
pub struct TextColumn {
    /// The column's name: the place of the component in the model.
    pub name: String,
    /// Where the config asks for it.
    pub path: String,
    /// The texts, in the order in which the function takes them.
    pub sources: Vec<TextSource>,
    /// What is made of them.
    pub function: TextFunction,
    /// What becomes of the numbers, if they are no tokens.
    pub scaling: Scaling,
}

/// What is made of the texts of a row.
#[derive(Clone, Debug)]
pub enum TextFunction {
    /// Tokens of all texts: two numbers for each position (see [`Tokens`]).
    Tokens(Tokens),
    /// Levenshtein's distance between two texts: the least number of characters to insert, delete or replace.
    EditDistance(Characters),
    /// Shares of common words of two texts, one number for each method.
    Overlap {
        /// What is between words.
        separator: String,
        /// What is counted.
        methods: Vec<OverlapMethod>,
        /// The value if a text is empty.
        default: f32,
    },
    /// The product of two texts as sparse vectors, `a:0.5|b:2`; a key without a number has 1.
    DotProduct {
        /// What is between keys.
        separator: String,
        /// The value if a text is empty.
        default: f32,
    },
}

impl TextFunction {
    /// What its column holds.
    #[must_use]
    pub fn kind(&self) -> FeatureKind {
        match self {
            TextFunction::Tokens(_) => FeatureKind::DenseSequence { width: Tokens::WIDTH },
            TextFunction::Overlap { methods, .. } => FeatureKind::Dense { width: methods.len() },
            TextFunction::EditDistance(_) | TextFunction::DotProduct { .. } => FeatureKind::Dense { width: 1 },
        }
    }
}

/// What becomes of numbers that were made of texts.
#[derive(Clone, Debug, Default)]
pub struct Scaling {
    normalizer: Option<Formula>,
    boundaries: Vec<f32>,
}

impl Scaling {
    /// A function of one number (`normalize_fn`, empty for none), and then the number of boundaries up to it, if there are some.
    ///
    /// # Errors
    /// In words, if the function is unknown or the boundaries do not ascend.
    pub fn new(normalize_fn: &str, boundaries: Vec<f32>) -> Result<Scaling, String> {
        if !boundaries.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err("`boundaries` must ascend".to_owned());
        }
        let normalizer = match normalize_fn {
            "" => None,
            text => Some(Formula::of_one(text).map_err(|error| format!("`normalize_fn`: {}", error.message))?),
        };
        Ok(Scaling { normalizer, boundaries })
    }

    fn apply(&self, mut numbers: Vec<f32>) -> Vec<f32> {
        if let Some(normalizer) = &self.normalizer {
            numbers = normalizer.evaluate(&[&numbers], numbers.len());
        }
        if !self.boundaries.is_empty() {
            numbers.iter_mut().for_each(|number| *number = bucket(&self.boundaries, *number) as f32);
        }
        numbers
    }
}

/// A function of texts, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct TextFeature {
    function: TextFunction,
    scaling: Scaling,
    /// For each text what is done to it.
    normalizations: Vec<Vec<TextNormalization>>,
}

impl TextFeature {
    pub(crate) fn new(column: &TextColumn) -> TextFeature {
        TextFeature {
            function: column.function.clone(),
            scaling: column.scaling.clone(),
            normalizations: column.sources.iter().map(|source| source.normalizations.clone()).collect(),
        }
    }

    pub(crate) fn kind(&self) -> FeatureKind {
        self.function.kind()
    }

    /// The column of the live rows. A row counts as one without a value if its first text is empty.
    pub(crate) fn transform(&self, values: &[Values<'_>], rows: usize) -> Made {
        let texts: Vec<TextValues<'_>> = values
            .iter()
            .map(|values| match values {
                Values::Text(texts) => *texts,
                _ => unreachable!("components read texts of STRING fields alone"),
            })
            .collect();
        let mut counts = FeatureCounts::default();
        let mut row_texts: Vec<Vec<u8>> = vec![Vec::new(); texts.len()];
        let mut numbers = Vec::new();
        let mut offsets = vec![0];
        for at in 0..rows {
            for ((text, source), normalizations) in row_texts.iter_mut().zip(&texts).zip(&self.normalizations) {
                text.clear();
                text.extend_from_slice(source.at(at));
                normalizations.iter().for_each(|normalization| normalization.apply(text));
            }
            counts.missing += u64::from(row_texts[0].is_empty());
            self.row(&row_texts, &mut numbers);
            offsets.push((numbers.len() / Tokens::WIDTH) as u32);
        }
        let column = match self.kind() {
            FeatureKind::DenseSequence { width } => {
                let longest = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max().unwrap_or(0);
                let positions = Positions::Dense(DenseColumn { width, values: numbers });
                Column::Sequence(SequenceColumn { offsets, longest, positions })
            }
            FeatureKind::Dense { width } => Column::Dense(DenseColumn { width, values: self.scaling.apply(numbers) }),
            FeatureKind::Ids { .. } | FeatureKind::IdSequence { .. } => unreachable!("texts become numbers"),
        };
        Made::plain(column, counts)
    }

    /// Adds the numbers of a row's texts.
    fn row(&self, texts: &[Vec<u8>], numbers: &mut Vec<f32>) {
        match &self.function {
            TextFunction::Tokens(tokens) => tokens.numbers(texts, numbers),
            TextFunction::EditDistance(characters) => numbers.push(edit_distance::distance(&texts[0], &texts[1], *characters) as f32),
            TextFunction::Overlap { separator, methods, default } => {
                overlap::numbers([&texts[0], &texts[1]], separator, methods, *default, numbers);
            }
            TextFunction::DotProduct { separator, default } => {
                numbers.push(dot_product::product([&texts[0], &texts[1]], separator, *default));
            }
        }
    }
}
