//! The functions that expressions may call, by TensorFlow's names.

use std::ops::Range;

use rankmill_nn::layers::scope::{Activation, Scope};

use super::call::{Call, Named, Placed};
use super::evaluate::near;
use super::{LambdaError, Term, elementwise, rearrange};

/// A function of the table.
pub(super) struct Function {
    /// Its names.
    pub(super) names: &'static [&'static str],
    /// Its parameters in order; other names of one follow after `|`.
    pub(super) parameters: &'static [&'static str],
    /// How many of them have no default.
    pub(super) required: usize,
    /// What it does.
    pub(super) build: fn(&mut Call<'_, '_>) -> Result<Term, LambdaError>,
}

/// A function that can be called.
pub(super) enum Callable {
    /// One of the table.
    Listed(&'static Function),
    /// One of the activation functions that layers know.
    Activation(Activation),
}

const ONE: &[&str] = &["x|input|features|logits|tensor|a"];
const TWO: &[&str] = &["x", "y"];
const REDUCED: &[&str] = &["input_tensor|input", "axis|reduction_indices", "keepdims|keep_dims"];

/// The functions, those of one kind together.
const FUNCTIONS: &[&[Function]] = &[
    &[
        Function { names: &["tf.reduce_sum", "tf.math.reduce_sum"], parameters: REDUCED, required: 1, build: elementwise::reduce_sum },
        Function { names: &["tf.reduce_mean", "tf.math.reduce_mean"], parameters: REDUCED, required: 1, build: elementwise::reduce_mean },
        Function { names: &["tf.reduce_max", "tf.math.reduce_max"], parameters: REDUCED, required: 1, build: elementwise::reduce_max },
        Function { names: &["tf.reduce_min", "tf.math.reduce_min"], parameters: REDUCED, required: 1, build: elementwise::reduce_min },
        Function { names: &["tf.add_n", "tf.math.add_n"], parameters: &["inputs"], required: 1, build: elementwise::add_n },
        Function { names: &["tf.add", "tf.math.add"], parameters: TWO, required: 2, build: elementwise::add },
        Function { names: &["tf.subtract", "tf.math.subtract"], parameters: TWO, required: 2, build: elementwise::subtract },
        Function { names: &["tf.multiply", "tf.math.multiply"], parameters: TWO, required: 2, build: elementwise::multiply },
        Function {
            names: &["tf.divide", "tf.div", "tf.math.divide", "tf.truediv"],
            parameters: TWO,
            required: 2,
            build: elementwise::divide,
        },
        Function { names: &["tf.maximum", "tf.math.maximum"], parameters: TWO, required: 2, build: elementwise::maximum },
        Function { names: &["tf.minimum", "tf.math.minimum"], parameters: TWO, required: 2, build: elementwise::minimum },
        Function { names: &["tf.pow", "tf.math.pow"], parameters: TWO, required: 2, build: elementwise::power },
        Function {
            names: &["tf.matmul", "tf.linalg.matmul"],
            parameters: &["a", "b", "transpose_a", "transpose_b"],
            required: 2,
            build: rearrange::matmul,
        },
        Function { names: &["tf.square", "tf.math.square"], parameters: ONE, required: 1, build: elementwise::square },
        Function { names: &["tf.sqrt", "tf.math.sqrt"], parameters: ONE, required: 1, build: elementwise::square_root },
        Function { names: &["tf.rsqrt", "tf.math.rsqrt"], parameters: ONE, required: 1, build: elementwise::inverse_root },
        Function { names: &["tf.exp", "tf.math.exp"], parameters: ONE, required: 1, build: elementwise::exponential },
        Function { names: &["tf.log", "tf.math.log"], parameters: ONE, required: 1, build: elementwise::logarithm },
        Function { names: &["tf.log1p", "tf.math.log1p"], parameters: ONE, required: 1, build: elementwise::logarithm_of_next },
        Function { names: &["tf.abs", "tf.math.abs"], parameters: ONE, required: 1, build: elementwise::absolute },
        Function { names: &["tf.negative", "tf.math.negative"], parameters: ONE, required: 1, build: elementwise::negative },
        Function { names: &["tf.sin", "tf.math.sin"], parameters: ONE, required: 1, build: elementwise::sine },
        Function { names: &["tf.cos", "tf.math.cos"], parameters: ONE, required: 1, build: elementwise::cosine },
        Function { names: &["tf.reciprocal", "tf.math.reciprocal"], parameters: ONE, required: 1, build: elementwise::reciprocal },
        Function {
            names: &["tf.clip_by_value"],
            parameters: &["t", "clip_value_min", "clip_value_max"],
            required: 3,
            build: elementwise::clip,
        },
        Function {
            names: &["tf.nn.softmax", "tf.math.softmax"],
            parameters: &["logits", "axis|dim"],
            required: 1,
            build: elementwise::softmax,
        },
        Function {
            names: &["tf.nn.l2_normalize", "tf.math.l2_normalize"],
            parameters: &["x", "axis|dim", "epsilon"],
            required: 1,
            build: elementwise::l2_normalize,
        },
        Function { names: &["tf.nn.leaky_relu"], parameters: &["features", "alpha"], required: 1, build: elementwise::leaky_relu },
    ],
    &[
        Function { names: &["tf.equal", "tf.math.equal"], parameters: TWO, required: 2, build: elementwise::equal },
        Function { names: &["tf.not_equal", "tf.math.not_equal"], parameters: TWO, required: 2, build: elementwise::not_equal },
        Function { names: &["tf.less", "tf.math.less"], parameters: TWO, required: 2, build: elementwise::less },
        Function { names: &["tf.less_equal", "tf.math.less_equal"], parameters: TWO, required: 2, build: elementwise::less_equal },
        Function { names: &["tf.greater", "tf.math.greater"], parameters: TWO, required: 2, build: elementwise::greater },
        Function { names: &["tf.greater_equal", "tf.math.greater_equal"], parameters: TWO, required: 2, build: elementwise::greater_equal },
        Function { names: &["tf.logical_and", "tf.math.logical_and"], parameters: TWO, required: 2, build: elementwise::logical_and },
        Function { names: &["tf.logical_or", "tf.math.logical_or"], parameters: TWO, required: 2, build: elementwise::logical_or },
        Function { names: &["tf.logical_not", "tf.math.logical_not"], parameters: ONE, required: 1, build: elementwise::logical_not },
        Function { names: &["tf.where"], parameters: &["condition", "x", "y"], required: 3, build: elementwise::choose },
        Function { names: &["tf.cast"], parameters: &["x", "dtype"], required: 2, build: elementwise::cast },
        Function { names: &["tf.to_float"], parameters: ONE, required: 1, build: elementwise::identity },
        Function { names: &["tf.identity"], parameters: ONE, required: 1, build: elementwise::identity },
        Function { names: &["tf.stop_gradient"], parameters: ONE, required: 1, build: elementwise::stop_gradient },
        Function { names: &["tf.ones_like"], parameters: &["tensor|input", "dtype"], required: 1, build: elementwise::ones_like },
        Function { names: &["tf.zeros_like"], parameters: &["tensor|input", "dtype"], required: 1, build: elementwise::zeros_like },
    ],
    &[
        Function { names: &["tf.concat"], parameters: &["values", "axis|concat_dim"], required: 2, build: rearrange::concat },
        Function { names: &["tf.stack"], parameters: &["values", "axis"], required: 1, build: rearrange::stack },
        Function { names: &["tf.unstack"], parameters: &["value", "num", "axis"], required: 1, build: rearrange::unstack },
        Function {
            names: &["tf.split"],
            parameters: &["value", "num_or_size_splits", "axis|split_dim", "num"],
            required: 2,
            build: rearrange::split,
        },
        Function { names: &["tf.reshape"], parameters: &["tensor", "shape"], required: 2, build: rearrange::reshape },
        Function { names: &["tf.transpose"], parameters: &["a", "perm"], required: 1, build: rearrange::transpose },
        Function { names: &["tf.expand_dims"], parameters: &["input", "axis|dim"], required: 2, build: rearrange::expand_dims },
        Function { names: &["tf.squeeze"], parameters: &["input", "axis|squeeze_dims"], required: 1, build: rearrange::squeeze },
        Function { names: &["tf.tile"], parameters: &["input", "multiples"], required: 2, build: rearrange::tile },
        Function {
            names: &["tf.gather"],
            parameters: &["params", "indices", "validate_indices", "axis"],
            required: 2,
            build: rearrange::gather,
        },
        Function { names: &["tf.reverse"], parameters: &["tensor", "axis"], required: 2, build: rearrange::reverse },
        Function {
            names: &["tf.layers.flatten", "tf.keras.backend.batch_flatten"],
            parameters: ONE,
            required: 1,
            build: rearrange::flatten,
        },
        Function {
            names: &["tf.sequence_mask"],
            parameters: &["lengths", "maxlen", "dtype"],
            required: 1,
            build: rearrange::sequence_mask,
        },
        Function { names: &["tf.shape"], parameters: ONE, required: 1, build: rearrange::shape },
        Function { names: &["tf.rank"], parameters: ONE, required: 1, build: rearrange::rank },
    ],
    &[
        Function { names: &["len"], parameters: &["list"], required: 1, build: rearrange::length },
        Function { names: &["list"], parameters: &["elements"], required: 1, build: rearrange::list },
        Function { names: &["tuple"], parameters: &["elements"], required: 1, build: rearrange::tuple },
        Function { names: &["range"], parameters: &["start", "stop", "step"], required: 1, build: rearrange::range },
        Function { names: &["sum"], parameters: &["elements"], required: 1, build: elementwise::sum },
    ],
];

fn all() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter().flat_map(|kind| kind.iter())
}

/// The function of a name.
///
/// # Errors
/// The nearest name, or all that there are in the same module.
pub(super) fn find(name: &str) -> Result<Callable, String> {
    if let Some(function) = all().find(|function| function.names.contains(&name)) {
        return Ok(Callable::Listed(function));
    }
    if let (true, Ok(activation)) = (name.starts_with("tf."), Activation::from_name(name)) {
        return Ok(Callable::Activation(activation));
    }
    if let Some(known) = near(name, all().flat_map(|function| function.names.iter().copied())) {
        return Err(format!("`{name}` is not supported; did you mean `{known}`?"));
    }
    let supported: Vec<&str> = all().map(|function| function.names[0]).collect();
    Err(format!("`{name}` is not supported; supported are {}, and activations such as tf.nn.relu", supported.join(", ")))
}

impl Callable {
    pub(super) fn call(
        &self,
        s: &mut Scope<'_>,
        name: &str,
        span: &Range<usize>,
        positional: Vec<Placed>,
        named: Vec<Named>,
    ) -> Result<Term, LambdaError> {
        match self {
            Callable::Listed(function) => (function.build)(&mut Call::new(s, name, span, function, positional, named)?),
            Callable::Activation(activation) => {
                static ACTIVATION: Function = Function { names: &[], parameters: ONE, required: 1, build: elementwise::identity };
                let call = Call::new(s, name, span, &ACTIVATION, positional, named)?;
                let x = call.tensor(0)?;
                let activated = call.s.activate(x, *activation).map_err(|error| error.to_string());
                activated.map(Term::Tensor).map_err(|message| LambdaError::new(span, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_book_names_every_function() {
        let page = include_str!("../../../../docs/blocks.md");
        for function in all() {
            assert!(page.contains(&format!("`{}`", function.names[0])), "docs/blocks.md does not name {}", function.names[0]);
            assert!(function.required <= function.parameters.len());
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = all().flat_map(|function| function.names.iter().copied()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
