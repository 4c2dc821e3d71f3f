//! Names, effects and fixes of all lints.

/// What a lint is about, the same for every config; the pages of the user book are made from these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LintRule {
    /// Name, by which `rankmill check` and the user book call it.
    pub name: &'static str,
    /// What happens, in EasyRec and here.
    pub effect: &'static str,
    /// How to change the config.
    pub fix: &'static str,
}

const fn rule(name: &'static str, effect: &'static str, fix: &'static str) -> LintRule {
    LintRule { name, effect, fix }
}

/// All lints, by name.
pub const LINTS: &[LintRule] = &[
    rule(
        "activation_is_linear",
        "EasyRec knows no activation of this name and silently uses none, so the layer is linear",
        "write relu, gelu, leaky_relu, prelu, elu, selu, tanh, swish, sigmoid, dice, linear, or a full name such as tf.nn.softmax",
    ),
    rule(
        "all_ends_are_joined",
        "no concat_blocks say what leaves the backbone or package, so the outputs of all blocks that nobody reads are put side by side, a block that was forgotten among them",
        "name what is to leave in concat_blocks",
    ),
    rule(
        "attention_norms_count_padding",
        "the batch norms inside of an attention count the positions that a row has not, as many as the batch's longest row asks for, so scores depend on what else is in the batch",
        "set use_bn: false in the DNN that scores positions",
    ),
    rule(
        "auc_without_probabilities",
        "this loss gives raw scores; auc compares them with thresholds from 0 to 1, and EasyRec refuses to start",
        "use mean_squared_error, or loss_type: CLASSIFICATION",
    ),
    rule(
        "augments_in_evaluation",
        "sequences are cropped, masked and reordered at random in evaluation and prediction, too, so a row has another score each time",
        "keep the component out of what is predicted: use its output in an AuxiliaryLoss only",
    ),
    rule(
        "backbone_l2_has_no_effect",
        "the layers of a backbone register their L2 terms where EasyRec never sums them, so they stay out of the loss",
        "remove it, or use embedding_regularization, which does act",
    ),
    rule(
        "bst_tower_differs",
        "its one layer numbers no positions, gives each head columns of its own and does not divide scores, and the squares of its keys count twice in embedding_regularization",
        "use a backbone with the component BST",
    ),
    rule(
        "bucket_precedence",
        "only one way to number the values is used: hash_bucket_size before vocab_list before vocab_file before num_buckets",
        "keep the one that is meant",
    ),
    rule(
        "burnin_is_constant",
        "with burnin_learning_rate 0 the warm-up runs at the full learning rate",
        "set burnin_learning_rate above 0",
    ),
    rule(
        "combo_inputs_reordered",
        "inputs that are cut are combined before those that are not, whatever the order of input_names",
        "list the inputs that are cut first",
    ),
    rule(
        "combo_join_sep_replaced",
        "with combo_input_seps TensorFlow 2 takes the separator for the operation's name and joins with `_X_`",
        "set combo_join_sep to `_X_`, or remove it to combine fingerprints",
    ),
    rule(
        "contrast_of_any_length",
        "the vectors are not divided by their lengths, so long vectors make sharp contrasts whatever the temperature; it is a product, not a cosine",
        "divide them before, as by a lambda with tf.nn.l2_normalize(x, axis=-1), or choose a higher temperature",
    ),
    rule(
        "distillation_pushes_apart",
        "the distance between layers of the light network and the booster has the weight -0.1, so it is made larger; it is always Euclidean",
        "set feature_based_distillation: false",
    ),
    rule(
        "dropout_by_default",
        "a tenth is dropped in training, since the rate is not set and its default is 0.1",
        "set it, to 0 if nothing is to be dropped",
    ),
    rule("duplicate_scalar", "when a value is set twice, the last one wins and the first is forgotten", "remove one of them"),
    rule(
        "easyrec_fails",
        "EasyRec fails when it builds this; Rankmill does what it says, so the config runs here only",
        "write it as EasyRec can read it, if it must: a list [x, x] for Cross, another type for BiLinear",
    ),
    rule(
        "embedding_multiplier_hardly_acts",
        "the multiplier scales the gradient, and Adam divides each gradient by its own size, so almost nothing changes",
        "change the learning rate, or use an optimizer such as momentum_optimizer",
    ),
    rule(
        "embedding_regularization_grows_with_batch",
        "the term sums over the rows of a batch while the loss is their mean, so twice the batch_size regularizes twice as hard",
        "choose it for the batch_size in use, and scale it down when batch_size grows",
    ),
    rule(
        "empty_values_are_looked_up",
        "rows are filled up with empty values to as many as the batch's longest row has, and these are looked up and combined like the others, so a row's vector depends on what else is in the batch",
        "use an input_layer, or weights for the tags and the combiner weight",
    ),
    rule(
        "endless_training",
        "num_steps and num_epochs are both 0, so EasyRec trains without end; `rankmill train` refuses to",
        "set train_config.num_steps or data_config.num_epochs",
    ),
    rule(
        "esmm_sums_over_the_batch",
        "the losses are sums, not means, so the step grows with batch_size, and sample weights are not used",
        "choose the learning rate for the batch_size in use",
    ),
    rule(
        "experts_without_batch_statistics",
        "the experts are built for inference: their batch norms only scale and shift, and nothing is dropped",
        "set use_bn: false in expert_dnn, or use a backbone with the component MMoE",
    ),
    rule(
        "f1_reweighting_has_no_effect",
        "with f1_beta_square 1 every weight becomes 1, so the loss is plain cross entropy",
        "set f1_beta_square to another value, or use CLASSIFICATION",
    ),
    rule(
        "focal_margin_selects",
        "only pairs whose scores differ by less than this count; it is no distance that is asked for, and without it all pairs count, although the schema has a default of 1",
        "remove it, unless pairs are to be selected",
    ),
    rule(
        "gate_norm_removes_biases",
        "with use_bn no layer of the gates has a bias, that of the sigmoid neither, so gates lie around 1 at first and can't be moved as a whole",
        "set use_bn: false in gate_params",
    ),
    rule(
        "gate_weights_are_taken_as_they_are",
        "weights are not normalised: they may be negative, and their sum may be anything",
        "give the block of the weights the final activation tf.nn.softmax",
    ),
    rule(
        "gates_are_eager",
        "the default of the schema, eager, holds, not that of the component's code, lazy: the input passes a gate first, and the last layer passes none",
        "write mode: 'lazy' or mode: 'eager'",
    ),
    rule(
        "group_has_several_tables",
        "a group has tables of its own in the backbone and in each package that reads it, so what is learnt in one is not known in the other",
        "read the group in a block of the backbone and hand that to the package, or share tables by embedding_name",
    ),
    rule(
        "ignored_package_still_runs",
        "the package is built and only its value is dropped: its batch norms move and its auxiliary losses count, while the rest of it learns nothing",
        "remove the input, unless a loss in the package is what is wanted",
    ),
    rule(
        "input_layer_option_ignored",
        "with output_seq_and_normal_feature an input layer neither normalises nor drops, and with feature_dropout_rate its whole is not normalised",
        "normalise in a block of its own",
    ),
    rule("input_names_ignored", "a feature of this type reads its first input only", "remove the others, or use ComboFeature"),
    rule(
        "kd_squeezes_probabilities",
        "probabilities pass through a sigmoid once more: a probability p counts as p / (1 + p), which is never above a half",
        "give logits, or set loss_type: BINARY_CROSS_ENTROPY_LOSS or KL_DIVERGENCE_LOSS",
    ),
    rule(
        "keep_prob_drops_nothing",
        "it is the weight with which the layer before is added, as alpha in the paper; nothing is dropped",
        "choose it as such a weight",
    ),
    rule(
        "logits_are_never_negative",
        "the output is taken for the logits as it is, and a ReLU makes them 0 or more, so no probability is below a half, and where it is 0 nothing is learnt",
        "set final_activation: 'linear', or let the last layer have another width, behind which a layer for the logits follows",
    ),
    rule(
        "loss_is_replaced",
        "two losses of one type without loss_name share a key, so the later replaces the earlier",
        "give each a loss_name of its own",
    ),
    rule(
        "max_f1_on_logits",
        "max_f1 compares raw scores with thresholds from 0 to 1, so only probabilities from 0.5 to 0.73 are tried; it is near 0 when clicks are rare",
        "judge by auc, gauc and log loss",
    ),
    rule(
        "max_seq_len_ignored",
        "sequences combined into one vector are read in full, whatever max_seq_len says",
        "remove it, or cut the sequences in the data",
    ),
    rule(
        "maximum_over_padding",
        "a row is as long as the batch's longest, and the positions it has not take part in the maximum, so its score depends on what else is in the batch",
        "set pad_sequence_length",
    ),
    rule("metric_ignored", "EasyRec reads this metric and never computes it for such a model", "remove it, or use auc, gauc or max_f1"),
    rule(
        "normalization_skipped",
        "values are scaled to 0..1 only if max_val is above min_val; here they stay as they are",
        "set min_val below max_val, or remove both",
    ),
    rule(
        "optimizers_split_by_name",
        "variables are told apart by how their names start: the first optimizer trains the tables of the group that is read first, whichever group that is, and numeric columns cut by boundaries in it",
        "let the wide group be the first that the model reads",
    ),
    rule(
        "padding_is_attended_to",
        "nothing hides the positions that a row has not, so they take part in the softmax, as many as the batch's longest row asks for",
        "use MultiHeadAttention in a TransformerBlock with a mask, DIN or BST for sequences",
    ),
    rule(
        "pairs_of_the_whole_batch",
        "every positive is compared with every negative of the batch, whoever's they are, and the weight of a pair is that of its positive",
        "set session_name to the feature that says whose rows belong together",
    ),
    rule(
        "pairwise_hinge_without_gradient",
        "use_exponent replaces the model's scores by the labels, so no gradient reaches the model",
        "set use_exponent: false",
    ),
    rule(
        "prelu_learns_nothing",
        "in an MLP, prelu is a leaky ReLU with slope 0.2; nothing of it is learnt",
        "write leaky_relu, or use the component PReLU behind a layer without activation",
    ),
    rule(
        "queries_learn_nothing",
        "each tower that it depends on has a query that nothing reads; its weights stay as they started and are saved all the same",
        "expect them in checkpoints; nothing else comes of it",
    ),
    rule("reduction_factor_wins", "reduction_factor and aggregation_size are both set; aggregation_size is not read", "remove one of them"),
    rule(
        "reset_input_stays",
        "the options of the package's input layers are replaced for all calls that follow, not for this one alone",
        "write two packages, if calls need different options",
    ),
    rule(
        "sample_weights_ignored",
        "this loss does not use sample weights, so all rows count alike",
        "use CLASSIFICATION, or another loss that does",
    ),
    rule(
        "scores_are_multiplied",
        "attention scores are multiplied by the root of multi_head_size, where others divide, so each position attends to hardly more than one",
        "choose a small multi_head_size",
    ),
    rule(
        "setting_without_effect",
        "the setting is read and changes nothing: its machinery is not there, or it is not used yet",
        "remove it, or do what the message says instead",
    ),
    rule(
        "shared_norms_move_together",
        "each call moves the moving statistics of the batch norms from where they stood before the step, so k calls move them k times as far, towards the mean of what the calls saw",
        "set use_bn: false in the package, or write a package for each call",
    ),
    rule(
        "single_token_attention",
        "an image is a single token, and the softmax over one is 1 whatever the scores, so kernels of queries and keys learn nothing",
        "set image_self_attention_layer_num above 0, with image_feature_dim or image_feature_patch_num",
    ),
    rule(
        "small_shuffle_buffer",
        "rows are drawn from a buffer smaller than a batch, so sorted data stays nearly sorted",
        "set shuffle_buffer_size to many batches, or shuffle the files beforehand",
    ),
    rule(
        "tag_separator_characters",
        "each character of the separator splits tags by itself; the whole is not looked for",
        "use a single character",
    ),
    rule(
        "tower_input_ignored",
        "both towers read the group `all`, whatever their input",
        "name the group `all`, or use a backbone for different groups",
    ),
    rule(
        "tower_losses_share_a_weight",
        "all losses of a tower are multiplied by the weight of its first loss",
        "give them one weight, or scale them by loss_weight_strategy: Uncertainty",
    ),
    rule(
        "transfer_is_shared",
        "one MLP transfers what all towers know that it depends on",
        "put an MLP of its own into a block behind each tower, and remove transfer_mlp",
    ),
    rule(
        "unused_feature",
        "the feature is in no feature group, so the model never sees it",
        "add it to the feature_names of a group, or remove it",
    ),
    rule(
        "weight_decay_not_scaled",
        "each step takes weight_decay times the weight away, not multiplied by the learning rate, from biases and normalization too",
        "choose weight_decay about a learning rate smaller than for AdamW elsewhere",
    ),
    rule(
        "whole_and_features_differ",
        "the tensor and the list are normalised independently, so the tensor is not the list put side by side",
        "use only_output_feature_list, and put the list side by side where the whole is needed",
    ),
    rule(
        "year_out_of_range",
        "numbers from num_buckets upwards all become row 0, so years such as 1995 cannot be told apart",
        "use hash_bucket_size, or num_buckets above the last year",
    ),
];
