//! The server over loopback.

mod client;
mod explain;
mod grpc;
mod kserve;
mod models;
mod mutated;
mod operation;
mod reload;
mod score;
mod storage;
mod tensorflow;
mod tls;
