//! Rows as CSV with a header that names the fields (RFC 4180).

use rankmill_data::shown;

use super::json::JsonRows;
use crate::error::ServeError;

/// Reads a header and rows.
pub(crate) fn read(all: &mut JsonRows<'_>, body: &[u8]) -> Result<(), ServeError> {
    let mut reader = csv::ReaderBuilder::new().from_reader(body);
    let header = reader.byte_headers().map_err(|error| broken(&error))?.clone();
    let place = |name: &[u8]| match std::str::from_utf8(name) {
        Ok(name) => all.schema.place(name),
        Err(_) => Err(ServeError::invalid(format!("the header's \"{}\" is not UTF-8", shown(name)))),
    };
    let places = header.iter().map(place).collect::<Result<Vec<usize>, _>>()?;
    all.check_columns(&places)?;
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| broken(&error))? {
        let row = all.rows.add_rows(1);
        all.limits.check_rows(row + 1)?;
        for (place, text) in places.iter().zip(&record) {
            all.limits.check_text(&all.schema.fields[*place].name, text.len())?;
            let span = all.rows.store(text).map_err(|rule| ServeError::invalid(rule.to_string()))?;
            all.rows.set(row, *place, span);
        }
    }
    Ok(())
}

fn broken(error: &csv::Error) -> ServeError {
    ServeError::invalid(format!("the body is not CSV: {error}"))
}
