//! The operations, one file each (an operation and those that its gradient needs share a file).

pub mod attention;
pub mod axis;
pub mod batch_norm;
pub mod binary;
pub mod broadcast;
pub mod concat;
pub mod dropout;
pub mod fill;
pub mod layer_norm;
pub mod leaf;
pub mod lookup;
pub mod loss;
pub mod matmul;
pub mod positions;
pub mod reduce;
pub mod sum;
pub mod unary;
