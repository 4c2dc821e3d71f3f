//! Compiles `proto/*.proto` without protoc.

use std::io;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["proto/inference.proto", "proto/prediction.proto", "proto/health.proto"];
    let descriptors = protox::compile(files, ["proto"]).map_err(io::Error::other)?;
    let mut builder = tonic_prost_build::configure().btree_map(".").build_transport(false);
    // REST has the statistics under the same names.
    for message in ["ModelStatisticsResponse", "ModelStatistics", "InferStatistics", "InferBatchStatistics", "StatisticDuration"] {
        builder = builder.type_attribute(format!(".inference.{message}"), "#[derive(serde::Serialize)]");
    }
    builder.compile_fds(descriptors)
}
