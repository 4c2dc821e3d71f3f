//! Functions in configs, such as `lambda x: tf.reduce_sum(x, axis=1)` or the slice `[1]`, compiled to operations of the graph
//! (EasyRec behaviour 112).
//!
//! The text is read into a tree by [`rankmill_config::expression`]; here the tree is gone through once, with the shapes of all tensors at
//! hand: Python's own values (numbers, lists, conditions) are worked out at once, and what is done with tensors becomes operations. What
//! is not in the table of [`functions`] or can't work for these shapes is an error at its place in the text.

mod call;
mod elementwise;
mod evaluate;
mod functions;
mod operators;
mod rearrange;
mod subscripts;
mod term;

use std::ops::Range;

use rankmill_config::expression::{ExpressionError, Function};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Scope;

use self::evaluate::Evaluator;
pub(crate) use self::term::Term;

/// Why a text in a config is no function, or why it can't be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LambdaError {
    /// The bytes of the text that are wrong.
    pub(crate) span: Range<usize>,
    /// What is wrong, without a full stop.
    pub(crate) message: String,
}

impl LambdaError {
    fn new(span: &Range<usize>, message: impl Into<String>) -> LambdaError {
        LambdaError { span: span.clone(), message: message.into() }
    }
}

impl From<ExpressionError> for LambdaError {
    fn from(error: ExpressionError) -> LambdaError {
        LambdaError { span: error.span, message: error.message }
    }
}

/// A function in a config.
#[derive(Clone, Debug)]
pub(crate) struct Lambda(Function);

impl Lambda {
    /// A `lambda` with this many parameters, or the name of a function.
    ///
    /// # Errors
    /// What else the text is.
    pub(crate) fn parse(text: &str, parameters: usize) -> Result<Lambda, LambdaError> {
        Ok(Lambda(Function::parse(text, parameters)?))
    }

    /// What stands behind a value, as in `[1]` or `[:2]`; the value is the first parameter.
    ///
    /// # Errors
    /// What else the text is.
    pub(crate) fn subscripts(text: &str, parameters: &[&str]) -> Result<Lambda, LambdaError> {
        Ok(Lambda(Function::subscripts(text, parameters)?))
    }

    /// The tensors that the function makes of these arguments.
    ///
    /// # Errors
    /// What does not work, and where.
    pub(crate) fn tensors(&self, s: &mut Scope<'_>, arguments: &[Term]) -> Result<Tensors, LambdaError> {
        let span = &self.0.body.span;
        let term = self.apply(s, arguments)?;
        let kind = term.kind();
        term.into_tensors().ok_or_else(|| LambdaError::new(span, format!("the function gives {kind}, where tensors are needed")))
    }

    fn apply(&self, s: &mut Scope<'_>, arguments: &[Term]) -> Result<Term, LambdaError> {
        let Function { parameters, body } = &self.0;
        let span = &body.span;
        match body.dotted_name() {
            Some(name) if parameters.is_empty() => {
                let function = functions::find(&name).map_err(|message| LambdaError::new(span, message))?;
                let arguments = arguments.iter().map(|argument| (argument.clone(), span.clone())).collect();
                function.call(s, &name, span, arguments, Vec::new())
            }
            _ => {
                let variables = parameters.iter().cloned().zip(arguments.iter().cloned()).collect();
                Evaluator::new(s, variables).evaluate(body)
            }
        }
    }
}

#[cfg(test)]
mod tests;
