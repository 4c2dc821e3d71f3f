//! ONNX's messages, from `proto/onnx.proto`.

#![expect(missing_docs, reason = "the messages are ONNX's, which documents them")]

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
