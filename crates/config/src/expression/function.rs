//! Functions of a known number of parameters.

use super::tree::{Expression, ExpressionKind};
use super::{ExpressionError, parse, parse_subscripts};

/// A function in a config.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The names of its parameters; none if the function is named only.
    pub parameters: Vec<String>,
    /// What it computes, or its name.
    pub body: Expression,
}

impl Function {
    /// A `lambda` with this many parameters, or the name of a function such as `tf.nn.relu`.
    ///
    /// # Errors
    /// What else the text is.
    pub fn parse(text: &str, parameters: usize) -> Result<Function, ExpressionError> {
        let expected = ["lambda: …", "lambda x: …", "lambda x, i: …"][parameters.min(2)];
        let tree = parse(text)?;
        match tree.kind {
            ExpressionKind::Lambda { parameters: names, body } if names.len() == parameters => {
                Ok(Function { parameters: names, body: *body })
            }
            ExpressionKind::Lambda { parameters: names, .. } => {
                let count = match names.len() {
                    0 => "no parameters".to_owned(),
                    1 => "1 parameter".to_owned(),
                    more => format!("{more} parameters"),
                };
                Err(ExpressionError::new(tree.span, format!("the function takes {count}; expected `{expected}`")))
            }
            ExpressionKind::Name(_) | ExpressionKind::Attribute(..) if tree.dotted_name().is_some() => {
                Ok(Function { parameters: Vec::new(), body: tree })
            }
            _ => Err(ExpressionError::new(tree.span, format!("this is no function; expected `{expected}`"))),
        }
    }

    /// What stands behind a value, as in `[1]` or `[:2]`, as a function of the value, the first of `parameters`.
    ///
    /// # Errors
    /// What else the text is.
    pub fn subscripts(text: &str, parameters: &[&str]) -> Result<Function, ExpressionError> {
        let parameters: Vec<String> = parameters.iter().map(|name| (*name).to_owned()).collect();
        let base = parameters.first().map_or("x", String::as_str);
        Ok(Function { body: parse_subscripts(text, base)?, parameters })
    }
}
