//! What a block does with its input: features, components, lambdas, repetitions, sequences of them (EasyRec behaviours 102,
//! 110 to 112, 119).

use rankmill_config::proto::block::Layer as BlockLayer;
use rankmill_config::proto::input::Name as InputName;
use rankmill_config::proto::layer::Layer as SequentialLayer;
use rankmill_config::{Diagnostic, proto};
use rankmill_nn::layers::scope::Builder;
use rankmill_nn::layers::{self, Tensors};

use super::Backbone;
use crate::groups::Groups;
use crate::input_layer;
use crate::lambda::{Lambda, Term};
use crate::model::layer_error;
use crate::tensor;

/// A layer of either kind of message.
enum Layer<'a> {
    Component(&'a proto::KerasLayer),
    Lambda(&'a proto::Lambda),
    Recurrent(&'a proto::RecurrentLayer),
    Repeat(&'a proto::RepeatLayer),
}

impl Backbone<'_> {
    /// Builds block `index` of a package.
    pub(super) fn block(
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
        if !block.layers.is_empty() {
            let mut current = self.block_input(builder, groups, package, index)?;
            for (i, layer) in block.layers.iter().enumerate() {
                let path = format!("{path}.layers[{i}]");
                let layer = match &layer.layer {
                    Some(SequentialLayer::KerasLayer(layer)) => Layer::Component(layer),
                    Some(SequentialLayer::Lambda(layer)) => Layer::Lambda(layer),
                    Some(SequentialLayer::Recurrent(layer)) => Layer::Recurrent(layer),
                    Some(SequentialLayer::Repeat(layer)) => Layer::Repeat(layer),
                    None => return Err(self.pipeline.error(&path, "this layer is empty")),
                };
                current = self.layer(builder, groups, &format!("{scope}_l{i}"), layer, current, &path)?;
            }
            return Ok(current);
        }
        let layer = match &block.layer {
            Some(BlockLayer::InputLayer(options)) => {
                let group = self.group_name(block, &path)?;
                let options = this.reset.unwrap_or(options);
                return self.feature_group(builder, groups, package, group, options, &path);
            }
            Some(BlockLayer::RawInput(_)) => {
                let group = self.group_name(block, &path)?;
                return groups.raw(builder, group, &path);
            }
            Some(BlockLayer::EmbeddingLayer(options)) => {
                let group = self.group_name(block, &path)?;
                return groups.embedding_layer(builder, group, options, &scope, &path);
            }
            Some(BlockLayer::KerasLayer(layer)) => Layer::Component(layer),
            Some(BlockLayer::Lambda(layer)) => Layer::Lambda(layer),
            Some(BlockLayer::Recurrent(layer)) => Layer::Recurrent(layer),
            Some(BlockLayer::Repeat(layer)) => Layer::Repeat(layer),
            None => return self.block_input(builder, groups, package, index),
        };
        let input = self.block_input(builder, groups, package, index)?;
        self.layer(builder, groups, &scope, layer, input, &path)
    }

    /// The group of a block that reads features.
    fn group_name<'b>(&self, block: &'b proto::Block, path: &str) -> Result<&'b str, Diagnostic> {
        match block.inputs.as_slice() {
            [proto::Input { name: Some(InputName::FeatureGroupName(group)), .. }] => Ok(group),
            _ => Err(self.pipeline.error(path, "a block that reads features needs one input, a feature group")),
        }
    }

    /// A feature group through an input layer; its columns are looked up once in a package.
    pub(super) fn feature_group(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        package: usize,
        name: &str,
        options: &proto::InputLayer,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        if options.output_seq_and_normal_feature() {
            if let Some(known) = self.packages[package].sequences.get(name) {
                return Ok(known.clone());
            }
            let built = groups.sequences_and_features(builder, name, options, path)?;
            self.packages[package].sequences.insert(name.to_owned(), built.clone());
            return Ok(built);
        }
        let known = self.packages[package].groups.remove(name);
        let mut columns = match known {
            Some(columns) => columns,
            None => groups.columns(builder, name, self.wide_output_dim, path)?,
        };
        let output = input_layer::apply(builder, &mut columns, options).map_err(|message| self.pipeline.error(path, message))?;
        self.packages[package].groups.insert(name.to_owned(), columns);
        Ok(output)
    }

    fn layer(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        scope: &str,
        layer: Layer<'_>,
        input: Tensors,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        match layer {
            Layer::Component(layer) => self.component(builder, groups, scope, layer, input, &format!("{path}.keras_layer")),
            Layer::Lambda(lambda) => {
                let path = format!("{path}.lambda.expression");
                let function = Lambda::parse(lambda.expression(), 1);
                self.apply(&mut builder.scope(scope), &path, function, &[Term::from(input)])
            }
            Layer::Recurrent(layer) => self.recurrent(builder, groups, scope, layer, input, &format!("{path}.recurrent")),
            Layer::Repeat(layer) => self.repeat(builder, groups, scope, layer, &input, &format!("{path}.repeat")),
        }
    }

    /// Builds a component. Its variables lie in `scope`, which no other layer may use: as `x_0` does both a block of that name and
    /// the first layer of a repeated block `x`.
    fn component(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        scope: &str,
        layer: &proto::KerasLayer,
        input: Tensors,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let owner = self.scopes.entry(scope.to_owned()).or_insert_with(|| path.to_owned());
        if owner != path {
            let line = self.pipeline.locate(owner).line;
            let message =
                format!("this layer and the one in line {line} would both have the variables `{scope}`; rename one of the blocks");
            return Err(self.pipeline.error(path, message));
        }
        let input = groups.without_texts(builder, scope, layer, input, path)?;
        if !input.texts().is_empty() {
            return Ok(input);
        }
        layers::build(&mut builder.scope(scope), layer, &input).map_err(|error| layer_error(self.pipeline, path, error))
    }

    /// Layers one after the other. With `fixed_input_index` the input is a list: that element is given to each layer as it is, the
    /// others are replaced by what the layer makes of the list, and at the end the fixed one is left out.
    fn recurrent(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        scope: &str,
        layer: &proto::RecurrentLayer,
        input: Tensors,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let Some(component) = &layer.keras_layer else { return Err(self.nothing_to_repeat(path)) };
        let inner = format!("{path}.keras_layer");
        let steps = layer.num_steps();
        let Some(fixed) = layer.fixed_input_index.map(|index| index as usize) else {
            return (0..steps)
                .try_fold(input, |current, i| self.component(builder, groups, &format!("{scope}_{i}"), component, current, &inner));
        };
        let pipeline = self.pipeline;
        let at_index = |message: String| pipeline.error(&format!("{path}.fixed_input_index"), message);
        let (Tensors::List(mut parts) | Tensors::Tuple(mut parts)) = input else {
            return Err(at_index("`fixed_input_index` chooses from a list of inputs, but the input is one tensor".to_owned()));
        };
        if fixed >= parts.len() {
            return Err(at_index(format!("`fixed_input_index` is {fixed}, but there are {} inputs", parts.len())));
        }
        for i in 0..steps {
            let output = self.component(builder, groups, &format!("{scope}_{i}"), component, Tensors::List(parts.clone()), &inner)?;
            let others = (0..parts.len()).filter(|j| *j != fixed);
            match output {
                Tensors::One(_) | Tensors::Text(_) => others.for_each(|j| parts[j] = output.clone()),
                Tensors::List(list) | Tensors::Tuple(list) => {
                    if list.len() + 1 < parts.len() {
                        let message = format!("the layer gives {} tensors where {} are needed", list.len(), parts.len() - 1);
                        return Err(self.pipeline.error(&inner, message));
                    }
                    others.zip(list).for_each(|(j, part)| parts[j] = part);
                }
            }
        }
        parts.remove(fixed);
        Ok(one_or_list(parts))
    }

    /// Layers side by side, each with weights of its own.
    fn repeat(
        &mut self,
        builder: &mut Builder,
        groups: &mut Groups<'_>,
        scope: &str,
        layer: &proto::RepeatLayer,
        input: &Tensors,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let Some(component) = &layer.keras_layer else { return Err(self.nothing_to_repeat(path)) };
        let mut outputs = Vec::with_capacity(layer.num_repeat() as usize);
        for i in 0..layer.num_repeat() {
            let scope = format!("{scope}_{i}");
            let number = Term::Integer(i64::from(i));
            let mut part = input.clone();
            if let Some(text) = &layer.input_slice {
                let path = format!("{path}.input_slice");
                let slice = Lambda::subscripts(text, &["x", "i"]);
                part = self.apply(&mut builder.scope(&scope), &path, slice, &[Term::from(part), number.clone()])?;
            }
            if let Some(text) = &layer.input_fn {
                let path = format!("{path}.input_fn");
                part = self.apply(&mut builder.scope(&scope), &path, Lambda::parse(text, 2), &[Term::from(part), number])?;
            }
            outputs.push(self.component(builder, groups, &scope, component, part, &format!("{path}.keras_layer"))?);
        }
        let Some(axis) = layer.output_concat_axis.filter(|_| outputs.len() > 1) else { return Ok(one_or_list(outputs)) };
        let message = || self.pipeline.error(&format!("{path}.output_concat_axis"), "only tensors can be put side by side, not lists");
        let values: Option<Vec<_>> = outputs.iter().map(Tensors::as_one).collect();
        let joined = tensor::concat(&mut builder.scope(scope), &values.ok_or_else(message)?, i64::from(axis));
        joined.map(Tensors::One).map_err(|message| self.pipeline.error(&format!("{path}.output_concat_axis"), message))
    }

    fn nothing_to_repeat(&self, path: &str) -> Diagnostic {
        self.pipeline.error(path, "there is no `keras_layer` to repeat")
    }
}

fn one_or_list(mut parts: Vec<Tensors>) -> Tensors {
    if parts.len() == 1 { parts.remove(0) } else { Tensors::List(parts) }
}
