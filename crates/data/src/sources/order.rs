//! The order in which the rows of all files are read (EasyRec behaviour 4).
//!
//! Training, each epoch: the files are shuffled, up to `num_parallel_calls` of them are read in turn, a row from each (`tf.data`'s
//! interleave), and the rows pass through a shuffle buffer: it is filled, then each step hands out a random row of it and takes the
//! next one in. Without `shuffle` only the interleaving is left. Evaluation: one file after the other.
//! Each epoch has its own random numbers, from the seed and the epoch's number, so a stream can start in any epoch.
//! Rows are records here: bytes that the decoder of their format understands, whatever the format.

use std::sync::Arc;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::files::InputFile;
use super::record::{Opener, Record, RecordBlock, RecordFile};
use crate::error::{DataError, Rule};
use crate::rows::Origin;

/// Where a stream of rows stands: enough to go on with the very same rows.
///
/// Resuming reads the epoch again up to this row, without parsing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs completed.
    pub epoch: u64,
    /// Rows handed out of the current epoch.
    pub rows: u64,
    /// The seed of the shuffling.
    pub seed: u64,
}

/// How rows are ordered and when they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowOrder {
    /// Rows in the shuffle buffer; up to 1 keeps the order of files and rows.
    pub(crate) shuffle_buffer: usize,
    /// Whether the files are shuffled.
    pub(crate) shuffle_files: bool,
    /// Files read in turn.
    pub(crate) interleave: usize,
    /// 0 is forever.
    pub(crate) epochs: u64,
    /// Whether a last batch that is not full is left out.
    pub(crate) drop_remainder: bool,
}

/// The rows of all epochs.
pub(crate) struct Rows {
    files: Arc<[InputFile]>,
    opener: Opener,
    order: RowOrder,
    position: Position,
    text_bytes: u64,
    epoch: Option<Epoch>,
    finished: bool,
    /// The block while it is put together. Its memory is this thread's alone; that of the blocks that are handed out comes back from
    /// another processor's cache, and stores to it row by row wait for each cache line of it, unlike a copy of the whole.
    draft: RecordBlock,
}

impl Rows {
    pub(crate) fn new(files: Arc<[InputFile]>, opener: Opener, order: RowOrder, start: Position) -> Rows {
        let draft = RecordBlock::new(opener.framing());
        Rows { files, opener, order, position: start, text_bytes: 0, epoch: None, finished: false, draft }
    }

    /// Fills `block` with up to `count` rows, across the ends of epochs. Returns whether there were any.
    pub(crate) fn next_block(&mut self, count: usize, block: &mut RecordBlock) -> Result<bool, DataError> {
        self.draft.clear();
        while self.draft.len() < count && !self.finished {
            let mut epoch = match self.epoch.take() {
                Some(epoch) => epoch,
                None => self.start_epoch()?,
            };
            let (draft, text_bytes) = (&mut self.draft, &mut self.text_bytes);
            let take = |record: Record<'_>, origin| {
                *text_bytes += record.text_bytes();
                draft.push(record, origin);
            };
            if epoch.next_row(take)? {
                self.position.rows += 1;
                self.epoch = Some(epoch);
            } else if self.position.rows == 0 || self.is_last_epoch() {
                // An epoch without rows would be followed by another one forever.
                self.finished = true;
            } else {
                self.position = Position { epoch: self.position.epoch + 1, rows: 0, ..self.position };
            }
        }
        self.draft.position = self.position;
        self.draft.text_bytes = self.text_bytes;
        block.copy(&self.draft);
        Ok(block.len() == count || (block.len() > 0 && !self.order.drop_remainder))
    }

    fn is_last_epoch(&self) -> bool {
        self.order.epochs > 0 && self.position.epoch + 1 >= self.order.epochs
    }

    /// Starts the epoch of `self.position` and reads up to its row.
    fn start_epoch(&mut self) -> Result<Epoch, DataError> {
        self.text_bytes = 0;
        let mut epoch = Epoch::start(&self.files, &self.opener, self.order, self.position);
        for rows in 0..self.position.rows {
            let text_bytes = &mut self.text_bytes;
            if !epoch.next_row(|record, _| *text_bytes += record.text_bytes())? {
                let file = self.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(",");
                return Err(DataError::file(file, Rule::ResumeBeyondEnd { rows, wanted: self.position.rows }));
            }
        }
        Ok(epoch)
    }
}

/// One pass over the files.
struct Epoch {
    files: Interleaved,
    random: Xoshiro256PlusPlus,
    capacity: usize,
    /// Rows waiting to be handed out, all but the last `spare` ones; the memory of those is used again.
    waiting: Vec<Waiting>,
    spare: usize,
    filled: bool,
}

/// A row in the shuffle buffer.
struct Waiting {
    record: Vec<u8>,
    broken: Option<Box<Rule>>,
    origin: Origin,
}

impl Waiting {
    fn new(record: Record<'_>, origin: Origin) -> Waiting {
        let mut waiting = Waiting { record: Vec::new(), broken: None, origin };
        waiting.replace(record, origin);
        waiting
    }

    fn replace(&mut self, record: Record<'_>, origin: Origin) {
        self.record.clear();
        self.origin = origin;
        self.broken = match record {
            Record::Row(bytes) => {
                self.record.extend_from_slice(bytes);
                None
            }
            Record::Broken(rule) => Some(rule),
        };
    }

    fn record(&mut self) -> Record<'_> {
        match self.broken.take() {
            Some(rule) => Record::Broken(rule),
            None => Record::Row(&self.record),
        }
    }
}

impl Epoch {
    fn start(files: &Arc<[InputFile]>, opener: &Opener, order: RowOrder, position: Position) -> Epoch {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(position.seed ^ position.epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut file_order: Vec<u32> = (0..files.len() as u32).collect();
        if order.shuffle_files {
            for last in (1..file_order.len()).rev() {
                file_order.swap(last, below(&mut random, last + 1));
            }
        }
        let slots = (0..order.interleave.clamp(1, files.len().max(1))).map(|_| None).collect();
        let pending = file_order.into_iter();
        let files = Interleaved { files: Arc::clone(files), opener: opener.clone(), pending, slots, turn: 0 };
        Epoch { files, random, capacity: order.shuffle_buffer, waiting: Vec::new(), spare: 0, filled: false }
    }

    /// Hands the next row to `take`; `false` at the end of the epoch.
    fn next_row(&mut self, take: impl FnOnce(Record<'_>, Origin)) -> Result<bool, DataError> {
        if self.capacity <= 1 {
            return self.files.next_row(take);
        }
        while !self.filled && self.waiting.len() < self.capacity {
            let waiting = &mut self.waiting;
            self.filled = !self.files.next_row(|record, origin| waiting.push(Waiting::new(record, origin)))?;
        }
        self.filled = true;
        let count = self.waiting.len() - self.spare;
        if count == 0 {
            return Ok(false);
        }
        let chosen = below(&mut self.random, count);
        let waiting = &mut self.waiting[chosen];
        let origin = waiting.origin;
        take(waiting.record(), origin);
        let more = self.spare == 0 && self.files.next_row(|record, origin| waiting.replace(record, origin))?;
        if !more {
            self.spare += 1;
            self.waiting.swap(chosen, count - 1);
        }
        Ok(true)
    }
}

/// A random number below `bound`, which is not 0. The bias of the multiplication is below `bound` / 2^64.
fn below(random: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

/// Rows of several files in turn, as `tf.data`'s interleave with `block_length` 1 takes them.
struct Interleaved {
    files: Arc<[InputFile]>,
    opener: Opener,
    pending: std::vec::IntoIter<u32>,
    slots: Vec<Option<(u32, Box<dyn RecordFile>)>>,
    turn: usize,
}

impl Interleaved {
    fn next_row(&mut self, take: impl FnOnce(Record<'_>, Origin)) -> Result<bool, DataError> {
        let slots = self.slots.len();
        let mut idle = 0;
        while idle < slots {
            let slot = &mut self.slots[self.turn];
            if slot.is_none() {
                let Some(file) = self.pending.next() else {
                    idle += 1;
                    self.turn = (self.turn + 1) % slots;
                    continue;
                };
                *slot = Some((file, self.opener.open(&self.files[file as usize])?));
            }
            idle = 0;
            let (file, rows) = slot.as_mut().expect("the slot was filled just above");
            let file = *file;
            let row = rows.next_record()?;
            self.turn = (self.turn + 1) % slots;
            if let Some((record, line)) = row {
                take(record, Origin { file, line });
                return Ok(true);
            }
            *slot = None;
        }
        Ok(false)
    }
}
