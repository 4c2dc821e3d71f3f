//! What losses are multiplied by (EasyRec behaviours 178 and 179).
//!
//! `Fixed`: the configured weight. `Uncertainty` (Kendall, Gal, Cipolla 2018): `exp(-u)·ℓ + u/2` with a learnt `u` that starts at 0,
//! `½ exp(-u)·ℓ + u/2` for squared errors. `Random`: the softmax of normal numbers drawn in every step.
//! In a multi-task model all losses of a tower have the weight of the tower's first loss, or with
//! `rankmill_fix: "tower_losses_share_a_weight"` their own.

use rankmill_config::proto::easy_rec_model::LossWeightStrategy;
use rankmill_config::proto::{self, LossType};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::random_weight::RandomWeight;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Value};
use rankmill_nn::init::Initializer;
use rankmill_nn::layers::scope::Builder;

use crate::tasks::TaskConfig;

/// The rule of a config.
pub(super) struct Weighting<'a> {
    strategy: LossWeightStrategy,
    tasks: &'a [TaskConfig],
    /// Losses of all tasks.
    count: usize,
    /// Whether the losses of a tower have weights of their own.
    own_weights: bool,
}

impl<'a> Weighting<'a> {
    pub(super) fn new(config: &proto::EasyRecModel, tasks: &'a [TaskConfig], own_weights: bool) -> Weighting<'a> {
        let count = tasks.iter().map(|task| task.losses.len()).sum();
        Weighting { strategy: config.loss_weight_strategy(), tasks, count, own_weights }
    }

    /// Weighs loss number `place` (task, loss).
    ///
    /// # Errors
    /// If a weight is to be learnt and the strategy is another one.
    pub(super) fn apply(
        &self,
        builder: &mut Builder,
        place: (usize, usize),
        loss: &proto::Loss,
        name: &str,
        value: Value,
    ) -> Result<Value, String> {
        let (t, i) = place;
        let task = &self.tasks[t];
        let is_tower = !task.suffix.is_empty();
        if loss.learn_loss_weight() && is_tower && self.strategy != LossWeightStrategy::Uncertainty {
            return Err("`learn_loss_weight` needs loss_weight_strategy: Uncertainty".to_owned());
        }
        let weighted = match self.strategy {
            LossWeightStrategy::Uncertainty if loss.learn_loss_weight() => {
                uncertain(builder, if is_tower { "" } else { "loss" }, name, loss, value)
            }
            LossWeightStrategy::Random if self.count > 1 => {
                let before: usize = self.tasks[..t].iter().map(|task| task.losses.len()).sum();
                let index = if is_tower { before } else { i };
                let mut s = builder.scope("loss");
                s.add(RandomWeight { index, count: self.count }, &[]).and_then(|weight| s.add(Binary::Multiply, &[value, weight]))
            }
            LossWeightStrategy::Random => Ok(value),
            LossWeightStrategy::Fixed | LossWeightStrategy::Uncertainty => {
                let own = if is_tower && !self.own_weights { &task.losses[0] } else { loss };
                let weight = own.weight() * task.weight;
                if weight == 1.0 { Ok(value) } else { builder.scope("loss").add(Unary::Scale(weight), &[value]) }
            }
        };
        weighted.map_err(|error| error.to_string())
    }
}

fn uncertain(builder: &mut Builder, scope: &str, name: &str, loss: &proto::Loss, value: Value) -> Result<Value, GraphError> {
    let mut s = builder.scope(scope);
    let u = s.parameter(&format!("{name}_loss_weight"), &[], Initializer::Constant(0.0))?;
    let negative = s.add(Unary::Scale(-1.0), &[u])?;
    let mut precision = s.add(Unary::Exponential, &[negative])?;
    if matches!(loss.loss_type(), LossType::L2Loss | LossType::SigmoidL2Loss) {
        precision = s.add(Unary::Scale(0.5), &[precision])?;
    }
    let scaled = s.add(Binary::Multiply, &[value, precision])?;
    let penalty = s.add(Unary::Scale(0.5), &[u])?;
    s.add(Binary::Add, &[scaled, penalty])
}
