//! `eval_config.metrics_set`: what each metric needs (EasyRec behaviours 48 to 51 and 55).

use super::{Check, listed};
use crate::proto::EvalMetrics;
use crate::proto::eval_metrics::Metric;

pub(super) fn check(check: &mut Check<'_>) {
    let proto = check.proto();
    let model = proto.model_config.as_ref();
    let single_task = model.is_some_and(|model| is_single_task(model.model_class()));
    let classes = model.filter(|_| single_task).map(|model| model.num_class());
    let Some(eval) = &proto.eval_config else { return };
    for (at, set) in eval.metrics_set.iter().enumerate() {
        metric(check, set, classes, &format!("eval_config.metrics_set[{at}]"));
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

fn metric(check: &mut Check<'_>, set: &EvalMetrics, classes: Option<u32>, path: &str) {
    let Some(metric) = &set.metric else {
        check.error(path, "the metric set is empty", "expected a metric such as auc {}");
        return;
    };
    let name = match metric {
        Metric::Auc(auc) => {
            if auc.num_thresholds() < 2 {
                let path = format!("{path}.auc.num_thresholds");
                check.error(&path, format!("`num_thresholds` is {}", auc.num_thresholds()), "expected at least 2");
            }
            return;
        }
        Metric::Gauc(gauc) => {
            key(check, gauc.uid_field(), &format!("{path}.gauc"), "uid_field");
            reduction(check, gauc.reduction(), &format!("{path}.gauc.reduction"));
            return;
        }
        Metric::SessionAuc(auc) => {
            key(check, auc.session_id_field(), &format!("{path}.session_auc"), "session_id_field");
            reduction(check, auc.reduction(), &format!("{path}.session_auc.reduction"));
            return;
        }
        Metric::RecallAtTopk(_) => "recall_at_topk",
        Metric::Accuracy(_) => "accuracy",
        _ => return,
    };
    let Some(classes) = classes else { return };
    let path = format!("{path}.{name}");
    if classes < 2 {
        check.error(&path, format!("`{name}` needs several classes, but num_class is {classes}"), "use auc for a click probability");
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
    check.report_unknown(&format!("{path}.{field}"), message, name, known(), &listed(known()));
}

fn reduction(check: &mut Check<'_>, reduction: &str, path: &str) {
    const REDUCTIONS: [&str; 3] = ["mean", "mean_by_sample_num", "mean_by_positive_num"];
    if !REDUCTIONS.contains(&reduction) {
        check.report_unknown(path, format!("`{reduction}` is no reduction"), reduction, REDUCTIONS, &listed(REDUCTIONS));
    }
}
