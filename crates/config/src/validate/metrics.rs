//! `eval_config.metrics_set`: what each metric needs (EasyRec behaviours 48 to 51 and 55).

use super::{Check, listed};
use crate::proto::eval_metrics::Metric;
use crate::proto::{EvalMetrics, LossType};

/// What single-task models can give a metric.
struct Output {
    loss: LossType,
    classes: u32,
}

pub(super) fn check(check: &mut Check<'_>) {
    let proto = check.proto();
    let model = proto.model_config.as_ref();
    let single_task = model.is_some_and(|model| is_single_task(model.model_class()));
    let output = model.filter(|model| single_task && model.losses.is_empty());
    let output = output.map(|model| Output { loss: model.loss_type(), classes: model.num_class() });
    let Some(eval) = &proto.eval_config else { return };
    for (at, set) in eval.metrics_set.iter().enumerate() {
        metric(check, set, output.as_ref(), &format!("eval_config.metrics_set[{at}]"));
    }
}

fn is_single_task(class: &str) -> bool {
    matches!(
        class,
        "RankModel"
            | "MultiTower"
            | "MultiTowerDIN"
            | "MultiTowerBST"
            | "DeepFM"
            | "WideAndDeep"
            | "DCN"
            | "DLRM"
            | "FM"
            | "AutoInt"
            | "CMBF"
            | "Uniter"
    )
}

fn metric(check: &mut Check<'_>, set: &EvalMetrics, output: Option<&Output>, path: &str) {
    let Some(metric) = &set.metric else {
        check.error(path, "the metric set is empty", "expected a metric such as auc {}");
        return;
    };
    let (name, ranks) = match metric {
        Metric::Auc(auc) => {
            if auc.num_thresholds() < 2 {
                let path = format!("{path}.auc.num_thresholds");
                check.error(&path, format!("`num_thresholds` is {}", auc.num_thresholds()), "expected at least 2");
            }
            ("auc", true)
        }
        Metric::Gauc(gauc) => {
            key(check, gauc.uid_field(), &format!("{path}.gauc"), "uid_field");
            reduction(check, gauc.reduction(), &format!("{path}.gauc.reduction"));
            ("gauc", true)
        }
        Metric::SessionAuc(auc) => {
            key(check, auc.session_id_field(), &format!("{path}.session_auc"), "session_id_field");
            reduction(check, auc.reduction(), &format!("{path}.session_auc.reduction"));
            ("session_auc", true)
        }
        Metric::MaxF1(_) => ("max_f1", true),
        Metric::RecallAtTopk(_) => ("recall_at_topk", false),
        Metric::Accuracy(_) => ("accuracy", false),
        _ => return,
    };
    let Some(output) = output else { return };
    let path = format!("{path}.{name}");
    if ranks && matches!(output.loss, LossType::L2Loss | LossType::SigmoidL2Loss) {
        let loss = output.loss.as_str_name();
        check.error(
            &path,
            format!("`{name}` needs click probabilities, but loss_type is {loss}"),
            "use mean_squared_error, or loss_type: CLASSIFICATION",
        );
    }
    if !ranks && output.classes < 2 {
        check.error(
            &path,
            format!("`{name}` needs several classes, but num_class is {}", output.classes),
            "use auc for a click probability",
        );
    }
}

/// The users or sessions of a grouped metric: a feature, or any input field.
fn key(check: &mut Check<'_>, name: &str, path: &str, field: &str) {
    if name.is_empty() {
        check.error(path, format!("`{field}` is missing"), "name the feature whose values group the rows");
        return;
    }
    let mut names: Vec<String> = check.features.iter().map(|feature| feature.name.clone()).collect();
    names.extend(check.fields.iter().map(|field| field.name.clone()));
    if names.iter().any(|known| known == name) || check.proto().fg_json_path.is_some() {
        return;
    }
    let known = || names.iter().map(String::as_str);
    let message = format!("`{field}` names `{name}`, which is neither a feature nor an input field");
    check.report_unknown(&format!("{path}.{field}"), message, name, known(), &listed(check_features(&names)));
}

fn check_features(names: &[String]) -> impl Iterator<Item = &str> {
    let mut shown: Vec<&str> = Vec::new();
    for name in names {
        if !shown.contains(&name.as_str()) {
            shown.push(name);
        }
    }
    shown.into_iter()
}

fn reduction(check: &mut Check<'_>, reduction: &str, path: &str) {
    const REDUCTIONS: [&str; 3] = ["mean", "mean_by_sample_num", "mean_by_positive_num"];
    if !REDUCTIONS.contains(&reduction) {
        check.report_unknown(path, format!("`{reduction}` is no reduction"), reduction, REDUCTIONS, &listed(REDUCTIONS));
    }
}
