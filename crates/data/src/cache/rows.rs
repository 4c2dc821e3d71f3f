//! The features of one row as bytes, and their way back behind those of other rows.
//!
//! | part | bytes |
//! |---|---|
//! | ids | u32 count, u8 whether they have weights, the ids, the weights |
//! | numbers | u32 count, the numbers |
//! | keys of a dynamic table | u32 count, the keys; before its ids, which number them |
//! | a sequence | u32 positions, u32 longest, then for each position u32 its ids, and ids; or numbers |
//! | labels, sample weight | u32 count, the numbers |
//! | key | u64 |
//! | kept text | u32 length, the text |
//! | what was noticed | for each feature u32 missing, u32 out of range |
//!
//! Which of these there are, and in which order, follows from the feature set.

use rankmill_kernels::ids::IdColumn;

use crate::batch::{Column, DenseColumn, FeatureBatch, Positions, SequenceColumn};

/// Appends the only row of `batch`.
pub(crate) fn encode(batch: &FeatureBatch, bytes: &mut Vec<u8>) {
    for (at, column) in batch.columns.iter().enumerate() {
        if let Some(keys) = batch.table_keys.get(at) {
            put(keys.len(), bytes);
            keys.iter().for_each(|key| bytes.extend_from_slice(&key.to_le_bytes()));
        }
        match column {
            Column::Ids(column) => encode_ids(column, bytes),
            Column::Dense(column) => encode_dense(column, bytes),
            Column::Sequence(sequence) => encode_sequence(sequence, bytes),
        }
    }
    for numbers in batch.labels.iter().chain(&batch.sample_weights) {
        encode_floats(numbers, bytes);
    }
    for keys in &batch.keys {
        keys.iter().for_each(|key| bytes.extend_from_slice(&key.to_le_bytes()));
    }
    for kept in &batch.kept {
        put(kept.bytes.len(), bytes);
        bytes.extend_from_slice(&kept.bytes);
    }
    for counts in &batch.observed.features {
        put(counts.missing as usize, bytes);
        put(counts.out_of_range as usize, bytes);
    }
}

fn put(number: usize, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(number as u32).to_le_bytes());
}

fn encode_floats(numbers: &[f32], bytes: &mut Vec<u8>) {
    put(numbers.len(), bytes);
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
}

fn encode_ids(column: &IdColumn, bytes: &mut Vec<u8>) {
    put(column.ids.len(), bytes);
    bytes.push(u8::from(column.weights.is_some()));
    column.ids.iter().for_each(|id| bytes.extend_from_slice(&id.to_le_bytes()));
    column.weights.iter().flatten().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
}

fn encode_dense(column: &DenseColumn, bytes: &mut Vec<u8>) {
    encode_floats(&column.values, bytes);
}

fn encode_sequence(sequence: &SequenceColumn, bytes: &mut Vec<u8>) {
    put(sequence.length(0), bytes);
    put(sequence.longest, bytes);
    match &sequence.positions {
        Positions::Ids(column) => {
            column.offsets.windows(2).for_each(|pair| put((pair[1] - pair[0]) as usize, bytes));
            encode_ids(column, bytes);
        }
        Positions::Dense(column) => encode_dense(column, bytes),
    }
}

/// Appends an encoded row to a batch of the same features, which may be empty; `None` if the bytes are not those of such a row.
pub(crate) fn append(batch: &mut FeatureBatch, bytes: &[u8]) -> Option<()> {
    let mut bytes = Bytes(bytes);
    for (at, column) in batch.columns.iter_mut().enumerate() {
        let first = match batch.table_keys.get_mut(at) {
            Some(keys) => bytes.keys(keys)?,
            None => 0,
        };
        match column {
            Column::Ids(column) => {
                append_ids(column, first, &mut bytes)?;
                column.offsets.push(column.ids.len() as u32);
            }
            Column::Dense(column) => bytes.floats(&mut column.values)?,
            Column::Sequence(sequence) => append_sequence(sequence, first, &mut bytes)?,
        }
    }
    for numbers in batch.labels.iter_mut().chain(&mut batch.sample_weights) {
        bytes.floats(numbers)?;
    }
    for keys in &mut batch.keys {
        keys.push(u64::from_le_bytes(bytes.take()?));
    }
    for kept in &mut batch.kept {
        let length = bytes.number()?;
        kept.bytes.extend_from_slice(bytes.slice(length)?);
        kept.offsets.push(kept.bytes.len() as u32);
    }
    for counts in &mut batch.observed.features {
        counts.missing += bytes.number()? as u64;
        counts.out_of_range += bytes.number()? as u64;
    }
    batch.rows += 1;
    bytes.0.is_empty().then_some(())
}

/// Appends ids, of keys that are the `first`-th and following ones, and weights where they have some; the offsets are left to the caller.
fn append_ids(column: &mut IdColumn, first: u32, bytes: &mut Bytes<'_>) -> Option<()> {
    let count = bytes.number()?;
    let [weighted] = bytes.take()?;
    let (ids, _) = bytes.slice(4 * count)?.as_chunks::<4>();
    column.ids.extend(ids.iter().map(|id| first + u32::from_le_bytes(*id)));
    if weighted != 0 {
        let (weights, _) = bytes.slice(4 * count)?.as_chunks::<4>();
        column.weights.get_or_insert_default().extend(weights.iter().map(|weight| f32::from_le_bytes(*weight)));
    }
    Some(())
}

fn append_sequence(sequence: &mut SequenceColumn, first: u32, bytes: &mut Bytes<'_>) -> Option<()> {
    let positions = bytes.number()?;
    sequence.longest = sequence.longest.max(bytes.number()?);
    sequence.offsets.push(sequence.offsets.last()? + positions as u32);
    match &mut sequence.positions {
        Positions::Ids(column) => {
            let mut end = *column.offsets.last()?;
            for _ in 0..positions {
                end += bytes.number()? as u32;
                column.offsets.push(end);
            }
            append_ids(column, first, bytes)
        }
        Positions::Dense(column) => bytes.floats(&mut column.values),
    }
}

/// What is not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(slice)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn number(&mut self) -> Option<usize> {
        self.take().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    /// Appends keys; gives how many there were before.
    fn keys(&mut self, keys: &mut Vec<u64>) -> Option<u32> {
        let first = keys.len() as u32;
        let count = self.number()?;
        let (read, _) = self.slice(count.checked_mul(8)?)?.as_chunks::<8>();
        keys.extend(read.iter().map(|key| u64::from_le_bytes(*key)));
        Some(first)
    }

    fn floats(&mut self, numbers: &mut Vec<f32>) -> Option<()> {
        let count = self.number()?;
        let (floats, _) = self.slice(count.checked_mul(4)?)?.as_chunks::<4>();
        numbers.extend(floats.iter().map(|number| f32::from_le_bytes(*number)));
        Some(())
    }
}
