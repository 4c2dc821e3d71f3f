//! The rows of a batch by session, and inside of a session by label: the rows that a row is above of are then a range, and so are those
//! that are above it. A search finds them, and no pair is looked at that does not count.

use std::ops::Range;

/// A row of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) score: f32,
    pub(super) label: f32,
    pub(super) session: f32,
    pub(super) weight: f32,
}

/// The rows in order, each with its place in the batch.
pub(super) struct PairRanges {
    rows: Vec<(Row, u32)>,
}

impl PairRanges {
    pub(super) fn new(rows: impl Iterator<Item = Row>) -> PairRanges {
        let mut rows: Vec<(Row, u32)> = rows.zip(0..).collect();
        // Rows whose label or session is no number are in no pair.
        rows.retain(|(row, _)| !row.label.is_nan() && !row.session.is_nan());
        // Places differ, so the order is the same however rows are sorted.
        rows.sort_unstable_by(|(a, i), (b, j)| {
            (a.session + 0.0).total_cmp(&(b.session + 0.0)).then((a.label + 0.0).total_cmp(&(b.label + 0.0))).then(i.cmp(j))
        });
        PairRanges { rows }
    }

    /// All rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Row, usize)> {
        self.rows.iter().map(|(row, place)| (row, *place as usize))
    }

    /// The rows of a range.
    pub(super) fn part(&self, range: Range<usize>) -> impl Iterator<Item = (&Row, usize)> {
        self.rows[range].iter().map(|(row, place)| (row, *place as usize))
    }

    /// The rows that a row is above of.
    pub(super) fn below(&self, row: &Row) -> Range<usize> {
        let session = self.session(row);
        let end = session.start + self.rows[session.clone()].partition_point(|(other, _)| other.label < row.label);
        if row.label.is_nan() { 0..0 } else { session.start..end }
    }

    /// The rows that are above a row.
    pub(super) fn above(&self, row: &Row) -> Range<usize> {
        let session = self.session(row);
        let start = session.start + self.rows[session.clone()].partition_point(|(other, _)| other.label <= row.label);
        if row.label.is_nan() { 0..0 } else { start..session.end }
    }

    fn session(&self, row: &Row) -> Range<usize> {
        let start = self.rows.partition_point(|(other, _)| other.session < row.session);
        let length = self.rows[start..].partition_point(|(other, _)| other.session == row.session);
        start..start + length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_the_rows_that_count() {
        let number = |i: usize, of: usize| ((i * 7919 + 13) % of) as f32;
        let rows: Vec<Row> = (0..60)
            .map(|i| {
                let label = if i == 17 { f32::NAN } else { number(i, 4) };
                Row { score: 0.0, label, session: number(i * 3, 5), weight: 1.0 }
            })
            .collect();
        let ranges = PairRanges::new(rows.iter().copied());
        for row in &rows {
            let places = |range: Range<usize>| {
                let mut places: Vec<usize> = ranges.part(range).map(|(_, place)| place).collect();
                places.sort_unstable();
                places
            };
            let wanted = |counts: &dyn Fn(&Row) -> bool| -> Vec<usize> {
                (0..rows.len()).filter(|j| rows[*j].session == row.session && counts(&rows[*j])).collect()
            };
            assert_eq!(places(ranges.below(row)), wanted(&|other| row.label > other.label));
            assert_eq!(places(ranges.above(row)), wanted(&|other| other.label > row.label));
        }
    }
}
