//! The optimizers of a config and the variables each one trains (EasyRec behaviours 46 and 183).
//!
//! One `optimizer_config` trains all variables. Of two the first trains the embeddings (of `WideAndDeep`: the wide ones), the second the
//! rest; of three, which only `WideAndDeep` knows, the first the wide embeddings, the second the deep ones, the third the rest.

use rankmill_config::{Diagnostic, Pipeline};
use rankmill_kernels::pages::filled;
use rankmill_kernels::pool::Pool;
use rankmill_model::Parameters;
use rankmill_nn::optim::{Optimizer, StepRates};

/// An optimizer and its state that there is once.
pub(crate) struct Group {
    pub(crate) optimizer: Optimizer,
    /// Factor on the gradients of its tables.
    pub(crate) multiplier: f32,
    pub(crate) scalars: Vec<f32>,
}

/// All optimizers of a config.
pub(crate) struct Optimizers {
    pub(crate) groups: Vec<Group>,
    rule: Rule,
}

/// How variables are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    One,
    /// Embeddings, then the rest.
    Embeddings,
    /// The tables of the first group, perhaps those of the second, then the rest.
    Wide,
}

impl Optimizers {
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Optimizers, Diagnostic> {
        let configs = pipeline.proto.train_config.as_ref().map(|train| train.optimizer_config.as_slice()).unwrap_or_default();
        let path = "train_config.optimizer_config";
        let is_wide = pipeline.proto.model_config.as_ref().is_some_and(|model| model.model_class() == "WideAndDeep");
        let (rule, most) = match configs.len() {
            0 => return Err(pipeline.error("train_config", "training needs an `optimizer_config`")),
            1 => (Rule::One, 1),
            _ if is_wide => (Rule::Wide, 3),
            _ => (Rule::Embeddings, 2),
        };
        if configs.len() > most {
            let message = format!("there are {} optimizers; this model has variables for at most {most}", configs.len());
            return Err(pipeline.error(&format!("{path}[{most}]"), message));
        }
        let group = |(i, config): (usize, &rankmill_config::proto::Optimizer)| {
            let optimizer = Optimizer::from_config(config);
            let optimizer = optimizer.map_err(|error| pipeline.error(&format!("{path}[{i}].{}", error.field), error.message))?;
            let scalars = optimizer.scalars().into_iter().map(|(_, value)| value).collect();
            Ok(Group { optimizer, multiplier: config.embedding_learning_rate_multiplier.unwrap_or(1.0), scalars })
        };
        Ok(Optimizers { groups: configs.iter().enumerate().map(group).collect::<Result<_, _>>()?, rule })
    }

    /// Which of the optimizers trains a variable.
    pub(crate) fn group_of(&self, variable: &str) -> usize {
        let last = self.groups.len() - 1;
        let is_second_group = variable.starts_with("input_layer_1");
        match self.rule {
            Rule::One => 0,
            Rule::Embeddings if variable.contains("input_layer") || variable.ends_with("/embedding_weights") => 0,
            Rule::Wide if variable.starts_with("input_layer") && !is_second_group => 0,
            Rule::Wide if last == 2 && is_second_group => 1,
            Rule::Embeddings | Rule::Wide => last,
        }
    }

    /// The most slots that an optimizer keeps for a weight.
    pub(crate) fn slot_count(&self) -> usize {
        self.groups.iter().map(|group| group.optimizer.slots().len()).max().unwrap_or(0)
    }

    /// Fresh slots: for each place a vector for each variable, empty where its optimizer has fewer slots or does not train it.
    pub(crate) fn fresh_slots(&self, parameters: &Parameters, pool: &Pool) -> Vec<Vec<Vec<f32>>> {
        let fresh = |place: usize, entry: &rankmill_model::Parameter| {
            let slot = self.groups[self.group_of(&entry.name)].optimizer.slots().get(place);
            match slot.filter(|_| entry.trainable) {
                Some(slot) => filled(entry.values.len(), slot.initial, pool),
                None => Vec::new(),
            }
        };
        (0..self.slot_count()).map(|place| parameters.entries.iter().map(|entry| fresh(place, entry)).collect()).collect()
    }

    /// The name of a slot of a variable, if its optimizer has so many.
    pub(crate) fn slot_name(&self, place: usize, variable: &str) -> Option<String> {
        let slot = self.groups[self.group_of(variable)].optimizer.slots().get(place)?;
        Some(format!("{variable}/{}", slot.suffix))
    }

    /// Names of the state that there is once, group by group; TensorFlow numbers names that occur again.
    pub(crate) fn scalar_names(&self) -> Vec<Vec<String>> {
        let mut seen: Vec<&str> = Vec::new();
        let mut name = |name: &'static str| {
            let before = seen.iter().filter(|known| **known == name).count();
            seen.push(name);
            if before == 0 { name.to_owned() } else { format!("{name}_{before}") }
        };
        self.groups.iter().map(|group| group.optimizer.scalars().into_iter().map(|(scalar, _)| name(scalar)).collect()).collect()
    }

    /// The rates of the coming step, of each optimizer.
    pub(crate) fn begin_step(&self, global_step: u64) -> Vec<StepRates> {
        self.groups.iter().map(|group| group.optimizer.begin_step(&group.scalars, global_step)).collect()
    }

    /// Moves what there is once on.
    pub(crate) fn end_step(&mut self) {
        self.groups.iter_mut().for_each(|group| group.optimizer.end_step(&mut group.scalars));
    }
}
