//! The values of a model's variables.

use rankmill_graph::{Graph, ParameterSlot, Shape};
use rankmill_kernels::pages::zeros;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_nn::init::Initializer;

use crate::dynamic::TableKeys;

/// Elements that a task draws.
const TASK: usize = 1 << 16;

/// A variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// EasyRec's variable name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether an optimizer may change it.
    pub trainable: bool,
    /// Its elements, row by row.
    pub values: Vec<f32>,
}

impl Parameter {
    /// The variable as a matrix.
    pub fn view(&self) -> MatRef<'_> {
        let (rows, cols) = Shape::fixed(&self.shape).as_matrix();
        MatRef::new(&self.values, rows, cols)
    }

    /// Elements of one row of the matrix.
    pub fn width(&self) -> usize {
        Shape::fixed(&self.shape).as_matrix().1
    }
}

/// All variables of a model, in the order in which the graph declares them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The variables.
    pub entries: Vec<Parameter>,
    /// The keys of dynamic tables.
    pub keys: Vec<TableKeys>,
}

/// Why values can't be given to a model's variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// There are no values for a variable.
    #[error("there are no values for variable `{name}`")]
    Missing {
        /// The variable.
        name: String,
    },
    /// There are no keys for a dynamic table.
    #[error("there are no keys for the dynamic table of `{name}`")]
    MissingKeys {
        /// The name of the keys.
        name: String,
    },
    /// The values have another shape.
    #[error("variable `{name}` has shape {expected:?}, its values {found:?}")]
    Shape {
        /// The variable.
        name: String,
        /// The variable's shape.
        expected: Vec<usize>,
        /// The values' shape.
        found: Vec<usize>,
    },
}

impl Parameters {
    /// Fresh values, drawn from `seed` and each variable's name. Dynamic tables have their first row only.
    pub fn initialise(graph: &Graph, initializers: &[Initializer], seed: u64, pool: &Pool) -> Parameters {
        let fresh = |slot: &ParameterSlot| {
            let (name, shape) = (slot.name.clone(), slot.shape.dims.clone());
            Parameter { name, shape, trainable: slot.trainable, values: zeros(slot.shape.elements()) }
        };
        let mut entries: Vec<Parameter> = graph.parameters().iter().map(fresh).collect();
        let mut tasks = Vec::new();
        for ((slot, initializer), entry) in graph.parameters().iter().zip(initializers).zip(&mut entries) {
            if slot.keys.is_none() {
                let length = if initializer.draws_apart() { TASK } else { entry.values.len().max(1) };
                let parts = entry.values.chunks_mut(length).enumerate();
                tasks.extend(parts.map(|(i, part)| (slot, initializer, i * length, part)));
            }
        }
        pool.for_each(tasks, |(slot, initializer, start, part)| initializer.fill_range(&slot.shape.dims, seed, &slot.name, start, part));
        let mut keys: Vec<TableKeys> = Vec::new();
        for name in graph.parameters().iter().filter_map(|slot| slot.keys.as_deref()) {
            if !keys.iter().any(|known| known.name() == name) {
                keys.push(TableKeys::new(name));
            }
        }
        Parameters { entries, keys }
    }

    /// For each parameter of a graph its place among these variables.
    ///
    /// # Errors
    /// If a parameter of the graph is missing or has another shape.
    pub fn places(&self, graph: &Graph) -> Result<Vec<usize>, ParameterError> {
        graph.parameters().iter().map(|slot| self.place(slot)).collect()
    }

    /// The place of a parameter of a graph among these variables.
    ///
    /// # Errors
    /// If it is missing or has another shape.
    pub(crate) fn place(&self, slot: &ParameterSlot) -> Result<usize, ParameterError> {
        let place = self.entries.iter().position(|entry| entry.name == slot.name);
        let place = place.ok_or_else(|| ParameterError::Missing { name: slot.name.clone() })?;
        let found = &self.entries[place].shape;
        let mut expected = slot.shape.dims.clone();
        if let Some(name) = &slot.keys {
            let missing = || ParameterError::MissingKeys { name: name.clone() };
            expected[0] = self.keys_of(name).ok_or_else(missing)?.rows();
        }
        if *found != expected {
            let found = found.clone();
            return Err(ParameterError::Shape { name: slot.name.clone(), expected, found });
        }
        Ok(place)
    }

    /// The keys of that name.
    pub fn keys_of(&self, name: &str) -> Option<&TableKeys> {
        self.keys.iter().find(|keys| keys.name() == name)
    }

    /// The variable of that name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All variables as matrices, in order.
    pub fn views(&self) -> Vec<MatRef<'_>> {
        self.entries.iter().map(Parameter::view).collect()
    }

    /// Number of elements of all variables.
    pub fn count(&self) -> usize {
        self.entries.iter().map(|entry| entry.values.len()).sum()
    }
}
