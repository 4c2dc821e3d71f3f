//! A call of a function: its arguments by the function's parameters.

use std::ops::Range;

use rankmill_graph::Value;
use rankmill_nn::layers::scope::Scope;

use super::evaluate::near;
use super::functions::Function;
use super::{LambdaError, Term};

/// A value and where it stands.
pub(super) type Placed = (Term, Range<usize>);

/// A keyword, its place, and the value.
pub(super) type Named = (String, Range<usize>, Placed);

/// The arguments of a call, in the order of the function's parameters.
pub(super) struct Call<'a, 'b> {
    pub(super) s: &'a mut Scope<'b>,
    /// The function's name as written.
    pub(super) name: &'a str,
    /// Where the call stands.
    span: &'a Range<usize>,
    function: &'static Function,
    arguments: Vec<Option<Placed>>,
}

impl<'a, 'b> Call<'a, 'b> {
    /// Gives each argument its parameter. `name`, which only labels operations, is left out.
    pub(super) fn new(
        s: &'a mut Scope<'b>,
        name: &'a str,
        span: &'a Range<usize>,
        function: &'static Function,
        positional: Vec<Placed>,
        named: Vec<Named>,
    ) -> Result<Call<'a, 'b>, LambdaError> {
        let parameters = function.parameters;
        let mut arguments: Vec<Option<Placed>> = vec![None; parameters.len()];
        for (i, argument) in positional.into_iter().enumerate() {
            let Some(place) = arguments.get_mut(i) else {
                return Err(LambdaError::new(
                    &argument.1,
                    format!("`{name}` takes {} arguments: {}", parameters.len(), listed(parameters)),
                ));
            };
            *place = Some(argument);
        }
        for (keyword, place, value) in named {
            let Some(at) = parameters.iter().position(|names| names.split('|').any(|known| known == keyword)) else {
                if keyword == "name" {
                    continue;
                }
                let known = parameters.iter().flat_map(|names| names.split('|'));
                let help = match near(&keyword, known) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("it has {}", listed(parameters)),
                };
                return Err(LambdaError::new(&place, format!("`{name}` has no argument `{keyword}`; {help}")));
            };
            if arguments[at].is_some() {
                return Err(LambdaError::new(&place, format!("`{keyword}` of `{name}` is given twice")));
            }
            arguments[at] = Some(value);
        }
        if let Some(missing) = arguments[..function.required].iter().position(Option::is_none) {
            let missing = parameters[missing].split('|').next().unwrap_or_default();
            return Err(LambdaError::new(span, format!("`{name}` needs `{missing}`")));
        }
        Ok(Call { s, name, span, function, arguments })
    }

    /// An error of the whole call.
    pub(super) fn error(&self, message: impl Into<String>) -> LambdaError {
        LambdaError::new(self.span, format!("`{}`: {}", self.name, message.into()))
    }

    /// The result, or an error of the whole call.
    pub(super) fn finish<T>(&self, result: Result<T, String>) -> Result<T, LambdaError> {
        result.map_err(|message| self.error(message))
    }

    /// Argument `i`, unless it is missing or `None`.
    pub(super) fn argument(&self, i: usize) -> Option<&Term> {
        self.arguments[i].as_ref().map(|(term, _)| term).filter(|term| **term != Term::None)
    }

    /// An error of argument `i`.
    pub(super) fn wrong(&self, i: usize, expected: &str) -> LambdaError {
        let parameter = self.function.parameters[i].split('|').next().unwrap_or_default();
        match &self.arguments[i] {
            Some((term, place)) => LambdaError::new(place, format!("`{parameter}` of `{}` is {expected}, not {}", self.name, term.kind())),
            None => self.error(format!("`{parameter}` is {expected}")),
        }
    }

    /// A tensor.
    pub(super) fn tensor(&self, i: usize) -> Result<Value, LambdaError> {
        match self.argument(i) {
            Some(Term::Tensor(value)) => Ok(*value),
            _ => Err(self.wrong(i, "a tensor")),
        }
    }

    /// Several tensors; one alone counts as a list of itself.
    pub(super) fn tensors(&self, i: usize) -> Result<Vec<Value>, LambdaError> {
        match self.argument(i) {
            Some(Term::Tensor(value)) => Ok(vec![*value]),
            Some(Term::List(parts) | Term::Tuple(parts)) if !parts.is_empty() => {
                let values = parts.iter().map(|part| match part {
                    Term::Tensor(value) => Ok(*value),
                    _ => Err(self.wrong(i, "a list of tensors")),
                });
                values.collect()
            }
            _ => Err(self.wrong(i, "a list of tensors")),
        }
    }

    /// A whole number.
    pub(super) fn integer(&self, i: usize) -> Result<Option<i64>, LambdaError> {
        match self.argument(i) {
            None => Ok(None),
            Some(term) => term.integer().map(Some).ok_or_else(|| self.wrong(i, "a whole number")),
        }
    }

    /// A number.
    pub(super) fn number(&self, i: usize) -> Result<Option<f64>, LambdaError> {
        match self.argument(i) {
            None => Ok(None),
            Some(term) => term.number().map(Some).ok_or_else(|| self.wrong(i, "a number")),
        }
    }

    /// True or false.
    pub(super) fn flag(&self, i: usize) -> Result<bool, LambdaError> {
        match self.argument(i) {
            None => Ok(false),
            Some(Term::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(i, "True or False")),
        }
    }

    /// A whole number or a list of them.
    pub(super) fn integers(&self, i: usize) -> Result<Option<Vec<i64>>, LambdaError> {
        let Some(term) = self.argument(i) else { return Ok(None) };
        let wrong = || self.wrong(i, "a whole number or a list of them");
        match (term.integer(), term.elements()) {
            (Some(number), _) => Ok(Some(vec![number])),
            (None, Some(parts)) => parts.iter().map(|part| part.integer().ok_or_else(wrong)).collect::<Result<_, _>>().map(Some),
            (None, None) => Err(wrong()),
        }
    }
}

/// The names of parameters, the first of each.
fn listed(parameters: &[&str]) -> String {
    parameters.iter().map(|names| names.split('|').next().unwrap_or_default()).collect::<Vec<_>>().join(", ")
}
