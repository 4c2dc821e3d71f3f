//! What the fuzz targets share: a config, and reading a file of arbitrary bytes with it.
//!
//! `cargo +nightly fuzz run parquet fuzz/corpus/parquet crates/data/tests/fixtures` starts from the good files of the tests.
//! `crates/data/tests/mutations.rs` tries the same without cargo-fuzz, and keeps what was found.

pub mod server;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Reader, ReaderOptions, panic_is_expected};
use tempfile::NamedTempFile;

pub(crate) const CONFIG: &str = r#"
data_config {
  input_type: CSVInput separator: ',' batch_size: 16 ignore_error: true label_fields: 'label'
  input_fields { input_name: 'label' input_type: INT32 }
  input_fields { input_name: 'user' input_type: INT64 }
  input_fields { input_name: 'price' input_type: FLOAT }
  input_fields { input_name: 'tags' }
  input_fields { input_name: 'marks' }
  input_fields { input_name: 'device.os' }
}
feature_config {
  features { input_names: 'user' feature_type: IdFeature hash_bucket_size: 100 embedding_dim: 2 }
  features { input_names: 'price' feature_type: RawFeature }
  features { input_names: 'tags' feature_type: TagFeature hash_bucket_size: 100 embedding_dim: 2 }
  features { input_names: 'marks' feature_type: TagFeature kv_separator: ':' hash_bucket_size: 100 embedding_dim: 2 }
  features { input_names: 'device.os' feature_type: IdFeature hash_bucket_size: 100 embedding_dim: 2 }
}
model_config {
  model_class: 'RankModel'
  feature_groups { group_name: 'all' feature_names: ['user', 'price', 'tags', 'marks', 'device.os'] wide_deep: DEEP }
}
"#;

/// The config, with another `input_type`.
fn config(input_type: &str) -> Pipeline {
    let text = CONFIG.replace("CSVInput", input_type);
    Pipeline::parse("fuzz.config", &text, &Edits::default()).expect("a good config")
}

/// The config with this text wherever it may have a formula; `None` if no string of a config can hold it.
pub fn formulas(text: &str) -> Option<Pipeline> {
    let escaped: String = text.bytes().map(|byte| format!("\\{byte:03o}")).collect();
    let more = format!(
        "data_config {{ extra_label_func {{ label_name: 'both' label_func: '{escaped}' }} }}
         feature_config {{
           features {{ feature_name: 'sum' input_names: ['user', 'price'] feature_type: ExprFeature expression: '{escaped}' }}
           features {{ feature_name: 'number' input_names: 'price' feature_type: RawFeature normalizer_fn: '{escaped}' }}
         }}
         model_config {{ feature_groups {{ group_name: 'formulas' feature_names: ['sum', 'number'] wide_deep: DEEP }} }}"
    );
    Pipeline::parse("fuzz.config", &(CONFIG.to_owned() + &more), &Edits::default()).ok()
}

/// Lets panics of libraries pass of which the reader and the server make errors; libFuzzer would stop at them. Others stop it.
fn pass_over_expected_panics() {
    let stop = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic_is_expected() {
            stop(panic);
        }
    }));
}

/// A file that is written and read again and again; what can be made once is.
pub struct Input {
    file: NamedTempFile,
    options: ReaderOptions,
    features: FeatureSet,
}

impl Input {
    /// A file of that `input_type`.
    pub fn new(input_type: &str) -> Input {
        pass_over_expected_panics();
        let config = config(input_type);
        let file = NamedTempFile::new().expect("a temporary file");
        let options = ReaderOptions::sequential(&config, vec![file.path().to_string_lossy().into_owned()]);
        Input { file, options: options.expect("a good config"), features: FeatureSet::new(&config).expect("a good config") }
    }

    /// Reads a file of these bytes to its end or an error.
    pub fn read(&self, bytes: &[u8]) {
        std::fs::write(self.file.path(), bytes).expect("written");
        let Ok(reader) = Reader::new(self.options.clone(), self.features.clone()) else { return };
        for batch in reader {
            let Ok(batch) = batch else { break };
            assert_eq!(batch.features.labels[0].len(), batch.features.rows);
        }
    }
}
