//! The way to Python.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

/// Lets `compare.py` look at a folder. The interpreter is `RANKMILL_PYTHON`, or else `python3`; what its packages do not allow is said to
/// be left out, unless `RANKMILL_PYTHON` asks for it.
///
/// # Panics
/// If anything differs.
#[expect(clippy::print_stderr, reason = "what was not compared must be seen")]
pub(crate) fn run_python(folder: &Path, cases: &Json) {
    fs::write(folder.join("cases.json"), cases.to_string()).expect("written");
    let named = std::env::var_os("RANKMILL_PYTHON");
    let python = named.clone().unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compare.py");
    let output = match Command::new(&python).arg(&script).arg(folder).output() {
        Ok(output) => output,
        Err(error) if named.is_none() => return eprintln!("NOT RUN: {}: {error}", python.display()),
        Err(error) => panic!("{}: {error}", python.display()),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => eprintln!("{text}"),
        Some(77) if named.is_none() => eprintln!("NOT RUN: {text}"),
        _ => panic!("{text}"),
    }
}
