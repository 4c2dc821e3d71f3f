//! The config schema as Rust types, generated from `proto/*.proto` when the crate is built.
//!
//! Names, numbers and defaults are EasyRec's.
//! Every singular field is an `Option`, so presence is kept; the accessor of the same name gives the declared default.

#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code; the schema in proto/ is its documentation")]

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MessageDescriptor};

include!(concat!(env!("OUT_DIR"), "/protos.rs"));

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(bytes).expect("the build script wrote this descriptor set from the compiled schema")
});

/// The descriptor of [`EasyRecConfig`], from which every other message can be reached.
pub(crate) fn root_descriptor() -> MessageDescriptor {
    POOL.get_message_by_name("protos.EasyRecConfig").expect("pipeline.proto declares EasyRecConfig")
}

/// The descriptor of a message by its full name.
pub(crate) fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).expect("a message of the schema")
}
