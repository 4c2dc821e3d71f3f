//! One configuration of every optimizer, all with learning rate 0.05, for the tests against double precision.

use rankmill_config::proto;
use rankmill_config::proto::optimizer::Optimizer as Kind;
use rankmill_nn::optim::Optimizer;

pub(super) fn constant(rate: f32) -> Option<proto::LearningRate> {
    let constant = proto::ConstantLearningRate { learning_rate: Some(rate) };
    Some(proto::LearningRate { learning_rate: Some(proto::learning_rate::LearningRate::ConstantLearningRate(constant)) })
}

pub(super) fn names() -> [&'static str; 10] {
    ["adam", "lazy_adam", "adamw", "momentum", "momentumw", "sgd", "adagrad", "ftrl", "ftrl_power", "rmsprop"]
}

pub(super) fn configured(name: &str) -> Optimizer {
    let learning_rate = constant(0.05);
    let (beta1, beta2) = (Some(0.8), Some(0.99));
    let weight_decay = Some(0.01);
    let momentum_optimizer_value = Some(0.7);
    let ftrl = proto::FtrlOptimizer {
        learning_rate: learning_rate.clone(),
        initial_accumulator_value: Some(0.2),
        l1_reg: Some(0.01),
        l2_reg: Some(0.02),
        l2_shrinkage_reg: Some(0.03),
        learning_rate_power: None,
    };
    let kind = match name {
        "adam" => Kind::AdamOptimizer(proto::AdamOptimizer { learning_rate, beta1, beta2 }),
        "lazy_adam" => Kind::LazyAdamOptimizer(proto::LazyAdamOptimizer { learning_rate, beta1, beta2 }),
        "adamw" => Kind::AdamwOptimizer(proto::AdamWOptimizer { learning_rate, weight_decay, beta1, beta2 }),
        "momentum" => Kind::MomentumOptimizer(proto::MomentumOptimizer { learning_rate, momentum_optimizer_value }),
        "momentumw" => Kind::MomentumwOptimizer(proto::MomentumWOptimizer { learning_rate, weight_decay, momentum_optimizer_value }),
        "sgd" => Kind::MomentumOptimizer(proto::MomentumOptimizer { learning_rate, momentum_optimizer_value: Some(0.0) }),
        "adagrad" => Kind::AdagradOptimizer(proto::AdagradOptimizer { learning_rate, initial_accumulator_value: Some(0.5) }),
        "ftrl" => Kind::FtrlOptimizer(ftrl),
        "ftrl_power" => Kind::FtrlOptimizer(proto::FtrlOptimizer { learning_rate_power: Some(-0.3), ..ftrl }),
        "rmsprop" => {
            Kind::RmsPropOptimizer(proto::RmsPropOptimizer { learning_rate, momentum_optimizer_value, decay: None, epsilon: Some(0.5) })
        }
        other => panic!("no configuration for {other}"),
    };
    let config = proto::Optimizer { optimizer: Some(kind), ..Default::default() };
    Optimizer::from_config(&config).expect("a valid configuration")
}
