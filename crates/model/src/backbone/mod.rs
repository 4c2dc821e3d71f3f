//! The backbone: a graph of blocks, each built once its inputs are (EasyRec behaviours 32, 102, 107 to 114).
//!
//! Blocks live in the backbone itself and in packages, graphs of blocks that are called by name, with the same weights each time.
//! `dag` has their order, `inputs` what blocks are given, `layers` what they do with it, `package` the calls.

mod dag;
mod inputs;
mod layers;
mod package;

use std::collections::BTreeMap;

use rankmill_config::{Diagnostic, Pipeline, proto};
use rankmill_nn::layers::Tensors;
use rankmill_nn::layers::mlp::{Mlp, mlp};
use rankmill_nn::layers::scope::{Builder, Scope};

use self::package::Package;
use crate::groups::Groups;
use crate::lambda::{Lambda, LambdaError, Term};
use crate::model::layer_error;
use crate::tensor;

const PATH: &str = "model_config.backbone";

/// How many calls of packages a model may have: packages that call each other twice double them at each level.
const MOST_CALLS: usize = 1000;

/// What each block came out as, for pictures and shape lists.
#[derive(Clone, Debug)]
pub struct BlockOutput {
    /// The package it belongs to: `backbone`, or that of a call, `tower` at the first, `tower#2` at the second.
    pub package: String,
    /// The block's name.
    pub name: String,
    /// The variable scopes of its layers start with this.
    pub scope: String,
    /// Its output.
    pub output: Tensors,
}

pub(crate) struct Backbone<'a> {
    pipeline: &'a Pipeline,
    tower: &'a proto::BackboneTower,
    /// The backbone itself, then the packages in the order of the config.
    packages: Vec<Package<'a>>,
    wide_output_dim: Option<u32>,
    /// The scopes of layers' variables, and the config places of the layers.
    scopes: BTreeMap<String, String>,
    calls: usize,
    /// The packages that are being called, from outside to inside.
    active: Vec<usize>,
    pub(crate) blocks: Vec<BlockOutput>,
}

impl<'a> Backbone<'a> {
    pub(crate) fn new(pipeline: &'a Pipeline, tower: &'a proto::BackboneTower) -> Result<Backbone<'a>, Diagnostic> {
        let names: Vec<&str> = tower.packages.iter().map(|package| package.name()).collect();
        let mut packages = vec![Package::main(pipeline, tower, &names)?];
        for i in 0..tower.packages.len() {
            packages.push(Package::new(pipeline, tower, i, &names)?);
        }
        let wide_output_dim = wide_output_dim(pipeline, tower)?;
        Ok(Backbone {
            pipeline,
            tower,
            packages,
            wide_output_dim,
            scopes: BTreeMap::new(),
            calls: 0,
            active: Vec::new(),
            blocks: Vec::new(),
        })
    }

    /// Builds all blocks and gives the backbone's output: a tensor, or a list if the config names `output_blocks` or ends in lists.
    pub(crate) fn build(&mut self, builder: &mut Builder, groups: &mut Groups<'_>) -> Result<Tensors, Diagnostic> {
        let output = self.call(builder, groups, 0, PATH)?;
        if !output.texts().is_empty() {
            let message = "texts can't leave the backbone; a component that reads them makes numbers of them";
            return Err(self.pipeline.error(PATH, message));
        }
        let Some(top) = &self.tower.top_mlp else { return Ok(output) };
        let path = format!("{PATH}.top_mlp");
        let mut s = builder.scope("backbone_top_mlp");
        let parts = output.values();
        let input = tensor::concat(&mut s, &parts, -1).map_err(|message| self.pipeline.error(&path, message))?;
        Mlp::from_config(top)
            .and_then(|settings| mlp(&mut s, &settings, input))
            .map(Tensors::One)
            .map_err(|error| layer_error(self.pipeline, &path, error))
    }

    /// The value of a function in the config, applied to tensors.
    fn apply(
        &self,
        s: &mut Scope<'_>,
        path: &str,
        function: Result<Lambda, LambdaError>,
        arguments: &[Term],
    ) -> Result<Tensors, Diagnostic> {
        let place = |error: LambdaError| self.pipeline.error_within(path, error.span, error.message);
        function.and_then(|function| function.tensors(s, arguments)).map_err(place)
    }
}

/// The width of all tables of wide groups: the blocks that set it must agree (EasyRec behaviour 118).
fn wide_output_dim(pipeline: &Pipeline, tower: &proto::BackboneTower) -> Result<Option<u32>, Diagnostic> {
    let main = tower.blocks.iter().enumerate().map(|(i, block)| (format!("{PATH}.blocks[{i}]"), block));
    let packages = tower.packages.iter().enumerate().flat_map(|(p, package)| {
        package.blocks.iter().enumerate().map(move |(i, block)| (format!("{PATH}.packages[{p}].blocks[{i}]"), block))
    });
    let mut first: Option<(u32, String)> = None;
    for (path, block) in packages.chain(main) {
        let Some(proto::block::Layer::InputLayer(options)) = &block.layer else { continue };
        let Some(width) = options.wide_output_dim else { continue };
        let path = format!("{path}.input_layer.wide_output_dim");
        match &first {
            None => first = Some((width, path)),
            Some((other, earlier)) if *other != width => {
                let line = pipeline.locate(earlier).line;
                let message = format!("`wide_output_dim` is {width} here but {other} in line {line}; all blocks must agree");
                return Err(pipeline.error(&path, message));
            }
            Some(_) => {}
        }
    }
    Ok(first.map(|(width, _)| width))
}
