//! Compiles `proto/*.proto` without protoc, and embeds the descriptors for the text reader.
//!
//! EasyRec's schema marks many fields `required` that every real config leaves out, and its reader never checks.
//! They are rewritten to `optional` here, so that each singular field becomes an `Option` and its presence is kept.

use std::path::PathBuf;
use std::{env, fs, io};

use prost::Message;
use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::Label;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = Vec::new();
    for entry in fs::read_dir("proto")? {
        files.push(entry?.path());
    }
    files.sort();
    let mut descriptors = protox::compile(&files, ["proto"]).map_err(io::Error::other)?;
    for file in &mut descriptors.file {
        file.message_type.iter_mut().for_each(relax);
    }
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    fs::write(folder.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new().compile_fds(descriptors)
}

fn relax(message: &mut DescriptorProto) {
    for field in &mut message.field {
        if field.label() == Label::Required {
            field.set_label(Label::Optional);
        }
    }
    message.nested_type.iter_mut().for_each(relax);
}
