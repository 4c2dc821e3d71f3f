//! The values of a model's variables.

use rankmill_graph::Shape;
use rankmill_kernels::pages::filled;
use rankmill_kernels::view::MatRef;
use rankmill_nn::init::Initializer;

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
    /// Fresh values, drawn from `seed` and each variable's name.
    pub fn initialise(graph: &rankmill_graph::Graph, initializers: &[Initializer], seed: u64) -> Parameters {
        let entries = graph
            .parameters()
            .iter()
            .zip(initializers)
            .map(|(slot, initializer)| {
                let mut values = filled(slot.shape.elements(), 0.0);
                initializer.fill(&slot.shape.dims, seed, &slot.name, &mut values);
                Parameter { name: slot.name.clone(), shape: slot.shape.dims.clone(), trainable: slot.trainable, values }
            })
            .collect();
        Parameters { entries }
    }

    /// For each parameter of a graph its place among these variables.
    ///
    /// # Errors
    /// If a parameter of the graph is missing or has another shape.
    pub fn places(&self, graph: &rankmill_graph::Graph) -> Result<Vec<usize>, ParameterError> {
        let find = |slot: &rankmill_graph::ParameterSlot| {
            let place = self.entries.iter().position(|entry| entry.name == slot.name);
            let place = place.ok_or_else(|| ParameterError::Missing { name: slot.name.clone() })?;
            let found = &self.entries[place].shape;
            if *found != slot.shape.dims {
                let (expected, found) = (slot.shape.dims.clone(), found.clone());
                return Err(ParameterError::Shape { name: slot.name.clone(), expected, found });
            }
            Ok(place)
        };
        graph.parameters().iter().map(find).collect()
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
