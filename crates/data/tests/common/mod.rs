//! Small configs and files for the tests.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::PathBuf;
use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{
    Batch, Column, DataError, FeatureBatch, FeatureSet, Origin, Positions, Quotes, RawRows, Reader, ReaderOptions, Splitting,
};

/// A config with these input fields (`NAME:TYPE` or `NAME:TYPE=DEFAULT`), more of `data_config`, and these features, all in one deep
/// group. The separator is a tab, the label is the first field.
pub(crate) fn pipeline(fields: &str, data: &str, features: &[&str]) -> Pipeline {
    let mut text = String::from("data_config {\n separator: '\\t' input_type: CSVInput ");
    text += data;
    for field in fields.split_whitespace() {
        let (name, kind) = field.split_once(':').expect("NAME:TYPE");
        let (kind, default) =
            kind.split_once('=').map_or((kind, String::new()), |(kind, value)| (kind, format!(" default_val: '{value}'")));
        text += &format!("\n input_fields {{ input_name: '{name}' input_type: {kind}{default} }}");
    }
    if !data.contains("label_fields") {
        let label = fields.split(':').next().expect("a field").trim();
        text += &format!("\n label_fields: '{label}'");
    }
    text += "\n}\nfeature_config {\n";
    let mut names = String::new();
    for (at, feature) in features.iter().enumerate() {
        text += &format!(" features {{ feature_name: 'f{at}' {feature} }}\n");
        names += &format!(" feature_names: 'f{at}'");
    }
    text += &format!("}}\nmodel_config {{ model_class: 'RankModel' feature_groups {{ group_name: 'all'{names} wide_deep: DEEP }} }}\n");
    Pipeline::parse("test.config", &text, &Edits::default()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// The batch of some lines.
pub(crate) fn transform(pipeline: &Pipeline, lines: &[&[u8]]) -> Result<FeatureBatch, DataError> {
    let mut features = FeatureSet::new(pipeline).unwrap_or_else(|problems| panic!("{problems}"));
    let mut rows = RawRows::new(features.field_names().len(), Arc::from(["rows.tsv".to_string()]));
    for (at, line) in lines.iter().enumerate() {
        rows.push_line(line, &Splitting::new(b"\t", Quotes::Csv), None, Origin { file: 0, line: at as u64 + 1 }).expect("short lines");
    }
    features.transform(&rows)
}

/// The batch of rows that are cut into fields already.
pub(crate) fn transform_fields(mut features: FeatureSet, rows: &[&[&str]]) -> FeatureBatch {
    let mut raw = RawRows::new(features.field_names().len(), Arc::from([]));
    for row in rows {
        raw.push_fields(row.iter().map(|field| field.as_bytes()), Origin::default()).expect("as many fields");
    }
    features.transform(&raw).expect("good rows")
}

/// The ids of each row of a column.
pub(crate) fn ids(column: &Column) -> Vec<Vec<u32>> {
    let Column::Ids(column) = column else { panic!("a dense column: {column:?}") };
    column.offsets.windows(2).map(|span| column.ids[span[0] as usize..span[1] as usize].to_vec()).collect()
}

/// The weights of each row of a column.
pub(crate) fn weights(column: &Column) -> Vec<Vec<f32>> {
    let Column::Ids(column) = column else { panic!("a dense column: {column:?}") };
    let weights = column.weights.as_ref().expect("weights");
    column.offsets.windows(2).map(|span| weights[span[0] as usize..span[1] as usize].to_vec()).collect()
}

/// The ids at each position of each row of a column of sequences.
pub(crate) fn sequences(column: &Column) -> Vec<Vec<Vec<u32>>> {
    let Column::Sequence(column) = column else { panic!("no sequences: {column:?}") };
    let Positions::Ids(positions) = &column.positions else { panic!("sequences of numbers: {column:?}") };
    let ids = ids(&Column::Ids(positions.clone()));
    column.offsets.windows(2).map(|span| ids[span[0] as usize..span[1] as usize].to_vec()).collect()
}

/// The values of a dense column.
pub(crate) fn dense(column: &Column) -> &[f32] {
    let Column::Dense(column) = column else { panic!("an id column: {column:?}") };
    &column.values
}

/// A directory with files, gone when dropped.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Files {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).expect("written");
        }
        Files(directory)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_string_lossy().into_owned()
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.0.path().to_path_buf()
    }
}

/// All batches of a reader.
pub(crate) fn read(pipeline: &Pipeline, options: ReaderOptions) -> Result<Vec<Batch>, DataError> {
    Reader::new(options, FeatureSet::new(pipeline).expect("a good config"))?.collect()
}

/// The batches of one pass over a file.
pub(crate) fn read_once(pipeline: &Pipeline, input: String) -> Result<Vec<Batch>, DataError> {
    read(pipeline, ReaderOptions::sequential(pipeline, vec![input]).expect("a good config"))
}
