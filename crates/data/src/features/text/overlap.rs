//! Words that two texts, a query and a title, have in common.

use std::collections::BTreeSet;

/// What is counted; words that a text has several times count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlapMethod {
    /// The share of the query's words that the title has.
    QueryCommonRatio,
    /// The share of the title's words that the query has.
    TitleCommonRatio,
    /// 1 if the title has all words of the query, in their order, else 0.
    IsContain,
    /// 1 if both have the same words in the same order, else 0.
    IsEqual,
}

impl OverlapMethod {
    /// All methods by name.
    pub const NAMES: [(&str, OverlapMethod); 4] = [
        ("query_common_ratio", OverlapMethod::QueryCommonRatio),
        ("title_common_ratio", OverlapMethod::TitleCommonRatio),
        ("is_contain", OverlapMethod::IsContain),
        ("is_equal", OverlapMethod::IsEqual),
    ];

    /// The method of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<OverlapMethod> {
        OverlapMethod::NAMES.iter().find(|(known, _)| *known == name).map(|(_, method)| *method)
    }
}

/// The words of a text: what is between occurrences of `separator`, the empty ones left out.
pub(super) fn words<'a>(text: &'a [u8], separator: &str) -> Vec<&'a [u8]> {
    if separator.is_empty() {
        return text.chunks(1).collect();
    }
    let mut words = Vec::new();
    let mut start = 0;
    for end in memchr::memmem::find_iter(text, separator) {
        words.push(&text[start..end]);
        start = end + separator.len();
    }
    words.push(&text[start..]);
    words.retain(|word| !word.is_empty());
    words
}

/// Adds a number for each method; all are `default` if a text has no words.
pub(super) fn numbers([query, title]: [&[u8]; 2], separator: &str, methods: &[OverlapMethod], default: f32, numbers: &mut Vec<f32>) {
    let (query, title) = (words(query, separator), words(title, separator));
    if query.is_empty() || title.is_empty() {
        numbers.extend(methods.iter().map(|_| default));
        return;
    }
    let [query_words, title_words] = [&query, &title].map(|words| words.iter().copied().collect::<BTreeSet<&[u8]>>());
    let common = query_words.intersection(&title_words).count() as f32;
    let yes = |holds: bool| f32::from(u8::from(holds));
    numbers.extend(methods.iter().map(|method| match method {
        OverlapMethod::QueryCommonRatio => common / query_words.len() as f32,
        OverlapMethod::TitleCommonRatio => common / title_words.len() as f32,
        OverlapMethod::IsContain => yes(is_in_order(&query, &title)),
        OverlapMethod::IsEqual => yes(query == title),
    }));
}

/// Whether all words of `few` are in `many`, in their order, others perhaps between them.
fn is_in_order(few: &[&[u8]], many: &[&[u8]]) -> bool {
    let mut rest = many.iter();
    few.iter().all(|word| rest.any(|other| other == word))
}
