//! Models for other programs: ONNX ([`onnx`]), and variables that other systems trained ([`import`]).
//!
//! See `ARCHITECTURE.md` for the place of this crate.

pub mod import;
pub mod onnx;
pub mod proto;
