//! Batches from files: one thread reads, decompresses and orders rows, another makes columns of them, and the caller takes batches.
//!
//! The channels between them are bounded, so memory does not grow with the files. Everything that is counted travels with its batch and
//! is added up when the batch is taken: statistics do not depend on how far the threads have read ahead. Dropping the reader stops them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rankmill_config::{Diagnostics, Pipeline};

use crate::batch::{FeatureBatch, FeatureKind};
use crate::cache::{AS_READ, FEATURES, FeatureCache, append};
use crate::error::{DataError, Report, Rule};
use crate::features::FeatureSet;
use crate::rejected::{Content, Rejected, RejectedRow};
use crate::rows::RawRows;
use crate::sources::{Decoder, Framing, InputFile, InputFormat, Position, Record, RecordBlock, RowOrder, Rows, Source};
use crate::statistics::{FeatureStatistics, Statistics};

/// Batches that wait for the caller take about this much memory at most.
const PREFETCHED_BYTES: usize = 64 * 1024 * 1024;
/// Blocks of rows that wait to be made columns of.
const WAITING_BLOCKS: usize = 2;

/// What to read and in which order.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// Paths, patterns, directories, `-`, or lists of them separated by commas.
    pub inputs: Vec<String>,
    /// What the files are and how their rows become fields.
    pub format: InputFormat,
    /// The order of the rows.
    pub mode: Mode,
    /// Rows per batch. A batch has fewer at the end of the data, and where rows are left out because of errors.
    pub batch_size: usize,
    /// Batches to make ahead; fewer if they would take more than about 64 MB.
    pub prefetch: usize,
    /// Input fields whose raw text is handed through in [`FeatureBatch::kept`].
    pub keep: Vec<String>,
    /// Where to go on; `None` starts at the beginning.
    pub position: Option<Position>,
    /// Where rows are written that are left out, or that stop the run.
    pub rejected: Option<Rejected>,
    /// Where the features of all rows are kept, so that they are made once.
    pub cache: Option<FeatureCache>,
}

/// The order of the rows (EasyRec behaviour 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Several passes, shuffled anew in each; a batch may cross from one into the next.
    Train {
        /// Whether files and rows are shuffled.
        shuffle: bool,
        /// Rows that the shuffling chooses among; up to 1 keeps the order.
        shuffle_buffer_size: usize,
        /// Passes over the data; 0 is forever.
        num_epochs: u64,
        /// The seed of the shuffling.
        seed: u64,
        /// Files read in turn, a row from each: `num_parallel_calls`.
        interleave: usize,
        /// Whether a last batch that is not full is left out.
        drop_remainder: bool,
    },
    /// One pass, file after file.
    Sequential,
}

impl ReaderOptions {
    /// Training as `data_config` describes it.
    ///
    /// # Errors
    /// Settings of `data_config` that do not fit.
    pub fn train(pipeline: &Pipeline, inputs: Vec<String>, seed: u64) -> Result<ReaderOptions, Diagnostics> {
        let data = pipeline.proto.data_config.clone().unwrap_or_default();
        let Ok(shuffle_buffer_size) = usize::try_from(data.shuffle_buffer_size()) else {
            return Err(pipeline.error("data_config.shuffle_buffer_size", "must not be negative").into());
        };
        let mode = Mode::Train {
            shuffle: data.shuffle(),
            shuffle_buffer_size,
            num_epochs: u64::from(data.num_epochs()),
            seed,
            interleave: data.num_parallel_calls().max(1) as usize,
            drop_remainder: data.drop_remainder(),
        };
        ReaderOptions::new(pipeline, inputs, mode)
    }

    /// One pass in the order of the files, for evaluation and prediction.
    ///
    /// # Errors
    /// Settings of `data_config` that do not fit.
    pub fn sequential(pipeline: &Pipeline, inputs: Vec<String>) -> Result<ReaderOptions, Diagnostics> {
        ReaderOptions::new(pipeline, inputs, Mode::Sequential)
    }

    fn new(pipeline: &Pipeline, inputs: Vec<String>, mode: Mode) -> Result<ReaderOptions, Diagnostics> {
        let data = pipeline.proto.data_config.clone().unwrap_or_default();
        if data.batch_size() == 0 {
            return Err(pipeline.error("data_config.batch_size", "must be above 0").into());
        }
        Ok(ReaderOptions {
            inputs,
            format: InputFormat::new(pipeline)?,
            mode,
            batch_size: data.batch_size() as usize,
            prefetch: data.prefetch_size() as usize,
            keep: Vec::new(),
            position: None,
            rejected: None,
            cache: None,
        })
    }
}

/// A batch and where the stream of rows stands behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The rows.
    pub features: FeatureBatch,
    /// A reader that starts here goes on with the row after this batch.
    pub position: Position,
    /// Bytes of text of the epoch up to the end of this batch.
    text_bytes: u64,
    /// The rows that were left out, if they are to be written.
    rejected: Vec<RejectedRow>,
}

/// How well a reader keeps up with its caller.
///
/// A reader that is faster than its caller has [`Supply::mean_ready`] near [`Supply::capacity`] and next to no time waited; one that
/// holds its caller up has it near 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// How often a batch was asked for. Finding the end of the data does not count; a batch that is passed over because all its rows
    /// were left out does.
    pub requests: u64,
    /// The batches that were ready at those moments, all together.
    pub ready: u64,
    /// The most batches that can be ready at a time.
    pub capacity: usize,
    /// How long the caller waited for batches, all together.
    pub waited: Duration,
}

impl Supply {
    /// How many batches were ready when one was asked for, on average; 0 before the first request.
    #[must_use]
    pub fn mean_ready(&self) -> f64 {
        self.ready as f64 / self.requests.max(1) as f64
    }

    fn note(&mut self, ready: usize, waited: Duration) {
        self.requests += 1;
        self.ready += ready as u64;
        self.waited += waited;
    }
}

/// An iterator over the batches of some files. After an error it ends.
#[derive(Debug)]
pub struct Reader {
    /// `None` once the end or an error was reached.
    batches: Option<Receiver<Result<Batch, DataError>>>,
    threads: Vec<JoinHandle<()>>,
    files: Arc<[InputFile]>,
    epochs: u64,
    /// Bytes on disk that one pass reads.
    bytes_of_a_pass: u64,
    read_bytes: Arc<AtomicU64>,
    /// Epochs completed, and bytes of text of the current one, in the batches taken.
    taken: (u64, u64),
    /// Bytes of text in one pass over the files, where they tell.
    text_bytes_of_a_pass: Option<u64>,
    statistics: Statistics,
    report: Report,
    rejected: Option<Rejected>,
    supply: Supply,
}

impl Reader {
    /// Opens the inputs and starts to read ahead.
    ///
    /// # Errors
    /// Inputs that name no file, a header that does not fit, an unknown column to keep.
    pub fn new(options: ReaderOptions, mut features: FeatureSet) -> Result<Reader, DataError> {
        features.keep(&options.keep)?;
        let read_bytes = Arc::new(AtomicU64::new(0));
        let source = options.format.source(&options.inputs, &features, &options.keep, &read_bytes)?;
        let cached = options.cache.as_ref().map(|cache| cache.open(&source, &features, &options.keep, &read_bytes)).transpose()?;
        let is_cached = cached.is_some();
        let Source { files, opener, decoder } = source;
        let has_lines = opener.has_lines();
        let (read_files, opener) = cached.unwrap_or_else(|| (Arc::clone(&files), opener));
        let (order, seed) = row_order(&options);
        let start = options.position.unwrap_or(Position { seed, ..Position::default() });
        let (block_sender, block_receiver) = bounded(WAITING_BLOCKS);
        let (used_sender, used_receiver) = bounded(WAITING_BLOCKS + 2);
        let capacity = prefetched_batches(&options, &features);
        let (batch_sender, batch_receiver) = bounded(capacity);
        let bytes_of_a_pass = read_files.iter().map(|file| file.bytes).sum();
        let source = Rows::new(read_files, opener, order, start);
        let statistics = Statistics::new(features.specs());
        let names: Arc<[String]> = files.iter().map(|file| file.path.clone()).collect();
        let rows = RawRows::new(features.field_names().len(), names);
        let keeps_rejected = options.rejected.is_some();
        let cached = is_cached.then(|| CachedColumns::new(&mut features, &rows, has_lines)).transpose()?;
        let columns = Columns { rows, features, decoder, keeps_rejected, cached };
        let batch_size = options.batch_size;
        let threads = vec![
            thread::spawn(move || read_rows(source, batch_size, &used_receiver, &block_sender)),
            thread::spawn(move || make_columns(columns, &block_receiver, &used_sender, &batch_sender)),
        ];
        Ok(Reader {
            batches: Some(batch_receiver),
            threads,
            epochs: order.epochs,
            text_bytes_of_a_pass: if has_lines && !is_cached { files.iter().map(|file| file.text_bytes).sum() } else { None },
            files,
            bytes_of_a_pass,
            read_bytes,
            taken: (start.epoch, 0),
            statistics,
            report: Report::default(),
            rejected: options.rejected,
            supply: Supply { capacity, ..Supply::default() },
        })
    }

    /// The files that are read.
    #[must_use]
    pub fn files(&self) -> &[InputFile] {
        &self.files
    }

    /// The share of the rows that has been taken, from 0 to 1, by the bytes of their text; without an end of epochs, the share of the
    /// current one. Where the files don't tell how much text they hold, it is the share that has been read ahead, and 0 for standard input.
    #[must_use]
    pub fn progress(&self) -> f64 {
        let passes = match self.text_bytes_of_a_pass {
            Some(total) => self.taken.0 as f64 + self.taken.1 as f64 / total.max(1) as f64,
            None => {
                let read = self.read_bytes.load(Ordering::Relaxed);
                if self.bytes_of_a_pass == 0 { 0.0 } else { read as f64 / self.bytes_of_a_pass as f64 }
            }
        };
        match self.epochs {
            0 => passes.fract(),
            epochs => (passes / epochs as f64).min(1.0),
        }
    }

    /// What the features looked like in the batches taken so far.
    #[must_use]
    pub fn statistics(&self) -> Vec<FeatureStatistics> {
        self.statistics.features()
    }

    /// How many rows the batches taken so far had, and how many were left out and why.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// How well the reader has kept up with the caller since its start.
    #[must_use]
    pub fn supply(&self) -> Supply {
        self.supply
    }

    /// The next batch of the queue, or an error; `None` at the end.
    fn receive(&mut self) -> Option<Result<Batch, DataError>> {
        let batches = self.batches.as_ref()?;
        let (ready, start) = (batches.len(), Instant::now());
        let message = batches.recv().ok()?;
        self.supply.note(ready, start.elapsed());
        Some(message)
    }

    fn write_rejected(&self, rows: &[RejectedRow]) -> Result<(), DataError> {
        self.rejected.as_ref().map_or(Ok(()), |file| file.write(rows))
    }

    /// Lets the threads end and waits for them.
    fn stop(&mut self) {
        self.batches = None;
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Result<Batch, DataError>> {
        loop {
            match self.receive() {
                Some(Ok(mut batch)) => {
                    self.taken = (batch.position.epoch, batch.text_bytes);
                    self.statistics.observe(&batch.features);
                    self.report.observe(batch.features.rows, &batch.features.observed.skipped);
                    if let Err(error) = self.write_rejected(&std::mem::take(&mut batch.rejected)) {
                        self.stop();
                        return Some(Err(error));
                    }
                    if batch.features.rows > 0 {
                        return Some(Ok(batch));
                    }
                }
                Some(Err(error)) => {
                    self.stop();
                    let row = RejectedRow { error: error.clone(), content: Content::Lost };
                    let written = if error.row > 0 { self.write_rejected(&[row]) } else { Ok(()) };
                    return Some(Err(written.err().unwrap_or(error)));
                }
                None => {
                    self.stop();
                    return None;
                }
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

fn row_order(options: &ReaderOptions) -> (RowOrder, u64) {
    match options.mode {
        Mode::Sequential => (RowOrder { shuffle_buffer: 0, shuffle_files: false, interleave: 1, epochs: 1, drop_remainder: false }, 0),
        Mode::Train { shuffle, shuffle_buffer_size, num_epochs, seed, interleave, drop_remainder } => {
            let shuffle = shuffle && options.format.may_be_shuffled();
            let shuffle_buffer = if shuffle { shuffle_buffer_size } else { 0 };
            (RowOrder { shuffle_buffer, shuffle_files: shuffle, interleave, epochs: num_epochs, drop_remainder }, seed)
        }
    }
}

/// How many batches may wait: an id column is taken for three ids a row, a sequence for 32 positions, a kept text for 64 bytes.
fn prefetched_batches(options: &ReaderOptions, features: &FeatureSet) -> usize {
    let column = |kind| match kind {
        FeatureKind::Ids { weighted, .. } => 4 + 3 * if weighted { 8 } else { 4 },
        FeatureKind::Dense { width } => 4 * width,
        FeatureKind::IdSequence { weighted, .. } => 4 + 32 * if weighted { 12 } else { 8 },
        FeatureKind::DenseSequence { width } => 4 + 32 * 4 * width,
    };
    let columns: usize = features.specs().iter().map(|spec| column(spec.kind)).sum();
    let row = columns + 8 * (features.label_names().len() + features.key_names().len()) + 68 * options.keep.len();
    options.prefetch.min(PREFETCHED_BYTES / (row * options.batch_size).max(1)).max(1)
}

/// The first thread: blocks of rows in order, until the end, an error, or nobody listening.
fn read_rows(mut rows: Rows, batch_size: usize, used: &Receiver<RecordBlock>, blocks: &Sender<Result<RecordBlock, DataError>>) {
    loop {
        let mut block = used.try_recv().unwrap_or_default();
        let message = match rows.next_block(batch_size, &mut block) {
            Ok(true) => Ok(block),
            Ok(false) => return,
            Err(error) => Err(error),
        };
        let failed = message.is_err();
        if blocks.send(message).is_err() || failed {
            return;
        }
    }
}

/// What the second thread works with.
struct Columns {
    rows: RawRows,
    features: FeatureSet,
    decoder: Decoder,
    /// Whether the rows that are left out are handed through.
    keeps_rejected: bool,
    /// What it takes to make batches of rows whose features are there already.
    cached: Option<CachedColumns>,
}

/// Batches of rows of the cache.
struct CachedColumns {
    /// A batch without rows.
    empty: FeatureBatch,
    /// Whether rows as they were read are lines.
    has_lines: bool,
}

impl CachedColumns {
    fn new(features: &mut FeatureSet, rows: &RawRows, has_lines: bool) -> Result<CachedColumns, DataError> {
        Ok(CachedColumns { empty: features.transform(rows)?, has_lines })
    }
}

impl Columns {
    fn batch(&mut self, block: &RecordBlock) -> Result<Batch, DataError> {
        if let Some(cached) = &self.cached {
            let (batch, has_lines) = (cached.empty.clone(), cached.has_lines);
            return self.cached_batch(block, batch, has_lines);
        }
        self.rows.clear();
        if let Err(rule) = self.decoder.decode(block, &mut self.rows) {
            let origin = block.origins[self.rows.rows()];
            return Err(DataError { row: origin.line, ..DataError::file(self.rows.file(origin), rule) });
        }
        let features = self.features.transform(&self.rows)?;
        let skipped = &features.observed.skipped;
        let rejected = if self.keeps_rejected { self.rejected(block, skipped) } else { Vec::new() };
        Ok(Batch { features, position: block.position, text_bytes: block.text_bytes, rejected })
    }

    /// Puts the rows of a block of the cache into an empty batch. Those without features are unusable, and are read again to say why.
    fn cached_batch(&mut self, block: &RecordBlock, mut batch: FeatureBatch, has_lines: bool) -> Result<Batch, DataError> {
        let mut rejected = Vec::new();
        for (record, origin) in block.records() {
            let mut single = RecordBlock::new(if has_lines { Framing::Lines } else { Framing::Ends });
            let mut content = Content::Lost;
            match record {
                Record::Row([FEATURES, features @ ..]) => {
                    append(&mut batch, features).ok_or_else(|| DataError::file(self.rows.file(origin), Rule::DamagedCache))?;
                    continue;
                }
                Record::Row([AS_READ, bytes @ ..]) => {
                    if has_lines {
                        content = Content::Line(String::from_utf8_lossy(bytes).into_owned());
                    }
                    single.push(Record::Row(bytes), origin);
                }
                Record::Row(_) => return Err(DataError::file(self.rows.file(origin), Rule::DamagedCache)),
                broken @ Record::Broken(_) => single.push(broken, origin),
            }
            self.rows.clear();
            let decoded = self.decoder.decode(&single, &mut self.rows);
            decoded.map_err(|rule| DataError { row: origin.line, ..DataError::file(self.rows.file(origin), rule) })?;
            // They are of the run that wrote the cache.
            self.rows.forget_codes();
            for error in self.features.transform(&self.rows)?.observed.skipped {
                rejected.push(RejectedRow { error: error.clone(), content: content.clone() });
                batch.observed.skipped.push(error);
            }
        }
        if !self.keeps_rejected {
            rejected.clear();
        }
        Ok(Batch { features: batch, position: block.position, text_bytes: block.text_bytes, rejected })
    }

    /// The rows of a block that were left out, which are in its order.
    fn rejected(&self, block: &RecordBlock, skipped: &[DataError]) -> Vec<RejectedRow> {
        let mut skipped = skipped.iter().peekable();
        let mut rejected = Vec::new();
        for (row, (record, _)) in block.records().enumerate() {
            let (file, number) = self.rows.place(row);
            let Some(error) = skipped.next_if(|error| error.row == number && error.file == file) else { continue };
            let content = match record {
                Record::Row(line) if block.has_lines() => Content::Line(String::from_utf8_lossy(line).into_owned()),
                Record::Row(_) if !self.rows.is_broken(row) => {
                    let text = |column| {
                        let mut text = Vec::new();
                        self.rows.write_text(row, column, &mut text);
                        String::from_utf8_lossy(&text).into_owned()
                    };
                    Content::Fields((0..self.rows.columns()).map(text).collect())
                }
                _ => Content::Lost,
            };
            rejected.push(RejectedRow { error: error.clone(), content });
        }
        rejected
    }
}

/// The second thread: batches of columns, until the rows end, an error, or nobody listening.
fn make_columns(
    mut columns: Columns,
    blocks: &Receiver<Result<RecordBlock, DataError>>,
    used: &Sender<RecordBlock>,
    batches: &Sender<Result<Batch, DataError>>,
) {
    for block in blocks {
        let message = block.and_then(|block| {
            let batch = columns.batch(&block);
            // The other thread may have ended or have enough blocks already.
            let _ = used.try_send(block);
            batch
        });
        let failed = message.is_err();
        if batches.send(message).is_err() || failed {
            return;
        }
    }
}
