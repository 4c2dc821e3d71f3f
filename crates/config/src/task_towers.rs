//! The two messages of task towers in one form.

use crate::proto::{BayesTaskTower, TaskTower};

impl From<&TaskTower> for BayesTaskTower {
    /// A plain tower as one that has no relations.
    fn from(tower: &TaskTower) -> BayesTaskTower {
        let tower = tower.clone();
        BayesTaskTower {
            tower_name: tower.tower_name,
            label_name: tower.label_name,
            metrics_set: tower.metrics_set,
            loss_type: tower.loss_type,
            num_class: tower.num_class,
            dnn: tower.dnn,
            relation_tower_names: Vec::new(),
            relation_dnn: None,
            weight: tower.weight,
            task_space_indicator_label: tower.task_space_indicator_label,
            in_task_space_weight: tower.in_task_space_weight,
            out_task_space_weight: tower.out_task_space_weight,
            losses: tower.losses,
            use_sample_weight: tower.use_sample_weight,
            task_space_indicator_name: tower.task_space_indicator_name,
            task_space_indicator_value: tower.task_space_indicator_value,
        }
    }
}
