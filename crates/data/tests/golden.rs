//! Traces of EasyRec, if `RANKMILL_GOLDEN` names folders of them: the tensor that enters the model, made from this crate's ids and the
//! trace's tables, must be EasyRec's.

mod common;

use std::path::Path;

use common::read_once;
use rankmill_config::{Edits, Pipeline};
use rankmill_data::{Column, Combiner, FeatureSet};
use safetensors::SafeTensors;

/// A tensor of the trace as f32.
fn tensor(trace: &SafeTensors<'_>, name: &str) -> Option<Vec<f32>> {
    let view = trace.tensor(name).ok()?;
    Some(view.data().chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect())
}

/// The combined embeddings of one row.
fn embed(column: &Column, row: usize, table: &[f32], width: usize, combiner: Combiner) -> Vec<f32> {
    let Column::Ids(column) = column else { panic!("a dense column has no table") };
    let mut sum = vec![0.0f32; width];
    let (mut weights, mut squares) = (0.0f32, 0.0f32);
    for at in column.offsets[row] as usize..column.offsets[row + 1] as usize {
        let weight = column.weights.as_ref().map_or(1.0, |weights| weights[at]);
        let id = column.ids[at] as usize;
        sum.iter_mut().zip(&table[id * width..(id + 1) * width]).for_each(|(sum, value)| *sum += weight * value);
        weights += weight;
        squares += weight * weight;
    }
    let divisor = match combiner {
        Combiner::Sum => 1.0,
        Combiner::Mean => weights,
        Combiner::SqrtN => squares.sqrt(),
    };
    if divisor != 0.0 {
        sum.iter_mut().for_each(|value| *value /= divisor);
    }
    sum
}

/// Compares the groups of one case; returns how many columns were compared.
fn check(case: &Path) -> usize {
    let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(pipeline) = Pipeline::load(&case.join("pipeline.config"), &Edits::default()) else {
        return 0;
    };
    let (Ok(set), Ok(bytes)) = (FeatureSet::new(&pipeline), std::fs::read(case.join("trace.safetensors"))) else {
        return 0;
    };
    // Variational dropout multiplies the input by random numbers.
    if pipeline.proto.model_config.as_ref().is_some_and(|model| model.variational_dropout.is_some()) {
        return 0;
    }
    let trace = SafeTensors::deserialize(&bytes).expect("a readable trace");
    let batches =
        read_once(&pipeline, case.join("rows.tsv").to_string_lossy().into_owned()).unwrap_or_else(|error| panic!("{name}: {error}"));
    let batch = &batches[0].features;
    let groups = pipeline.feature_groups();
    let [group] = &groups[..] else {
        return 0;
    };
    let Some(expected) = tensor(&trace, &format!("step1/input_layer/{}", group.name)) else {
        return 0;
    };
    let width = expected.len() / batch.rows;
    let mut start = 0;
    for feature in &group.features {
        let at = set.specs().iter().position(|spec| spec.name == feature.name).expect("a feature of the group");
        let spec = &set.specs()[at];
        let stem = spec.embedding_name.as_ref().unwrap_or(&spec.table_suffix);
        let rows: Vec<Vec<f32>> = match &batch.columns[at] {
            Column::Dense(dense) => dense.values.chunks(dense.width).map(<[f32]>::to_vec).collect(),
            Column::Sequence(_) => return 0,
            column => {
                let path = format!("init/input_layer/{stem}/embedding_weights");
                let Some(table) = tensor(&trace, &path) else { panic!("{name} has no {path}") };
                (0..batch.rows).map(|row| embed(column, row, &table, spec.embedding_dim, spec.combiner)).collect()
            }
        };
        for (row, values) in rows.iter().enumerate() {
            for (at, value) in values.iter().enumerate() {
                let expected = expected[row * width + start + at];
                // Summation order and log1p differ by a few units in the last place.
                assert!(
                    (value - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                    "{name} {} row {row}: {value}, not {expected}",
                    spec.name
                );
            }
        }
        start += rows[0].len();
    }
    assert_eq!(start, width, "{name}");
    group.features.len()
}

#[test]
fn the_models_input_is_that_of_the_traces() {
    let Ok(folders) = std::env::var("RANKMILL_GOLDEN") else {
        return;
    };
    let mut columns = 0;
    for folder in folders.split(':') {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).expect("a folder of cases").map(|entry| entry.expect("an entry").path()).collect();
        entries.sort();
        for case in entries.iter().filter(|case| case.join("pipeline.config").exists()) {
            columns += check(case);
        }
    }
    assert!(columns > 0, "no case of {folders} could be compared");
}
