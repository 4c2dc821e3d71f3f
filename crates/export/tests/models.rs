//! Whole models: each that can be built here has a form in ONNX, and those of EasyRec's traces score the same in ONNX Runtime, from rows of
//! text by way of the Python helper.
//!
//! The configs are those of `examples` and of the traces beside the training tests; the environment variable `RANKMILL_GOLDEN` names
//! directories with more (separated by `:`).

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message;
use rankmill_config::{Edits, Pipeline};
use rankmill_data::{Column, FeatureBatch, FeatureSet, Reader, ReaderOptions};
use rankmill_export::onnx::{ExportError, Weights, export};
use rankmill_export::proto::tensor_proto::DataLocation;
use rankmill_export::proto::{ModelProto, ValueInfoProto, tensor_shape_proto::dimension};
use rankmill_graph::onnx::OnnxGraph;
use rankmill_kernels::pool::Pool;
use rankmill_model::bundle::{GoldenRows, Manifest, write_bundle};
use rankmill_model::{BatchFeed, BatchKeys, Model, Parameter, Parameters, Predictor, Purpose, input_names, pack};
use safetensors::SafeTensors;
use serde_json::{Value as Json, json};

use common::run_python;

/// What has no form: augmentation draws at random, in EasyRec's inference graph, too.
const RANDOM: [&str; 2] = ["augmentation", "augmented lengths"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folders of traces.
fn traces() -> Vec<PathBuf> {
    let own = repository().join("crates/train/tests/golden");
    let others = std::env::var_os("RANKMILL_GOLDEN").unwrap_or_default();
    let mut folders = Vec::new();
    for directory in std::iter::once(own).chain(std::env::split_paths(&others).filter(|path| !path.as_os_str().is_empty())) {
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        folders.extend(entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.join("trace.safetensors").is_file()));
    }
    // The traces beside the training tests are among those of other directories, too.
    folders.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    folders.dedup_by(|a, b| a.file_name() == b.file_name());
    folders
}

/// A config's features and inference graph, if it can be built here.
fn built(config: &Path) -> Option<(Pipeline, FeatureSet, Model)> {
    let pipeline = Pipeline::load(config, &Edits::default()).ok()?;
    let features = FeatureSet::new(&pipeline).ok()?;
    let model = Model::build(&pipeline, &features, Purpose::Prediction).ok()?;
    Some((pipeline, features, model))
}

#[test]
fn all_operations_of_inference_graphs_have_a_form() {
    let mut configs: Vec<PathBuf> = traces().iter().map(|folder| folder.join("pipeline.config")).collect();
    let examples = fs::read_dir(repository().join("examples")).expect("the examples").map(|entry| entry.expect("an entry").path());
    configs.extend(examples.filter(|path| path.extension().is_some_and(|extension| extension == "config")));
    let mut count = 0;
    let mut missing = Vec::new();
    for config in &configs {
        let Some((_, features, model)) = built(config) else { continue };
        count += 1;
        let outputs: Vec<_> = model.outputs.iter().map(|output| (output.name.as_str(), output.value)).collect();
        if let Err(error) = OnnxGraph::new(&model.graph, &input_names(&features, &model.feed), &outputs) {
            let is_unexpected = error.operations.iter().any(|(name, _)| !RANDOM.contains(name));
            missing.extend(is_unexpected.then(|| format!("{}: {error}", config.display())));
        }
    }
    assert!(count >= 10, "only {count} of {} configs can be built", configs.len());
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// A model of a trace, with its last variables, as a bundle in `folder`; `None` if it can't be built here, or not as it was there.
fn bundle(trace: &Path, folder: &Path) -> Option<Predictor> {
    let (pipeline, _, model) = built(&trace.join("pipeline.config"))?;
    let bytes = fs::read(trace.join("trace.safetensors")).expect("the trace");
    let tensors = SafeTensors::deserialize(&bytes).expect("the trace is whole");
    let entries = model.graph.parameters().iter().map(|slot| {
        let view = ["after20", "after5"].iter().find_map(|step| tensors.tensor(&format!("{step}/{}", slot.name)).ok())?;
        let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let shape = slot.shape.dims.clone();
        (view.shape() == shape).then(|| Parameter { name: slot.name.clone(), shape, trainable: slot.trainable, values })
    });
    let parameters = Parameters { entries: entries.collect::<Option<_>>()?, ..Parameters::default() };
    fs::create_dir(folder).expect("a folder");
    write_bundle(folder, &pipeline, &parameters, &Manifest::new(20, &[], GoldenRows::default())).expect("written");
    Some(Predictor::load(folder, Arc::new(Pool::new(1).expect("a thread"))).expect("it can be loaded"))
}

/// The rows of a file as text, the inputs that the model is fed with for them, the ids that they have, and their scores.
fn scored(predictor: &mut Predictor, file: &Path) -> Json {
    let mut options = ReaderOptions::sequential(&predictor.pipeline, vec![file.display().to_string()]).expect("options");
    options.keep = predictor.features.field_names().map(str::to_owned).collect();
    options.batch_size = MOST_ROWS;
    let mut reader = Reader::new(options, predictor.features.clone()).expect("a reader");
    let batch = reader.next().expect("a batch").expect("rows").features;
    assert!(batch.rows < MOST_ROWS, "one batch has all rows");
    let text = |row: usize| batch.kept.iter().map(|kept| String::from_utf8(kept.row(row).to_vec()).expect("UTF-8")).collect();
    let rows: Vec<Vec<String>> = (0..batch.rows).map(text).collect();
    let ids = predictor.features.specs().iter().zip(&batch.columns).filter_map(|(spec, column)| {
        let Column::Ids(column) = column else { return None };
        let of_rows = column.offsets.windows(2).map(|row| json!(column.ids[row[0] as usize..row[1] as usize]));
        Some((format!("{}_ids", spec.name), Json::from_iter(of_rows)))
    });
    let ids = serde_json::Map::from_iter(ids);
    let scores = predictor.score(&batch);
    let outputs = predictor.outputs().iter().zip(scores.columns).map(|(output, values)| (output.name.clone(), json!(values)));
    json!({"rows": rows, "ids": ids, "inputs": inputs(predictor, &batch), "outputs": serde_json::Map::from_iter(outputs)})
}

/// More rows than any trace has.
const MOST_ROWS: usize = 1 << 14;

/// What fills the inputs of the exported model for a batch.
fn inputs(predictor: &Predictor, batch: &FeatureBatch) -> serde_json::Map<String, Json> {
    let model = predictor.model();
    let (keys, sequences) = (BatchKeys::new(&model.key_columns, batch), model.feed.sequences(batch));
    let feed = BatchFeed::new(batch, &keys, &sequences, 0);
    let feed = feed.feed();
    let names = input_names(&predictor.features, &model.feed);
    let shape = |rows: usize, width: usize| {
        let length = rows / batch.rows;
        if length == 1 { json!([batch.rows, width]) } else { json!([batch.rows, length, width]) }
    };
    let mut inputs = serde_json::Map::new();
    for (name, values) in names.dense.iter().zip(feed.dense) {
        let shape = shape(values.rows(), values.cols());
        inputs.insert(name.clone(), json!({"type": "float32", "shape": shape, "values": values.to_vec()}));
    }
    for (input, column) in names.ids.iter().zip(feed.ids) {
        let width = column.offsets.windows(2).map(|row| row[1] - row[0]).max().unwrap_or(0).max(1) as usize;
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        for row in column.offsets.windows(2) {
            let held = row[0] as usize..row[1] as usize;
            let missing = width - held.len();
            ids.extend(column.ids[held.clone()].iter().map(|id| i64::from(*id)).chain(std::iter::repeat_n(-1, missing)));
            let of_row = column.weights.as_ref().map_or_else(|| vec![1.0; held.len()], |weights| weights[held.clone()].to_vec());
            weights.extend(of_row.into_iter().chain(std::iter::repeat_n(0.0, missing)));
        }
        let shape = shape(column.offsets.len() - 1, width);
        inputs.insert(format!("{}_ids", input.name), json!({"type": "int64", "shape": shape, "values": ids}));
        inputs.insert(format!("{}_weights", input.name), json!({"type": "float32", "shape": shape, "values": weights}));
    }
    inputs
}

#[test]
fn models_of_traces_score_the_same_in_onnx_runtime() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cases = Vec::new();
    for trace in traces() {
        let name = trace.file_name().expect("a name").to_string_lossy().into_owned();
        let Some(mut predictor) = bundle(&trace, &folder.path().join(&name)) else { continue };
        let file = format!("{name}.onnx");
        match export(&predictor, &folder.path().join(&file), Weights::WherePossible) {
            Ok(_) => {}
            Err(ExportError::NoForms(missing)) if missing.operations.iter().all(|(name, _)| RANDOM.contains(name)) => continue,
            Err(error) => panic!("{name}: {error}"),
        }
        let mut case = scored(&mut predictor, &trace.join("rows.tsv"));
        case["name"] = json!(name);
        case["file"] = json!(file);
        let recipe = serde_json::to_value(predictor.features.recipe(&predictor.pipeline)).expect("JSON");
        if recipe["features"].as_array().expect("an array").iter().any(|feature| feature["kind"] == "other") {
            // The Python helper can't make their ids.
            case.as_object_mut().expect("an object").remove("rows");
        }
        cases.push(case);
    }
    assert!(cases.iter().filter(|case| case.get("rows").is_some()).count() >= 5, "{} cases", cases.len());
    run_python(folder.path(), &json!({"cases": cases}));
}

fn trace(name: &str) -> PathBuf {
    repository().join("crates/train/tests/golden").join(name)
}

fn shape(info: &ValueInfoProto) -> String {
    let tensor = info.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref()).expect("a tensor");
    let dims = tensor.shape.iter().flat_map(|shape| &shape.dim).map(|dim| match dim.value.as_ref() {
        Some(dimension::Value::DimValue(size)) => size.to_string(),
        Some(dimension::Value::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    });
    format!("{} [{}]", info.name, dims.collect::<Vec<_>>().join(", "))
}

#[test]
fn a_file_names_its_inputs_outputs_and_variables() {
    let folder = tempfile::tempdir().expect("a folder");
    let predictor = bundle(&trace("feat_tag_kv"), &folder.path().join("m")).expect("built");
    let file = folder.path().join("m.onnx");
    let exported = export(&predictor, &file, Weights::WherePossible).expect("exported");
    let bytes = fs::read(&file).expect("the file");
    assert_eq!((exported.bytes, exported.data), (bytes.len() as u64, None));
    let model = ModelProto::decode(bytes.as_slice()).expect("ONNX");
    assert_eq!(model.opset_import[0].version, 17);
    let graph = model.graph.expect("a graph");
    let inputs: Vec<String> = graph.input.iter().map(shape).collect();
    for expected in ["kv_ids [batch, kv_count]", "kv_weights [batch, kv_count]"] {
        assert!(inputs.iter().any(|input| input == expected), "{inputs:?}");
    }
    let outputs: Vec<String> = graph.output.iter().map(shape).collect();
    assert_eq!(outputs, ["probs [batch]", "logits [batch]"]);
    for entry in &predictor.parameters().entries {
        let initializer = graph.initializer.iter().find(|initializer| initializer.name == entry.name);
        let Some(initializer) = initializer else { continue };
        assert_eq!(initializer.dims, entry.shape.iter().map(|size| *size as i64).collect::<Vec<_>>());
        assert_eq!(initializer.raw_data.as_ref().map(Vec::len), Some(4 * entry.values.len()));
    }
    let names: Vec<&str> = graph.initializer.iter().map(|initializer| initializer.name.as_str()).collect();
    assert!(names.iter().any(|name| name.ends_with("embedding_weights")), "{names:?}");
}

#[test]
fn variables_beside_the_file_begin_at_pages() {
    let folder = tempfile::tempdir().expect("a folder");
    let predictor = bundle(&trace("masknet_base"), &folder.path().join("m")).expect("built");
    let file = folder.path().join("m.onnx");
    let exported = export(&predictor, &file, Weights::Beside).expect("exported");
    let (data, length) = exported.data.expect("variables are outside");
    let data = fs::read(data).expect("the variables");
    assert_eq!(data.len() as u64, length);
    let model = ModelProto::decode(fs::read(&file).expect("the file").as_slice()).expect("ONNX");
    let mut outside = 0;
    for initializer in &model.graph.expect("a graph").initializer {
        if initializer.data_location() != DataLocation::External {
            continue;
        }
        outside += 1;
        let value = |key: &str| initializer.external_data.iter().find(|entry| entry.key == key).expect(key).value.clone();
        assert_eq!(value("location"), "m.onnx.data");
        let (offset, length): (usize, usize) = (value("offset").parse().expect("a number"), value("length").parse().expect("a number"));
        let expected = predictor.parameters().get(&initializer.name).expect("a variable");
        let found: Vec<f32> = data[offset..offset + length].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        assert!(offset.is_multiple_of(4096) && found == expected.values, "{}", initializer.name);
    }
    assert!(outside > 5, "{outside} variables are outside");
    let mut predictor = predictor;
    let mut case = scored(&mut predictor, &trace("masknet_base").join("rows.tsv"));
    (case["name"], case["file"]) = (json!("beside"), json!("m.onnx"));
    run_python(folder.path(), &json!({"cases": [case]}));
}

#[test]
fn a_packed_bundle_scores_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["feat_id_vocab", "masknet_base"] {
        let mut loose = bundle(&trace(name), &folder.path().join(name)).expect("built");
        let file = folder.path().join(format!("{name}.bundle"));
        let bytes = pack(&folder.path().join(name), &file).expect("packed");
        assert_eq!(fs::metadata(&file).expect("the file").len(), bytes);
        let mut packed = Predictor::load(&file, Arc::new(Pool::new(1).expect("a thread"))).expect("it can be loaded");
        let rows = trace(name).join("rows.tsv");
        assert_eq!(scored(&mut packed, &rows), scored(&mut loose, &rows));
        let again = folder.path().join(format!("{name}.again"));
        pack(&file, &again).expect("packed again");
        assert_eq!(fs::read(&again).expect("the file"), fs::read(&file).expect("the file"));
    }
}

#[test]
fn damaged_packed_bundles_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(bundle(&trace("feat_id_vocab"), &folder.path().join("m")).expect("built"));
    let file = folder.path().join("packed");
    pack(&folder.path().join("m"), &file).expect("packed");
    let whole = fs::read(&file).expect("the file");
    let pool = Arc::new(Pool::new(1).expect("a thread"));
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).expect("written");
        let error = Predictor::load(&file, Arc::clone(&pool)).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("packed")), "{length} bytes");
    }
    let mut flipped = whole.clone();
    let at = whole.windows(8).position(|bytes| bytes == b"metadata" || bytes == b"dtype\":\"").expect("the header of the variables");
    flipped[at + 40] ^= 0x40;
    fs::write(&file, &flipped).expect("written");
    assert!(Predictor::load(&file, pool).is_err(), "the checksum must notice");
}
