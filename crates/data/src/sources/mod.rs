//! Where rows come from: which files an input names, what they are, and their rows in the order of training or of one plain pass.

mod criteo;
mod decode;
mod decoder;
mod dummy;
mod fields;
mod files;
mod format;
mod order;
mod parquet;
mod record;
mod sequence_example;
mod standard_input;
mod storage;
mod text;
mod tf_record;

pub(crate) use decode::{Decoded, open};
pub(crate) use decoder::Decoder;
pub(crate) use fields::{List, SourceField, entry, feature_types, source_fields};
pub use files::{InputFile, Side, declared_inputs, expand_inputs};
pub use format::InputFormat;
pub(crate) use format::Source;
pub use order::Position;
pub(crate) use order::{RowOrder, Rows};
pub(crate) use record::{FileKind, Framing, Opener, Record, RecordBlock, RecordFile};
pub(crate) use storage::open as open_stored;
pub(crate) use text::TextFile;
