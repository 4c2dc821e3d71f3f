//! The part of the crate `zstd` that the crate `parquet` uses, over `ruzstd`.
//!
//! The real one binds to the C library, and would make a C compiler a condition of every build. The workspace puts this one in its place
//! (`[patch.crates-io]`), so that Parquet files compressed with Zstandard can be read.

pub mod bulk {
    //! Whole buffers at once.

    use std::io::{self, Cursor};
    use std::marker::PhantomData;

    use ruzstd::decoding::FrameDecoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    /// Compresses buffers.
    #[derive(Debug, Default)]
    pub struct Compressor<'a>(PhantomData<&'a ()>);

    impl Compressor<'_> {
        /// A compressor; there is one level only.
        ///
        /// # Errors
        /// None.
        pub fn new(_level: i32) -> io::Result<Self> {
            Ok(Compressor::default())
        }

        /// Appends `source`, compressed, at the cursor; returns how many bytes that took.
        ///
        /// # Errors
        /// None.
        pub fn compress_to_buffer(&mut self, source: &[u8], target: &mut Cursor<&mut Vec<u8>>) -> io::Result<usize> {
            let packed = compress_to_vec(source, CompressionLevel::Fastest);
            let (position, buffer) = end(target);
            buffer.extend_from_slice(&packed);
            target.set_position((position + packed.len()) as u64);
            Ok(packed.len())
        }
    }

    /// Decompresses buffers.
    #[derive(Default)]
    pub struct Decompressor<'a>(FrameDecoder, PhantomData<&'a ()>);

    impl Decompressor<'_> {
        /// A decompressor.
        ///
        /// # Errors
        /// None.
        pub fn new() -> io::Result<Self> {
            Ok(Decompressor::default())
        }

        /// Appends the content of the frames in `source` at the cursor; returns how many bytes that took.
        ///
        /// # Errors
        /// If `source` is damaged.
        pub fn decompress_to_buffer(&mut self, source: &[u8], target: &mut Cursor<&mut Vec<u8>>) -> io::Result<usize> {
            let (position, buffer) = end(target);
            self.0.decode_all_to_vec(source, buffer).map_err(io::Error::other)?;
            let count = buffer.len() - position;
            target.set_position((position + count) as u64);
            Ok(count)
        }
    }

    /// The place of the cursor, and the buffer, which ends there.
    fn end<'a>(target: &'a mut Cursor<&mut Vec<u8>>) -> (usize, &'a mut Vec<u8>) {
        let position = usize::try_from(target.position()).unwrap_or(usize::MAX);
        let buffer = target.get_mut();
        buffer.truncate(position);
        (position.min(buffer.len()), buffer)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn buffers_come_back_behind_what_is_there() {
            for content in [&b""[..], b"a", &[7; 300_000]] {
                let mut packed = Vec::new();
                Compressor::new(3).and_then(|mut it| it.compress_to_buffer(content, &mut Cursor::new(&mut packed))).expect("compressed");
                let mut buffer = b"before".to_vec();
                buffer.reserve(content.len());
                let mut cursor = Cursor::new(&mut buffer);
                cursor.set_position(6);
                let mut decompressor = Decompressor::new().expect("a decompressor");
                assert_eq!(decompressor.decompress_to_buffer(&packed, &mut cursor).expect("good data"), content.len());
                assert_eq!(buffer, [b"before", content].concat());
            }
        }

        #[test]
        fn damaged_data_are_an_error() {
            let mut buffer = Vec::with_capacity(10);
            let mut decompressor = Decompressor::new().expect("a decompressor");
            assert!(decompressor.decompress_to_buffer(b"no frame", &mut Cursor::new(&mut buffer)).is_err());
        }
    }
}

pub mod zstd_safe {
    //! Sizes.

    /// The size that a frame tells of its content: here never, since the caller then makes a guess.
    ///
    /// # Errors
    /// None.
    pub fn get_frame_content_size(_source: &[u8]) -> Result<Option<u64>, std::convert::Infallible> {
        Ok(None)
    }

    /// The most bytes that `size` bytes become when they are compressed.
    #[must_use]
    pub fn compress_bound(size: usize) -> usize {
        size + size / 256 + 64
    }
}
