//! What a block is given: its inputs, cut and changed one by one, merged, and changed as a whole (EasyRec behaviour 107).

use rankmill_config::Diagnostic;
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::scope::Builder;

use super::Backbone;
use super::dag::Source;
use crate::groups::Groups;
use crate::lambda::{Lambda, Term};
use crate::tensor::{merge, shown};

impl Backbone<'_> {
    /// The merged input of block `index` of a package.
    pub(super) fn block_input(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        package: usize,
        index: usize,
    ) -> Result<Tensors, Diagnostic> {
        let this = &self.packages[package];
        let block = &this.blocks[index];
        let path = format!("{}.blocks[{index}]", this.path);
        let scope = format!("{}/{}", this.scope, block.name());
        let sources = this.graph.sources[index].clone();
        let mut inputs = Vec::with_capacity(sources.len());
        for (i, source) in sources.into_iter().enumerate() {
            let path = format!("{path}.inputs[{i}]");
            let mut value = self.source(builder, groups, package, index, i, &source)?;
            let input = &block.inputs[i];
            if input.ignore_input() {
                continue;
            }
            if let Some(text) = &input.input_slice {
                let path = format!("{path}.input_slice");
                value = self.apply(&mut builder.scope(&scope), &path, Lambda::subscripts(text, &["x"]), &[Term::from(value)])?;
            }
            if let Some(text) = &input.input_fn {
                let path = format!("{path}.input_fn");
                value = self.apply(&mut builder.scope(&scope), &path, Lambda::parse(text, 1), &[Term::from(value)])?;
            }
            inputs.push(value);
        }
        if inputs.is_empty() {
            let message = format!("block `{}` has no inputs: all of them are ignored", block.name());
            return Err(self.pipeline.error(&format!("{path}.inputs[0]"), message));
        }
        let merged = if block.merge_inputs_into_list() {
            Tensors::List(inputs)
        } else {
            let described = self.described_inputs(builder, package, index, &inputs);
            let merged = merge(&mut builder.scope(&scope), inputs, i64::from(block.input_concat_axis()));
            merged.map_err(|message| {
                let message = format!("the inputs of block `{}` can't be put side by side: {message}{described}", block.name());
                self.pipeline.error(&format!("{path}.inputs[0]"), message)
            })?
        };
        let Some(text) = &block.extra_input_fn else { return Ok(merged) };
        let path = format!("{path}.extra_input_fn");
        self.apply(&mut builder.scope(&scope), &path, Lambda::parse(text, 1), &[Term::from(merged)])
    }

    fn source(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        package: usize,
        index: usize,
        input: usize,
        source: &Source,
    ) -> Result<Tensors, Diagnostic> {
        let this = &self.packages[package];
        let config = &this.blocks[index].inputs[input];
        let path = format!("{}.blocks[{index}].inputs[{input}]", this.path);
        match source {
            Source::Node(node) => Ok(this.outputs[*node].clone().expect("inputs are built before their readers")),
            Source::PackageInput => this.input.clone().ok_or_else(|| {
                let message = format!("package `{}` is called without a `package_input`, which this block uses", this.name);
                self.pipeline.error(&format!("{path}.use_package_input"), message)
            }),
            Source::Package { index: callee, input: given } => {
                let scope = this.scope.clone();
                let before = self.packages[*callee].reset;
                if let Some(options) = &config.reset_input {
                    self.packages[*callee].reset = Some(options);
                }
                if let Some(given) = given {
                    let mut value = match &**given {
                        Source::Package { index, .. } => self.call(builder, groups, *index, &format!("{path}.package_input"))?,
                        other => self.source(builder, groups, package, index, input, other)?,
                    };
                    if let Some(text) = &config.package_input_fn {
                        let path = format!("{path}.package_input_fn");
                        value = self.apply(&mut builder.scope(&scope), &path, Lambda::parse(text, 1), &[Term::from(value)])?;
                    }
                    self.packages[*callee].input = Some(value);
                }
                let output = self.call(builder, groups, *callee, &format!("{path}.package_name"))?;
                if self.pipeline.is_fixed("reset_input_stays") {
                    self.packages[*callee].reset = before;
                }
                Ok(output)
            }
        }
    }

    /// `; they are [B, 16] of `a` (line 12) and [B, 4, 4] of `b` (line 20)`.
    fn described_inputs(&self, builder: &Builder, package: usize, index: usize, inputs: &[Tensors]) -> String {
        let this = &self.packages[package];
        let kept = this.graph.sources[index].iter().zip(&this.blocks[index].inputs).filter(|(_, input)| !input.ignore_input());
        let parts = inputs.iter().zip(kept).map(|(tensors, (source, _))| {
            let shape = shown(&builder.graph, tensors);
            match source {
                Source::Node(node) => {
                    let (name, path) = this.described(*node);
                    format!("{shape} of `{name}` (line {})", self.pipeline.locate(&path).line)
                }
                Source::Package { index, .. } => format!("{shape} of package `{}`", self.packages[*index].name),
                Source::PackageInput => format!("{shape} of the package's input"),
            }
        });
        format!("; they are {}", parts.collect::<Vec<_>>().join(" and "))
    }

    /// A node's output with its shape and config line.
    pub(super) fn shown(&self, builder: &Builder, package: usize, node: usize) -> String {
        let this = &self.packages[package];
        let (name, path) = this.described(node);
        let shape = this.outputs[node].as_ref().map(|output| shown(&builder.graph, output)).unwrap_or_default();
        format!("{shape} of `{name}` (line {})", self.pipeline.locate(&path).line)
    }
}
