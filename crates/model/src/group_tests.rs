//! Sequences in feature groups against references that are as plain as can be.

use std::collections::BTreeMap;
use std::sync::Arc;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{FeatureSet, Origin, RawRows};
use rankmill_graph::{Executor, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_nn::layers::scope::{Builder, Mode};

use crate::feed::{BatchFeed, BatchKeys, Slots};
use crate::groups::Groups;
use crate::parameters::Parameters;

type Matrix = Vec<Vec<f64>>;

/// A group's output for some rows, and the variables it was computed with.
struct Run {
    output: Matrix,
    variables: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Run {
    fn matrix(&self, name: &str) -> Matrix {
        let (shape, values) = self.variables.get(name).unwrap_or_else(|| panic!("{name} is none of {:?}", self.variables.keys()));
        values.chunks(shape.iter().skip(1).product::<usize>().max(1)).map(<[f64]>::to_vec).collect()
    }

    fn vector(&self, name: &str) -> Vec<f64> {
        self.variables.get(name).unwrap_or_else(|| panic!("{name} is none of {:?}", self.variables.keys())).1.clone()
    }

    #[track_caller]
    fn check(&self, expected: &Matrix) {
        assert_eq!(self.output.len(), expected.len());
        for (row, (found, expected)) in self.output.iter().zip(expected).enumerate() {
            assert_eq!(found.len(), expected.len(), "row {row}");
            for (col, (found, expected)) in found.iter().zip(expected).enumerate() {
                // Sums of a few products of numbers up to 1 in single precision.
                assert!((found - expected).abs() < 2e-6 * expected.abs().max(1.0), "row {row}, column {col}: {found}, not {expected}");
            }
        }
    }
}

/// Numbers in [-1, 1].
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The features of all tests: keys `k` and `wide`, sequences `s` and `t`, all of 5 ids, 3 columns (`wide` of 4).
const FEATURES: &str = "
    features { input_names: 'k' feature_type: IdFeature num_buckets: 5 embedding_dim: 3 }
    features { feature_name: 'wide' input_names: 'k' feature_type: IdFeature num_buckets: 5 embedding_dim: 4 }
    features { feature_name: 'narrow' input_names: 'k' feature_type: IdFeature num_buckets: 5 embedding_dim: 2 }";

fn sequence(name: &str, settings: &str) -> String {
    format!("features {{ input_names: '{name}' feature_type: SequenceFeature num_buckets: 5 embedding_dim: 3 {settings} }}")
}

fn config(features: &str, group: &str) -> String {
    format!(
        "data_config {{ separator: ',' input_type: CSVInput label_fields: 'y'
            input_fields {{ input_name: 'y' input_type: INT32 }} input_fields {{ input_name: 'k' input_type: INT32 }}
            input_fields {{ input_name: 's' }} input_fields {{ input_name: 't' }} }}
         feature_config {{ {FEATURES} {features} }}
         model_config {{ model_class: 'RankModel' embedding_regularization: 0.1 feature_groups {{ group_name: 'g' {group} }}
            model_params {{ l2_regularization: 0.1 }} }}"
    )
}

fn try_run(config: &str, lines: &[(&str, &str, &str)]) -> Result<Run, String> {
    let pipeline = Pipeline::parse("test.config", config, &Edits::default()).map_err(|problems| problems.to_string())?;
    let mut features = FeatureSet::new(&pipeline).map_err(|problems| problems.to_string())?;
    let mut rows = RawRows::new(4, Arc::from([]));
    for (key, s, t) in lines {
        rows.push_fields([&b"1"[..], key.as_bytes(), s.as_bytes(), t.as_bytes()], Origin::default()).expect("short");
    }
    let batch = features.transform(&rows).map_err(|error| error.to_string())?;
    let slots = Slots::new(features.specs(), features.label_names().len());
    let mut groups = Groups::new(&pipeline, &features, &slots);
    let mut builder = Builder::new(Mode::Training);
    let output = groups.columns(&mut builder, "g", None, "model_config").map_err(|error| error.to_string())?.tensor;
    let mut parameters = Parameters::initialise(&builder.graph, &builder.initializers, 1, &Pool::new(1).expect("a thread"));
    for (at, entry) in parameters.entries.iter_mut().enumerate() {
        entry.values = numbers(entry.values.len(), at as u64 + 3);
    }
    let (keys, sequences) = (BatchKeys::new(&[], &batch), groups.feed.sequences(&batch));
    let width = builder.graph.shape(output).elements();
    let mut executor = Executor::new(builder.graph, &[output], batch.rows, Precision::F32);
    let feed = BatchFeed::new(&batch, &keys, &sequences, 0);
    executor.run(&parameters.views(), Weights::Changed, &feed.feed(), &Pool::new(2).expect("threads"));
    let values = executor.value(output).to_vec();
    let variable = |entry: &crate::parameters::Parameter| {
        (entry.name.clone(), (entry.shape.clone(), entry.values.iter().map(|value| f64::from(*value)).collect()))
    };
    Ok(Run {
        output: values.chunks(width).map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect(),
        variables: parameters.entries.iter().map(variable).collect(),
    })
}

fn run(features: &str, group: &str, lines: &[(&str, &str, &str)]) -> Run {
    try_run(&config(features, group), lines).unwrap_or_else(|error| panic!("{error}"))
}

/// The positions of a text, each a row of the table.
fn positions(table: &Matrix, text: &str) -> Matrix {
    text.split('|').filter(|id| !id.is_empty()).map(|id| table[id.parse::<usize>().expect("an id")].clone()).collect()
}

fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn times(x: &[f64], kernel: &Matrix) -> Vec<f64> {
    (0..kernel[0].len()).map(|col| x.iter().zip(kernel).map(|(x, row)| x * row[col]).sum()).collect()
}

/// The sum of the first positions, weighted by the softmax of their scores.
fn attend(scores: &[f64], positions: &Matrix, width: usize) -> Vec<f64> {
    let largest = scores[..positions.len()].iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores[..positions.len()].iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let weighted = positions.iter().zip(&weights).map(|(x, weight)| x.iter().map(|x| x * weight / total).collect::<Vec<_>>());
    weighted.fold(vec![0.0; width], |sum, x| add(&sum, &x))
}

const LINES: [(&str, &str, &str); 5] =
    [("1", "0|3|4", "2|1"), ("4", "2", "3|3|1|0|2"), ("0", "", ""), ("2", "1|1|2|0", "4"), ("3", "4|2", "0|1|2")];

#[test]
fn attention_over_the_positions_that_a_row_has() {
    let run = run(&sequence("s", "sequence_combiner { attention {} }"), "feature_names: ['s', 'k']", &LINES);
    let (keys, table) = (run.matrix("input_layer/k_embedding/embedding_weights"), run.matrix("s_embedding/embedding_weights"));
    let kernel = run.matrix("s_embedding/attention/kernel");
    let row = |(key, s, _): &(&str, &str, &str)| {
        let positions = positions(&table, s);
        let scores: Vec<f64> = positions.iter().map(|x| times(x, &kernel)[0]).collect();
        [keys[key.parse::<usize>().expect("a key")].clone(), attend(&scores, &positions, 3)].concat()
    };
    run.check(&LINES.iter().map(row).collect());
}

#[test]
fn convolutions_over_padded_and_cut_positions() {
    let cnn = "sequence_combiner { text_cnn { filter_sizes: [1, 3] num_filters: [5, 6] pad_sequence_length: 3 activation: 'tanh' } }";
    let run = run(&sequence("s", cnn), "feature_names: 's'", &LINES);
    let table = run.matrix("s_embedding/embedding_weights");
    let row = |(_, s, _): &(&str, &str, &str)| {
        let mut positions = positions(&table, s);
        positions.resize(3, vec![0.0; 3]);
        let mut out = Vec::new();
        for (name, size, filters) in [("conv1d", 1, 5), ("conv1d_1", 3, 6)] {
            let bias = run.vector(&format!("s_embedding/s_embedding_text_cnn/{name}/bias"));
            let kernel = run.vector(&format!("s_embedding/s_embedding_text_cnn/{name}/kernel"));
            for filter in 0..filters {
                let at = |p: usize| {
                    let window = positions[p..p + size].concat();
                    (window.iter().enumerate().map(|(i, x)| x * kernel[i * filters + filter]).sum::<f64>() + bias[filter]).tanh()
                };
                out.push((0..=3 - size).map(at).fold(f64::NEG_INFINITY, f64::max));
            }
        }
        out
    };
    run.check(&LINES.iter().map(row).collect());
}

#[test]
fn without_a_combiner_all_ids_are_combined_as_tags_are() {
    let run = run(&[sequence("t", "combiner: 'mean'"), sequence("s", "")].concat(), "feature_names: ['t', 's']", &LINES);
    let (s, t) = (run.matrix("s_embedding/embedding_weights"), run.matrix("t_embedding/embedding_weights"));
    let sum = |positions: Matrix| positions.iter().fold(vec![0.0; 3], |sum, x| add(&sum, x));
    let row = |(_, a, b): &(&str, &str, &str)| {
        let of_t = positions(&t, b);
        let count = of_t.len().max(1) as f64;
        [sum(positions(&s, a)), sum(of_t).into_iter().map(|x| x / count).collect()].concat()
    };
    run.check(&LINES.iter().map(row).collect());
}

/// `x·kernel + bias`, then batch norm over all rows and ReLU.
fn layer(run: &Run, name: &str, x: &Matrix) -> Matrix {
    let (kernel, bias) = (run.matrix(&format!("{name}/kernel")), run.vector(&format!("{name}/bias")));
    let y: Matrix = x.iter().map(|x| add(&times(x, &kernel), &bias)).collect();
    let (gamma, beta) = (run.vector(&format!("{name}/bn/gamma")), run.vector(&format!("{name}/bn/beta")));
    let rows = y.len() as f64;
    let mean: Vec<f64> = (0..gamma.len()).map(|col| y.iter().map(|y| y[col]).sum::<f64>() / rows).collect();
    let variance: Vec<f64> = (0..gamma.len()).map(|col| y.iter().map(|y| (y[col] - mean[col]).powi(2)).sum::<f64>() / rows).collect();
    let norm = |y: &Vec<f64>| {
        let value = |col: usize| ((y[col] - mean[col]) / (variance[col] + 1e-3).sqrt() * gamma[col] + beta[col]).max(0.0);
        (0..gamma.len()).map(value).collect()
    };
    y.iter().map(norm).collect()
}

/// The attention of keys to sequences, rows filled up to the longest one, the DNN of one hidden layer.
fn target_attention(run: &Run, name: &str, keys: &Matrix, sequences: &[Matrix], auxiliary: &[Matrix], padding: &[f64]) -> Matrix {
    let longest = sequences.iter().chain(auxiliary).map(Vec::len).max().expect("a row");
    let width = keys[0].len();
    let mut x = Matrix::new();
    for (key, positions) in keys.iter().zip(sequences) {
        for p in 0..longest {
            let h = positions.get(p).cloned().unwrap_or_else(|| padding.to_vec());
            let difference: Vec<f64> = key.iter().zip(&h).map(|(k, h)| k - h).collect();
            let product: Vec<f64> = key.iter().zip(&h).map(|(k, h)| k * h).collect();
            x.push([key.clone(), h, difference, product].concat());
        }
    }
    let hidden = layer(run, &format!("{name}/dnn_0"), &x);
    let (kernel, bias) = (run.matrix(&format!("{name}/dnn_1/kernel")), run.vector(&format!("{name}/dnn_1/bias")));
    let scores: Vec<f64> = hidden.iter().map(|h| times(h, &kernel)[0] + bias[0]).collect();
    let row = |row: usize| {
        let scores = &scores[row * longest..(row + 1) * longest];
        let mut out = attend(scores, &sequences[row], width);
        if let Some(positions) = auxiliary.get(row) {
            // The weights are those of the positions that the sequence has.
            let mut held = positions.clone();
            held.resize(sequences[row].len(), vec![0.0; 3]);
            out.extend(attend(scores, &held, 3));
        }
        out
    };
    (0..keys.len()).map(row).collect()
}

/// Rows whose two sequences have equal lengths.
const EVEN: [(&str, &str, &str); 5] =
    [("1", "0|3|4", "2|1|0"), ("4", "2", "3"), ("0", "3|3|1|2", "1|0|2|2"), ("2", "1|1", "0|4"), ("3", "4|2", "2|1")];

fn keys(table: &Matrix) -> Matrix {
    EVEN.iter().map(|(key, ..)| table[key.parse::<usize>().expect("a key")].clone()).collect()
}

fn group(sequences: &str) -> String {
    format!("feature_names: 'k' sequence_features {{ group_name: 'a' seq_dnn {{ hidden_units: [6, 1] }} {sequences} }}")
}

#[test]
fn a_key_of_the_group_attends_to_a_sequence_and_its_auxiliary_one() {
    let features = [sequence("s", ""), sequence("t", "")].concat();
    let run = run(&features, &group("seq_att_map { key: 'k' hist_seq: 's' aux_hist_seq: 't' }"), &EVEN);
    let keys = keys(&run.matrix("input_layer/k_embedding/embedding_weights"));
    let (s, t) = (run.matrix("g/s_embedding/embedding_weights"), run.matrix("g/t_embedding/embedding_weights"));
    let of = |table: &Matrix, text: &str| positions(table, text);
    let sequences: Vec<Matrix> = EVEN.iter().map(|(_, text, _)| of(&s, text)).collect();
    let auxiliary: Vec<Matrix> = EVEN.iter().map(|(.., text)| of(&t, text)).collect();
    let attended = target_attention(&run, "seq_dnna", &keys, &sequences, &auxiliary, &[0.0; 3]);
    run.check(&keys.iter().zip(attended).map(|(key, attended)| [key.clone(), attended, key.clone()].concat()).collect());
}

#[test]
fn sequences_side_by_side_and_a_key_with_a_table_of_its_own() {
    let features = [sequence("s", ""), sequence("t", "")].concat();
    let maps = "seq_att_map { key: 'k' hist_seq: 's' } seq_att_map { key: 'narrow' key: 'narrow' hist_seq: 't' } \
                allow_key_search: true need_key_feature: false allow_key_transform: true";
    let run = run(&features, &group(maps), &EVEN);
    let own = keys(&run.matrix("input_layer/k_embedding/embedding_weights"));
    let narrow = keys(&run.matrix("g/narrow_embedding/embedding_weights"));
    let (s, t) = (run.matrix("g/s_embedding/embedding_weights"), run.matrix("g/t_embedding/embedding_weights"));
    let beside =
        |(_, a, b): &(&str, &str, &str)| positions(&s, a).into_iter().zip(positions(&t, b)).map(|(a, b)| [a, b].concat()).collect();
    let sequences: Vec<Matrix> = EVEN.iter().map(beside).collect();
    // 7 columns of keys, 6 of sequences: both pass through a dense layer.
    let dense = |name: &str, x: &[f64]| {
        let name = format!("{name}_seq_dnna");
        add(&times(x, &run.matrix(&format!("{name}/kernel"))), &run.vector(&format!("{name}/bias")))
    };
    let keys: Matrix =
        own.iter().zip(&narrow).map(|(a, b)| dense("sequence_key_transform_layer", &[a.clone(), b.clone(), b.clone()].concat())).collect();
    let transformed: Vec<Matrix> =
        sequences.iter().map(|positions| positions.iter().map(|x| dense("sequence_fea_transform_layer", x)).collect()).collect();
    let padding = dense("sequence_fea_transform_layer", &[0.0; 6]);
    let attended = target_attention(&run, "seq_dnna", &keys, &transformed, &[], &padding);
    run.check(&own.iter().zip(attended).map(|(own, attended)| [own.clone(), attended].concat()).collect());
}

#[test]
fn a_narrow_key_is_filled_up_with_zeros() {
    let maps = "seq_att_map { key: 'narrow' hist_seq: 's' } allow_key_transform: true";
    let run = run(&sequence("s", ""), &group(maps), &EVEN);
    let own = keys(&run.matrix("input_layer/k_embedding/embedding_weights"));
    let mut keys = keys(&run.matrix("g/narrow_embedding/embedding_weights"));
    keys.iter_mut().for_each(|key| key.push(0.0));
    let s = run.matrix("g/s_embedding/embedding_weights");
    let sequences: Vec<Matrix> = EVEN.iter().map(|(_, text, _)| positions(&s, text)).collect();
    let attended = target_attention(&run, "seq_dnna", &keys, &sequences, &[], &[0.0; 3]);
    let row = |((own, key), attended): ((&Vec<f64>, &Vec<f64>), Vec<f64>)| [own.clone(), attended, key.clone()].concat();
    run.check(&own.iter().zip(&keys).zip(attended).map(row).collect());
}

#[test]
fn max_seq_len_cuts_what_keys_attend_to_and_not_what_combiners_read() {
    let cut: Vec<(&str, String, &str)> =
        EVEN.iter().map(|(key, s, t)| (*key, s.split('|').take(2).collect::<Vec<_>>().join("|"), *t)).collect();
    let cut: Vec<(&str, &str, &str)> = cut.iter().map(|(key, s, t)| (*key, s.as_str(), *t)).collect();
    let maps = group("seq_att_map { key: 'k' hist_seq: 's' }");
    let long = run(&sequence("s", "max_seq_len: 2"), &maps, &EVEN).output;
    assert_eq!(long, run(&sequence("s", ""), &maps, &cut).output);
    assert_ne!(long, run(&sequence("s", ""), &maps, &EVEN).output);
    let combined = |settings: &str| run(&sequence("s", settings), "feature_names: 's'", &EVEN).output;
    let attention = "sequence_combiner { attention {} }";
    assert_eq!(combined(&format!("{attention} max_seq_len: 2")), combined(attention));
}

#[test]
fn what_can_not_be_built_names_its_place() {
    let s = sequence("s", "");
    let with = |combiner: &str| sequence("s", &format!("sequence_combiner {{ {combiner} }}"));
    let numbers = "features { input_names: 's' feature_type: SequenceFeature sub_feature_type: RawFeature sequence_length: 9 }";
    for (features, group, message) in [
        (with("multi_head_attention {}"), "feature_names: 's'".to_string(), "has never had it"),
        (with(""), "feature_names: 's'".to_string(), "names no combiner"),
        (with("text_cnn { filter_sizes: 2 pad_sequence_length: 3 }"), "feature_names: 's'".to_string(), "1 filter_sizes for 0 num_filters"),
        (with("text_cnn { filter_sizes: 4 num_filters: 1 pad_sequence_length: 3 }"), "feature_names: 's'".to_string(), "does not fit"),
        (numbers.to_string(), "feature_names: 's'".to_string(), "needs a `sequence_combiner`"),
        (s.clone(), "feature_names: ['k', 's'] wide_deep: WIDE".to_string(), "wide group `g`"),
        (s.clone(), self::group("seq_att_map { key: 'narrow' hist_seq: 's' }"), "the keys have 2 columns and the sequences 3"),
        (s.clone(), self::group("seq_att_map { key: 'k' }"), "needs a `key` and a `hist_seq`"),
        (s.clone(), self::group("seq_att_map { key: 'k' hist_seq: 'narrow' }"), "`narrow` is no SequenceFeature"),
        (s.clone(), self::group("seq_att_map { key: 's' hist_seq: 's' }"), "the key `s` is a sequence"),
        (
            s,
            "feature_names: 'k' sequence_features { group_name: 'a' seq_dnn { hidden_units: 2 } seq_att_map { key: 'k' hist_seq: 's' } }"
                .to_string(),
            "the last layer gives one score",
        ),
    ] {
        let Err(error) = try_run(&config(&features, &group), &EVEN) else { panic!("{message}") };
        assert!(error.contains(message) && error.starts_with("test.config:"), "{message}: {error}");
    }
}
