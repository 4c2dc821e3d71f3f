//! Every component has its page in the user book.

use std::path::PathBuf;

use rankmill_nn::layers;

/// `MaskNet` → `mask_net`, `MLP` → `mlp`: an underscore before each upper-case letter that follows a lower-case one.
fn snake_case(class_name: &str) -> String {
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
    let found = ["Dense", "MLP", "MaskBlock", "MaskNet", "BiLinear"].map(snake_case);
    assert_eq!(found, ["dense", "mlp", "mask_block", "mask_net", "bi_linear"]);
}

#[test]
fn every_component_has_a_page_that_the_index_names() {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let index = std::fs::read_to_string(docs.join("index.md")).expect("docs/index.md can be read");
    for name in layers::names() {
        let page = format!("components/{}.md", snake_case(name));
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
        let page = docs.join(format!("{}.md", snake_case(component.class_name)));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let of_message = component.message.map(rankmill_config::message_settings).unwrap_or_default();
        for setting in of_message.iter().map(String::as_str).chain(component.settings.iter().copied()) {
            assert!(text.contains(&format!("`{setting}`")), "{}: nothing about `{setting}`", page.display());
        }
    }
}
