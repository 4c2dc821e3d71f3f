//! Scores over HTTP and gRPC, by the code and the graph that trained the model.
//!
//! A request becomes text fields ([`rankmill_data::FieldRows`]), as a line of a file does, and waits in a bounded queue. Workers, one
//! executor each, take what waits for the same version together and score it by [`rankmill_model::ConcurrentPredictor`], which is also
//! what a program uses that wants scores without a server. This is the only crate with asynchronous code, and it ends at the queue.

mod app;
mod catalog;
mod connections;
mod drift;
mod engine;
mod error;
mod explanation;
pub mod grpc;
pub mod grpc_health;
mod http;
mod limits;
mod loader;
mod metrics;
mod queue;
mod registry;
mod rows;
mod schema;
mod server;
mod settings;
mod statistics;
pub mod tensorflow_grpc;
mod tensors;
mod texts;
mod tls;

pub use error::{ErrorKind, ServeError};
pub use limits::Limits;
pub use queue::Batching;
pub use server::{ServeOptions, Server, StartError};
pub use settings::{ModelSettings, Policy, Share};
pub use tls::TlsFiles;
