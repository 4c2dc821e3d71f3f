//! Backbones whose blocks don't fit each other: every message and its place.

use rankmill_config::{Diagnostics, Edits, Pipeline, validate};
use rankmill_model::{Model, Purpose, feature_set};

const CASES: &str = include_str!("data/broken_backbones.txt");

const AROUND: &str = "data_config { label_fields: 'label' input_type: CSVInput input_fields { input_name: 'label' input_type: FLOAT }
  input_fields { input_name: 'a' } input_fields { input_name: 'b' }
  input_fields { input_name: 'p' input_type: FLOAT } input_fields { input_name: 'q' input_type: FLOAT }
  input_fields { input_name: 't' } input_fields { input_name: 'u' } input_fields { input_name: 'n' input_type: INT32 } }
feature_config {
  features { input_names: 'a' feature_type: IdFeature embedding_dim: 3 hash_bucket_size: 7 }
  features { input_names: 'b' feature_type: IdFeature embedding_dim: 3 hash_bucket_size: 5 }
  features { input_names: 'p' feature_type: RawFeature }
  features { input_names: 'q' feature_type: RawFeature }
  features { input_names: 't' feature_type: PassThroughFeature }
  features { input_names: 'u' feature_type: PassThroughFeature }
  features { input_names: 'n' feature_type: PassThroughFeature }
  features { feature_name: 'tags' input_names: 'u' feature_type: TagFeature hash_bucket_size: 7 embedding_dim: 3 }
}
train_config { optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } } } num_steps: 1 }
model_config { model_class: 'RankModel' model_params { }
  feature_groups { group_name: 'ids' feature_names: ['a', 'b'] wide_deep: DEEP }
  feature_groups { group_name: 'wide' feature_names: ['a', 'b'] wide_deep: WIDE }
  feature_groups { group_name: 'numbers' feature_names: ['p', 'q'] wide_deep: DEEP }
  feature_groups { group_name: 'mixed' feature_names: ['a', 'p'] wide_deep: DEEP }
";

/// Groups of texts and raw values, for the cases that name them: a PassThroughFeature may be in no other group.
const RAW_GROUPS: [(&str, &str); 3] = [("texts", "['t', 'u']"), ("raw", "['t', 'n']"), ("tagged", "'tags'")];

fn problems(backbone: &str) -> Diagnostics {
    let named = RAW_GROUPS.iter().filter(|(group, _)| backbone.contains(&format!("feature_group_name: '{group}'")));
    let groups: String = named
        .map(|(group, features)| format!("  feature_groups {{ group_name: '{group}' feature_names: {features} wide_deep: DEEP }}\n"))
        .collect();
    // The backbone comes first, so that its lines are those of the case.
    let text = format!("model_config {{ backbone {{\n{backbone}}} }}\n{AROUND}{groups}}}");
    let pipeline = match Pipeline::parse("f", &text, &Edits::default()) {
        Ok(pipeline) => pipeline,
        Err(problems) => return problems,
    };
    let found = validate(&pipeline);
    if !found.is_empty() {
        return found;
    }
    let features = match feature_set(&pipeline) {
        Ok(features) => features,
        Err(problems) => return problems,
    };
    Model::build(&pipeline, &features, Purpose::Training).err().unwrap_or_default()
}

/// The first line of each message, counted from the first line of the case.
fn found(backbone: &str) -> Vec<String> {
    let shown = |problem: &rankmill_config::Diagnostic| {
        let text = problem.to_string();
        let first = text.lines().next().unwrap_or_default();
        let place = format!("f:{}:", problem.line);
        first.replacen(&place, &format!("{}:", problem.line as i64 - 1), 1)
    };
    problems(backbone).iter().map(shown).collect()
}

#[test]
fn each_broken_backbone_gives_its_messages() {
    let mut cases = 0;
    let mut wrong = Vec::new();
    for case in CASES.split("\n\n").skip(1).filter(|case| !case.trim().is_empty()) {
        let (expected, blocks): (Vec<&str>, Vec<&str>) = case.lines().partition(|line| line.starts_with("expect "));
        let expected: Vec<&str> = expected.iter().filter_map(|line| line.strip_prefix("expect ")).collect();
        assert!(!expected.is_empty(), "a case without messages proves nothing: {case}");
        let found = found(&format!("{}\n", blocks.join("\n")));
        if found != expected {
            wrong.push(format!("{}\n{}", blocks.join("\n"), found.iter().map(|line| format!("expect {line}\n")).collect::<String>()));
        }
        cases += 1;
    }
    assert!(wrong.is_empty(), "{} cases have other messages:\n\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases >= 60, "only {cases} cases were found");
}
