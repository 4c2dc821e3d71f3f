//! Attributions of models whose answer is known, and of a MaskNet against finite differences.

use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Origin, RawRows};

use super::*;
use crate::predictor::Scorer;

const DATA: &str = "
data_config {
  input_fields { input_name: 'click' input_type: INT32 }
  input_fields { input_name: 'user' input_type: STRING }
  input_fields { input_name: 'tags' input_type: STRING }
  input_fields { input_name: 'age' input_type: FLOAT }
  label_fields: 'click' batch_size: 8 input_type: CSVInput separator: ','
}
feature_config {
  features { input_names: 'user' feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 50 }
  features { input_names: 'tags' feature_type: TagFeature embedding_dim: 3 hash_bucket_size: 20 separator: '|' }
  features { input_names: 'age' feature_type: RawFeature }
}
train_config { optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.1 } } } } }
";

const LINEAR: &str = "
model_config {
  model_class: 'RankModel'
  feature_groups { group_name: 'all' feature_names: ['user', 'tags', 'age'] wide_deep: DEEP }
  feature_groups { group_name: 'again' feature_names: ['user'] wide_deep: DEEP }
  backbone {
    blocks { name: 'sum' inputs { feature_group_name: 'all' } inputs { feature_group_name: 'again' }
             keras_layer { class_name: 'Dense' st_params { fields { key: 'units' value { number_value: 1 } } } } }
  }
}
";

const MASKED: &str = "
model_config {
  model_class: 'RankModel'
  feature_groups { group_name: 'all' feature_names: ['user', 'tags', 'age'] wide_deep: DEEP }
  backbone {
    blocks { name: 'net' inputs { feature_group_name: 'all' } keras_layer { class_name: 'MaskNet' masknet {
      input_layer_norm: false
      mask_blocks { aggregation_size: 6 output_size: 5 }
      mlp { hidden_units: [6] activation: 'tanh' final_activation: 'tanh' use_final_bn: true } } } }
  }
}
";

struct Case {
    pipeline: Pipeline,
    features: FeatureSet,
    parameters: Arc<Parameters>,
    batch: FeatureBatch,
    pool: Arc<Pool>,
}

impl Case {
    /// A model with variables of order 1, the moving statistics too, and some rows.
    fn new(model: &str) -> Case {
        let pipeline = Pipeline::parse("f", &format!("{DATA}{model}"), &Edits::default()).expect("the config is right");
        let mut features = FeatureSet::new(&pipeline).expect("features");
        let graph = Model::build(&pipeline, &features, Purpose::Prediction).expect("a model");
        let mut parameters = Parameters::initialise(&graph.graph, &graph.initializers, 3, &Pool::new(1).expect("a thread"));
        for (i, entry) in parameters.entries.iter_mut().enumerate() {
            let positive = entry.name.ends_with("variance");
            let value = |j: usize| if positive { 0.5 + 0.1 * j as f32 } else { ((i * 31 + j) as f32 * 0.77).sin() * 0.6 };
            entry.values.iter_mut().enumerate().for_each(|(j, x)| *x = value(j));
        }
        let mut rows = RawRows::new(4, Arc::from(["rows".to_owned()]));
        for (line, fields) in
            [["1", "ann", "a|b", "0.5"], ["0", "bob", "", "-2"], ["1", "", "c", "0"], ["0", "cy", "a|c|d", "3"]].iter().enumerate()
        {
            let origin = Origin { file: 0, line: line as u64 + 1 };
            rows.push_fields(fields.iter().map(|field| field.as_bytes()), origin).expect("a row");
        }
        let batch = features.transform(&rows).expect("good rows");
        Case { pipeline, features, parameters: Arc::new(parameters), batch, pool: Arc::new(Pool::new(2).expect("threads")) }
    }

    fn explain(&self, steps: usize) -> Explanation {
        let explainer =
            Explainer::new(&self.pipeline, &self.features, Arc::clone(&self.parameters), Arc::default(), Arc::clone(&self.pool));
        explainer.expect("it can be explained").explain(&self.batch, steps)
    }

    fn logits(&self) -> Vec<f32> {
        let scorer = Scorer::new(&self.pipeline, &self.features, Purpose::Prediction, Arc::clone(&self.pool), Precision::F32);
        let mut scorer = scorer.expect("a model");
        let place = scorer.outputs().iter().position(|output| output.name == "logits").expect("logits");
        scorer.with(&self.parameters).expect("variables").score(&self.batch).columns[place].clone()
    }
}

/// What the attributions of a row and the row without features come to.
fn totals(output: &ExplainedOutput, features: usize) -> Vec<f32> {
    output.attributions.chunks(features).zip(&output.base).map(|(parts, base)| parts.iter().sum::<f32>() + base).collect()
}

#[track_caller]
fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{found} not {expected}");
    }
}

#[test]
fn of_a_linear_model_each_feature_adds_its_own_term() {
    let case = Case::new(LINEAR);
    let explanation = case.explain(1);
    assert_eq!(explanation.features, ["user", "tags", "age"]);
    let output = &explanation.outputs[0];
    assert_eq!(output.name, "logits");
    close(&output.scores, &case.logits(), 0.0);
    close(&totals(output, 3), &output.scores, 1e-5);
    // The bias is what is left without features, and a missing feature adds nothing.
    assert!(output.base.iter().all(|base| *base == output.base[0]) && output.base[0] != 0.0);
    let of = |row: usize, feature: usize| output.attributions[row * 3 + feature];
    assert_eq!((of(1, 1), of(2, 0), of(2, 2)), (0.0, 0.0, 0.0));
    let kernel = &case.parameters.get("backbone/sum/kernel").expect("a kernel").values;
    close(&[of(0, 2), of(3, 2)], &[0.5 * kernel[7], 3.0 * kernel[7]], 1e-6);
    assert_eq!(explanation, case.explain(1));
    close(&case.explain(7).outputs[0].attributions, &output.attributions, 1e-5);
}

#[test]
fn attributions_of_a_mask_net_add_up_and_its_masks_are_by_feature() {
    let case = Case::new(MASKED);
    let explanation = case.explain(2000);
    let output = &explanation.outputs[0];
    close(&output.scores, &case.logits(), 1e-6);
    close(&totals(output, 3), &output.scores, 2e-3);
    assert!(output.attributions.iter().filter(|a| a.abs() > 0.01).count() >= 6, "{:?}", output.attributions);
    let [mask] = &explanation.masks[..] else { panic!("one block on the group: {:?}", explanation.masks) };
    assert_eq!((mask.name.as_str(), mask.values.len()), ("backbone/net/block_0", 12));
    assert!(mask.values.iter().all(|value| value.is_finite()));
    assert!(mask.values[..3] != mask.values[3..6], "a mask depends on its row");
}

#[test]
fn the_rows_of_a_batch_are_explained_each_for_itself() {
    let mut case = Case::new(MASKED);
    let explanation = case.explain(20);
    let mut rows = RawRows::new(4, Arc::from(["rows".to_owned()]));
    rows.push_fields([&b"0"[..], b"cy", b"a|c|d", b"3"], Origin { file: 0, line: 1 }).expect("a row");
    case.batch = case.features.transform(&rows).expect("a good row");
    let alone = case.explain(20);
    assert_eq!(alone.outputs[0].attributions[..], explanation.outputs[0].attributions[9..]);
    assert_eq!(alone.masks[0].values[..], explanation.masks[0].values[9..]);
}
