//! Every component has its page in the user book.

use std::path::PathBuf;

use rankmill_nn::layers;

/// The page of a component: `MaskNet` → `mask_net`, `MLP` → `mlp`: an underscore before each upper-case letter that follows a lower-case one.
/// Names that this would tear apart are listed.
fn page_name(class_name: &str) -> String {
    match class_name {
        "AITMTower" => return "aitm_tower".to_owned(),
        "BiLinear" | "FiBiNet" | "MMoE" | "PReLU" | "ReLU" => return class_name.to_lowercase(),
        "LeakyReLU" => return "leaky_relu".to_owned(),
        _ => {}
    }
    let mut snake = String::new();
    let mut after_lower = false;
    for letter in class_name.chars() {
        if letter.is_ascii_uppercase() && after_lower {
            snake.push('_');
        }
        after_lower = letter.is_ascii_lowercase();
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[test]
fn page_names_are_snake_case() {
    let found = ["Dense", "MLP", "MaskBlock", "MaskNet", "BiLinear", "MMoE", "Conv1D"].map(page_name);
    assert_eq!(found, ["dense", "mlp", "mask_block", "mask_net", "bilinear", "mmoe", "conv1d"]);
}

/// Components that other tests check, where, and by what name: those that draw random numbers, which no reference shares, and one that makes
/// texts of texts.
const CHECKED_ELSEWHERE: &[(&str, &str, &str)] = &[
    ("Dropout", "tests/random_layers.rs", "\"Dropout\""),
    ("SeqAugment", "tests/random_layers.rs", "\"SeqAugment\""),
    ("SeqAugmentOps", "tests/random_layers.rs", "\"SeqAugmentOps\""),
    ("TextNormalize", "../data/tests/texts.rs", "TextNormalization"),
];

#[test]
fn every_component_is_checked_against_numbers() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut known = std::fs::read_to_string(root.join("tests/data/layers.json")).expect("the numbers of reference/layers.py");
    for case in std::fs::read_dir(root.join("../train/tests/golden")).expect("traces") {
        known += &std::fs::read_to_string(case.expect("a case").path().join("pipeline.config")).expect("a config");
    }
    for (name, test, mentioned) in CHECKED_ELSEWHERE {
        let text = std::fs::read_to_string(root.join(test)).expect("a test");
        assert!(text.contains(mentioned), "{test} has nothing of {name}");
        known += &format!("\"{name}\"");
    }
    let is_known = |name: &str| known.contains(&format!("\"{name}\""));
    let unknown: Vec<&str> = layers::names().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "no numbers for {unknown:?}: write a case in reference/layers.py");
}

#[test]
fn every_component_has_a_page_that_the_index_names() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let index = std::fs::read_to_string(docs.join("index.md")).expect("docs/index.md can be read");
    for name in layers::names() {
        let page = format!("components/{}.md", page_name(name));
        let text = std::fs::read_to_string(docs.join(&page)).unwrap_or_else(|error| panic!("docs/{page}: {error}"));
        assert_eq!(text.lines().next(), Some(format!("# {name}").as_str()), "docs/{page} starts with the component's name");
        assert!(text.contains(&format!("class_name: \"{name}\"")), "docs/{page} shows a config");
        assert!(index.contains(&page), "docs/index.md names {page}");
    }
}

#[test]
fn every_setting_stands_on_its_page() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/components");
    for component in layers::components() {
        let page = docs.join(format!("{}.md", page_name(component.class_name)));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let of_message = component.message.map(rankmill_config::message_settings).unwrap_or_default();
        for setting in of_message.iter().map(String::as_str).chain(component.settings.iter().copied()) {
            assert!(text.contains(&format!("`{setting}`")), "{}: nothing about `{setting}`", page.display());
        }
    }
}
