//! Rows that were made features of once, kept on disk: `--cache DIR`.
//!
//! What is kept are the features of single rows, in the order of the files, before any shuffling. They take the way of all rows through
//! the shuffle buffer and become batches by being put one behind the other; so a run with the cache has the bits of a run without.
//! A cache belongs to the settings that features depend on, to the files (path, size, time of the last change, both ends of the
//! content) and to this version of the program: it has their fingerprint for a name, and with others there is another one beside it.
//! A row that can't be used is kept as it was read, and found unusable again.
//!
//! ```text
//! DIR/FINGERPRINT/0.rows, 1.rows, …     for each input file its rows, each
//!                                       u64 number | u32 length | u8 kind: 0 features, 1 as read, 2 a broken rule | content
//! ```
//! Numbers are little-endian, and the length is that of kind and content.

mod file;
mod rows;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rankmill_config::Pipeline;
use rankmill_kernels::fingerprint::fingerprint64;

pub(crate) use self::file::CacheFile;
pub(crate) use self::rows::append;
use self::rows::encode;
use crate::error::{DataError, Rule};
use crate::features::FeatureSet;
use crate::rows::{Origin, RawRows};
use crate::sources::{Decoder, FileKind, InputFile, Opener, Record, RecordBlock, Source, open_stored};

/// Changes with the layout of the files.
const VERSION: u32 = 3;
/// The number of a row and the length of what follows.
const HEADER: usize = 12;

/// A folder of caches.
#[derive(Clone, Debug)]
pub struct FeatureCache {
    folder: PathBuf,
    /// Of all settings that features depend on.
    settings: u64,
}

/// A row's features follow.
pub(crate) const FEATURES: u8 = 0;
/// The row follows as it was read.
pub(crate) const AS_READ: u8 = 1;
/// The rule follows that the row breaks, as JSON.
const BROKEN: u8 = 2;

impl FeatureCache {
    /// The caches in `folder` for the features of a config.
    ///
    /// # Errors
    /// A vocabulary file that can't be read.
    pub fn new(folder: &Path, pipeline: &Pipeline) -> Result<FeatureCache, DataError> {
        let config = &pipeline.proto;
        let mut data = config.data_config.clone().unwrap_or_default();
        // The order and number of rows make no difference to a row.
        (data.batch_size, data.num_epochs, data.shuffle, data.shuffle_buffer_size) = (None, None, None, None);
        (data.prefetch_size, data.num_parallel_calls, data.drop_remainder, data.eval_batch_size) = (None, None, None, None);
        let model = config.model_config.as_ref().map(|model| (&model.feature_groups, &model.seq_att_groups));
        let metrics = config.eval_config.as_ref().map(|eval| &eval.metrics_set);
        let mut text = format!("{VERSION} {} {data:?} {model:?} {metrics:?}", env!("CARGO_PKG_VERSION"));
        text += &format!("{:?} {:?}", config.feature_configs, config.feature_config);
        for feature in pipeline.features() {
            if let Some(path) = feature.config.vocab_file.as_deref().filter(|path| !path.is_empty()) {
                let words = fs::read(path).map_err(|error| DataError::file(path, Rule::Unreadable(error.to_string())))?;
                text += &format!(" {path} {}", fingerprint64(&words));
            }
        }
        Ok(FeatureCache { folder: folder.to_path_buf(), settings: fingerprint64(text.as_bytes()) })
    }

    /// The cached rows of a source: what opens them, and the files, which are written now if they are not there.
    pub(crate) fn open(
        &self,
        source: &Source,
        features: &FeatureSet,
        kept: &[String],
        progress: &Arc<AtomicU64>,
    ) -> Result<(Arc<[InputFile]>, Opener), DataError> {
        let key = self.key(&source.files, kept)?;
        let folder = self.folder.join(format!("{key:016x}"));
        if !folder.is_dir() {
            build(&folder, source, features)?;
        }
        let describe = |at: usize| {
            let path = folder.join(format!("{at}.rows"));
            let bytes = fs::metadata(&path).map_err(|error| unwritable(&path, &error))?.len();
            Ok(InputFile { bytes, ..InputFile::without_content(&path.to_string_lossy()) })
        };
        let files: Vec<InputFile> = (0..source.files.len()).map(describe).collect::<Result<_, DataError>>()?;
        let opener = Opener { kind: FileKind::Cached, fields: Arc::clone(&source.opener.fields), progress: Arc::clone(progress) };
        Ok((files.into(), opener))
    }

    fn key(&self, files: &[InputFile], kept: &[String]) -> Result<u64, DataError> {
        let mut text = format!("{} {kept:?}", self.settings);
        for file in files {
            for path in std::iter::once(&file.path).chain(&file.beside) {
                let changed = open_stored(path).and_then(|file| file.version());
                let changed = changed.map_err(|error| DataError::file(path, Rule::Unreadable(error.to_string())))?;
                text += &format!(" {path:?} {changed}");
            }
            text += &format!(" {} {}", file.bytes, file.fingerprint);
        }
        Ok(fingerprint64(text.as_bytes()))
    }
}

/// Writes the rows of all files, into a folder aside first.
fn build(folder: &Path, source: &Source, features: &FeatureSet) -> Result<(), DataError> {
    let aside = folder.with_extension(format!("{}.tmp", std::process::id()));
    fs::create_dir_all(&aside).map_err(|error| unwritable(&aside, &error))?;
    let outcome = (0..source.files.len()).try_for_each(|file| build_file(&aside.join(format!("{file}.rows")), file, source, features));
    let outcome = outcome.and_then(|()| match fs::rename(&aside, folder) {
        // Another run may have been faster.
        Err(error) if !folder.is_dir() => Err(unwritable(folder, &error)),
        _ => Ok(()),
    });
    // After a success there is nothing to remove.
    let _ = fs::remove_dir_all(&aside);
    outcome
}

fn build_file(path: &Path, file: usize, source: &Source, features: &FeatureSet) -> Result<(), DataError> {
    let input = &source.files[file];
    let mut records = source.opener.open(input)?;
    let target = File::create(path).map_err(|error| unwritable(path, &error))?;
    let mut target = BufWriter::with_capacity(1 << 20, target);
    let mut maker = RowMaker::new(source, features);
    let mut content = Vec::new();
    while let Some((record, number)) = records.next_record()? {
        maker.make(record, Origin { file: file as u32, line: number }, &mut content)?;
        let length =
            u32::try_from(content.len()).map_err(|_| DataError { row: number, ..DataError::file(&*input.path, Rule::BatchTooLarge) })?;
        let header = [&number.to_le_bytes()[..], &length.to_le_bytes()].concat();
        target.write_all(&header).and_then(|()| target.write_all(&content)).map_err(|error| unwritable(path, &error))?;
    }
    let file = target.into_inner().map_err(|error| unwritable(path, error.error()))?;
    file.sync_all().map_err(|error| unwritable(path, &error))
}

/// Makes features of one row at a time.
struct RowMaker<'a> {
    decoder: &'a Decoder,
    features: FeatureSet,
    rows: RawRows,
    block: RecordBlock,
}

impl<'a> RowMaker<'a> {
    fn new(source: &'a Source, features: &FeatureSet) -> RowMaker<'a> {
        let names: Arc<[String]> = source.files.iter().map(|file| file.path.clone()).collect();
        let rows = RawRows::new(features.field_names().len(), names);
        RowMaker { decoder: &source.decoder, features: features.clone(), rows, block: RecordBlock::new(source.opener.framing()) }
    }

    /// Replaces `content` by a row's kind and content.
    fn make(&mut self, record: Record<'_>, origin: Origin, content: &mut Vec<u8>) -> Result<(), DataError> {
        content.clear();
        let bytes = match record {
            Record::Row(bytes) => bytes,
            Record::Broken(rule) => {
                content.push(BROKEN);
                return serde_json::to_writer(content, &rule).map_err(|error| DataError::file("", Rule::Unwritable(error.to_string())));
            }
        };
        self.block.clear();
        self.block.push(Record::Row(bytes), origin);
        self.rows.clear();
        let decoded = self.decoder.decode(&self.block, &mut self.rows);
        decoded.map_err(|rule| DataError { row: origin.line, ..DataError::file(self.rows.file(origin), rule) })?;
        match self.features.transform(&self.rows) {
            Ok(batch) if batch.rows == 1 => {
                content.push(FEATURES);
                encode(&batch, content);
            }
            _ => {
                content.push(AS_READ);
                content.extend_from_slice(bytes);
            }
        }
        Ok(())
    }
}

fn unwritable(path: &Path, error: &io::Error) -> DataError {
    DataError::file(path.display().to_string(), Rule::Unwritable(error.to_string()))
}
