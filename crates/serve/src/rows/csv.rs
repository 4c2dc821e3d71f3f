//! Rows as CSV with a header that names the fields (RFC 4180).

use std::sync::Arc;

use rankmill_data::{FieldRows, shown};

use crate::error::ServeError;
use crate::limits::Limits;
use crate::schema::Schema;

/// Reads a header and rows.
pub(crate) fn read(schema: &Schema, limits: &Limits, body: &[u8]) -> Result<FieldRows, ServeError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(body);
    let header = reader.byte_headers().map_err(|error| broken(&error))?.clone();
    let mut places = Vec::with_capacity(header.len());
    for name in &header {
        let name = std::str::from_utf8(name).map_err(|_| ServeError::invalid(format!("the header's \"{}\" is not UTF-8", shown(name))))?;
        let place = schema.place(name)?;
        if places.contains(&place) {
            return Err(ServeError::invalid(format!("field `{name}`: the header names it twice")));
        }
        places.push(place);
    }
    if let Some(missing) = schema.needed().find(|field| !header.iter().any(|name| name == field.name.as_bytes())) {
        return Err(ServeError::invalid(format!("field `{}` is not in the header", missing.name)));
    }
    let mut rows = FieldRows::new(Arc::clone(&schema.names));
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| broken(&error))? {
        let row = rows.add_rows(1);
        limits.check_rows(row + 1)?;
        for (place, text) in places.iter().zip(&record) {
            limits.check_text(&schema.fields[*place].name, text.len())?;
            let span = rows.store(text).map_err(|rule| ServeError::invalid(rule.to_string()))?;
            rows.set(row, *place, span);
        }
    }
    Ok(rows)
}

fn broken(error: &csv::Error) -> ServeError {
    ServeError::invalid(format!("the body is not CSV: {error}"))
}
