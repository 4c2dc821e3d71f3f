//! The model and the batches of the comparison, which training and scoring share.
//!
//! Sizes: `small` is the MaskNet of EasyRec's MovieLens example; `large` has 39 fields and two million embedding rows, like Criteo.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use rankmill_config::{Edits, Pipeline};
use rankmill_data::{Column, FeatureBatch, FeatureSet, IdColumn};
use rankmill_model::Parameters;
use safetensors::tensor::{Dtype, TensorView};

use crate::peer::Size;

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
    pub(crate) fn new(size: Size) -> Result<Case, Box<dyn Error>> {
        let fields = fields(size);
        let pipeline = Pipeline::parse("masknet.config", &config(size, &fields)?, &Edits::default())?;
        let features = FeatureSet::new(&pipeline)?;
        if !features.specs().iter().map(|spec| &spec.name).eq(fields.iter().map(|field| &field.name)) {
            return Err("the features are not in the order of the config".into());
        }
        let mut random = Random(SEED);
        let batches = (0..BATCHES).map(|_| batch(size, &fields, &mut random)).collect();
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
    /// Ids of a row of the batch: 1 to this many.
    most_ids: u32,
}

fn fields(size: Size) -> Vec<Field> {
    let one = |name: &str, rows| Field { name: name.to_owned(), rows, most_ids: 1 };
    match size {
        Size::Small => vec![
            one("user_id", 12000),
            one("movie_id", 6000),
            one("job_id", 21),
            one("age", 7),
            one("gender", 2),
            one("year", 36),
            Field { name: "genres".to_owned(), rows: 100, most_ids: 3 },
        ],
        Size::Large => {
            let numbers = (1..=13).map(|i| one(&format!("number_{i}"), 1000));
            let categories = (1..=26).map(|i| one(&format!("category_{i}"), 76_500));
            numbers.chain(categories).collect()
        }
    }
}

fn config(size: Size, fields: &[Field]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let input = |text: &mut String, name: &str, kind: &str| {
        writeln!(text, "data_config {{ input_fields {{ input_name: '{name}' input_type: {kind} }} }}")
    };
    input(&mut text, "label", "INT32")?;
    writeln!(text, "data_config {{ label_fields: 'label' batch_size: {} input_type: CSVInput separator: ',' }}", size.rows())?;
    let mut group = String::new();
    for Field { name, rows, most_ids } in fields {
        let (kind, feature) = if *most_ids == 1 { ("INT32", "IdFeature") } else { ("STRING", "TagFeature") };
        input(&mut text, name, kind)?;
        writeln!(
            text,
            "feature_config {{ features {{ input_names: '{name}' feature_type: {feature} embedding_dim: 16 num_buckets: {rows} }} }}"
        )?;
        write!(group, " feature_names: '{name}'")?;
    }
    let block = "mask_blocks { aggregation_size: 512 output_size: 256 }";
    write!(
        text,
        "train_config {{ optimizer_config {{ adam_optimizer {{
            learning_rate {{ constant_learning_rate {{ learning_rate: 0.0001 }} }} }} }} }}
        model_config {{
          model_class: 'RankModel'
          feature_groups {{ group_name: 'all' wide_deep: DEEP {group} }}
          backbone {{
            blocks {{
              name: 'mask_net'
              inputs {{ feature_group_name: 'all' }}
              keras_layer {{
                class_name: 'MaskNet'
                masknet {{ {block} {block} {block} mlp {{ hidden_units: [512, 256] }} }}
              }}
            }}
            concat_blocks: 'mask_net'
          }}
          model_params {{ }}
          embedding_regularization: 1e-4
        }}"
    )?;
    Ok(text)
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

/// Random rows whose label depends a little on the ids.
fn batch(size: Size, fields: &[Field], random: &mut Random) -> FeatureBatch {
    let rows = size.rows();
    let mut chance = vec![0.5; rows];
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let mut column = IdColumn { offsets: vec![0], ids: Vec::new(), weights: None };
        for chance in &mut chance {
            for _ in 0..=(random.bits() % u64::from(field.most_ids)) {
                let id = random.id(field.rows);
                *chance += if id.is_multiple_of(3) { 0.05 } else { -0.02 };
                column.ids.push(id);
            }
            column.offsets.push(column.ids.len() as u32);
        }
        columns.push(Column::Ids(column));
    }
    let labels = chance.iter().map(|chance| if random.unit() < *chance { 1.0 } else { 0.0 }).collect();
    FeatureBatch { rows, columns, labels: vec![labels], ..FeatureBatch::default() }
}
