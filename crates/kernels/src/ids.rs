//! Ids of one column for a batch of rows.

/// Ids in compressed rows: row `i` has `ids[offsets[i]..offsets[i + 1]]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdColumn<T = u32> {
    /// Where each row starts in `ids`; one more entry than there are rows.
    pub offsets: Vec<u32>,
    /// Row numbers of the embedding table, or the numbers of ids that may come to have one.
    pub ids: Vec<T>,
    /// A factor for each id; `None` means 1 for all.
    pub weights: Option<Vec<f32>>,
}
