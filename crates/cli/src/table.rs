//! A plain table: the first column to the left, the others to the right, two blanks between.

use std::fmt;

/// Rows of as many cells as there are headings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with headings; none of them if all are empty.
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Table {
        Table { headings: headings.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Appends a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headings.len());
        self.rows.push(cells.to_vec());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = Some(&self.headings).filter(|headings| headings.iter().any(|heading| !heading.is_empty()));
        let lines: Vec<&Vec<String>> = headings.into_iter().chain(&self.rows).collect();
        let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.headings.len()).map(|column| width(column).unwrap_or(0)).collect();
        for line in lines {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                text += &match column {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["block", "width", "FLOPs"]);
        table.row(["mask_net".into(), "256".into(), "5.87 G".into()]);
        table.row(["été".into(), "1".into(), String::new()]);
        assert_eq!(table.to_string(), "block     width   FLOPs\nmask_net    256  5.87 G\nété           1\n");
    }

    #[test]
    fn headings_may_be_missing() {
        let mut table = Table::new(["", ""]);
        table.row(["auc".into(), "0.8659".into()]);
        table.row(["log_loss".into(), "0.35".into()]);
        assert_eq!(table.to_string(), "auc       0.8659\nlog_loss    0.35\n");
        assert_eq!(Table::new(["", ""]).to_string(), "");
    }
}
