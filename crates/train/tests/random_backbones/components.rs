//! Random components: each with inputs of a kind that it takes, and what it gives.

use super::maker::{Kind, Maker, TOKENS};

/// What a component makes of a matrix: its config for that width, and the width it gives.
type OfMatrix = fn(&mut Maker, usize) -> (String, usize);

/// Components of one matrix.
const OF_MATRIX: &[(&str, OfMatrix)] = &[
    ("Activation", |maker, width| (activation(maker), width)),
    ("AutoDisEmbedding", |_, width| {
        (message("AutoDisEmbedding", "auto_dis_embedding { embedding_dim: 2 num_bins: 3 temperature: 1.0 }"), 2 * width)
    }),
    ("BatchNormalization", |_, width| (st("BatchNormalization", &[]), width)),
    ("Cross", |maker, width| (cross(maker), width)),
    ("Dense", |_, _| (dense(3), 3)),
    ("Dropout", |_, width| (st("Dropout", &[("rate", "number_value: 0.3")]), width)),
    ("ELU", |_, width| (st("ELU", &[]), width)),
    ("ExponentialCross", |maker, width| match width % 2 {
        0 => {
            let linear = maker.random.pick(&["true", "false"]);
            (st("ExponentialCross", &[("num_layers", "number_value: 2"), ("linear", &format!("bool_value: {linear}"))]), width)
        }
        _ => (dense(4), 4),
    }),
    ("FinalMLP", |maker, _| (final_mlp(maker), 3)),
    ("FinalNet", |maker, _| (final_net(maker), 4)),
    ("Flatten", |_, width| (st("Flatten", &[]), width)),
    ("GatedCross", |_, width| (st("GatedCross", &[("num_layers", "number_value: 2")]), width)),
    ("Highway", |maker, _| {
        let layers = maker.random.pick(&[1, 2]);
        (message("Highway", &format!("highway {{ emb_size: 4 activation: 'tanh' num_layers: {layers} }}")), 4)
    }),
    ("LayerNormalization", |_, width| (st("LayerNormalization", &[]), width)),
    ("LeakyReLU", |_, width| (st("LeakyReLU", &[]), width)),
    ("MLP", |maker, _| (maker.mlp(), 4)),
    ("MaskNet", |maker, _| {
        let parallel = maker.random.pick(&["true", "false"]);
        let mlp = "mlp { hidden_units: [4] activation: 'tanh' final_activation: 'tanh' }";
        let blocks = "mask_blocks { output_size: 3 aggregation_size: 4 } mask_blocks { output_size: 5 reduction_factor: 1.5 }";
        (message("MaskNet", &format!("masknet {{ {blocks} use_parallel: {parallel} {mlp} }}")), 4)
    }),
    ("PReLU", |_, width| (st("PReLU", &[]), width)),
    ("PeriodicEmbedding", |maker, width| {
        let linear = maker.random.pick(&["add_linear_layer: false", "linear_activation: 'tanh'"]);
        (message("PeriodicEmbedding", &format!("periodic_embedding {{ embedding_dim: 2 sigma: 0.1 {linear} }}")), 2 * width)
    }),
    ("ReLU", |_, width| (st("ReLU", &[]), width)),
    ("Softmax", |_, width| (st("Softmax", &[]), width)),
];

/// Adds a component, with what it reads, to a backbone.
type Draw = fn(&mut Maker);

/// Components that read something else than one matrix.
const OF_OTHERS: &[(&str, Draw)] = &[
    ("AITMTower", aitm_tower),
    ("Add", |maker| merged(maker, "Add", 3)),
    ("Attention", attention),
    ("AuxiliaryLoss", auxiliary_loss),
    ("Average", |maker| merged(maker, "Average", 3)),
    ("BST", bst),
    ("BiLinear", bi_linear),
    ("CIN", |maker| of_fields(maker, &message("CIN", "cin { hidden_feature_sizes: [3, 2] }"), |_, _| 5)),
    ("Concatenate", concatenate),
    ("Conv1D", convolution),
    ("DIN", din),
    ("Dot", dot),
    ("DotInteraction", dot_interaction),
    ("Embedding", embedding),
    ("FM", fm),
    ("FiBiNet", fi_bi_net),
    ("Gate", gate),
    ("GlobalAveragePooling1D", |maker| pooling(maker, "GlobalAveragePooling1D")),
    ("GlobalMaxPooling1D", |maker| pooling(maker, "GlobalMaxPooling1D")),
    ("MMoE", mmoe),
    ("MaskBlock", mask_block),
    ("Maximum", |maker| merged(maker, "Maximum", 2)),
    ("Minimum", |maker| merged(maker, "Minimum", 2)),
    ("MultiHeadAttention", multi_head_attention),
    ("Multiply", |maker| merged(maker, "Multiply", 2)),
    ("NaryDisEmbedding", nary_dis_embedding),
    ("PPNet", pp_net),
    ("Reshape", reshape),
    ("SENet", se_net),
    ("SeqAugment", |maker| augmented(maker, "SeqAugment")),
    ("SeqAugmentOps", |maker| augmented(maker, "SeqAugmentOps")),
    ("Subtract", |maker| merged(maker, "Subtract", 2)),
    ("TextCNN", text_cnn),
    ("TransformerBlock", transformer_block),
    ("TransformerEncoder", transformer_encoder),
];

/// Components that are not drawn, and why.
const NOT_DRAWN: &[(&str, &str)] = &[
    ("EditDistance", "reads texts"),
    ("MappedDotProduct", "reads texts"),
    ("OverlapFeature", "reads texts"),
    ("TextEncoder", "reads texts; TransformerEncoder is what it does with their words"),
    ("TextNormalize", "makes texts of texts"),
];

/// Adds a random component.
pub(crate) fn draw(maker: &mut Maker) {
    let chosen = maker.random.below(OF_MATRIX.len() + OF_OTHERS.len());
    if let Some((_, add)) = OF_OTHERS.get(chosen) {
        return add(maker);
    }
    let (_, layer) = OF_MATRIX[chosen - OF_OTHERS.len()];
    // Dense layers, norms and activations take sequences and fields as well.
    let everywhere = ["Activation", "BatchNormalization", "Dense", "Dropout", "ELU", "LayerNormalization", "ReLU", "Softmax"];
    let along = everywhere.contains(&OF_MATRIX[chosen - OF_OTHERS.len()].0);
    match maker.random.below(4) {
        0 if along => {
            let (from, width) = maker.sequence();
            let (layer, out) = layer(maker, width);
            maker.component(&[&from], &layer, Kind::Sequence(out));
        }
        1 if along => {
            let (from, n, width) = maker.fields();
            let (layer, out) = layer(maker, width);
            maker.component(&[&from], &layer, Kind::Fields(n, out));
        }
        _ => {
            let (from, width) = maker.matrix();
            let (layer, out) = layer(maker, width);
            maker.component(&[&from], &layer, Kind::Matrix(out));
        }
    }
}

/// A random component of one matrix, and the width that it gives.
pub(crate) fn of_matrix(maker: &mut Maker, width: usize) -> (String, usize) {
    // Widths that multiply when layers follow one another.
    if width > 16 {
        return (dense(4), 4);
    }
    let (_, layer) = maker.random.pick(OF_MATRIX);
    layer(maker, width)
}

/// A random component that gives as many columns as it gets.
pub(crate) fn that_keeps_width(maker: &mut Maker, width: usize) -> String {
    let (layer, out) = of_matrix(maker, width);
    if out == width { layer } else { dense(width) }
}

/// A component with its settings in `st_params`.
fn st(class_name: &str, settings: &[(&str, &str)]) -> String {
    let fields: String = settings.iter().map(|(key, value)| format!("fields {{ key: '{key}' value {{ {value} }} }} ")).collect();
    format!("class_name: '{class_name}' st_params {{ {fields}}}")
}

/// A component with its settings in a message.
fn message(class_name: &str, text: &str) -> String {
    format!("class_name: '{class_name}' {text}")
}

pub(crate) fn dense(units: usize) -> String {
    st("Dense", &[("units", &format!("number_value: {units}")), ("activation", "string_value: 'tanh'")])
}

pub(crate) fn cross(maker: &mut Maker) -> String {
    let projection = maker.random.pick(&["number_value: 0", "number_value: 2"]);
    st("Cross", &[("projection_dim", projection), ("diag_scale", "number_value: 0.5"), ("preactivation", "string_value: 'tanh'")])
}

fn activation(maker: &mut Maker) -> String {
    let name = maker.random.pick(&["tanh", "gelu", "swish", "sigmoid", "selu", "softmax"]);
    st("Activation", &[("activation", &format!("string_value: '{name}'"))])
}

fn list(numbers: &[usize]) -> String {
    let values: String = numbers.iter().map(|number| format!("values {{ number_value: {number} }} ")).collect();
    format!("list_value {{ {values}}}")
}

fn final_mlp(maker: &mut Maker) -> String {
    let heads = maker.random.pick(&["number_value: 1", "number_value: 2"]);
    let (first, second, gates) = (list(&[4]), list(&[5, 6]), list(&[3]));
    let settings = [
        ("stream1_units", first.as_str()),
        ("stream2_units", second.as_str()),
        ("gate_units", gates.as_str()),
        ("activation", "string_value: 'tanh'"),
        ("output_dim", "number_value: 3"),
        ("context_dim", "number_value: 2"),
        ("num_heads", heads),
    ];
    st("FinalMLP", &settings)
}

fn final_net(maker: &mut Maker) -> String {
    let residual = maker.random.pick(&["string_value: 'sum'", "string_value: 'concat'"]);
    let norm = maker.random.pick(&["bool_value: true", "bool_value: false"]);
    let units = list(&[6, 4]);
    let settings =
        [("hidden_units", units.as_str()), ("residual_type", residual), ("activation", "string_value: 'tanh'"), ("use_bn", norm)];
    st("FinalNet", &settings)
}

/// Matrices of one width, or fields, merged element by element.
fn merged(maker: &mut Maker, class_name: &str, count: usize) {
    if maker.random.below(3) == 0 {
        let (first, n, width) = maker.fields();
        let (second, _) = maker.source(|kind| kind == Kind::Fields(n, width)).expect("the first at least");
        maker.component(&[&first, &second], &st(class_name, &[]), Kind::Fields(n, width));
        return;
    }
    let (first, width) = maker.matrix();
    let others: Vec<String> = (1..count).map(|_| maker.matrix_of(width)).collect();
    let from: Vec<&str> = std::iter::once(&first).chain(&others).map(String::as_str).collect();
    maker.component(&from, &st(class_name, &[]), Kind::Matrix(width));
}

fn concatenate(maker: &mut Maker) {
    if maker.random.below(2) == 0 {
        let ((a, n), (b, m)) = (maker.matrix(), maker.matrix());
        maker.component(&[&a, &b], &st("Concatenate", &[("axis", "number_value: -1")]), Kind::Matrix(n + m));
        return;
    }
    let (a, n, width) = maker.fields();
    let Some((b, Kind::Fields(m, _))) = maker.source(|kind| matches!(kind, Kind::Fields(_, other) if other == width)) else { return };
    maker.component(&[&a, &b], &st("Concatenate", &[("axis", "number_value: 1")]), Kind::Fields(n + m, width));
}

fn dot(maker: &mut Maker) {
    let normalize = maker.random.pick(&["bool_value: true", "bool_value: false"]);
    if maker.random.below(2) == 0 {
        let (a, width) = maker.matrix();
        let b = maker.matrix_of(width);
        maker.component(&[&a, &b], &st("Dot", &[("axes", "number_value: 1"), ("normalize", normalize)]), Kind::Matrix(1));
        return;
    }
    let (a, n, width) = maker.fields();
    let Some((b, Kind::Fields(m, _))) = maker.source(|kind| matches!(kind, Kind::Fields(_, other) if other == width)) else { return };
    maker.component(&[&a, &b], &st("Dot", &[("axes", "number_value: 2"), ("normalize", normalize)]), Kind::Fields(n, m));
}

fn aitm_tower(maker: &mut Maker) {
    let ((current, width), (other, _)) = (maker.matrix(), maker.matrix());
    let (dim, out) = maker.random.pick(&[("", width), ("project_dim: 3", 3)]);
    // Through what is stopped there are no gradients, although the loss depends on it.
    let text = format!("aitm {{ {dim} transfer_mlp {{ hidden_units: [4] final_activation: 'tanh' }} stop_gradient: false }}");
    maker.component(&[&current, &other], &message("AITMTower", &text), Kind::Matrix(out));
}

fn auxiliary_loss(maker: &mut Maker) {
    let (a, width) = maker.matrix();
    let b = maker.matrix_of(width);
    let kind = maker.random.pick(&["l2_loss", "info_nce", "nce_loss"]);
    let kind = format!("string_value: '{kind}'");
    let settings = [("loss_type", kind.as_str()), ("loss_weight", "number_value: 0.1"), ("temperature", "number_value: 1")];
    maker.component(&[&a, &b], &st("AuxiliaryLoss", &settings), Kind::Scalar);
}

fn gate(maker: &mut Maker) {
    let (a, width) = maker.matrix();
    let (weights, b) = (maker.matrix_of(2), maker.matrix_of(width));
    let (mlp, out) = maker.random.pick(&[("", width), ("mlp { hidden_units: [4] final_activation: 'tanh' }", 4)]);
    maker.component(&[&a, &weights, &b], &message("Gate", &format!("gate {{ weight_index: 1 {mlp} }}")), Kind::Matrix(out));
}

fn mask_block(maker: &mut Maker) {
    let ((net, width), (mask, _)) = (maker.matrix(), maker.matrix());
    let (output, out) = maker.random.pick(&[("", width), ("output_size: 4", 4)]);
    let projection = maker.random.pick(&["", "projection_dim: 2"]);
    let text = format!("mask_block {{ aggregation_size: 4 {output} {projection} input_layer_norm: true }}");
    maker.component(&[&net, &mask], &message("MaskBlock", &text), Kind::Matrix(out));
}

fn pp_net(maker: &mut Maker) {
    let ((x, width), (gate, _)) = (maker.matrix(), maker.matrix());
    let mlp = "mlp { hidden_units: [4, 3] activation: 'tanh' final_activation: 'tanh' }";
    let mode = match maker.random.below(2) {
        0 => "mode: 'lazy' gate_params { activation: 'tanh' hidden_dim: 3 }".to_owned(),
        _ => format!("mode: 'eager' gate_params {{ activation: 'tanh' hidden_dim: 3 output_dim: {width} }}"),
    };
    // Through what is stopped there are no gradients, although the loss depends on it.
    let text = format!("ppnet {{ {mlp} {mode} full_gate_input: false }}");
    maker.component(&[&x, &gate], &message("PPNet", &text), Kind::Matrix(3));
}

fn mmoe(maker: &mut Maker) {
    if maker.random.below(2) == 0 {
        let (from, _) = maker.matrix();
        let expert = "expert_mlp { hidden_units: [4] final_activation: 'tanh' }";
        maker.component(&[&from], &message("MMoE", &format!("mmoe {{ num_task: 2 num_expert: 3 {expert} }}")), Kind::List(2, 4));
        return;
    }
    let (a, width) = maker.matrix();
    let (b, (gate, _)) = (maker.matrix_of(width), maker.matrix());
    maker.component(&[&a, &b, &gate], &message("MMoE", "mmoe { num_task: 2 num_expert: 2 }"), Kind::List(2, width));
}

/// A component that makes a matrix of fields.
fn of_fields(maker: &mut Maker, layer: &str, out: impl Fn(usize, usize) -> usize) {
    let (from, n, width) = maker.fields();
    maker.component(&[&from], layer, Kind::Matrix(out(n, width)));
}

/// At least two fields; lists of features are fields as well.
fn several_fields(maker: &mut Maker) -> Option<(String, usize, usize)> {
    match maker.source(|kind| matches!(kind, Kind::Fields(2.., _) | Kind::List(2.., _)))? {
        (name, Kind::Fields(n, width) | Kind::List(n, width)) => Some((name, n, width)),
        other => unreachable!("{other:?}"),
    }
}

fn bi_linear(maker: &mut Maker) {
    let Some((from, ..)) = several_fields(maker) else { return };
    let kind = maker.random.pick(&["all", "each", "interaction"]);
    let plus = maker.random.pick(&["true", "false"]);
    let text = format!("bilinear {{ type: '{kind}' use_plus: {plus} num_output_units: 4 }}");
    maker.component(&[&from], &message("BiLinear", &text), Kind::Matrix(4));
}

fn dot_interaction(maker: &mut Maker) {
    let Some((from, n, _)) = several_fields(maker) else { return };
    let (itself, gather, out) =
        maker.random.pick(&[("false", "false", n * (n - 1) / 2), ("true", "false", n * (n + 1) / 2), ("true", "true", n * n)]);
    let settings = [("self_interaction", format!("bool_value: {itself}")), ("skip_gather", format!("bool_value: {gather}"))];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    maker.component(&[&from], &st("DotInteraction", &settings), Kind::Matrix(out));
}

fn fm(maker: &mut Maker) {
    let (from, _, width) = maker.fields();
    let (variant, out) = maker.random.pick(&[("true", width), ("false", 1)]);
    maker.component(&[&from], &message("FM", &format!("fm {{ use_variant: {variant} }}")), Kind::Matrix(out));
}

fn fi_bi_net(maker: &mut Maker) {
    let Some((from, ..)) = several_fields(maker) else { return };
    let parts = "senet { reduction_ratio: 2 num_squeeze_group: 1 } bilinear { type: 'all' num_output_units: 3 }";
    let mlp = "mlp { hidden_units: [4] activation: 'tanh' final_activation: 'tanh' }";
    maker.component(&[&from], &message("FiBiNet", &format!("fibinet {{ {parts} {mlp} }}")), Kind::Matrix(4));
}

fn se_net(maker: &mut Maker) {
    let skip = maker.random.pick(&["true", "false"]);
    let text = format!("senet {{ reduction_ratio: 2 num_squeeze_group: 1 use_skip_connection: {skip} }}");
    of_fields(maker, &message("SENet", &text), |n, width| n * width);
}

fn convolution(maker: &mut Maker) {
    let (from, n, _) = maker.fields();
    let size = 1 + maker.random.below(n.min(3));
    let (padding, stride, dilation, places) =
        maker.random.pick(&[("valid", 1, 1, n + 1 - size), ("same", 2, 1, n.div_ceil(2)), ("causal", 1, 2, n)]);
    let settings = [
        ("filters", "number_value: 4".to_owned()),
        ("kernel_size", format!("number_value: {size}")),
        ("activation", "string_value: 'tanh'".to_owned()),
        ("padding", format!("string_value: '{padding}'")),
        ("strides", format!("number_value: {stride}")),
        ("dilation_rate", format!("number_value: {dilation}")),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    maker.component(&[&from], &st("Conv1D", &settings), Kind::Fields(places, 4));
}

fn reshape(maker: &mut Maker) {
    let (from, n, width) = maker.fields();
    let (target, kind) = match maker.random.below(2) {
        0 => (list(&[width, n]), Kind::Fields(width, n)),
        _ => (list(&[n * width]), Kind::Matrix(n * width)),
    };
    maker.component(&[&from], &st("Reshape", &[("target_shape", &target)]), kind);
}

/// Fields or a sequence: name, width, and the kind of the same positions in another width.
fn positions(maker: &mut Maker) -> (String, usize, Box<dyn Fn(usize) -> Kind>) {
    match maker.random.below(2) {
        0 => {
            let (from, n, width) = maker.fields();
            (from, width, Box::new(move |width| Kind::Fields(n, width)))
        }
        _ => {
            let (from, width) = maker.sequence();
            (from, width, Box::new(Kind::Sequence))
        }
    }
}

fn pooling(maker: &mut Maker, class_name: &str) {
    let (from, width, _) = positions(maker);
    maker.component(&[&from], &st(class_name, &[]), Kind::Matrix(width));
}

fn text_cnn(maker: &mut Maker) {
    let (from, _) = maker.sequence();
    let length = maker.random.pick(&[0, 3]);
    let (mlp, out) = maker.random.pick(&[("", 5), ("mlp { hidden_units: [4] final_activation: 'tanh' }", 4)]);
    let text = format!("text_cnn {{ filter_sizes: [1, 2] num_filters: [3, 2] pad_sequence_length: {length} activation: 'tanh' {mlp} }}");
    maker.component(&[&from], &message("TextCNN", &text), Kind::Matrix(out));
}

fn attention(maker: &mut Maker) {
    let (query, width, like) = positions(maker);
    // Values of the same width along positions of any number.
    let same = |kind| matches!(kind, Kind::Fields(_, other) | Kind::Sequence(other) if other == width);
    let (value, _) = maker.source(same).expect("the query at least");
    let options = maker.random.pick(&["scale_by_dim: true", "use_scale: true", "score_mode: 'concat'", "dropout: 0.2"]);
    maker.component(&[&query, &value], &message("Attention", &format!("attention {{ {options} }}")), like(width));
}

fn multi_head_attention(maker: &mut Maker) {
    let (query, width, like) = positions(maker);
    let any = |kind| matches!(kind, Kind::Fields(..) | Kind::Sequence(_));
    let (value, _) = maker.source(any).expect("the query at least");
    let (output, out) = maker.random.pick(&[("", width), ("output_shape: 3", 3)]);
    let options = maker.random.pick(&["", "value_dim: 3", "use_bias: false"]);
    let text = format!("multi_head_attention {{ num_heads: 2 key_dim: 2 {output} {options} }}");
    maker.component(&[&query, &value], &message("MultiHeadAttention", &text), like(out));
}

fn transformer_block(maker: &mut Maker) {
    let (from, width, like) = positions(maker);
    let heads = if width % 2 == 0 { 2 } else { 1 };
    let sizes = format!("hidden_size: {width} num_attention_heads: {heads} intermediate_size: 5 hidden_act: 'tanh'");
    let text = format!("transformer {{ {sizes} hidden_dropout_prob: 0.1 }}");
    maker.component(&[&from], &message("TransformerBlock", &text), like(width));
}

fn transformer_encoder(maker: &mut Maker) {
    let from = maker.tokens();
    let sizes = "hidden_size: 4 num_hidden_layers: 1 num_attention_heads: 2 intermediate_size: 5 max_position_embeddings: 6";
    let (all, kind) = maker.random.pick(&[("true", Kind::Fields(3, 4)), ("false", Kind::Matrix(4))]);
    let options = format!("vocab_size: {TOKENS} hidden_act: 'tanh' hidden_dropout_prob: 0 output_all_token_embeddings: {all}");
    maker.component(&[&from], &message("TransformerEncoder", &format!("transformer {{ {sizes} {options} }}")), kind);
}

fn embedding(maker: &mut Maker) {
    let from = maker.tokens();
    let rows = format!("number_value: {TOKENS}");
    maker.component(&[&from], &st("Embedding", &[("input_dim", &rows), ("output_dim", "number_value: 4")]), Kind::Fields(3, 4));
}

fn nary_dis_embedding(maker: &mut Maker) {
    let from = maker.tokens();
    let pooling = maker.random.pick(&["sum", "mean"]);
    let text = format!("nary_dis_embedding {{ embedding_dim: 2 carries: [2, 3] intra_ary_pooling: '{pooling}' }}");
    maker.component(&[&from], &message("NaryDisEmbedding", &text), Kind::Matrix(12));
}

fn din(maker: &mut Maker) {
    let (from, width, target) = maker.history(|_, target| target.is_some());
    let target = target.expect("it was asked for");
    let activation = maker.random.pick(&["tanh", "dice", "sigmoid"]);
    let normalizer = maker.random.pick(&["softmax", "sigmoid"]);
    let (need, out) = maker.random.pick(&[("true", target + width), ("false", target)]);
    let layers = format!("attention_dnn {{ hidden_units: [3, 1] use_bn: false activation: '{activation}' }}");
    let text = format!("din {{ {layers} need_target_feature: {need} attention_normalizer: '{normalizer}' }}");
    maker.component(&[&from], &message("DIN", &text), Kind::Matrix(out));
}

fn bst(maker: &mut Maker) {
    let (from, _, target) = maker.history(|width, target| target.is_none_or(|target| target == width));
    let place = maker.random.pick(&["head", "tail", "ignore"]);
    let sizes = "hidden_size: 4 num_hidden_layers: 1 num_attention_heads: 2 intermediate_size: 5 max_position_embeddings: 6";
    let tokens = 6 + usize::from(target.is_some() && place != "ignore");
    let (all, out) = maker.random.pick(&[("true", 4 * tokens), ("false", 4)]);
    let rates = "hidden_dropout_prob: 0.1 attention_probs_dropout_prob: 0.1 initializer_range: 0.3";
    let text = format!("bst {{ {sizes} {rates} target_item_position: '{place}' output_all_token_embeddings: {all} }}");
    maker.component(&[&from], &message("BST", &text), Kind::Matrix(out));
}

/// The lengths that come out of it have no gradient, and neither does what follows from them.
fn augmented(maker: &mut Maker, class_name: &str) {
    let (from, width, _) = maker.history(|_, _| true);
    let text = "seq_aug { mask_rate: 0.5 crop_rate: 0.5 reorder_rate: 0.5 }";
    maker.component(&[&from], &message(class_name, text), Kind::History(width, None));
}

/// The components that 500 configs have, against the table of all.
#[test]
fn every_component_is_drawn() {
    let texts: Vec<String> = (0..super::CONFIGS).map(Maker::config).collect();
    let drawn = |name: &str| texts.iter().any(|text| text.contains(&format!("class_name: '{name}'")));
    let listed = |name: &str| OF_MATRIX.iter().any(|(known, _)| *known == name) || OF_OTHERS.iter().any(|(known, _)| *known == name);
    for name in rankmill_nn::layers::names() {
        let exception = NOT_DRAWN.iter().find(|(known, _)| *known == name);
        assert_ne!(listed(name), exception.is_some(), "{name} is drawn, or an exception with a reason");
        assert_ne!(drawn(name), exception.is_some(), "{name} is in no config, although it is listed, or in one, although it is excepted");
    }
}
