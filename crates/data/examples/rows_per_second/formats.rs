//! The rows of an input written anew in every format, to compare how fast they are read.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rankmill_config::Pipeline;
use rankmill_config::proto::dataset_config::FieldType;
use rankmill_data::{FeatureSet, KeptColumn, Reader, ReaderOptions};

use super::Outcome;

/// Rows that are written.
const ROWS: usize = 1 << 20;

/// A field with the texts of all rows.
struct Field {
    name: String,
    kind: FieldType,
    texts: Vec<Vec<u8>>,
}

impl Field {
    fn is_whole(&self) -> bool {
        matches!(self.kind, FieldType::Int32 | FieldType::Int64)
    }

    fn is_number(&self) -> bool {
        self.is_whole() || matches!(self.kind, FieldType::Float | FieldType::Double)
    }
}

/// Writes up to 1,048,576 rows of `inputs` into `folder` in each format; returns the names of the formats with the files.
pub(super) fn write(pipeline: &Pipeline, inputs: &[String], folder: &Path) -> Outcome<Vec<(&'static str, String)>> {
    let fields = read(pipeline, inputs)?;
    let rows = fields.first().map_or(0, |field| field.texts.len());
    let separator = pipeline.proto.data_config.as_ref().map_or(",", |data| data.separator()).to_string();
    let mut files = Vec::new();
    let mut add = |name: &'static str, write: &dyn Fn(&Path) -> Outcome<()>| -> Outcome<()> {
        let path = folder.join(name);
        write(&path)?;
        files.push((name, path.to_string_lossy().into_owned()));
        Ok(())
    };
    add("csv", &|path| write_lines(path, rows, |row, line| csv_line(&fields, row, separator.as_bytes(), line)))?;
    add("json_lines", &|path| write_lines(path, rows, |row, line| json_line(&fields, row, line)))?;
    add("parquet_snappy", &|path| write_parquet(path, &fields, Compression::SNAPPY))?;
    add("parquet_plain", &|path| write_parquet(path, &fields, Compression::UNCOMPRESSED))?;
    add("tf_record", &|path| write_tf_record(path, &fields, rows))?;
    Ok(files)
}

fn read(pipeline: &Pipeline, inputs: &[String]) -> Outcome<Vec<Field>> {
    let features = FeatureSet::new(pipeline)?;
    let declared = pipeline.input_fields();
    let mut fields: Vec<Field> =
        declared.iter().map(|field| Field { name: field.name.clone(), kind: field.config.input_type(), texts: Vec::new() }).collect();
    let mut options = ReaderOptions::sequential(pipeline, inputs.to_vec())?;
    options.keep = fields.iter().map(|field| field.name.clone()).collect();
    for batch in Reader::new(options, features)? {
        let batch = batch?.features;
        let take = |kept: &KeptColumn, field: &mut Field| field.texts.extend((0..batch.rows).map(|row| kept.row(row).to_vec()));
        batch.kept.iter().zip(&mut fields).for_each(|(kept, field)| take(kept, field));
        if fields[0].texts.len() >= ROWS {
            break;
        }
    }
    Ok(fields)
}

fn write_lines(path: &Path, rows: usize, mut write: impl FnMut(usize, &mut Vec<u8>)) -> Outcome<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut line = Vec::new();
    for row in 0..rows {
        line.clear();
        write(row, &mut line);
        line.push(b'\n');
        file.write_all(&line)?;
    }
    Ok(file.flush()?)
}

fn csv_line(fields: &[Field], row: usize, separator: &[u8], line: &mut Vec<u8>) {
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            line.extend_from_slice(separator);
        }
        line.extend_from_slice(&field.texts[row]);
    }
}

fn json_line(fields: &[Field], row: usize, line: &mut Vec<u8>) {
    let value = |field: &Field| -> String {
        let text = String::from_utf8_lossy(&field.texts[row]);
        match text.as_ref() {
            "" => "null".into(),
            number if field.is_number() => number.into(),
            text => serde_json::Value::from(text).to_string(),
        }
    };
    let members: Vec<String> = fields.iter().map(|field| format!("{}: {}", serde_json::Value::from(&*field.name), value(field))).collect();
    line.extend_from_slice(format!("{{{}}}", members.join(", ")).as_bytes());
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn write_parquet(path: &Path, fields: &[Field], compression: Compression) -> Outcome<()> {
    let array = |field: &Field| -> ArrayRef {
        let texts = field.texts.iter();
        if field.is_whole() {
            return Arc::new(texts.map(|text| parsed::<i64>(text)).collect::<Int64Array>());
        }
        if field.is_number() {
            return Arc::new(texts.map(|text| parsed::<f64>(text)).collect::<Float64Array>());
        }
        Arc::new(texts.map(|text| Some(String::from_utf8_lossy(text))).collect::<StringArray>())
    };
    let batch = RecordBatch::try_from_iter_with_nullable(fields.iter().map(|field| (&*field.name, array(field), true)))?;
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

fn write_tf_record(path: &Path, fields: &[Field], rows: usize) -> Outcome<()> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let mut bytes = Vec::new();
    for row in 0..rows {
        let features: Vec<u8> = fields.iter().flat_map(|field| part(1, &feature(field, row))).collect();
        let example = part(1, &features);
        let length = (example.len() as u64).to_le_bytes();
        for piece in [&length[..], &masked(&length), &example, &masked(&example)] {
            bytes.extend_from_slice(piece);
        }
    }
    Ok(fs::write(path, bytes)?)
}

/// An entry of `Features`: name and `Feature`.
fn feature(field: &Field, row: usize) -> Vec<u8> {
    let text = &field.texts[row];
    let feature = match (parsed::<i64>(text).filter(|_| field.is_whole()), parsed::<f32>(text).filter(|_| field.is_number())) {
        (Some(whole), _) => part(3, &part(1, &varint(whole.cast_unsigned()))),
        (None, Some(number)) => part(2, &part(1, &number.to_le_bytes())),
        _ => part(1, &part(1, text)),
    };
    [part(1, field.name.as_bytes()), part(2, &feature)].concat()
}

/// A field of a message that holds bytes.
fn part(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}
