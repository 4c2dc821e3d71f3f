//! Numeric kernels over slices and views, chosen at run time for the processor, and the shared memory that the graph runs on.
//!
//! This is the only crate that may use `unsafe`. It knows nothing of graphs, configs or files.

#![expect(unsafe_code, reason = "the one place where unsafe is allowed; each use states why it is sound")]

pub mod adam;
pub mod dispatch;
pub mod elementwise;
pub mod fields;
pub mod fingerprint;
pub mod gemm;
pub mod ids;
pub mod mapped;
pub mod normal;
pub mod pages;
pub mod pairs;
pub mod pool;
pub mod reduce;
pub mod rows;
pub mod substrate;
pub mod tables;
pub mod view;
