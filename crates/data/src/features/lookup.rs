//! `LookupFeature`: the values that a map in one field has for the key in another (EasyRec behaviour 16).
//!
//! - The first input is the key, the second the map: entries cut at the characters of `separator`, each a key and a value with
//!   characters of `kv_separator` between them.
//! - The values of all entries with that key are taken, the first `lookup_max_sel_elem_num` of them. (EasyRec stops if there are more.)
//! - A key that is a number is compared by its decimal text. (EasyRec takes strings only.)
//! - An entry without exactly one key and one value is an error. (EasyRec pairs what it finds across entries.)

use rankmill_config::proto::dataset_config::FieldType;
use rankmill_kernels::ids::IdColumn;

use super::Feature;
use super::build::{Built, Declaration, Problem, combiner, id_rule, is_float};
use super::fields::{RowErrors, Values};
use super::ids::{Id, IdRule};
use super::split::Separator;
use crate::batch::FeatureCounts;
use crate::error::{Rule, shown};

/// A `LookupFeature`, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct LookupFeature {
    /// The field of the map.
    input: String,
    pub(crate) rule: IdRule,
    separator: Separator,
    key_separator: Separator,
    key_separator_shown: String,
    /// The most values that are taken.
    most: usize,
}

pub(crate) fn build(declaration: &Declaration<'_>) -> Result<Built, Problem> {
    let config = declaration.config;
    let [key, map] = declaration.inputs[..] else {
        return Err(Problem::at("input_names", "a LookupFeature has two inputs: the key and the map"));
    };
    if is_float(key) {
        return Err(Problem::at("input_names", "the first input, the key, must be a STRING or a whole number"));
    }
    if map != FieldType::String {
        return Err(Problem::at("input_names", format!("the second input, the map, must be a STRING, not {}", map.as_str_name())));
    }
    let most = usize::try_from(config.lookup_max_sel_elem_num()).ok().filter(|most| *most > 0);
    let feature = LookupFeature {
        input: config.input_names[1].clone(),
        rule: id_rule(declaration)?,
        separator: Separator::new(config.separator()),
        key_separator: Separator::new(config.kv_separator()),
        key_separator_shown: config.kv_separator().to_string(),
        most: most.ok_or_else(|| Problem::at("lookup_max_sel_elem_num", "must be above 0"))?,
    };
    Ok(Built {
        feature: Feature::Lookup(feature),
        combiner: combiner(declaration)?,
        table_suffix: format!("{}_embedding", declaration.name),
    })
}

impl LookupFeature {
    /// The ids of the live rows.
    pub(crate) fn transform<T: Id>(
        &self,
        keys: Values<'_>,
        maps: Values<'_>,
        rows: usize,
        errors: &mut RowErrors<'_>,
    ) -> (IdColumn<T>, FeatureCounts) {
        let Values::Text(maps) = maps else { unreachable!("FeatureSet::new refuses maps that are no texts") };
        let mut column = IdColumn { offsets: Vec::with_capacity(rows + 1), ids: Vec::with_capacity(rows), weights: None };
        column.offsets.push(0);
        let mut counts = FeatureCounts::default();
        let mut key = Vec::new();
        for (at, map) in maps.iter().enumerate() {
            key.clear();
            keys.write_text(at, 0, &mut key);
            let before = column.ids.len();
            let mut found = 0;
            self.separator.parts(map, |entry| {
                let mut parts = [&[][..]; 2];
                let mut count = 0;
                self.key_separator.parts(entry, |part| {
                    if let Some(place) = parts.get_mut(count) {
                        *place = part;
                    }
                    count += 1;
                });
                if count != 2 {
                    errors.push(at, &self.input, map, Rule::MapEntry { entry: shown(entry), separator: self.key_separator_shown.clone() });
                    return;
                }
                if parts[0] != key {
                    return;
                }
                found += 1;
                if found > self.most {
                    counts.out_of_range += 1;
                    return;
                }
                let id = self.rule.row(parts[1], |value| self.rule.integer(value), &mut counts.out_of_range);
                column.ids.push(id.unwrap_or_else(|| {
                    errors.push(at, &self.input, map, Rule::TagNotInteger { tag: shown(parts[1]) });
                    T::default()
                }));
            });
            counts.missing += u64::from(column.ids.len() == before);
            column.offsets.push(column.ids.len() as u32);
        }
        (column, counts)
    }
}
