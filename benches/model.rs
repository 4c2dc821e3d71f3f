//! The models and the batches of the comparison, which training and scoring share.
//!
//! Sizes: `small` has the fields of EasyRec's MovieLens examples; `large` has 39 fields and two million embedding rows, like Criteo.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{Column, FeatureBatch, FeatureSet, IdColumn, Positions, SequenceColumn};
use rankmill_model::Parameters;
use safetensors::tensor::{Dtype, TensorView};

use crate::peer::{Network, Size};

/// Batches that are made; training takes them in turn.
const BATCHES: usize = 32;
/// Seed of the batches and of the initial variables.
pub(crate) const SEED: u64 = 1;
/// Makes the standard deviation of the initial embeddings 0.1.
const EMBEDDING_SCALE: f32 = 40.0;

/// What is measured: a model, and rows for it.
pub(crate) struct Case {
    pub(crate) pipeline: Pipeline,
    pub(crate) features: FeatureSet,
    pub(crate) batches: Vec<FeatureBatch>,
    fields: Vec<Field>,
}

impl Case {
    pub(crate) fn new(size: Size, network: Network) -> Result<Case, Box<dyn Error>> {
        let fields = fields(size, network);
        let pipeline = Pipeline::parse("bench.config", &config(size, network, &fields)?, &Edits::default())?;
        let features = FeatureSet::new(&pipeline)?;
        if !features.specs().iter().map(|spec| &spec.name).eq(fields.iter().map(|field| &field.name)) {
            return Err("the features are not in the order of the config".into());
        }
        let mut random = Random(SEED);
        let batches = (0..BATCHES).map(|_| batch(size, network, &fields, &mut random)).collect();
        Ok(Case { pipeline, features, batches, fields })
    }

    /// Writes the variables under their names, and for each batch `batch/N/FIELD/offsets`, `batch/N/FIELD/ids` and `batch/N/label`.
    pub(crate) fn dump(&self, path: &Path, parameters: &Parameters) -> Result<(), Box<dyn Error>> {
        let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let integers = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for entry in &parameters.entries {
            tensors.push((entry.name.clone(), Dtype::F32, entry.shape.clone(), floats(&entry.values)));
        }
        for (i, batch) in self.batches.iter().enumerate() {
            for (field, column) in self.fields.iter().zip(&batch.columns) {
                let Column::Ids(column) = column else { continue };
                for (part, values) in [("offsets", &column.offsets), ("ids", &column.ids)] {
                    tensors.push((format!("batch/{i}/{}/{part}", field.name), Dtype::U32, vec![values.len()], integers(values)));
                }
            }
            tensors.push((format!("batch/{i}/label"), Dtype::F32, vec![batch.rows], floats(&batch.labels[0])));
        }
        let views = tensors
            .iter()
            .map(|(name, kind, shape, bytes)| Ok((name, TensorView::new(*kind, shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let names: Vec<&str> = self.fields.iter().map(|field| field.name.as_str()).collect();
        let metadata = HashMap::from([("fields".to_owned(), names.join(",")), ("batches".to_owned(), self.batches.len().to_string())]);
        Ok(safetensors::serialize_to_file(views, Some(metadata), path)?)
    }
}

/// Widens the embeddings. EasyRec's start near zero, where training magnifies rounding so fast that the losses of two correct programs
/// soon part, and comparing them would tell nothing.
pub(crate) fn widen_embeddings(parameters: &mut Parameters) {
    for table in parameters.entries.iter_mut().filter(|entry| entry.name.ends_with("embedding_weights")) {
        table.values.iter_mut().for_each(|value| *value *= EMBEDDING_SCALE);
    }
}

/// A feature of the model.
struct Field {
    name: String,
    /// Rows of its table.
    rows: u32,
    /// Ids of a row of the batch.
    ids: Ids,
}

/// The ids of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    One,
    /// 1 to this many.
    Several(u32),
    /// A sequence of 1 to this many positions.
    Sequence(u32),
}

impl Field {
    fn new(name: impl Into<String>, rows: u32, ids: Ids) -> Field {
        Field { name: name.into(), rows, ids }
    }
}

fn fields(size: Size, network: Network) -> Vec<Field> {
    let one = |name: &str, rows| Field::new(name, rows, Ids::One);
    let mut fields = match size {
        Size::Small => vec![
            one("user_id", 12000),
            one("movie_id", 6000),
            one("job_id", 21),
            one("age", 7),
            one("gender", 2),
            one("year", 36),
            Field::new("genres", 100, Ids::Several(3)),
        ],
        Size::Large => {
            let numbers = (1..=13).map(|i| one(&format!("number_{i}"), 1000));
            let categories = (1..=26).map(|i| one(&format!("category_{i}"), 76_500));
            numbers.chain(categories).collect()
        }
    };
    if network == Network::Din {
        let items = if size == Size::Small { 6000 } else { 76_500 };
        fields.push(one("target", items));
        fields.push(Field::new("history", items, Ids::Sequence(50)));
    }
    fields
}

fn config(size: Size, network: Network, fields: &[Field]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let input = |text: &mut String, name: &str, kind: &str| {
        writeln!(text, "data_config {{ input_fields {{ input_name: '{name}' input_type: {kind} }} }}")
    };
    for label in labels(network) {
        input(&mut text, label, "INT32")?;
        writeln!(text, "data_config {{ label_fields: '{label}' }}")?;
    }
    writeln!(text, "data_config {{ batch_size: {} input_type: CSVInput separator: ',' }}", size.rows())?;
    let mut group = String::new();
    for Field { name, rows, ids } in fields {
        let (kind, feature) = match ids {
            Ids::One => ("INT32", "IdFeature"),
            Ids::Several(_) => ("STRING", "TagFeature"),
            Ids::Sequence(_) => ("STRING", "SequenceFeature"),
        };
        input(&mut text, name, kind)?;
        writeln!(
            text,
            "feature_config {{ features {{ input_names: '{name}' feature_type: {feature} embedding_dim: 16 num_buckets: {rows} }} }}"
        )?;
        if !matches!(ids, Ids::Sequence(_)) && name != "target" {
            write!(group, " feature_names: '{name}'")?;
        }
    }
    let adam = "adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.0001 } } }";
    writeln!(text, "train_config {{ optimizer_config {{ {adam} }} }}")?;
    text.push_str(&network.text().replace("FEATURES", &group));
    Ok(text)
}

fn labels(network: Network) -> &'static [&'static str] {
    if network == Network::Mmoe { &["label", "label2"] } else { &["label"] }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Below `rows`, small ids far more often than large ones: half of all draws lie in the first eighth.
    fn id(&mut self, rows: u32) -> u32 {
        (f64::from(rows) * self.unit().powi(3)) as u32
    }
}

/// Random rows whose labels depend a little on the ids.
fn batch(size: Size, network: Network, fields: &[Field], random: &mut Random) -> FeatureBatch {
    let rows = size.rows();
    let mut chance = vec![0.5; rows];
    let columns = fields.iter().map(|field| column(field, &mut chance, random)).collect();
    let mut label = || chance.iter().map(|chance| if random.unit() < *chance { 1.0 } else { 0.0 }).collect();
    let labels = labels(network).iter().map(|_| label()).collect();
    FeatureBatch { rows, columns, labels, ..FeatureBatch::default() }
}

/// A random column; the ids move the chances of the rows.
fn column(field: &Field, chances: &mut [f64], random: &mut Random) -> Column {
    let (Ids::Several(most) | Ids::Sequence(most)) = field.ids else {
        return Column::Ids(ids_of(field, 1, chances, random));
    };
    let ids = ids_of(field, most, chances, random);
    if matches!(field.ids, Ids::Several(_)) {
        return Column::Ids(ids);
    }
    let longest = ids.offsets.windows(2).map(|row| row[1] - row[0]).max().unwrap_or(0) as usize;
    let positions = IdColumn { offsets: (0..=ids.ids.len() as u32).collect(), ids: ids.ids, weights: None };
    Column::Sequence(SequenceColumn { offsets: ids.offsets, longest, positions: Positions::Ids(positions) })
}

fn ids_of(field: &Field, most: u32, chances: &mut [f64], random: &mut Random) -> IdColumn {
    let mut column = IdColumn { offsets: vec![0], ids: Vec::new(), weights: None };
    for chance in chances {
        for _ in 0..=(random.bits() % u64::from(most)) {
            let id = random.id(field.rows);
            *chance += if id.is_multiple_of(3) { 0.05 } else { -0.02 };
            column.ids.push(id);
        }
        column.offsets.push(column.ids.len() as u32);
    }
    column
}
