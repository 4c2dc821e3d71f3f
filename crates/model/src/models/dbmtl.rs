//! `DBMTL`, deep Bayesian multi-task learning (Wang et al. 2019; EasyRec behaviours 151, 153): a shared DNN, or a `CMBF` or `Uniter`
//! in its place, perhaps experts, and towers that read the features of the towers they depend on.

use rankmill_config::Diagnostic;
use rankmill_graph::Value;

use super::experts::mixture_for_tasks;
use super::section;
use super::towers::{Related, related_towers};
use super::{cmbf, uniter};
use crate::model::Construction;
use crate::tasks;

pub(super) fn build(c: &mut Construction<'_>) -> Result<Vec<Value>, Diagnostic> {
    let config = section!(c, Dbmtl, "dbmtl");
    let penalty = config.l2_regularization();
    let bottom = match (&config.bottom_cmbf, &config.bottom_uniter) {
        (Some(tower), _) => cmbf::fuse(c, tower, penalty, "model_config.dbmtl.bottom_cmbf")?,
        (None, Some(tower)) => uniter::fuse(c, tower, penalty, "model_config.dbmtl.bottom_uniter")?,
        (None, None) => {
            let features = c.group("all")?.tensor;
            c.optional_dnn("bottom_dnn", config.bottom_dnn.as_ref(), penalty, features, "model_config.dbmtl.bottom_dnn")?
        }
    };
    let inputs = match &config.expert_dnn {
        Some(dnn) => {
            let experts = vec![dnn; config.num_expert() as usize];
            mixture_for_tasks(c, &experts, c.tasks.len(), bottom, penalty, "model_config.dbmtl.expert_dnn")?
        }
        None => vec![bottom; c.tasks.len()],
    };
    related_towers(c, &tasks::towers(c.config), &inputs, penalty, "/dnn", Related::All)
}
