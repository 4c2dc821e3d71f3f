//! Compiles `proto/*.proto` without protoc.

use std::io;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/inference.proto", "proto/prediction.proto"], ["proto"]).map_err(io::Error::other)?;
    tonic_prost_build::configure().btree_map(".").build_transport(false).compile_fds(descriptors)
}
