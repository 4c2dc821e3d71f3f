//! Random backbones: whatever blocks a config joins, the model can be built, its gradients are those of its loss, and the bits depend
//! neither on the number of threads nor on a way through a file.
//!
//! Each number makes one config: blocks of random kinds read what earlier blocks gave, a matrix, a list of features, or fields side by
//! side; some live in a package that is called once or twice. All functions in them are smooth, so that differences of the loss can be
//! compared with the gradients.

use std::fmt::Write as _;
use std::sync::Arc;

use rankmill_config::{Edits, Pipeline, validate};
use rankmill_data::{Column, DenseColumn, FeatureBatch, FeatureKind, FeatureSet};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::ids::IdColumn;
use rankmill_kernels::pool::Pool;
use rankmill_model::bundle::{read_tensors, write_tensors};
use rankmill_model::{Parameters, Purpose, Scorer, feature_set};
use rankmill_train::step::{Trainer, TrainerOptions};

const CONFIGS: u64 = 500;
const ROWS: usize = 24;

const HEAD: &str = "
model_dir: 'unused'
train_config { optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } } } num_steps: 1 }
data_config {
  batch_size: 24 label_fields: 'label' input_type: CSVInput
  input_fields { input_name: 'label' input_type: FLOAT }
  input_fields { input_name: 'a' } input_fields { input_name: 'b' } input_fields { input_name: 'c' }
  input_fields { input_name: 'p' input_type: FLOAT } input_fields { input_name: 'q' input_type: FLOAT }
}
feature_config {
  features { input_names: 'a' feature_type: IdFeature embedding_dim: 3 hash_bucket_size: 7 }
  features { input_names: 'b' feature_type: IdFeature embedding_dim: 3 hash_bucket_size: 5 }
  features { input_names: 'c' feature_type: TagFeature embedding_dim: 3 hash_bucket_size: 6 }
  features { input_names: 'p' feature_type: RawFeature }
  features { input_names: 'q' feature_type: RawFeature }
}
model_config {
  model_class: 'RankModel'
  feature_groups { group_name: 'ids' feature_names: ['a', 'b', 'c'] wide_deep: DEEP }
  feature_groups { group_name: 'numbers' feature_names: ['p', 'q'] wide_deep: DEEP }
  feature_groups { group_name: 'mixed' feature_names: ['a', 'p', 'c'] wide_deep: DEEP }
  embedding_regularization: 0.001
  model_params { }
  backbone {
";

/// What a block gives.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Matrix,
    /// A list of matrices of one width.
    List(usize),
    /// `[B, n, d]`.
    Fields(usize),
}

/// Numbers from a seed (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number in [-1, 1).
    fn signed(&mut self) -> f32 {
        (self.next() >> 29) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A config in the making.
struct Maker {
    random: Random,
    text: String,
    /// The blocks so far: name, kind, whether somebody reads it.
    blocks: Vec<(String, Kind, bool)>,
    package: bool,
}

impl Maker {
    fn name(&self) -> String {
        format!("block{}", self.blocks.len())
    }

    fn add(&mut self, body: &str, kind: Kind) {
        let name = self.name();
        writeln!(self.text, "blocks {{ name: '{name}' {body} }}").expect("a string takes all");
        self.blocks.push((name, kind, false));
    }

    /// A random earlier block of a kind, noted as read.
    fn source(&mut self, wanted: impl Fn(Kind) -> bool) -> Option<(String, Kind)> {
        let fitting: Vec<usize> = (0..self.blocks.len()).filter(|i| wanted(self.blocks[*i].1)).collect();
        if fitting.is_empty() {
            return None;
        }
        let chosen = self.random.pick(&fitting);
        self.blocks[chosen].2 = true;
        Some((self.blocks[chosen].0.clone(), self.blocks[chosen].1))
    }

    fn mlp(&mut self) -> String {
        let activation = self.random.pick(&["tanh", "sigmoid", "linear"]);
        let last = self.random.pick(&["tanh", "linear"]);
        let norm = self.random.pick(&["true", "false"]);
        let units = if self.random.below(3) == 0 { "[5, 4]" } else { "[4]" };
        format!(
            "class_name: 'MLP' mlp {{ hidden_units: {units} activation: '{activation}' final_activation: '{last}' use_bn: {norm} \
             use_final_bn: {norm} use_bias: true use_final_bias: true initializer: 'glorot_uniform' }}"
        )
    }

    fn features(&mut self) {
        let norm = self.random.pick(&["", "do_layer_norm: true", "do_batch_norm: true"]);
        match self.random.below(5) {
            0 => self.add("inputs { feature_group_name: 'numbers' } input_layer { }", Kind::Matrix),
            1 => self.add(&format!("inputs {{ feature_group_name: 'mixed' }} input_layer {{ {norm} }}"), Kind::Matrix),
            2 => self.add(
                &format!("inputs {{ feature_group_name: 'ids' }} input_layer {{ {norm} only_output_feature_list: true }}"),
                Kind::List(3),
            ),
            3 => self.add(
                &format!("inputs {{ feature_group_name: 'ids' }} input_layer {{ {norm} only_output_3d_tensor: true }}"),
                Kind::Fields(3),
            ),
            _ => {
                let tuple = format!("tuple{}", self.blocks.len());
                let options = format!("{norm} output_2d_tensor_and_feature_list: true");
                writeln!(self.text, "blocks {{ name: '{tuple}' inputs {{ feature_group_name: 'ids' }} input_layer {{ {options} }} }}")
                    .expect("a string takes all");
                let index = self.random.below(2);
                let body = format!("inputs {{ block_name: '{tuple}' input_slice: '[{index}]' }}");
                self.add(&body, if index == 0 { Kind::Matrix } else { Kind::List(3) });
            }
        }
    }

    fn step(&mut self) {
        let mlp = self.mlp();
        match self.random.below(12) {
            0 => self.features(),
            1..=3 => {
                let Some((from, _)) = self.source(|kind| kind == Kind::Matrix) else { return };
                self.add(&format!("inputs {{ block_name: '{from}' }} keras_layer {{ {mlp} }}"), Kind::Matrix);
            }
            4 => {
                let (Some((a, _)), Some((b, _))) = (self.source(|kind| kind == Kind::Matrix), self.source(|kind| kind == Kind::Matrix))
                else {
                    return;
                };
                self.add(&format!("inputs {{ block_name: '{a}' }} inputs {{ block_name: '{b}' }}"), Kind::Matrix);
            }
            5 => {
                let Some((from, Kind::List(n))) = self.source(|kind| matches!(kind, Kind::List(_))) else { return };
                let functions = [
                    ("tf.stack(x, axis=1)", Kind::Fields(n)),
                    ("tf.add_n(x)", Kind::Matrix),
                    ("tf.concat(x, axis=-1)", Kind::Matrix),
                    ("[t * 0.5 for t in x]", Kind::List(n)),
                    ("x + [x[0] * x[-1]]", Kind::List(n + 1)),
                    ("tf.concat([x[i] * x[i - 1] for i in range(len(x))], 1)", Kind::Matrix),
                ];
                let (text, kind) = functions[self.random.below(functions.len())];
                self.add(&format!("inputs {{ block_name: '{from}' }} lambda {{ expression: 'lambda x: {text}' }}"), kind);
            }
            6 => {
                let Some((from, Kind::Fields(n))) = self.source(|kind| matches!(kind, Kind::Fields(_))) else { return };
                let functions = [
                    ("tf.reduce_sum(x, axis=1)", Kind::Matrix),
                    ("tf.reduce_mean(x, axis=2)", Kind::Matrix),
                    ("tf.layers.flatten(tf.transpose(x, [0, 2, 1]))", Kind::Matrix),
                    ("tf.unstack(x, axis=1)", Kind::List(n)),
                    ("tf.nn.l2_normalize(x + 1, axis=-1)", Kind::Fields(n)),
                    ("x * tf.nn.softmax(tf.reduce_sum(x, axis=2, keepdims=True), axis=1)", Kind::Fields(n)),
                    ("tf.layers.flatten(tf.matmul(x, x, transpose_b=True))", Kind::Matrix),
                    ("x[:, ::-1] / (tf.square(x) + 1)", Kind::Fields(n)),
                ];
                let (text, kind) = functions[self.random.below(functions.len())];
                self.add(&format!("inputs {{ block_name: '{from}' }} lambda {{ expression: 'lambda x: {text}' }}"), kind);
            }
            7 => {
                let Some((from, _)) = self.source(|kind| kind == Kind::Matrix) else { return };
                let functions = ["tf.exp(x * 0.1)", "tf.sqrt(x * x + 1)", "x[:, :1] * x - 0.5", "tf.tanh(x) / 2"];
                let text = self.random.pick(&functions);
                self.add(&format!("inputs {{ block_name: '{from}' input_fn: 'lambda x: {text}' }}"), Kind::Matrix);
            }
            8 => {
                let Some((from, Kind::List(n))) = self.source(|kind| matches!(kind, Kind::List(_))) else { return };
                let (joined, kind) = self.random.pick(&[("output_concat_axis: 1", Kind::Matrix), ("", Kind::List(n))]);
                let body = format!("num_repeat: {n} input_slice: '[i]' {joined} keras_layer {{ {mlp} }}");
                self.add(&format!("inputs {{ block_name: '{from}' }} repeat {{ {body} }}"), if n == 1 { Kind::Matrix } else { kind });
            }
            9 => {
                let Some((from, _)) = self.source(|kind| kind == Kind::Matrix) else { return };
                self.add(&format!("inputs {{ block_name: '{from}' }} recurrent {{ num_steps: 2 keras_layer {{ {mlp} }} }}"), Kind::Matrix);
            }
            10 => {
                let Some((from, _)) = self.source(|kind| kind == Kind::Matrix) else { return };
                let lambda = "layers { lambda { expression: 'lambda x: tf.tanh(x)' } }";
                let repeat = format!("layers {{ repeat {{ num_repeat: 2 output_concat_axis: -1 keras_layer {{ {mlp} }} }} }}");
                self.add(
                    &format!("inputs {{ block_name: '{from}' }} layers {{ keras_layer {{ {mlp} }} }} {lambda} {repeat}"),
                    Kind::Matrix,
                );
            }
            _ => {
                let Some((from, _)) = self.source(|kind| kind == Kind::Matrix) else { return };
                self.package = true;
                // Its weights fit one width only.
                let narrow = "package_input_fn: 'lambda x: tf.concat([x, x[:, :1], x[:, :1]], 1)[:, :3]'";
                self.add(&format!("inputs {{ package_name: 'tower' package_input: '{from}' {narrow} }}"), Kind::Matrix);
            }
        }
    }

    /// A lambda behind each block that nobody reads, so that all ends can be put side by side.
    fn finish(mut self) -> String {
        for i in 0..self.blocks.len() {
            let (name, kind, is_read) = self.blocks[i].clone();
            let text = match kind {
                _ if is_read => continue,
                Kind::Matrix => continue,
                Kind::List(_) => "tf.concat(x, -1)",
                Kind::Fields(_) => "tf.layers.flatten(x)",
            };
            self.add(&format!("inputs {{ block_name: '{name}' }} lambda {{ expression: 'lambda x: {text}' }}"), Kind::Matrix);
        }
        if self.package {
            let mlp = self.mlp();
            writeln!(
                self.text,
                "packages {{ name: 'tower' blocks {{ name: 'in' inputs {{ use_package_input: true }} keras_layer {{ {mlp} }} }} \
                 blocks {{ name: 'group' inputs {{ feature_group_name: 'ids' }} }} }}"
            )
            .expect("a string takes all");
        }
        if self.random.below(3) == 0 {
            self.text += "top_mlp { hidden_units: [3] final_activation: 'tanh' use_final_bn: false use_final_bias: true }\n";
        }
        format!("{HEAD}{}  }}\n}}\n", self.text)
    }
}

fn config(seed: u64) -> String {
    let mut maker = Maker { random: Random::new(seed + 1), text: String::new(), blocks: Vec::new(), package: false };
    maker.features();
    for _ in 0..3 + maker.random.below(8) {
        maker.step();
    }
    maker.finish()
}

fn batch(features: &FeatureSet, random: &mut Random) -> FeatureBatch {
    let columns = features.specs().iter().map(|spec| match spec.kind {
        FeatureKind::Ids { rows, .. } => {
            let mut offsets = vec![0];
            let mut ids: Vec<u32> = Vec::new();
            for _ in 0..ROWS {
                let count = if spec.name == "c" { random.below(3) } else { 1 };
                ids.extend((0..count).map(|_| random.below(rows) as u32));
                offsets.push(ids.len() as u32);
            }
            Column::Ids(IdColumn { offsets, ids, weights: None })
        }
        FeatureKind::Dense { width } => Column::Dense(DenseColumn { width, values: (0..ROWS * width).map(|_| random.signed()).collect() }),
        _ => unreachable!("there are no sequences here"),
    });
    let columns = columns.collect();
    let labels = vec![(0..ROWS).map(|_| random.below(2) as f32).collect()];
    FeatureBatch { rows: ROWS, columns, labels, ..FeatureBatch::default() }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Values that are neither all alike nor at the corners of anything.
fn fill(parameters: &mut Parameters, random: &mut Random) {
    for entry in parameters.entries.iter_mut().filter(|entry| entry.trainable) {
        entry.values.iter_mut().for_each(|value| *value += 0.4 * random.signed());
    }
}

fn check(seed: u64, pools: &[Arc<Pool>; 2]) -> (usize, usize) {
    let text = config(seed);
    let pipeline =
        Pipeline::parse("random.config", &text, &Edits::default()).unwrap_or_else(|problems| panic!("{seed}: {problems}\n{text}"));
    let problems = validate(&pipeline);
    assert!(problems.is_empty(), "{seed}: {problems}\n{text}");
    let features = feature_set(&pipeline).unwrap_or_else(|problems| panic!("{seed}: {problems}\n{text}"));
    let mut random = Random::new(seed ^ 0xabcd);
    let batch = batch(&features, &mut random);
    let trainer = |pool: &Arc<Pool>| {
        Trainer::new(&pipeline, &features, Arc::clone(pool), TrainerOptions::default())
            .unwrap_or_else(|problems| panic!("{seed}: {problems}\n{text}"))
    };
    let [mut one, mut three] = [trainer(&pools[0]), trainer(&pools[1])];
    fill(one.parameters_mut(), &mut random);
    *three.parameters_mut() = one.parameters().clone();

    // Any number of threads gives the same bits, before and after an update.
    one.backward(&batch);
    three.backward(&batch);
    let gradients = one.dense_gradients();
    for ((name, a), (_, b)) in gradients.iter().zip(three.dense_gradients()) {
        assert_eq!(bits(a), bits(&b), "{seed}: gradient of {name}\n{text}");
    }
    assert!(one.losses().total.is_finite(), "{seed}: the loss is finite\n{text}");
    let counts = gradients_fit(seed, &text, &mut one, &gradients, &batch, &mut random);
    one.backward(&batch);
    one.apply();
    three.apply();
    let (after, others) = (one.parameters().clone(), three.parameters().clone());
    for (a, b) in after.entries.iter().zip(&others.entries) {
        assert_eq!(bits(&a.values), bits(&b.values), "{seed}: {} after a step\n{text}", a.name);
    }
    file_keeps_scores(seed, &text, &pipeline, &features, &after, &batch, pools);
    counts
}

/// Compares the gradient of each variable with the difference of the loss in a random direction. Through several batch norms of few rows
/// the loss may bend too much for any step that rounding allows: then the quotients of two steps differ, and nothing is compared. Gives the
/// number of variables compared, and of all.
fn gradients_fit(
    seed: u64,
    text: &str,
    trainer: &mut Trainer,
    gradients: &[(String, Vec<f32>)],
    batch: &FeatureBatch,
    random: &mut Random,
) -> (usize, usize) {
    const STEPS: [f32; 4] = [4e-3, 2e-3, 5e-4, 2.5e-4];
    let loss = |trainer: &mut Trainer, name: &str, direction: &[f32], step: f32| {
        let entry = trainer.parameters_mut().entries.iter_mut().find(|entry| entry.name == name).expect("a variable");
        let kept = entry.values.clone();
        entry.values.iter_mut().zip(direction).for_each(|(value, d)| *value += step * d);
        trainer.backward(batch);
        let total = f64::from(trainer.losses().total);
        let entry = trainer.parameters_mut().entries.iter_mut().find(|entry| entry.name == name).expect("a variable");
        entry.values = kept;
        total
    };
    let mut compared = 0;
    for (name, gradient) in gradients {
        let direction: Vec<f32> = gradient.iter().map(|_| if random.below(2) == 0 { 1.0 } else { -1.0 }).collect();
        let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let norm = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        for pair in STEPS.chunks(2) {
            let quotient = |step: f32, trainer: &mut Trainer| {
                let difference = loss(trainer, name, &direction, step) - loss(trainer, name, &direction, -step);
                difference / (2.0 * f64::from(step))
            };
            let [wide, numeric] = [pair[0], pair[1]].map(|step| quotient(step, trainer));
            // Losses near 1 in f32, a few roundings each: 1e-6 over twice the step. The rest is for curvature.
            let tolerance = 2e-6 / f64::from(pair[1]) + 0.03 * norm;
            if (wide - numeric).abs() < tolerance / 2.0 {
                assert!(
                    (slope - numeric).abs() < tolerance,
                    "{seed}: gradient of {name}: {slope} but the loss changes by {numeric}\n{text}"
                );
                compared += 1;
                break;
            }
        }
    }
    (compared, gradients.len())
}

/// Variables that were written to a file and read again give the same scores.
fn file_keeps_scores(
    seed: u64,
    text: &str,
    pipeline: &Pipeline,
    features: &FeatureSet,
    parameters: &Parameters,
    batch: &FeatureBatch,
    pools: &[Arc<Pool>; 2],
) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("variables.safetensors");
    let tensors = parameters.entries.iter().map(|entry| (entry.name.as_str(), entry.shape.as_slice(), entry.values.as_slice()));
    write_tensors(&path, tensors).expect("the file can be written");
    let read = Parameters { entries: read_tensors(&path).expect("the file can be read"), ..Parameters::default() };
    let scores = |parameters: &Parameters, pool: &Arc<Pool>| {
        let mut scorer =
            Scorer::new(pipeline, features, Purpose::Prediction, Arc::clone(pool), Precision::F32).expect("builds as in training");
        let mut scorer = scorer.with(parameters).unwrap_or_else(|error| panic!("{seed}: {error}\n{text}"));
        scorer.score(batch).columns.iter().map(|column| bits(column)).collect::<Vec<_>>()
    };
    assert_eq!(scores(parameters, &pools[0]), scores(&read, &pools[1]), "{seed}: scores\n{text}");
}

#[test]
fn random_backbones_train_and_score() {
    let pools = [1, 3].map(|threads| Arc::new(Pool::new(threads).expect("threads")));
    let (mut compared, mut all) = (0, 0);
    for seed in 0..CONFIGS {
        let counts = check(seed, &pools);
        compared += counts.0;
        all += counts.1;
    }
    assert!(compared * 20 > all * 19, "of {all} gradients only {compared} could be compared");
}
