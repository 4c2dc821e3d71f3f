//! The static graph with a symbolic batch size: operations with shape rules, symbolic differentiation, fusion, lowering to
//! what runs fastest, a plan of phases and buffers, and execution that gives the same bits for any number of threads.
//!
//! ```
//! use rankmill_graph::{Executor, Feed, Graph, Shape, Weights, ops::{leaf::{DenseInput, Parameter}, matmul::MatMul}};
//! use rankmill_kernels::{gemm::Precision, pool::Pool, view::MatRef};
//!
//! let mut graph = Graph::new();
//! let weights = graph.declare("w", Shape::fixed(&[2, 1]), true)?;
//! let w = graph.add(Parameter { index: weights, shape: Shape::fixed(&[2, 1]) }, &[])?;
//! let x = graph.add(DenseInput { slot: 0, width: 2, axis: None }, &[])?;
//! let y = graph.add(MatMul::PLAIN, &[x, w])?;
//! let mut executor = Executor::new(graph, &[y], 3, Precision::F32);
//! let rows = [1.0, 2.0, 3.0, 4.0];
//! let feed = Feed { rows: 2, lengths: &[], dense: &[MatRef::new(&rows, 2, 2)], ids: &[], seed: 0 };
//! executor.run(&[MatRef::new(&[10.0, 1.0], 2, 1)], Weights::Changed, &feed, &Pool::new(1)?);
//! assert_eq!(executor.value(y).to_vec(), [12.0, 34.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod differentiate;
mod execute;
mod fuse;
mod graph;
mod lower;
mod memory;
pub mod onnx;
mod op;
pub mod ops;
mod plan;
mod profile;
mod shape;
mod share;

pub use differentiate::{Backward, Gradients, TableGradient, differentiate, gradients_of};
pub use execute::{Executor, Feed, Operations, Weights};
pub use graph::{Graph, GraphError, Node, ParameterSlot, Value};
pub use op::{Context, Cost, Execution, InputGradients, Op};
pub use profile::OpProfile;
pub use shape::{Axis, Length, Shape};
pub use share::{EqualInputs, SharedExecutor};
