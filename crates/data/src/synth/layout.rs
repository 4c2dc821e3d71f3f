//! EasyRec's MovieLens layout: tab separated, no header, eleven fields: label, user_id, movie_id, rating, gender (F 0, M 1),
//! age 0..6, job_id 0..20, zip_id, title (with a trailing blank), genres (`|`), year.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::SynthError;
use crate::sinks::AsideFile;

/// The file of the rows to train on.
pub const TRAIN_FILE: &str = "movies_train_data";
/// The file of the rows to evaluate on.
pub const TEST_FILE: &str = "movies_test_data";

/// The label of a rating: liked from 4 on, disliked up to 2; a 3 says neither and makes no row.
pub(super) fn label_of(rating: u8) -> Option<u8> {
    match rating {
        1 | 2 => Some(0),
        4 | 5 => Some(1),
        _ => None,
    }
}

/// The fields gender, age, job_id and zip_id, joined.
pub(super) fn user_fields(gender: u8, age: u8, job: u8, zip: &str) -> String {
    format!("{gender}\t{age}\t{job}\t{}", quoted(zip))
}

/// The fields title, genres and year, joined.
pub(super) fn film_fields(title: &str, genres: &str, year: u16) -> String {
    format!("{}\t{}\t{year}", quoted(title), quoted(genres))
}

/// A field in the quoting that EasyRec's reader understands (behaviour 1).
fn quoted(field: &str) -> std::borrow::Cow<'_, str> {
    if field.contains(['\t', '"', '\n', '\r']) {
        return format!("\"{}\"", field.replace('"', "\"\"")).into();
    }
    field.into()
}

/// The two files of a data set, both written aside until both are complete.
pub(super) struct LayoutWriter {
    train: (PathBuf, AsideFile),
    test: (PathBuf, AsideFile),
}

/// Which of the two files a row goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Test,
}

impl LayoutWriter {
    /// Makes the folder if need be and starts both files.
    pub(super) fn create(folder: &Path) -> Result<LayoutWriter, SynthError> {
        fs::create_dir_all(folder).map_err(SynthError::write(folder))?;
        let open = |name: &str| -> Result<(PathBuf, AsideFile), SynthError> {
            let path = folder.join(name);
            let file = AsideFile::create(&path).map_err(SynthError::write(&path))?;
            Ok((path, file))
        };
        Ok(LayoutWriter { train: open(TRAIN_FILE)?, test: open(TEST_FILE)? })
    }

    /// Writes a row.
    pub(super) fn row(&mut self, part: Part, row: &LayoutRow<'_>) -> Result<(), SynthError> {
        let (path, file) = match part {
            Part::Train => &mut self.train,
            Part::Test => &mut self.test,
        };
        row.write(file).map_err(SynthError::write(path))
    }

    /// Moves both files to their places.
    pub(super) fn finish(self) -> Result<(), SynthError> {
        for (path, file) in [self.train, self.test] {
            file.commit().map_err(SynthError::write(&path))?;
        }
        Ok(())
    }
}

/// One row.
pub(super) struct LayoutRow<'a> {
    pub(super) label: u8,
    pub(super) user: u32,
    pub(super) film: u32,
    pub(super) rating: u8,
    /// See [`user_fields`].
    pub(super) user_fields: &'a str,
    /// See [`film_fields`].
    pub(super) film_fields: &'a str,
}

impl LayoutRow<'_> {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let LayoutRow { label, user, film, rating, user_fields, film_fields } = self;
        writeln!(out, "{label}\t{user}\t{film}\t{rating}\t{user_fields}\t{film_fields}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_decide_labels() {
        let labels: Vec<_> = (0..=6).map(label_of).collect();
        assert_eq!(labels, [None, Some(0), Some(0), None, Some(1), Some(1), None]);
    }

    #[test]
    fn fields_are_quoted_only_where_needed() {
        assert_eq!(film_fields("Toy Story ", "Animation|Children's", 1995), "Toy Story \tAnimation|Children's\t1995");
        assert_eq!(film_fields("\"A\"\tB ", "Drama", 1919), "\"\"\"A\"\"\tB \"\tDrama\t1919");
    }
}
