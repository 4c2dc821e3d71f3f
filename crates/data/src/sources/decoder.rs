//! From records to text fields: one decoder per format. This is the list of them.

use super::record::{Record, RecordBlock};
use crate::error::Rule;
use crate::rows::example::{Columns, push_example};
use crate::rows::json::JsonRows;
use crate::rows::rtp::{RtpPairs, RtpRows};
use crate::rows::{FieldOrder, RawRows, Splitting};

/// Makes text fields of the records of one format.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// Lines of separated fields.
    Text { splitting: Box<Splitting>, order: Option<FieldOrder> },
    /// A JSON object a line.
    Json(JsonRows),
    /// Lines of `RTPInput`.
    Rtp(Box<RtpRows>),
    /// Lines of `RTPInputV2`.
    RtpPairs(RtpPairs),
    /// TensorFlow's examples.
    Examples(Columns),
    /// Ready fields.
    Fields,
}

impl Decoder {
    /// Adds the rows of a block.
    ///
    /// # Errors
    /// [`Rule::BatchTooLarge`] beyond 4 GB of text; the rows before that one have been added.
    pub(crate) fn decode(&self, block: &RecordBlock, rows: &mut RawRows) -> Result<(), Rule> {
        if let Decoder::Text { splitting, order } = self {
            return rows.push_lines(&block.bytes, splitting, order.as_ref(), &block.origins);
        }
        for (record, origin) in block.records() {
            let bytes = match record {
                Record::Row(bytes) => bytes,
                Record::Broken(rule) => {
                    rows.push_broken(*rule, origin);
                    continue;
                }
            };
            match self {
                Decoder::Text { splitting, order } => rows.push_line(bytes, splitting, order.as_ref(), origin)?,
                Decoder::Json(json) => json.push(rows, bytes, origin)?,
                Decoder::Rtp(rtp) => rtp.push(rows, bytes, origin)?,
                Decoder::RtpPairs(pairs) => pairs.push(rows, bytes, origin)?,
                Decoder::Examples(columns) => push_example(rows, columns, bytes, origin)?,
                Decoder::Fields => rows.push_encoded(bytes, origin)?,
            }
        }
        Ok(())
    }
}
