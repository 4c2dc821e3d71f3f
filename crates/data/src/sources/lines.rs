//! The order in which the lines of all files are read (EasyRec behaviour 4).
//!
//! Training, each epoch: the files are shuffled, up to `num_parallel_calls` of them are read in turn, a line from each (`tf.data`'s
//! interleave), and the lines pass through a shuffle buffer: it is filled, then each step hands out a random line of it and takes the
//! next one in. Without `shuffle` only the interleaving is left. Evaluation: one file after the other.
//! Each epoch has its own random numbers, from the seed and the epoch's number, so a stream can start in any epoch.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::files::InputFile;
use super::text::TextFile;
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

/// How lines are ordered and when they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineOrder {
    /// Lines in the shuffle buffer; up to 1 keeps the order of files and lines.
    pub(crate) shuffle_buffer: usize,
    /// Whether the files are shuffled.
    pub(crate) shuffle_files: bool,
    /// Files read in turn.
    pub(crate) interleave: usize,
    /// 0 is forever.
    pub(crate) epochs: u64,
    /// Lines to pass over at the start of each file.
    pub(crate) header_lines: u64,
    /// Whether a last batch that is not full is left out.
    pub(crate) drop_remainder: bool,
}

/// Lines on their way to a batch.
#[derive(Debug, Default)]
pub(crate) struct LineBlock {
    /// The lines, each with its end `\n`.
    pub(crate) text: Vec<u8>,
    /// Where each line is from.
    pub(crate) origins: Vec<Origin>,
    /// Where the stream stands after these lines.
    pub(crate) position: Position,
    /// Bytes of all lines of the epoch up to here, with their ends.
    pub(crate) text_bytes: u64,
}

impl LineBlock {
    fn clear(&mut self) {
        self.text.clear();
        self.origins.clear();
    }

    fn push(&mut self, line: &[u8], origin: Origin) {
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        self.origins.push(origin);
    }

    fn copy(&mut self, other: &LineBlock) {
        self.text.clone_from(&other.text);
        self.origins.clone_from(&other.origins);
        (self.position, self.text_bytes) = (other.position, other.text_bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.origins.len()
    }
}

/// The lines of all epochs.
pub(crate) struct Lines {
    files: Arc<[InputFile]>,
    order: LineOrder,
    progress: Arc<AtomicU64>,
    position: Position,
    text_bytes: u64,
    epoch: Option<Epoch>,
    finished: bool,
    /// The block while it is put together. Its memory is this thread's alone; that of the blocks that are handed out comes back from
    /// another processor's cache, and stores to it line by line wait for each cache line of it, unlike a copy of the whole.
    draft: LineBlock,
}

impl Lines {
    pub(crate) fn new(files: Arc<[InputFile]>, order: LineOrder, start: Position, progress: Arc<AtomicU64>) -> Lines {
        Lines { files, order, progress, position: start, text_bytes: 0, epoch: None, finished: false, draft: LineBlock::default() }
    }

    /// Fills `block` with up to `count` lines, across the ends of epochs. Returns whether there were any.
    pub(crate) fn next_block(&mut self, count: usize, block: &mut LineBlock) -> Result<bool, DataError> {
        self.draft.clear();
        while self.draft.len() < count && !self.finished {
            let mut epoch = match self.epoch.take() {
                Some(epoch) => epoch,
                None => self.start_epoch()?,
            };
            let (draft, text_bytes) = (&mut self.draft, &mut self.text_bytes);
            let take = |line: &[u8], origin| {
                *text_bytes += line.len() as u64 + 1;
                draft.push(line, origin);
            };
            if epoch.next_line(take)? {
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
        let mut epoch = Epoch::start(&self.files, self.order, self.position, Arc::clone(&self.progress));
        for rows in 0..self.position.rows {
            let text_bytes = &mut self.text_bytes;
            if !epoch.next_line(|line, _| *text_bytes += line.len() as u64 + 1)? {
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
    /// Lines waiting to be handed out, all but the last `spare` ones; the memory of those is used again.
    waiting: Vec<(Vec<u8>, Origin)>,
    spare: usize,
    filled: bool,
}

impl Epoch {
    fn start(files: &Arc<[InputFile]>, order: LineOrder, position: Position, progress: Arc<AtomicU64>) -> Epoch {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(position.seed ^ position.epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut file_order: Vec<u32> = (0..files.len() as u32).collect();
        if order.shuffle_files {
            for last in (1..file_order.len()).rev() {
                file_order.swap(last, below(&mut random, last + 1));
            }
        }
        let slots = (0..order.interleave.clamp(1, files.len().max(1))).map(|_| None).collect();
        let files = Interleaved {
            files: Arc::clone(files),
            pending: file_order.into_iter(),
            slots,
            turn: 0,
            header_lines: order.header_lines,
            progress,
        };
        Epoch { files, random, capacity: order.shuffle_buffer, waiting: Vec::new(), spare: 0, filled: false }
    }

    /// Hands the next line to `take`; `false` at the end of the epoch.
    fn next_line(&mut self, take: impl FnOnce(&[u8], Origin)) -> Result<bool, DataError> {
        if self.capacity <= 1 {
            return self.files.next_line(take);
        }
        while !self.filled && self.waiting.len() < self.capacity {
            let waiting = &mut self.waiting;
            self.filled = !self.files.next_line(|line, origin| waiting.push((line.to_vec(), origin)))?;
        }
        self.filled = true;
        let count = self.waiting.len() - self.spare;
        if count == 0 {
            return Ok(false);
        }
        let chosen = below(&mut self.random, count);
        let (line, origin) = &mut self.waiting[chosen];
        take(line, *origin);
        let more = self.spare == 0
            && self.files.next_line(|next, next_origin| {
                line.clear();
                line.extend_from_slice(next);
                *origin = next_origin;
            })?;
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

/// Lines of several files in turn, as `tf.data`'s interleave with `block_length` 1 takes them.
struct Interleaved {
    files: Arc<[InputFile]>,
    pending: std::vec::IntoIter<u32>,
    slots: Vec<Option<(u32, TextFile)>>,
    turn: usize,
    header_lines: u64,
    progress: Arc<AtomicU64>,
}

impl Interleaved {
    fn next_line(&mut self, take: impl FnOnce(&[u8], Origin)) -> Result<bool, DataError> {
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
                let mut text = TextFile::open(&self.files[file as usize].path, &self.progress)?;
                for _ in 0..self.header_lines {
                    text.next_line()?;
                }
                *slot = Some((file, text));
            }
            idle = 0;
            let (file, text) = slot.as_mut().expect("the slot was filled just above");
            let file = *file;
            let line = text.next_line()?;
            self.turn = (self.turn + 1) % slots;
            if let Some((line, number)) = line {
                take(line, Origin { file, line: number });
                return Ok(true);
            }
            *slot = None;
        }
        Ok(false)
    }
}

/// The first line of a file, without the blanks around it.
pub(crate) fn read_header(path: &str) -> Result<Vec<u8>, DataError> {
    let mut text = TextFile::open(path, &Arc::default())?;
    Ok(text.next_line()?.map(|(line, _)| line.trim_ascii().to_vec()).unwrap_or_default())
}
