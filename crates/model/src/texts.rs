//! Texts in a backbone. `raw_input` blocks give the texts of features, some components read them, and none is in the graph: the components
//! get numbers that the features make of the texts ([`TextColumn`]s).
//!
//! Which columns a model needs shows when its blocks are built. So features are planned in two passes: [`feature_set`] builds the blocks
//! once to collect the columns, and then the model finds them.

use rankmill_config::{Diagnostic, Diagnostics, Pipeline, Settings, proto};
use rankmill_data::{
    Characters, FeatureKind, FeatureSet, OverlapMethod, Scaling, TextColumn, TextFunction, TextNormalization, TextSource, TokenIds, Tokens,
};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::{GraphError, Length, Shape, Value};
use rankmill_nn::layers::scope::Builder;
use rankmill_nn::layers::{self, LayerError, Tensors};

use crate::feed::Slot;
use crate::feed_sequences::{Cut, Filling};
use crate::groups::Groups;
use crate::model::{layer_error, text_columns};

/// The separator of words and keys, if none is set: the character 29, as in EasyRec.
const DEFAULT_SEPARATOR: &str = "\u{1d}";

/// The components that read texts.
const READERS: &[&str] = &["TextEncoder", "EditDistance", "OverlapFeature", "MappedDotProduct", "TextNormalize"];

/// Whether the columns of texts are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// They are collected: in place of their values there is anything of the same shape.
    Collecting,
    /// They are columns of the features.
    Building,
}

/// The texts of a model, and the columns that its components need of them.
#[derive(Debug)]
pub(crate) struct Texts {
    pass: Pass,
    /// The texts that tensors are numbers of.
    sources: Vec<TextSource>,
    columns: Vec<TextColumn>,
}

/// The features of a config, with the columns of numbers that its blocks need of texts.
///
/// # Errors
/// Everything in the config that does not fit, each with its place.
pub fn feature_set(pipeline: &Pipeline) -> Result<FeatureSet, Diagnostics> {
    let mut features = FeatureSet::new(pipeline)?;
    if pipeline.feature_groups().iter().any(|group| pipeline.group_readers(group.name).raw) {
        let one = |problem| Diagnostics(vec![problem]);
        for column in text_columns(pipeline, &features).map_err(one)? {
            features.add_text(pipeline, &column).map_err(one)?;
        }
    }
    Ok(features)
}

impl Texts {
    pub(crate) fn new(pass: Pass) -> Texts {
        Texts { pass, sources: Vec::new(), columns: Vec::new() }
    }

    /// What the components need.
    pub(crate) fn into_columns(self) -> Vec<TextColumn> {
        self.columns
    }

    /// A text as what flows between blocks.
    pub(crate) fn text(&mut self, source: TextSource) -> Tensors {
        let known = self.sources.iter().position(|known| *known == source).unwrap_or(self.sources.len());
        if known == self.sources.len() {
            self.sources.push(source);
        }
        Tensors::Text(known)
    }
}

impl Groups<'_> {
    /// What a component is given in place of texts: numbers, or for `TextNormalize` its output. `scope` is the component's place.
    pub(crate) fn without_texts(
        &mut self,
        builder: &mut Builder,
        scope: &str,
        config: &proto::KerasLayer,
        input: Tensors,
        path: &str,
    ) -> Result<Tensors, Diagnostic> {
        let class_name = config.class_name();
        let texts = input.texts();
        let is_reader = READERS.contains(&class_name);
        if texts.is_empty() && !is_reader {
            return Ok(input);
        }
        let pipeline = self.pipeline;
        if !is_reader {
            let names: Vec<String> = texts.iter().map(|text| format!("`{}`", self.texts.sources[*text].feature)).collect();
            let message = format!("{class_name} takes numbers, but its input has the text of {}", names.join(", "));
            return Err(pipeline.error(path, message).with_help(format!("texts are read by {}", READERS.join(", "))));
        }
        if texts.is_empty() || !input.values().is_empty() {
            let message = format!("{class_name} takes texts: those of a raw_input block over PassThroughFeatures of STRING fields");
            return Err(pipeline.error(path, message));
        }
        let at_layer = |error: LayerError| layer_error(pipeline, path, error);
        let settings = layers::settings(config).map_err(at_layer)?;
        if class_name == "TextNormalize" {
            return self.normalized(&settings, &texts).map_err(at_layer);
        }
        let (function, scaling) = function(class_name, &settings, texts.len()).map_err(at_layer)?;
        let sources: Vec<TextSource> = texts.iter().map(|text| self.texts.sources[*text].clone()).collect();
        let name = self.column_name(scope, &sources);
        let column = TextColumn { name, path: path.to_owned(), sources, function, scaling };
        let numbers = self.numbers(builder, &column);
        if !self.texts.columns.iter().any(|known| known.name == column.name) {
            self.texts.columns.push(column);
        }
        numbers.map_err(|error| at_layer(LayerError::from(error)))
    }

    /// The texts with one more normalisation each: a list, or of one text itself.
    fn normalized(&mut self, settings: &Settings, texts: &[usize]) -> Result<Tensors, LayerError> {
        let parameter = settings.count("norm_parameter", 0)? as u32;
        let normalization = TextNormalization::new(parameter, settings.flag("remove_space", false)?);
        let normalization = normalization.map_err(|error| settings.error("norm_parameter", error.to_string()))?;
        let mut outputs = Vec::with_capacity(texts.len());
        for text in texts {
            let mut source = self.texts.sources[*text].clone();
            source.normalizations.push(normalization);
            outputs.push(self.texts.text(source));
        }
        Ok(if outputs.len() == 1 { outputs.remove(0) } else { Tensors::List(outputs) })
    }

    /// The name of the column of a component that reads these texts: its place, with a number if its package is called again with others.
    fn column_name(&self, scope: &str, sources: &[TextSource]) -> String {
        let name = |call: usize| if call == 1 { scope.to_owned() } else { format!("{scope}#{call}") };
        let is_free = |name: &String| self.texts.columns.iter().all(|known| known.name != *name || known.sources == sources);
        (1..).map(name).find(is_free).expect("there is no end of numbers")
    }

    /// The numbers of a column: `[B, N]`, or of tokens a list of their ids and their mask, `[B, L, 1]` each.
    fn numbers(&mut self, builder: &mut Builder, column: &TextColumn) -> Result<Tensors, GraphError> {
        let slot = match self.texts.pass {
            Pass::Collecting => None,
            Pass::Building => self.features.specs().iter().position(|spec| spec.name == column.name).map(|at| self.slots.feature(at)),
        };
        let (dense, axis) = match slot {
            Some(Slot::Dense(slot, _)) => (slot, None),
            Some(Slot::Sequence(sequence)) => {
                let axis = self.feed.axis(&mut builder.graph, &[sequence], Cut::Whole, Filling::Read);
                let slot = self.feed.numbers_along(sequence, Cut::Whole, axis);
                (slot.expect("the column stands alone along its axis"), Some(axis))
            }
            _ => match column.function.kind() {
                FeatureKind::DenseSequence { .. } => (0, Some(builder.graph.axis(Length::Fed(0)))),
                _ => (0, None),
            },
        };
        let mut s = builder.scope(&format!("{} (texts)", column.name));
        let (FeatureKind::Dense { width } | FeatureKind::DenseSequence { width }) = column.function.kind() else {
            unreachable!("texts become numbers")
        };
        let numbers = s.add(DenseInput { slot: dense, width, axis }, &[])?;
        let TextFunction::Tokens(tokens) = &column.function else { return Ok(Tensors::One(numbers)) };
        let [ids, mask]: [Value; 2] = [s.columns(numbers, 0, 1)?, s.columns(numbers, 1, 1)?];
        let empty = s.add(Fill { shape: Shape::fixed(&[1]), value: tokens.empty_id() as f32 }, &[])?;
        let ids = s.add(Binary::Add, &[ids, empty])?;
        Ok(Tensors::list([ids, mask]))
    }
}

/// What a component needs of its texts.
fn function(class_name: &str, settings: &Settings, texts: usize) -> Result<(TextFunction, Scaling), LayerError> {
    if class_name == "TextEncoder" {
        return Ok((TextFunction::Tokens(tokens(settings)?), Scaling::default()));
    }
    if texts != 2 {
        return Err(LayerError::message(format!("{class_name} compares two texts, but its input has {texts}")));
    }
    match class_name {
        "EditDistance" => {
            let characters = match settings.text("text_encoding", "utf-8")?.to_lowercase().as_str() {
                "utf-8" | "utf8" => Characters::Utf8,
                "ascii" | "latin-1" | "latin1" | "iso-8859-1" => Characters::Bytes,
                other => return Err(settings.error("text_encoding", format!("`{other}` is none of utf-8, latin-1, ascii")).into()),
            };
            Ok((TextFunction::EditDistance(characters), Scaling::default()))
        }
        "OverlapFeature" => {
            let names = settings.texts("methods")?;
            let known: Vec<&str> = OverlapMethod::NAMES.iter().map(|(name, _)| *name).collect();
            let mut methods = Vec::with_capacity(names.len());
            for (i, name) in names.iter().enumerate() {
                let unknown = || settings.element_error("methods", i, format!("`{name}` is none of {}", known.join(", ")));
                methods.push(OverlapMethod::from_name(name).ok_or_else(unknown)?);
            }
            if methods.is_empty() {
                return Err(settings.error("methods", format!("`methods` must be set; known: {}", known.join(", "))).into());
            }
            let default = settings.text("default_value", "-1")?;
            let number = default.trim().parse::<f32>();
            let default = number.map_err(|_| settings.error("default_value", format!("`{default}` is no number")))?;
            Ok((TextFunction::Overlap { separator: separator(settings)?, methods, default }, scaling(settings)?))
        }
        _ => {
            let default = settings.number("default_value", 0.0)?;
            Ok((TextFunction::DotProduct { separator: separator(settings)?, default }, scaling(settings)?))
        }
    }
}

/// The tokens that a text encoder reads.
fn tokens(settings: &Settings) -> Result<Tokens, LayerError> {
    let transformer = settings.required_group("transformer")?;
    let rows = transformer.required_count("vocab_size")? as u64;
    let ids = match settings.optional_text("vocab_file")?.filter(|path| !path.is_empty()) {
        None => TokenIds::Hash(rows),
        Some(path) => {
            let default = settings.count("default_token_id", 0)? as u32;
            TokenIds::from_file(&path, default).map_err(|message| settings.error("vocab_file", message))?
        }
    };
    if ids.count() > rows {
        let message = format!("`vocab_size` is {rows}, but the vocabulary has ids up to {}", ids.count() - 1);
        return Err(transformer.error("vocab_size", message).into());
    }
    let separator = settings.text("separator", " ")?;
    if separator.is_empty() {
        return Err(settings.error("separator", "words need a `separator`").into());
    }
    Ok(Tokens::new(&separator, ids, transformer.count("max_position_embeddings", 512)?))
}

fn separator(settings: &Settings) -> Result<String, LayerError> {
    Ok(settings.text("separator", DEFAULT_SEPARATOR)?)
}

fn scaling(settings: &Settings) -> Result<Scaling, LayerError> {
    let scaling = Scaling::new(&settings.text("normalize_fn", "")?, settings.numbers("boundaries")?);
    scaling.map_err(|message| settings.error(if message.starts_with("`norm") { "normalize_fn" } else { "boundaries" }, message).into())
}
