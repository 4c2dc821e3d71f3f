//! Rows as they come in bodies: one file per format.

pub(crate) mod arrow;
pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod request;
