//! Where rows come from: which files an input names, and their lines in the order of training or of one plain pass.

mod decode;
mod files;
mod format;
mod lines;
mod text;

pub use files::{InputFile, expand_inputs};
pub(crate) use format::Header;
pub use format::TextFormat;
pub use lines::Position;
pub(crate) use lines::{LineBlock, LineOrder, Lines};
pub(crate) use text::TextFile;
