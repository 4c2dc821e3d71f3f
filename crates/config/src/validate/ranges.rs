//! Numbers that make no sense, by field name: negative rates, empty layers, probabilities above one.

use prost_reflect::{FieldDescriptor, Value};

use super::Check;
use crate::walk;

/// What a number must satisfy.
#[derive(Clone, Copy)]
enum Rule {
    NotNegative,
    Positive,
    /// In [0, 1).
    Fraction,
    /// In [0, 1].
    Share,
}

/// The rule of a field, wherever it stands.
fn rule(field: &FieldDescriptor) -> Option<Rule> {
    let message = field.parent_message().name();
    let rule = match (message, field.name()) {
        ("TextCNN", "filter_sizes" | "num_filters") => Rule::Positive,
        ("MLP", "hidden_units") => Rule::Positive,
        ("CIN", "hidden_feature_sizes") => Rule::Positive,
        (_, "dropout_ratio" | "dropout_rate" | "feature_dropout_rate" | "hidden_dropout_prob") => Rule::Fraction,
        (_, "attention_probs_dropout_prob" | "text_seq_emb_dropout_prob" | "dropout") => Rule::Fraction,
        (_, "user_dropout_rate" | "item_dropout_rate" | "beta1" | "beta2" | "moving_average_decay") => Rule::Fraction,
        (_, "mask_rate" | "crop_rate" | "reorder_rate" | "label_smoothing" | "ohem_ratio") => Rule::Share,
        (_, "l2_regularization" | "embedding_regularization" | "wide_regularization") => Rule::NotNegative,
        (_, "dense_regularization" | "l1_reg" | "l2_reg" | "l2_shrinkage_reg" | "weight_decay") => Rule::NotNegative,
        (_, "learning_rate" | "initial_learning_rate" | "burnin_learning_rate" | "min_learning_rate") => Rule::NotNegative,
        (_, "learning_rate_base" | "warmup_learning_rate" | "end_learning_rate") => Rule::NotNegative,
        (_, "gradient_clipping_by_norm" | "embedding_learning_rate_multiplier" | "initial_accumulator_value") => Rule::NotNegative,
        (_, "stddev" | "sigma" | "initializer_range" | "in_task_space_weight" | "out_task_space_weight") => Rule::NotNegative,
        (_, "reduction_factor" | "temperature" | "decay_steps" | "decay_factor" | "total_steps") => Rule::Positive,
        (_, "aggregation_size" | "output_size" | "projection_dim" | "reduction_ratio" | "topk") => Rule::Positive,
        (_, "input_dim" | "lookup_max_sel_elem_num" | "save_checkpoints_steps" | "log_step_count_steps") => Rule::Positive,
        _ => return None,
    };
    Some(rule)
}

pub(super) fn check(check: &mut Check<'_>) {
    let mut found = Vec::new();
    walk::scalars(check.pipeline.message(), &mut |path, field, value| {
        let number = match value {
            Value::F32(number) => f64::from(*number),
            Value::F64(number) => *number,
            Value::I32(number) => f64::from(*number),
            Value::U32(number) => f64::from(*number),
            Value::I64(number) => *number as f64,
            _ => return,
        };
        let shown = match value {
            Value::F32(number) => number.to_string(),
            _ => number.to_string(),
        };
        let message = format!("`{}` is {shown}", field.name());
        if number.is_nan() {
            // Boundaries have a message of their own.
            if field.name() != "boundaries" {
                found.push((path.to_owned(), message, "expected a number"));
            }
            return;
        }
        let Some(rule) = rule(field) else { return };
        let (holds, help) = match rule {
            Rule::NotNegative => (number >= 0.0, "expected a number that is not negative"),
            Rule::Positive => (number > 0.0, "expected a number above 0"),
            Rule::Fraction => ((0.0..1.0).contains(&number), "expected a number from 0 to below 1"),
            Rule::Share => ((0.0..=1.0).contains(&number), "expected a number from 0 to 1"),
        };
        if !holds {
            found.push((path.to_owned(), message, help));
        }
    });
    for (path, message, help) in found {
        check.error(&path, message, help);
    }
}
