//! Numbers that stay in their file: the system reads a page when it is first looked at, may drop it when memory is short, and has it once
//! for all processes that map the file.
//!
//! A mapped file must not be written to: a file that is cut off takes the pages from under whoever reads them. Files of models are
//! replaced by renaming, never changed in place.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

/// A part of a file in memory.
#[derive(Clone, Debug)]
pub struct MappedFile {
    map: Arc<Mmap>,
}

impl MappedFile {
    /// Maps `length` bytes from `offset` on.
    ///
    /// # Errors
    /// If the system refuses, or the file is shorter.
    pub fn open(file: &File, offset: u64, length: usize) -> io::Result<MappedFile> {
        if file.metadata()?.len() < offset.saturating_add(length as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the range lies inside of the file. That nobody writes to it while it is mapped is the rule for files of models, which is
        // stated above and where users ask for mapping; whatever the bytes are, every one of them is a valid `u8` and every four an `f32`.
        let map = unsafe { MmapOptions::new().offset(offset).len(length).map(file)? };
        Ok(MappedFile { map: Arc::new(map) })
    }

    /// The numbers that stand in a range of the bytes; none if they do not begin at a multiple of four or are no whole number of them.
    pub fn numbers(&self, bytes: Range<usize>) -> Option<MappedNumbers> {
        let part = self.map.get(bytes.clone())?;
        let is_whole = (part.as_ptr() as usize).is_multiple_of(align_of::<f32>()) && part.len().is_multiple_of(size_of::<f32>());
        is_whole.then(|| MappedNumbers { map: Arc::clone(&self.map), bytes })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

/// Numbers of a mapped file.
#[derive(Clone, Debug)]
pub struct MappedNumbers {
    map: Arc<Mmap>,
    /// Whole numbers of `f32`, aligned; checked where it is made.
    bytes: Range<usize>,
}

impl Deref for MappedNumbers {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let bytes = &self.map[self.bytes.clone()];
        // SAFETY: the range is aligned and a whole number of `f32`, as was checked when this was made; every bit pattern is an `f32`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<f32>()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_file() {
        let path = std::env::temp_dir().join(format!("rankmill-mapped-{}", std::process::id()));
        let numbers: Vec<f32> = (0..2000).map(|i| i as f32 * 0.5).collect();
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        File::create(&path).and_then(|mut file| file.write_all(&bytes)).expect("written");
        let file = File::open(&path).expect("opened");
        let mapped = MappedFile::open(&file, 4096, bytes.len() - 4096).expect("mapped");
        assert_eq!(*mapped, bytes[4096..]);
        assert_eq!(*mapped.numbers(8..mapped.len()).expect("whole numbers"), numbers[1026..]);
        assert!(mapped.numbers(2..10).is_none() && mapped.numbers(0..6).is_none() && mapped.numbers(0..1 << 20).is_none());
        assert!(MappedFile::open(&file, 0, bytes.len() + 1).is_err());
        // What is mapped outlives its name.
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(mapped.numbers(0..4).expect("a number")[0], numbers[1024]);
    }
}
