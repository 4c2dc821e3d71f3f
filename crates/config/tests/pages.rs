//! Every lint has its section in the user book, and every section its lint.

use std::path::PathBuf;

use rankmill_config::LINTS;

#[test]
fn the_sections_of_the_page_are_the_lints() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/lints.md");
    let text = std::fs::read_to_string(&page).expect("docs/lints.md can be read");
    let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let names: Vec<&str> = LINTS.iter().map(|rule| rule.name).collect();
    assert_eq!(sections, names);
}
