//! A config in the making: features, blocks that read them, and what joins blocks.

use std::fmt::Write as _;

use super::components;

pub(crate) const HEAD: &str = "
model_dir: 'unused'
train_config { optimizer_config { adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } } } num_steps: 1 }
data_config {
  batch_size: 24 label_fields: 'label' input_type: CSVInput
  input_fields { input_name: 'label' input_type: FLOAT }
  input_fields { input_name: 'a' } input_fields { input_name: 'b' } input_fields { input_name: 'c' } input_fields { input_name: 'd' }
  input_fields { input_name: 'p' input_type: FLOAT } input_fields { input_name: 'q' input_type: FLOAT }
  input_fields { input_name: 't' } input_fields { input_name: 's' } input_fields { input_name: 'r' } input_fields { input_name: 'v' }
}
feature_config {
  features { input_names: 'a' feature_type: IdFeature embedding_dim: 3 hash_bucket_size: 7 }
  features { input_names: 'b' feature_type: IdFeature embedding_dim: 3 hash_bucket_size: 5 }
  features { input_names: 'c' feature_type: TagFeature embedding_dim: 3 hash_bucket_size: 6 }
  features { input_names: 'd' feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 6 }
  features { input_names: 'p' feature_type: RawFeature }
  features { input_names: 'q' feature_type: RawFeature }
  features { input_names: 't' feature_type: RawFeature raw_input_dim: 3 separator: '|' }
  features { input_names: 's' feature_type: SequenceFeature embedding_dim: 4 hash_bucket_size: 8 separator: '|' }
  features { input_names: 'r' feature_type: SequenceFeature sub_feature_type: RawFeature separator: '|' raw_input_dim: 1 }
  features {
    input_names: 'v' feature_type: SequenceFeature embedding_dim: 4 hash_bucket_size: 6 separator: '|'
    sequence_combiner { text_cnn { filter_sizes: [2] num_filters: [3] pad_sequence_length: 4 activation: 'tanh' } }
  }
}
model_config {
  model_class: 'RankModel'
  feature_groups { group_name: 'ids' feature_names: ['a', 'b', 'c'] wide_deep: DEEP }
  feature_groups { group_name: 'numbers' feature_names: ['p', 'q'] wide_deep: DEEP }
  feature_groups { group_name: 'tokens' feature_names: ['t'] wide_deep: DEEP }
  feature_groups { group_name: 'mixed' feature_names: ['a', 'p', 'c'] wide_deep: DEEP }
  feature_groups { group_name: 'combined' feature_names: ['v', 'p'] wide_deep: DEEP }
  feature_groups { group_name: 'history' feature_names: ['d', 's'] wide_deep: DEEP }
  feature_groups { group_name: 'history_of_many' feature_names: ['s', 'd', 'r', 'p'] wide_deep: DEEP }
  feature_groups { group_name: 'history_of_narrow' feature_names: ['a', 's'] wide_deep: DEEP }
  feature_groups { group_name: 'history_alone' feature_names: ['s'] wide_deep: DEEP }
  feature_groups {
    group_name: 'attended' feature_names: ['a', 'd'] wide_deep: DEEP
    sequence_features { group_name: 'own' seq_att_map { key: 'd' hist_seq: 's' } seq_dnn { hidden_units: [3, 1] use_bn: false activation: 'tf.nn.tanh' } }
  }
  embedding_regularization: 0.001
  model_params { }
  backbone {
";

/// Numbers of the feature `t`, which components take for ids, are whole and below this.
pub(crate) const TOKENS: usize = 5;

/// What a block gives; the last number is the width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// `[B, d]`.
    Matrix(usize),
    /// A list of matrices of one width.
    List(usize, usize),
    /// `[B, n, d]`.
    Fields(usize, usize),
    /// `[B, L, d]`.
    Sequence(usize),
    /// A sequence, its lengths, and a target of the second width, if there is one.
    History(usize, Option<usize>),
    /// A number that belongs to no row, which nothing reads.
    Scalar,
}

/// Numbers from a seed (xorshift, Marsaglia 2003).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A number in [-1, 1).
    pub(crate) fn signed(&mut self) -> f32 {
        (self.next() >> 29) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A config in the making.
pub(crate) struct Maker {
    pub(crate) random: Random,
    text: String,
    /// The blocks so far: name, kind, whether somebody reads it.
    blocks: Vec<(String, Kind, bool)>,
    package: bool,
}

impl Maker {
    /// A random config.
    pub(crate) fn config(seed: u64) -> String {
        let mut maker = Maker { random: Random::new(seed + 1), text: String::new(), blocks: Vec::new(), package: false };
        maker.features();
        for _ in 0..3 + maker.random.below(8) {
            match maker.random.below(2) {
                0 => maker.step(),
                _ => components::draw(&mut maker),
            }
        }
        maker.finish()
    }

    fn block(&mut self, name: &str, body: &str) {
        writeln!(self.text, "blocks {{ name: '{name}' {body} }}").expect("a string takes all");
    }

    /// A block of the given body; gives its name.
    pub(crate) fn add(&mut self, body: &str, kind: Kind) -> String {
        let name = format!("block{}", self.blocks.len());
        self.block(&name, body);
        self.blocks.push((name.clone(), kind, false));
        name
    }

    /// A block of a component that reads one block, or several as a list.
    pub(crate) fn component(&mut self, from: &[&str], layer: &str, kind: Kind) -> String {
        let inputs: String = from.iter().map(|name| format!("inputs {{ block_name: '{name}' }} ")).collect();
        let list = if from.len() > 1 { "merge_inputs_into_list: true " } else { "" };
        self.add(&format!("{inputs}{list}keras_layer {{ {layer} }}"), kind)
    }

    /// A lambda of one block.
    fn lambda(&mut self, from: &str, function: &str, kind: Kind) -> String {
        self.add(&format!("inputs {{ block_name: '{from}' }} lambda {{ expression: 'lambda x: {function}' }}"), kind)
    }

    /// A random earlier block of a kind, noted as read.
    pub(crate) fn source(&mut self, wanted: impl Fn(Kind) -> bool) -> Option<(String, Kind)> {
        let fitting: Vec<usize> = (0..self.blocks.len()).filter(|i| wanted(self.blocks[*i].1)).collect();
        if fitting.is_empty() {
            return None;
        }
        let chosen = self.random.pick(&fitting);
        self.blocks[chosen].2 = true;
        Some((self.blocks[chosen].0.clone(), self.blocks[chosen].1))
    }

    /// An earlier block of a kind, or what `make` adds.
    fn source_or(&mut self, wanted: impl Fn(Kind) -> bool, make: impl FnOnce(&mut Maker)) -> (String, Kind) {
        if !self.blocks.iter().any(|(_, kind, _)| wanted(*kind)) {
            make(self);
        }
        self.source(wanted).expect("it was made")
    }

    /// A matrix and its width.
    pub(crate) fn matrix(&mut self) -> (String, usize) {
        let numbers = |maker: &mut Maker| drop(maker.add("inputs { feature_group_name: 'numbers' } input_layer { }", Kind::Matrix(2)));
        match self.source_or(|kind| matches!(kind, Kind::Matrix(_)), numbers) {
            (name, Kind::Matrix(width)) => (name, width),
            other => unreachable!("{other:?}"),
        }
    }

    /// A matrix of a width, behind a dense layer if there is none.
    pub(crate) fn matrix_of(&mut self, width: usize) -> String {
        if let Some((name, _)) = self.source(|kind| kind == Kind::Matrix(width)) {
            return name;
        }
        let (from, _) = self.matrix();
        let name = self.component(&[&from], &components::dense(width), Kind::Matrix(width));
        self.read(&name);
        name
    }

    /// Fields, their number and width.
    pub(crate) fn fields(&mut self) -> (String, usize, usize) {
        let ids = "inputs { feature_group_name: 'ids' } input_layer { only_output_3d_tensor: true }";
        match self.source_or(|kind| matches!(kind, Kind::Fields(..)), |maker| drop(maker.add(ids, Kind::Fields(3, 3)))) {
            (name, Kind::Fields(n, width)) => (name, n, width),
            other => unreachable!("{other:?}"),
        }
    }

    /// A sequence and its width.
    pub(crate) fn sequence(&mut self) -> (String, usize) {
        let found = self.source_or(|kind| matches!(kind, Kind::Sequence(_)), |maker| drop(maker.first_of_history()));
        match found {
            (name, Kind::Sequence(width)) => (name, width),
            other => unreachable!("{other:?}"),
        }
    }

    fn first_of_history(&mut self) -> String {
        let (from, width, _) = self.history(|_, _| true);
        self.add(&format!("inputs {{ block_name: '{from}' input_slice: '[0]' }}"), Kind::Sequence(width))
    }

    /// A sequence with its lengths, its width and that of its target, if `wanted` takes them; 4 and 4 must be taken.
    pub(crate) fn history(&mut self, wanted: impl Fn(usize, Option<usize>) -> bool) -> (String, usize, Option<usize>) {
        let wanted = |kind| matches!(kind, Kind::History(width, target) if wanted(width, target));
        match self.source_or(wanted, |maker| maker.add_history("history", 4, Some(4))) {
            (name, Kind::History(width, target)) => (name, width, target),
            other => unreachable!("{other:?}"),
        }
    }

    fn add_history(&mut self, group: &str, width: usize, target: Option<usize>) {
        let body = format!("inputs {{ feature_group_name: '{group}' }} input_layer {{ output_seq_and_normal_feature: true }}");
        self.add(&body, Kind::History(width, target));
    }

    fn new_history(&mut self) {
        let (group, width, target) = self.random.pick(&[
            ("history", 4, Some(4)),
            ("history_of_many", 5, Some(5)),
            ("history_of_narrow", 4, Some(3)),
            ("history_alone", 4, None),
        ]);
        self.add_history(group, width, target);
    }

    /// The whole numbers below [`TOKENS`], three of a row.
    pub(crate) fn tokens(&mut self) -> String {
        // A raw input gives a list, of one feature here.
        let (layer, kind) = self.random.pick(&[("input_layer { }", Kind::Matrix(3)), ("raw_input { }", Kind::List(1, 3))]);
        let name = self.add(&format!("inputs {{ feature_group_name: 'tokens' }} {layer}"), kind);
        self.read(&name);
        name
    }

    /// Notes that a block is read, by its name.
    pub(crate) fn read(&mut self, name: &str) {
        self.blocks.iter_mut().filter(|block| block.0 == name).for_each(|block| block.2 = true);
    }

    pub(crate) fn mlp(&mut self) -> String {
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
        match self.random.below(10) {
            0 => drop(self.add("inputs { feature_group_name: 'numbers' } input_layer { }", Kind::Matrix(2))),
            1 => drop(self.add(&format!("inputs {{ feature_group_name: 'mixed' }} input_layer {{ {norm} }}"), Kind::Matrix(7))),
            2 => {
                let body = format!("inputs {{ feature_group_name: 'ids' }} input_layer {{ {norm} only_output_feature_list: true }}");
                self.add(&body, Kind::List(3, 3));
            }
            3 => {
                let body = format!("inputs {{ feature_group_name: 'ids' }} input_layer {{ {norm} only_output_3d_tensor: true }}");
                self.add(&body, Kind::Fields(3, 3));
            }
            4 => {
                let tuple = format!("tuple{}", self.blocks.len());
                let options = format!("{norm} output_2d_tensor_and_feature_list: true");
                self.block(&tuple, &format!("inputs {{ feature_group_name: 'ids' }} input_layer {{ {options} }}"));
                let index = self.random.below(2);
                let body = format!("inputs {{ block_name: '{tuple}' input_slice: '[{index}]' }}");
                self.add(&body, if index == 0 { Kind::Matrix(9) } else { Kind::List(3, 3) });
            }
            5 => {
                // The sequence is combined by convolutions.
                self.add(&format!("inputs {{ feature_group_name: 'combined' }} input_layer {{ {norm} }}"), Kind::Matrix(4));
            }
            6 => {
                // The target, the sequence and what is left of the group: 4 + 4 + 7.
                self.add(&format!("inputs {{ feature_group_name: 'attended' }} input_layer {{ {norm} }}"), Kind::Matrix(15));
            }
            7 => {
                let (concat, kind) = self.random.pick(&[("true", Kind::Matrix(12)), ("false", Kind::List(3, 4))]);
                let combiner = self.random.pick(&["weight", "sum", "max", "min"]);
                let layer = format!("embedding_layer {{ embedding_dim: 4 combiner: '{combiner}' concat: {concat} }}");
                self.add(&format!("inputs {{ feature_group_name: 'ids' }} {layer}"), kind);
            }
            8 => drop(self.first_of_history()),
            _ => self.new_history(),
        }
    }

    fn step(&mut self) {
        match self.random.below(13) {
            0 => self.features(),
            1 => {
                let ((a, n), (b, m)) = (self.matrix(), self.matrix());
                self.add(&format!("inputs {{ block_name: '{a}' }} inputs {{ block_name: '{b}' }}"), Kind::Matrix(n + m));
            }
            2 => self.function_of_list(),
            3 => self.function_of_fields(),
            4 => self.function_of_sequence(),
            5 => self.function_of_matrix(),
            6 => self.repeat_over_list(),
            7 => self.repeat_of_matrix(),
            8 | 9 => self.recurrent(),
            10 => self.layers(),
            _ => self.call(),
        }
    }

    fn function_of_list(&mut self) {
        let Some((from, Kind::List(n, width))) = self.source(|kind| matches!(kind, Kind::List(..))) else { return };
        let functions = [
            ("tf.stack(x, axis=1)", Kind::Fields(n, width)),
            ("tf.add_n(x)", Kind::Matrix(width)),
            ("tf.concat(x, axis=-1)", Kind::Matrix(n * width)),
            ("[t * 0.5 for t in x]", Kind::List(n, width)),
            ("x + [x[0] * x[-1]]", Kind::List(n + 1, width)),
            ("tf.concat([x[i] * x[i - 1] for i in range(len(x))], 1)", Kind::Matrix(n * width)),
        ];
        let (text, kind) = self.random.pick(&functions);
        self.lambda(&from, text, kind);
    }

    fn function_of_fields(&mut self) {
        let (from, n, width) = self.fields();
        let functions = [
            ("tf.reduce_sum(x, axis=1)", Kind::Matrix(width)),
            ("tf.reduce_mean(x, axis=2)", Kind::Matrix(n)),
            ("tf.layers.flatten(tf.transpose(x, [0, 2, 1]))", Kind::Matrix(n * width)),
            ("tf.transpose(x, [0, 2, 1])", Kind::Fields(width, n)),
            ("tf.unstack(x, axis=1)", Kind::List(n, width)),
            ("tf.nn.l2_normalize(x + 1, axis=-1)", Kind::Fields(n, width)),
            ("x * tf.nn.softmax(tf.reduce_sum(x, axis=2, keepdims=True), axis=1)", Kind::Fields(n, width)),
            ("tf.layers.flatten(tf.matmul(x, x, transpose_b=True))", Kind::Matrix(n * n)),
            ("x[:, ::-1] / (tf.square(x) + 1)", Kind::Fields(n, width)),
        ];
        let (text, kind) = self.random.pick(&functions);
        self.lambda(&from, text, kind);
    }

    fn function_of_sequence(&mut self) {
        let (from, width) = self.sequence();
        let functions = [
            ("tf.reduce_sum(x, axis=1)", Kind::Matrix(width)),
            ("tf.reduce_mean(x, axis=1)", Kind::Matrix(width)),
            ("tf.tanh(x) * 0.5", Kind::Sequence(width)),
            ("tf.concat([x, x * x], axis=-1)", Kind::Sequence(2 * width)),
        ];
        let (text, kind) = self.random.pick(&functions);
        self.lambda(&from, text, kind);
    }

    fn function_of_matrix(&mut self) {
        let (from, width) = self.matrix();
        let text = self.random.pick(&["tf.exp(tf.tanh(x) * 0.1)", "tf.sqrt(x * x + 1)", "x[:, :1] * x - 0.5", "tf.tanh(x) / 2"]);
        let before = format!("inputs {{ block_name: '{from}' input_fn: 'lambda x: {text}' }}");
        // A single input that its block reads a second time.
        let (extra, kind) = match self.random.below(3) {
            0 => ("extra_input_fn: 'lambda x: tf.concat([x, x], 1)'", Kind::Matrix(2 * width)),
            _ => ("", Kind::Matrix(width)),
        };
        self.add(&format!("{before} {extra}"), kind);
    }

    fn repeat_over_list(&mut self) {
        let Some((from, Kind::List(n, width))) = self.source(|kind| matches!(kind, Kind::List(..))) else { return };
        let (layer, out) = components::of_matrix(self, width);
        let (joined, kind) = self.random.pick(&[("output_concat_axis: 1", Kind::Matrix(n * out)), ("", Kind::List(n, out))]);
        let body = format!("num_repeat: {n} input_slice: '[i]' {joined} keras_layer {{ {layer} }}");
        self.add(&format!("inputs {{ block_name: '{from}' }} repeat {{ {body} }}"), if n == 1 { Kind::Matrix(out) } else { kind });
    }

    fn repeat_of_matrix(&mut self) {
        let (from, width) = self.matrix();
        let (layer, out) = components::of_matrix(self, width);
        let body = format!("num_repeat: 2 input_fn: 'lambda x, i: x * (0.5 + i)' keras_layer {{ {layer} }}");
        self.add(&format!("inputs {{ block_name: '{from}' }} repeat {{ {body} }}"), Kind::List(2, out));
    }

    fn recurrent(&mut self) {
        let (from, width) = self.matrix();
        let (inputs, fixed, layer) = match self.random.below(2) {
            0 => ("input_fn: 'lambda x: [x, x]'", "fixed_input_index: 0", components::cross(self)),
            _ => ("", "", components::that_keeps_width(self, width)),
        };
        let body = format!("recurrent {{ num_steps: 2 {fixed} keras_layer {{ {layer} }} }}");
        self.add(&format!("inputs {{ block_name: '{from}' {inputs} }} {body}"), Kind::Matrix(width));
    }

    fn layers(&mut self) {
        let (from, width) = self.matrix();
        let (first, width) = components::of_matrix(self, width);
        let (second, out) = components::of_matrix(self, width);
        let lambda = "layers { lambda { expression: 'lambda x: tf.tanh(x)' } }";
        let recurrent =
            format!("layers {{ recurrent {{ num_steps: 2 keras_layer {{ {} }} }} }}", components::that_keeps_width(self, width));
        let repeat = format!("layers {{ repeat {{ num_repeat: 2 output_concat_axis: -1 keras_layer {{ {second} }} }} }}");
        let body = format!("inputs {{ block_name: '{from}' }} layers {{ keras_layer {{ {first} }} }} {lambda} {recurrent} {repeat}");
        self.add(&body, Kind::Matrix(2 * out));
    }

    /// A call of the package: it gives what its component does, 4, and the group in it, 9. Its weights fit one width only.
    fn call(&mut self) {
        let (from, _) = self.matrix();
        self.package = true;
        let input = match self.random.below(4) {
            0 => "package_input: 'side'".to_owned(),
            _ => format!("package_input: '{from}' package_input_fn: 'lambda x: tf.concat([x, x[:, :1], x[:, :1]], 1)[:, :3]'"),
        };
        let reset = self.random.pick(&["", "", "reset_input { do_batch_norm: true }"]);
        let name = self.add(&format!("inputs {{ package_name: 'tower' {input} {reset} }}"), Kind::Matrix(13));
        if self.random.below(4) == 0 {
            let (other, width) = self.matrix();
            let ignored = "inputs { package_name: 'tower' package_input: 'side' ignore_input: true }";
            self.add(&format!("inputs {{ block_name: '{name}' }} inputs {{ block_name: '{other}' }} {ignored}"), Kind::Matrix(13 + width));
            self.read(&name);
        }
    }

    /// A lambda behind each block that nobody reads, so that all ends can be put side by side.
    fn finish(mut self) -> String {
        let mut ends = Vec::new();
        for i in 0..self.blocks.len() {
            let (name, kind, is_read) = self.blocks[i].clone();
            let text = match kind {
                _ if is_read => continue,
                Kind::Scalar => continue,
                Kind::Matrix(_) => {
                    ends.push(name);
                    continue;
                }
                Kind::List(..) => "tf.concat(x, -1)",
                Kind::Fields(..) => "tf.layers.flatten(x)",
                Kind::Sequence(_) => "tf.reduce_sum(x, axis=1)",
                Kind::History(..) => "tf.reduce_mean(x[0], axis=1)",
            };
            ends.push(self.lambda(&name, text, Kind::Matrix(0)));
        }
        if ends.is_empty() {
            let (only, _) = self.matrix();
            ends.push(only);
        }
        // Ends that nobody names are found; a number that belongs to no row can't be among them.
        if self.blocks.iter().any(|block| block.1 == Kind::Scalar) || self.random.below(2) == 0 {
            let names: Vec<String> = ends.iter().map(|name| format!("'{name}'")).collect();
            writeln!(self.text, "concat_blocks: [{}]", names.join(", ")).expect("a string takes all");
        }
        if self.package {
            self.packages();
        }
        if self.random.below(3) == 0 {
            self.text += "top_mlp { hidden_units: [3] final_activation: 'tanh' use_final_bn: false use_final_bias: true }\n";
        }
        format!("{HEAD}{}  }}\n}}\n", self.text)
    }

    /// A tower that blocks call with an input, and a package that may be it.
    fn packages(&mut self) {
        let (layer, width) = components::of_matrix(self, 3);
        let last = components::dense(4);
        let of_tower = [
            format!("blocks {{ name: 'in' inputs {{ use_package_input: true }} keras_layer {{ {layer} }} }}"),
            format!("blocks {{ name: 'out' inputs {{ block_name: 'in' }} keras_layer {{ {last} }} }}"),
            "blocks { name: 'group' inputs { feature_group_name: 'ids' } input_layer { } }".to_owned(),
        ];
        debug_assert!(width > 0);
        writeln!(self.text, "packages {{ name: 'tower' {} }}", of_tower.join(" ")).expect("a string takes all");
        let of_side =
            format!("blocks {{ name: 'side' inputs {{ feature_group_name: 'numbers' }} keras_layer {{ {} }} }}", components::dense(3));
        writeln!(self.text, "packages {{ name: 'side' {of_side} }}").expect("a string takes all");
    }
}
