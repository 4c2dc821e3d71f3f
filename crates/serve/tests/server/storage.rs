//! Variables in their file, and tables of embeddings in fewer bits.

use rankmill_kernels::gemm::Precision;
use rankmill_kernels::tables::TableFormat;
use rankmill_model::bundle::Storage;
use rankmill_model::{ConcurrentPredictor, LoadOptions, pack};
use serde_json::json;

use crate::client::post;
use crate::models::{FIELDS, bits, checkpoint, expected, inputs, options, rows, trained};

const PLAIN: LoadOptions =
    LoadOptions { threads: std::num::NonZeroUsize::MIN, precision: Precision::F32, tables: None, storage: Storage::Memory };

/// The probabilities and logits of test rows.
fn scores(predictor: &ConcurrentPredictor, count: usize) -> Vec<(f32, f32)> {
    let texts = rows(count);
    let mut rows = predictor.rows();
    for row in &texts {
        rows.push(FIELDS.into_iter().zip(row.iter().map(String::as_str))).expect("known fields");
    }
    let outputs = predictor.score(&rows).expect("good rows");
    outputs[0].values.iter().copied().zip(outputs[1].values.iter().copied()).collect()
}

fn as_bits(scores: &[(f32, f32)]) -> Vec<(u32, u32)> {
    scores.iter().map(|(p, z)| (p.to_bits(), z.to_bits())).collect()
}

#[test]
fn mapped_variables_give_the_same_bits_packed_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("packed");
    pack(&checkpoint(20), &file).expect("packed");
    for place in [checkpoint(20), file] {
        let mapped = ConcurrentPredictor::load_with(&place, LoadOptions { storage: Storage::File, ..PLAIN }).expect("it loads");
        assert_eq!(as_bits(&scores(&mapped, 200)), expected(20, 200));
    }
}

#[test]
fn a_damaged_mapped_file_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    crate::models::copy_folder(&checkpoint(20), folder.path());
    let file = folder.path().join("variables.safetensors");
    let mut bytes = std::fs::read(&file).expect("variables");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let error = ConcurrentPredictor::load_with(folder.path(), LoadOptions { storage: Storage::File, ..PLAIN }).err().expect("an error");
    assert!(error.to_string().contains("variables.safetensors"), "{error}");
}

#[test]
fn tables_of_fewer_bits_move_scores_a_little() {
    let exact: Vec<f32> = expected(20, 300).iter().map(|(_, logit)| f32::from_bits(*logit)).collect();
    for (format, most) in [(TableFormat::Bf16, 0.02), (TableFormat::Int8, 0.05)] {
        let model = ConcurrentPredictor::load_with(&checkpoint(20), LoadOptions { tables: Some(format), ..PLAIN }).expect("it loads");
        let found: Vec<f32> = scores(&model, 300).iter().map(|(_, logit)| *logit).collect();
        let differences = || found.iter().zip(&exact).map(|(a, b)| (a - b).abs());
        assert!(differences().all(|difference| difference < most), "{format:?}: {:?}", differences().fold(0.0, f32::max));
        assert!(differences().any(|difference| difference > 0.0), "{format:?} changes nothing");
    }
}

#[test]
fn a_server_takes_both() {
    for (tables, storage) in [(Some(TableFormat::Int8), Storage::Memory), (None, Storage::File)] {
        let mut options = options(vec![rankmill_serve::ModelSettings::new("ctr", trained().join("model"))]);
        (options.tables, options.storage) = (tables, storage);
        let server = rankmill_serve::Server::start(options).expect("it starts");
        let answer = post(server.addresses()[0], "/v2/models/ctr/infer", &json!({"inputs": inputs(&rows(5))})).ok();
        let found = bits(&answer["outputs"][1]["data"]);
        let expected: Vec<u32> = expected(20, 5).iter().map(|(_, logit)| *logit).collect();
        assert_eq!(found == expected, storage == Storage::File);
        server.stop();
    }
}
