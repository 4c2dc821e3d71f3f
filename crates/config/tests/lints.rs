//! Each lint, set off by one change of `data/good.config`, at its place.

use rankmill_config::{Edits, FIXABLE, LINTS, Pipeline, lints, validate};

const GOOD: &str = include_str!("data/good.config");

/// Replacement, and the lints it sets off as `name line:column`.
const CASES: [(&str, &str, &str); 76] = [
    ("mlp { hidden", "mlp { activation: 'softmax' hidden", "activation_is_linear 50:89"),
    (
        "class_name: 'Dense'\n        st_params {\n",
        "class_name: 'Cross' st_params { fields { key: 'preactivation' value { string_value: 'softmax' } }\n",
        "easyrec_fails 57:21, activation_is_linear 57:41",
    ),
    ("class_name: 'MaskNet'\n", "class_name: 'MaskNet' highway { activation: 'ReLU' }\n", "duplicate_scalar 50:9"),
    ("model_params { }", "model_params { } loss_type: L2_LOSS", "auc_without_probabilities 17:18, auc_without_probabilities 18:19"),
    ("model_params { }", "model_params { l2_regularization: 1e-5 }", "backbone_l2_has_no_effect 66:37"),
    ("hash_bucket_size: 500 ", "hash_bucket_size: 500 num_buckets: 5 ", "bucket_precedence 36:102"),
    ("constant_learning_rate { learning_rate: 1e-3f }", "exponential_decay_learning_rate { burnin_steps: 5 }", "burnin_is_constant 10:72"),
    (
        "feature_type: IdFeature",
        "feature_type: ComboFeature input_names: 'tags' combo_input_seps: ['', '|']",
        "combo_inputs_reordered 35:104",
    ),
    (
        "feature_type: IdFeature",
        "feature_type: ComboFeature input_names: 'tags' combo_join_sep: '-' combo_input_seps: ['|', '']",
        "combo_join_sep_replaced 35:97",
    ),
    ("batch_size: 64;", "batch_size: 64; batch_size: 65", "duplicate_scalar 22:19"),
    ("use_moving_average: False", "embedding_learning_rate_multiplier: 3", "embedding_multiplier_hardly_acts 12:41"),
    ("model_params { }", "embedding_regularization: 1e-5", "embedding_regularization_grows_with_batch 66:29"),
    ("  num_steps: 100\n", "\n", "endless_training 6:1"),
    ("model_params { }", "losses { loss_type: F1_REWEIGHTED_LOSS }", "f1_reweighting_has_no_effect 66:3"),
    ("input_names: 'item'", "input_names: ['item', 'tags']", "input_names_ignored 36:36"),
    ("model_params { }", "losses { loss_type: CLASSIFICATION } losses { weight: 2 loss_type: CLASSIFICATION }", "loss_is_replaced 66:40"),
    ("auc { num_thresholds: 0xC8 }", "max_f1 { }", "max_f1_on_logits 17:18"),
    ("feature_type: TagFeature", "feature_type: SequenceFeature max_seq_len: 9", "max_seq_len_ignored 37:77"),
    (
        "feature_type: TagFeature",
        "feature_type: SequenceFeature sequence_combiner { text_cnn { filter_sizes: 2 num_filters: 4 } }",
        "maximum_over_padding 37:84",
    ),
    ("auc { num_thresholds: 0xC8 }", "precision { }", "metric_ignored 17:18"),
    ("feature_type: RawFeature", "feature_type: RawFeature min_val: 2 max_val: 1", "normalization_skipped 38:80"),
    ("model_params { }", "losses { pairwise_hinge_loss { use_exponent: true } }", "pairwise_hinge_without_gradient 66:48"),
    ("aggregation_size: 16", "aggregation_size: 16 reduction_factor: 2", "reduction_factor_wins 50:51"),
    ("num_steps: 100", "num_steps: 100 sync_replicas: false num_gpus_per_worker: 1", "setting_without_effect 7:33"),
    (
        "num_steps: 100",
        "num_steps: 100 sync_replicas: true train_distribute: PSStrategy incr_save_config { }",
        "setting_without_effect 7:56, setting_without_effect 7:67",
    ),
    ("shuffle_buffer_size: 4096", "num_epochs: 1", "small_shuffle_buffer 22:15"),
    ("separator: '|'", "separator: '|,'", "tag_separator_characters 37:108"),
    ("feature_names: ['user', 'item', ", "feature_names: ['user', ", "unused_feature 36:27"),
    ("adam_optimizer: {", "adamw_optimizer: { weight_decay: 0.01 ", "weight_decay_not_scaled 9:38"),
    (
        "model_params { }",
        "model_params { task_towers { tower_name: 'a' losses { weight: 2 } losses { loss_name: 'b' weight: 3 } } }",
        "tower_losses_share_a_weight 66:101",
    ),
    ("model_params { }", "mmoe { expert_dnn { hidden_units: 4 } }", "experts_without_batch_statistics 66:10"),
    ("model_params { }", "esmm { }", "esmm_sums_over_the_batch 66:3"),
    ("model_params { }", "rocket_launching { feature_based_distillation: true }", "distillation_pushes_apart 66:50"),
    (
        "model_params { }",
        "model_params { task_towers { tower_name: 'a' losses { loss_name: 'n' } } task_towers { tower_name: 'b' losses { loss_name: 'n' } } }",
        "loss_is_replaced 66:106",
    ),
    ("model_params { }", "multi_tower { din_towers { dnn { hidden_units: [4, 1] } } }", "attention_norms_count_padding 66:30"),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { din { attention_dnn { hidden_units: [4, 1] } } } } concat_blocks: 'top'",
        "attention_norms_count_padding 64:44",
    ),
    ("wide_deep: DEEP }", "wide_deep: DEEP sequence_features { } }", "attention_norms_count_padding 43:103"),
    (
        "wide_deep: DEEP }",
        "wide_deep: DEEP sequence_features { seq_dnn { hidden_units: [4, 1] } } }",
        "attention_norms_count_padding 43:123",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { class_name: 'SeqAugment' } } concat_blocks: 'top'",
        "augments_in_evaluation 64:50",
    ),
    ("model_params { }", "multi_tower { bst_towers { } }", "bst_tower_differs 66:17"),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { bst { attention_probs_dropout_prob: 0 } } } concat_blocks: 'top'",
        "dropout_by_default 64:38",
    ),
    ("concat_blocks: 'top'", "blocks { name: 'x' keras_layer { transformer { } } } concat_blocks: 'top'", "dropout_by_default 64:38"),
    ("model_params { }", "uniter { config { hidden_dropout_prob: 0 } }", "dropout_by_default 66:12"),
    ("model_params { }", "cmbf { config { } } feature_groups { group_name: 'text' feature_names: 'tags' }", "dropout_by_default 66:10"),
    ("model_params { }", "dbmtl { bottom_uniter { } }", "dropout_by_default 66:11"),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' input_layer { do_batch_norm: true output_seq_and_normal_feature: true } } concat_blocks: 'top'",
        "input_layer_option_ignored 64:53",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' input_layer { do_layer_norm: true feature_dropout_rate: 0.1 } } concat_blocks: 'top'",
        "input_layer_option_ignored 64:53",
    ),
    ("model_params { }", "kd { loss_type: CROSS_ENTROPY_LOSS pred_is_logits: false }", "kd_squeezes_probabilities 66:19"),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { auto_dis_embedding { keep_prob: 0.5 } } } concat_blocks: 'top'",
        "keep_prob_drops_nothing 64:70",
    ),
    ("mlp { hidden", "mlp { activation: 'PReLU' hidden", "prelu_learns_nothing 50:89"),
    ("model_params { }", "autoint { multi_head_size: 4 }", "scores_are_multiplied 66:30"),
    (
        "model_params { }",
        "cmbf { config { } } feature_groups { group_name: 'image' feature_names: 'price' }",
        "single_token_attention 66:10",
    ),
    ("model_params { }", "dcn { deep_tower { input: 'deep' } cross_tower { input: 'all' } }", "tower_input_ignored 66:29"),
    ("concat_blocks: 'top'", "blocks { name: 'x' inputs { block_name: 'mask' } }", "all_ends_are_joined 44:3"),
    (
        "concat_blocks: 'top'",
        "packages { name: 'p' blocks { name: 'y' inputs { block_name: 'top' } } blocks { name: 'z' inputs { block_name: 'top' } } } concat_blocks: 'top'",
        "all_ends_are_joined 64:5",
    ),
    (
        "concat_blocks: 'top'",
        "packages { name: 'p' blocks { name: 'y' inputs { feature_group_name: 'all' } } } concat_blocks: 'top'",
        "group_has_several_tables 64:74",
    ),
    (
        "concat_blocks: 'top'",
        "packages { name: 'p' blocks { name: 'y' keras_layer { class_name: 'BatchNormalization' } } } blocks { name: 'x' inputs { package_name: 'p' } inputs { package_name: 'p' } } concat_blocks: 'top'",
        "shared_norms_move_together 64:5",
    ),
    (
        "concat_blocks: 'top'",
        "packages { name: 'p' blocks { name: 'y' } } blocks { name: 'x' inputs { package_name: 'p' ignore_input: true } } concat_blocks: 'top'",
        "ignored_package_still_runs 64:109",
    ),
    (
        "concat_blocks: 'top'",
        "packages { name: 'p' blocks { name: 'y' } } blocks { name: 'x' inputs { package_name: 'p' reset_input { } } inputs { package_name: 'p' } } concat_blocks: 'top'",
        "reset_input_stays 64:95",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' input_layer { do_layer_norm: true output_2d_tensor_and_feature_list: true } } concat_blocks: 'top'",
        "whole_and_features_differ 64:53",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' inputs { feature_group_name: 'all' } embedding_layer { embedding_dim: 4 } } concat_blocks: 'top'",
        "empty_values_are_looked_up 64:61",
    ),
    (
        "mlp { hidden_units: [16, 8] } }\n      }\n    }\n",
        "mlp { hidden_units: [16, 8] } }\n      }\n    }\n    top_mlp { hidden_units: [4, 1] }\n",
        "logits_are_never_negative 53:5",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' inputs { block_name: 'top' } keras_layer { class_name: 'MLP' mlp { hidden_units: 1 } } } concat_blocks: 'x'",
        "logits_are_never_negative 64:85",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' inputs { block_name: 'top' } keras_layer { class_name: 'Cross' } } concat_blocks: 'top'",
        "easyrec_fails 64:79",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { bilinear { num_output_units: 4 } } } concat_blocks: 'top'",
        "easyrec_fails 64:38",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' inputs { block_name: 'top' } inputs { block_name: 'mask' } keras_layer { class_name: 'Gate' } } concat_blocks: 'top'",
        "gate_weights_are_taken_as_they_are 64:109",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { ppnet { gate_params { use_bn: true } mode: 'lazy' } } } concat_blocks: 'top'",
        "gate_norm_removes_biases 64:68",
    ),
    ("concat_blocks: 'top'", "blocks { name: 'x' keras_layer { ppnet { } } } concat_blocks: 'top'", "gates_are_eager 64:38"),
    (
        "concat_blocks: 'top'",
        "blocks { name: 's' input_layer { output_seq_and_normal_feature: true } } blocks { name: 'x' inputs { block_name: 's' input_slice: '[0]' } keras_layer { class_name: 'Attention' } } concat_blocks: 'top'",
        "padding_is_attended_to 64:169",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { class_name: 'TextCNN' text_cnn { } } } concat_blocks: 'top'",
        "maximum_over_padding 64:60",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' inputs { block_name: 'top' } inputs { block_name: 'mask' } inputs { block_name: 'top' } keras_layer { class_name: 'AITMTower' aitm { transfer_mlp { } } } } concat_blocks: 'top'",
        "queries_learn_nothing 64:138, transfer_is_shared 64:157",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { class_name: 'AuxiliaryLoss' st_params { fields { key: 'loss_type' value { string_value: 'info_nce' } } } } } concat_blocks: 'top'",
        "contrast_of_any_length 64:50",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { class_name: 'Cross' st_params { fields { key: 'kernel_regularizer' value { string_value: 'l2' } } } } } concat_blocks: 'top'",
        "setting_without_effect 64:70",
    ),
    (
        "concat_blocks: 'top'",
        "blocks { name: 'x' keras_layer { attention { use_scale: true scale_by_dim: true } } } concat_blocks: 'top'",
        "setting_without_effect 64:80",
    ),
    ("model_params { }", "losses { loss_type: PAIR_WISE_LOSS }", "pairs_of_the_whole_batch 66:3"),
    (
        "model_params { }",
        "losses { loss_type: PAIRWISE_FOCAL_LOSS pairwise_focal_loss { session_name: 'user' hinge_margin: 0.5 } }",
        "focal_margin_selects 66:100",
    ),
];

fn found(text: &str) -> String {
    let pipeline = Pipeline::parse("f", text, &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"));
    let lints = lints(&pipeline);
    let shown: Vec<String> =
        lints.iter().map(|lint| format!("{} {}:{}", lint.name, lint.diagnostic.line, lint.diagnostic.column)).collect();
    shown.join(", ")
}

/// Replacement, place of the setting, and a part of its effect.
const IDLE: [(&str, &str, &str, &str); 25] = [
    ("num_steps: 100", "num_steps: 100 force_restore_shape_compatible: true", "7:50", "`fine_tune_checkpoint`"),
    ("num_steps: 100", "num_steps: 100 fine_tune_ckpt_var_map: 'names'", "7:42", "`fine_tune_checkpoint`"),
    ("num_steps: 100", "num_steps: 100 train_distribute: PSStrategy", "7:36", "TensorFlow's machinery"),
    ("num_steps: 100", "num_steps: 100 incr_save_config { }", "7:18", "TensorFlow's machinery"),
    ("use_moving_average: False", "moving_average_decay: 0.5", "12:27", "`use_moving_average` needs it"),
    ("eval_config {", "eval_config { save_graph: true", "16:27", "TensorFlow's graph"),
    ("eval_config {", "eval_config { eval_interval_secs: 60", "16:35", "`--eval-every`"),
    ("batch_size: 64;", "batch_size: 64 selected_cols: '1,2'", "22:33", "`input_fields`"),
    ("batch_size: 64;", "batch_size: 64 selected_col_types: 'a,b'", "22:38", "`input_fields`"),
    ("batch_size: 64;", "batch_size: 64 eval_batch_size: 512", "22:35", "uses `batch_size`"),
    ("batch_size: 64;", "batch_size: 64 file_shard: true", "22:30", "among workers"),
    ("batch_size: 64;", "batch_size: 64 feature_fields: 'tags'", "22:34", "`input_fields`"),
    ("input_name: 'tags'", "input_name: 'tags' input_dim: 2", "30:48", "how many values"),
    ("input_name: 'tags'", "input_name: 'tags' input_shape: 2", "30:50", "how many values"),
    ("input_name: 'tags'", "input_name: 'tags' user_define_fn_res_type: FLOAT", "30:62", "labels are f32"),
    ("input_name: 'tags'", "input_name: 'tags' ignore_val: 'none'", "30:49", "like any other"),
    ("input_name: 'tags'", "input_name: 'tags' user_define_fn: 'tf.math.log1p'", "30:53", "label fields only"),
    ("model_params { }", "model_params { } restore_filters: ['a', 'b']", "66:38", "`fine_tune_checkpoint`"),
    ("model_params { }\n}", "model_params { }\n}\nexport_config { multi_placeholder: false }", "68:36", "SavedModel"),
    ("model_params { }\n}", "model_params { }\n}\nexport_config { multi_value_fields { } }", "68:17", "SavedModel"),
    ("model_params { }\n}", "model_params { }\n}\nexport_config { best_exporter_metric: 'gauc' }", "68:39", "`enable_early_stop`"),
    ("model_params { }\n}", "model_params { }\n}\nexport_config { exporter_type: 'final' exports_to_keep: 3 }", "68:57", "`latest`"),
    ("model_params { }\n}", "model_params { }\n}\nexport_config { max_check_steps: 50 }", "68:34", "`enable_early_stop: true`"),
    ("model_params { }\n}", "model_params { }\n}\nexport_config { asset_files: 'fg.json' }", "68:30", "`exporter_type`"),
    ("eval_config {", "eval_config { max_evals: 3", "16:26", "`--eval-every`"),
];

#[test]
fn each_setting_without_effect_says_why() {
    let mut wrong = Vec::new();
    for (old, new, place, effect) in IDLE {
        assert!(GOOD.contains(old), "{old}");
        let pipeline = Pipeline::parse("f", &GOOD.replacen(old, new, 1), &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"));
        let [lint] = &lints(&pipeline)[..] else { panic!("{new}: {:?}", lints(&pipeline)) };
        let found = format!("{}:{}", lint.diagnostic.line, lint.diagnostic.column);
        if lint.name != "setting_without_effect" || found != place || !lint.effect.contains(effect) {
            wrong.push(format!("{new}: {} {found} {}", lint.name, lint.effect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The effects of all lints that a config sets off.
fn effects(text: &str) -> Vec<String> {
    let pipeline = Pipeline::parse("f", text, &Edits::default()).unwrap_or_else(|problems| panic!("{problems}"));
    lints(&pipeline).into_iter().map(|lint| lint.effect).collect()
}

#[test]
fn what_a_type_of_features_does_not_read() {
    for setting in [
        "boundaries: 1",
        "combo_input_seps: '|'",
        "combo_join_sep: '_'",
        "expression: 'x'",
        "kv_separator: ':'",
        "lookup_max_sel_elem_num: 3",
        "max_seq_len: 3",
        "normalizer_fn: 'tf.math.log1p'",
        "raw_input_dim: 3",
        "separator: ','",
        "sequence_combiner { }",
        "sequence_length: 3",
        "sub_feature_type: RawFeature",
    ] {
        let text = GOOD.replacen("hash_bucket_size: 500 ", &format!("hash_bucket_size: 500 {setting} "), 1);
        assert_eq!(effects(&text), ["a feature of the type IdFeature does not read it"], "{setting}");
    }
}

#[test]
fn what_one_input_type_reads_is_no_setting_without_effect_there() {
    let with = |input: &str, old: &str, new: &str| effects(&GOOD.replacen("CSVInput", input, 1).replacen(old, new, 1));
    assert_eq!(with("CSVInput", "batch_size: 64;", "batch_size: 64 with_header: true"), [""; 0]);
    assert_eq!(with("ParquetInputV3", "batch_size: 64;", "batch_size: 64 with_header: true"), ["only the CSV inputs read it"]);
    for (value, noted) in [("none", 0), ("-1", 0), ("0", 1), ("", 0)] {
        let found = with("ParquetInputV3", "input_name: 'tags'", &format!("input_name: 'tags' ignore_val: '{value}'"));
        assert_eq!(found.len(), noted, "{value:?}: {found:?}");
    }
}

#[test]
fn a_setting_at_its_default_is_not_worth_a_word() {
    let defaults = GOOD
        .replacen("num_steps: 100", "num_steps: 100 sync_replicas: true fine_tune_checkpoint: '' dead_line: ''", 1)
        .replacen("eval_config {", "eval_config { eval_interval_secs: 300 eval_online: false", 1)
        .replacen("batch_size: 64;", "batch_size: 64 eval_batch_size: 4096 selected_cols: ''", 1)
        .replacen("model_params { }\n}", "model_params { }\n}\nexport_config { multi_placeholder: true exports_to_keep: 1 }", 1);
    assert_eq!(found(&defaults), "");
}

#[test]
fn a_good_config_sets_off_nothing() {
    assert_eq!(found(GOOD), "");
}

#[test]
fn what_does_as_it_says_sets_off_nothing() {
    let softmax = "fields { key: 'activation' value { string_value: 'softmax' } }";
    let weights =
        format!("blocks {{ name: 'w' inputs {{ block_name: 'mask' }} keras_layer {{ class_name: 'Dense' st_params {{ {softmax} }} }} }}");
    let called = "blocks { name: 'x' inputs { package_name: 'p' reset_input { } } }";
    for (blocks, concat) in [
        (
            format!(
                "{weights} blocks {{ name: 'x' inputs {{ block_name: 'w' }} inputs {{ block_name: 'top' }} keras_layer {{ class_name: 'Gate' }} }}"
            ),
            "'x'",
        ),
        (format!("packages {{ name: 'p' blocks {{ name: 'y' keras_layer {{ class_name: 'BatchNormalization' }} }} }} {called}"), "'top'"),
        ("blocks { name: 'x' inputs { block_name: 'top' } keras_layer { class_name: 'Attention' } }".to_owned(), "'x'"),
        (
            "blocks { name: 'x' inputs { block_name: 'top' input_fn: 'lambda x: [x, x]' } keras_layer { class_name: 'Cross' } }".to_owned(),
            "'x'",
        ),
        (
            "blocks { name: 'x' inputs { block_name: 'top' } keras_layer { mlp { hidden_units: 1 final_activation: 'linear' } } }"
                .to_owned(),
            "'x'",
        ),
        ("blocks { name: 'x' inputs { block_name: 'top' } keras_layer { mlp { hidden_units: 2 } } }".to_owned(), "'x'"),
        ("blocks { name: 'x' keras_layer { ppnet { mode: 'eager' } } }".to_owned(), "'x'"),
    ] {
        assert_eq!(found(&GOOD.replacen("concat_blocks: 'top'", &format!("{blocks} concat_blocks: {concat}"), 1)), "", "{blocks}");
    }
    assert_eq!(found(&GOOD.replacen("concat_blocks: 'top'", "", 1)), "", "one end only");
    let session = "losses { loss_type: PAIR_WISE_LOSS pairwise_loss { session_name: 'user' } }";
    assert_eq!(found(&GOOD.replacen("model_params { }", session, 1)), "");
}

#[test]
fn each_lint_at_its_place() {
    let year = GOOD.replace("'item'", "'year'").replace("hash_bucket_size: 500 ", "num_buckets: 36 ");
    let mut wrong = Vec::new();
    let mut seen = found(&year);
    assert_eq!(seen, "year_out_of_range 36:80");
    assert_eq!(found(&year.replace("num_buckets: 36", "num_buckets: 2100")), "");
    let weighted = GOOD.replace("model_params { }", "losses { loss_type: ZILN_LOSS }").replace("batch_size: 64;", "sample_weight: 'price'");
    assert_eq!(found(&weighted), "sample_weights_ignored 66:3");
    let optimizers = format!("{}train_config {{ optimizer_config {{ }} }}\n", GOOD.replace("'RankModel'", "'WideAndDeep'"));
    assert_eq!(found(&optimizers), "optimizers_split_by_name 8:3");
    seen.push_str(", sample_weights_ignored, optimizers_split_by_name");
    for (old, new, expected) in CASES {
        assert!(GOOD.contains(old), "{old}");
        let lints = found(&GOOD.replacen(old, new, 1));
        if lints != expected {
            wrong.push(format!("{new}: {lints}, not {expected}"));
        }
        seen = format!("{seen}, {lints}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for rule in LINTS {
        assert!(seen.contains(rule.name), "no case sets off {}", rule.name);
    }
}

#[test]
fn what_is_fixed_is_not_told_and_must_be_a_lint_that_can_be() {
    let exponent = GOOD.replace("model_params { }", "losses { pairwise_hinge_loss { use_exponent: true } }");
    assert!(found(&exponent).contains("pairwise_hinge_without_gradient"));
    let fixed = format!("{exponent}\nrankmill_fix: 'pairwise_hinge_without_gradient'");
    assert_eq!(found(&fixed), "");
    let problems = |name: &str| {
        let pipeline = Pipeline::parse("f", &format!("{GOOD}\nrankmill_fix: '{name}'"), &Edits::default()).expect("it can be read");
        validate(&pipeline).iter().map(|problem| format!("{}: {}", problem.line, problem.message)).collect::<Vec<_>>()
    };
    assert_eq!(problems("year_out_of_range"), ["69: there is no one thing that `year_out_of_range` could be fixed to"]);
    assert_eq!(problems("esmm_sums_over_batch"), ["69: `esmm_sums_over_batch` is no lint"]);
    for name in FIXABLE {
        assert_eq!(problems(name), [""; 0]);
    }
}
