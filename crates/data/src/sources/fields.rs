//! What sources know of the input fields: which are read, which are numbers to the features, and how a column of lists or maps becomes
//! the one text that features read.
//!
//! A feature cuts its text at its separators, so several values are joined with them: a list with the `separator` of the feature that
//! reads the field, a map with its `kv_separator` between key and value, lists within a list with `seq_multi_sep`. A value with the
//! separator in it could not be told apart, and is an error of its row.

use std::collections::BTreeSet;

use rankmill_config::proto::dataset_config::{FieldType, InputType};
use rankmill_config::proto::feature_config::FeatureType;
use rankmill_config::proto::{DatasetConfig, FeatureConfig};
use rankmill_config::{Feature, Pipeline};

use crate::error::{Rule, shown};
use crate::rows::cell::{CellKind, Packed, without_decimals_of_whole_numbers};

/// An input field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceField {
    pub(crate) name: String,
    pub(crate) kind: FieldType,
    /// The type of number that it may be handed on as, see [`Cell`](crate::rows::cell::Cell); text otherwise.
    pub(crate) number: Option<NumberKind>,
    pub(crate) reading: Reading,
    pub(crate) joining: Joining,
    /// `ParquetInput` and `ParquetInputV2` take ids modulo `num_buckets`.
    pub(crate) modulus: Option<i64>,
    /// To `HiveParquetInput` the text `NULL` is no value.
    pub(crate) has_null_word: bool,
}

/// What a field is to the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberKind {
    Int32,
    Int64,
    Float,
    Double,
}

/// Who reads a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reading {
    /// Nobody: it may be left empty.
    Nobody,
    /// It is handed through if it is there.
    Kept,
    /// A feature, a label, the sample weight or a metric: it has to be there.
    Needed,
}

/// What is put between several values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Joining {
    /// Between values.
    pub(crate) values: Option<u8>,
    /// Between the values of a list within a list.
    pub(crate) inner: Option<u8>,
    /// Between key and value.
    pub(crate) keys: Option<u8>,
}

impl SourceField {
    pub(crate) fn is_read(&self) -> bool {
        self.reading != Reading::Nobody
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.reading == Reading::Needed
    }

    /// Whether truth values are written as words.
    fn has_words(&self) -> bool {
        matches!(self.kind, FieldType::String | FieldType::Bool)
    }

    /// A whole number as the number that features take it for; `None` if it must be text.
    #[inline]
    pub(crate) fn pack_integer(&self, value: i64) -> Option<Packed> {
        let value = self.modulus.map_or(value, |modulus| value.rem_euclid(modulus));
        match self.number? {
            NumberKind::Int64 => Some(Packed::integer(value)),
            NumberKind::Int32 => i32::try_from(value).is_ok().then(|| Packed::integer(value)),
            NumberKind::Float => Some(Packed::float(value as f32)),
            NumberKind::Double => Some(Packed::double(value as f64)),
        }
    }

    /// An `f32` as the number that features take it for; `None` if it must be text.
    #[inline]
    pub(crate) fn pack_float(&self, value: f32) -> Option<Packed> {
        match self.number? {
            NumberKind::Float => Some(Packed::float(value)),
            NumberKind::Double => Some(Packed::double(f64::from(value))),
            NumberKind::Int32 | NumberKind::Int64 => None,
        }
    }

    /// An `f64` as the number that features take it for; `None` if it must be text.
    #[inline]
    pub(crate) fn pack_double(&self, value: f64) -> Option<Packed> {
        match self.number? {
            NumberKind::Float => narrowed(value).map(Packed::float),
            NumberKind::Double => Some(Packed::double(value)),
            NumberKind::Int32 | NumberKind::Int64 => None,
        }
    }

    /// Appends a whole number as the number that features take it for, or else as text.
    #[inline]
    pub(crate) fn integer_cell(&self, value: i64, cell: &mut Vec<u8>) -> CellKind {
        let Some(packed) = self.pack_integer(value) else {
            self.integer(value, cell);
            return CellKind::Text;
        };
        packed.write(cell)
    }

    /// Appends an `f32` as the number that features take it for, or else as text.
    #[inline]
    pub(crate) fn float_cell(&self, value: f32, cell: &mut Vec<u8>) -> CellKind {
        let Some(packed) = self.pack_float(value) else {
            self.float(value, cell);
            return CellKind::Text;
        };
        packed.write(cell)
    }

    /// Appends an `f64` as the number that features take it for, or else as text.
    #[inline]
    pub(crate) fn double_cell(&self, value: f64, cell: &mut Vec<u8>) -> CellKind {
        let Some(packed) = self.pack_double(value) else {
            self.double(value, cell);
            return CellKind::Text;
        };
        packed.write(cell)
    }

    /// Appends a text as it is.
    pub(crate) fn text(&self, value: &[u8], text: &mut Vec<u8>) {
        if !(self.has_null_word && value == b"NULL") {
            text.extend_from_slice(value);
        }
    }

    /// Appends a truth value as text of the field's type.
    pub(crate) fn boolean(&self, value: bool, text: &mut Vec<u8>) {
        text.extend_from_slice(match (self.has_words(), value) {
            (true, true) => b"true",
            (true, false) => b"false",
            (false, true) => b"1",
            (false, false) => b"0",
        });
    }

    /// Appends a whole number.
    #[inline]
    pub(crate) fn integer(&self, value: i64, text: &mut Vec<u8>) {
        let value = self.modulus.map_or(value, |modulus| value.rem_euclid(modulus));
        text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Appends an unsigned whole number.
    pub(crate) fn unsigned(&self, value: u64, text: &mut Vec<u8>) {
        let value = self.modulus.map_or(value, |modulus| value % modulus as u64);
        text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Appends the shortest text that is this `f32`: the number itself for a DOUBLE, the nearest `f32` otherwise.
    pub(crate) fn float(&self, value: f32, text: &mut Vec<u8>) {
        if self.kind == FieldType::Double {
            return self.double(f64::from(value), text);
        }
        text.extend_from_slice(without_decimals_of_whole_numbers(zmij::Buffer::new().format(value)).as_bytes());
    }

    /// Appends the shortest text that is this `f64`.
    pub(crate) fn double(&self, value: f64, text: &mut Vec<u8>) {
        text.extend_from_slice(without_decimals_of_whole_numbers(zmij::Buffer::new().format(value)).as_bytes());
    }
}

/// The `f32` nearest to the shortest text of an `f64`; `None` where that may not be the one nearest to the number itself.
///
/// The text is not the number, but nearer to it than to any other `f64`. Two `f32` part in an `f64`, so the two can only differ if the
/// number is just that one: its bits behind those of an `f32` are 1, 0, 0, … Very small `f32` have fewer bits, and part elsewhere.
#[inline]
fn narrowed(value: f64) -> Option<f32> {
    const HALF: u64 = 1 << (f64::MANTISSA_DIGITS - f32::MANTISSA_DIGITS - 1);
    const REST: u64 = 2 * HALF - 1;
    let narrow = value as f32;
    let is_exact = f64::from(narrow) == value;
    let has_all_bits = (f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&value.abs());
    let is_sure = has_all_bits && value.to_bits() & REST != HALF;
    (is_exact || is_sure || value.is_nan()).then_some(narrow)
}

/// The values of one field in one row while they are joined.
pub(crate) struct List<'a> {
    field: &'a SourceField,
    separator: Option<u8>,
    values: usize,
    /// Whether a value that stays alone may be joined values itself.
    may_be_joined: bool,
    first: std::ops::Range<usize>,
}

impl<'a> List<'a> {
    /// The values of a list.
    pub(crate) fn new(field: &'a SourceField) -> List<'a> {
        List { field, separator: field.joining.values, values: 0, may_be_joined: false, first: 0..0 }
    }

    /// The values of a list within a list.
    pub(crate) fn within(field: &'a SourceField) -> List<'a> {
        List { separator: field.joining.inner, ..List::new(field) }
    }

    /// The values of a feature of an example, where also a single value is a list: such a one may be a text of several values.
    pub(crate) fn of_feature(field: &'a SourceField) -> List<'a> {
        List { may_be_joined: true, ..List::new(field) }
    }

    /// Appends the next value to the field's text.
    ///
    /// # Errors
    /// [`Rule::SeveralValues`] where one is read, [`Rule::SeparatorInValue`].
    pub(crate) fn value(&mut self, text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Rule>) -> Result<(), Rule> {
        self.values += 1;
        if self.values > 1 {
            let Some(separator) = self.separator else {
                return Err(Rule::SeveralValues { field: self.field.name.clone() });
            };
            if self.values == 2 && self.may_be_joined {
                self.check(&text[self.first.clone()])?;
            }
            text.push(separator);
        }
        let start = text.len();
        write(text)?;
        if self.values == 1 && self.may_be_joined {
            self.first = start..text.len();
            return Ok(());
        }
        self.check(&text[start..])
    }

    /// Checks that a value has no separator in it.
    fn check(&self, value: &[u8]) -> Result<(), Rule> {
        match self.separator {
            Some(separator) if memchr::memchr(separator, value).is_some() => Err(separator_in_value(self.field, separator, value)),
            _ => Ok(()),
        }
    }
}

/// Appends the key and the value of an entry of a map.
pub(crate) fn entry(
    field: &SourceField,
    text: &mut Vec<u8>,
    key: impl FnOnce(&mut Vec<u8>) -> Result<(), Rule>,
    value: impl FnOnce(&mut Vec<u8>) -> Result<(), Rule>,
) -> Result<(), Rule> {
    let Some(separator) = field.joining.keys else {
        return Err(Rule::KeysWithoutSeparator { field: field.name.clone() });
    };
    let part = |text: &mut Vec<u8>, start: usize| match memchr::memchr(separator, &text[start..]) {
        Some(_) => Err(separator_in_value(field, separator, &text[start..])),
        None => Ok(text.len()),
    };
    let start = text.len();
    key(text)?;
    part(text, start)?;
    text.push(separator);
    let start = text.len();
    value(text)?;
    part(text, start).map(|_| ())
}

fn separator_in_value(field: &SourceField, separator: u8, value: &[u8]) -> Rule {
    Rule::SeparatorInValue { field: field.name.clone(), value: shown(value), separator: shown(&[separator]) }
}

/// The input fields of a config, in order; who reads them is not known yet.
pub(crate) fn source_fields(pipeline: &Pipeline) -> Vec<SourceField> {
    let missing = DatasetConfig::default();
    let data = pipeline.proto.data_config.as_ref().unwrap_or(&missing);
    let features = pipeline.features();
    let wraps = matches!(data.input_type(), InputType::ParquetInput | InputType::ParquetInputV2);
    let types = feature_types(pipeline);
    let describe = |name: String, kind: FieldType, feature_type: FieldType| {
        let readers: Vec<Reader<'_>> = readers(&features, &name).collect();
        let joining = joining(&readers, data, &name);
        SourceField {
            kind,
            // Values that are joined are text.
            number: if joining == Joining::default() { number_kind(feature_type) } else { None },
            reading: Reading::Nobody,
            joining,
            modulus: if wraps { modulus(&readers) } else { None },
            has_null_word: data.input_type() == InputType::HiveParquetInput,
            name,
        }
    };
    let fields = pipeline.input_fields().into_iter().zip(types);
    fields.map(|(field, feature_type)| describe(field.name, field.config.input_type(), feature_type)).collect()
}

fn number_kind(kind: FieldType) -> Option<NumberKind> {
    match kind {
        FieldType::Int32 => Some(NumberKind::Int32),
        FieldType::Int64 => Some(NumberKind::Int64),
        FieldType::Float => Some(NumberKind::Float),
        FieldType::Double => Some(NumberKind::Double),
        FieldType::String | FieldType::Bool => None,
    }
}

/// The types that features take the input fields for, in order. To `CSVInputEx` every integer is an INT64 and every DOUBLE a FLOAT.
pub(crate) fn feature_types(pipeline: &Pipeline) -> Vec<FieldType> {
    let ex = pipeline.proto.data_config.as_ref().is_some_and(|data| data.input_type() == InputType::CsvInputEx);
    let lists = fields_of_lists(pipeline);
    let feature_type = |name: &String, kind: FieldType| match kind {
        FieldType::Int32 if ex => FieldType::Int64,
        FieldType::Double if ex => FieldType::Float,
        _ if lists.contains(name) => FieldType::String,
        kind => kind,
    };
    pipeline.input_fields().iter().map(|field| feature_type(&field.name, field.config.input_type())).collect()
}

/// The fields that a columnar source may hold as lists although they are declared as numbers: those that features take apart.
///
/// Such a field has to be read as text, for its values are joined to one.
fn fields_of_lists(pipeline: &Pipeline) -> BTreeSet<String> {
    let columnar = |data: &&DatasetConfig| {
        matches!(data.input_type(), InputType::ParquetInput | InputType::ParquetInputV2 | InputType::ParquetInputV3)
    };
    if pipeline.proto.data_config.as_ref().filter(columnar).is_none() {
        return BTreeSet::new();
    }
    let features = pipeline.features();
    let is_taken_apart = |name: &String| {
        let mut readers = readers(&features, name).peekable();
        readers.peek().is_some() && readers.all(|reader| reader.joining().values.is_some())
    };
    pipeline.input_fields().into_iter().map(|field| field.name).filter(is_taken_apart).collect()
}

/// A feature that reads a field as its input of that number.
struct Reader<'a> {
    config: &'a FeatureConfig,
    input: usize,
}

fn readers<'a>(features: &'a [Feature<'a>], name: &'a str) -> impl Iterator<Item = Reader<'a>> {
    features.iter().flat_map(move |feature| {
        let config = &*feature.config;
        let inputs = config.input_names.iter().enumerate().filter(move |(_, input)| *input == name);
        inputs.map(move |(input, _)| Reader { config, input })
    })
}

impl Reader<'_> {
    fn joining(&self) -> Joining {
        let first = |text: &str| text.bytes().next();
        let config = self.config;
        let values = first(config.separator());
        let inner = config.seq_multi_sep.as_deref().and_then(first);
        let keys = config.kv_separator.as_deref().and_then(first);
        match config.feature_type() {
            FeatureType::TagFeature => Joining { values, inner, keys },
            // A sequence is cut at the whole separator, and at blanks if it is empty.
            FeatureType::SequenceFeature => match config.separator().as_bytes() {
                [] => Joining { values: Some(b' '), inner, keys: None },
                [separator] => Joining { values: Some(*separator), inner, keys: None },
                _ => Joining::default(),
            },
            FeatureType::LookupFeature => Joining { values, inner: None, keys },
            FeatureType::RawFeature if config.raw_input_dim() > 1 => Joining { values, ..Joining::default() },
            FeatureType::ComboFeature => {
                let values = config.combo_input_seps.get(self.input).and_then(|separator| first(separator));
                Joining { values, ..Joining::default() }
            }
            _ => Joining::default(),
        }
    }
}

/// How values are joined, if all that take the field apart agree.
fn joining(readers: &[Reader<'_>], data: &DatasetConfig, name: &str) -> Joining {
    let label = data.label_fields.iter().position(|label| label == name);
    let several = |at: &usize| data.label_dim.get(*at).is_some_and(|dim| *dim > 1);
    let label = label.filter(several).and_then(|at| data.label_sep.get(at)?.bytes().next());
    let label = label.map(|separator| Joining { values: Some(separator), ..Joining::default() });
    let mut all = readers.iter().map(Reader::joining).chain(label);
    let Some(first) = all.next() else { return Joining::default() };
    if all.all(|other| other == first) { first } else { Joining::default() }
}

/// The buckets of the ids in a field, if all features that read it agree.
fn modulus(readers: &[Reader<'_>]) -> Option<i64> {
    let buckets = |reader: &Reader<'_>| {
        let is_id = matches!(reader.config.feature_type(), FeatureType::IdFeature | FeatureType::TagFeature);
        let counts = is_id && reader.input == 0 && reader.config.hash_bucket_size() == 0;
        counts.then(|| i64::try_from(reader.config.num_buckets()).unwrap_or(0)).filter(|buckets| *buckets > 0)
    };
    let first = buckets(readers.first()?)?;
    readers.iter().all(|reader| buckets(reader) == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: FieldType, joining: Joining) -> SourceField {
        SourceField {
            name: "f".into(),
            kind,
            number: number_kind(kind),
            reading: Reading::Needed,
            joining,
            modulus: None,
            has_null_word: false,
        }
    }

    #[test]
    fn numbers_are_the_shortest_text_that_reads_back() {
        let float = field(FieldType::Float, Joining::default());
        let double = field(FieldType::Double, Joining::default());
        let mut text = Vec::new();
        for value in [0.1_f32, -0.0, 3.0, 16_777_216.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, 1e-45, 123_456.79] {
            text.clear();
            float.float(value, &mut text);
            assert_eq!(crate::number::parse_float32(&text).map(f32::to_bits), Some(value.to_bits()), "{value}");
            text.clear();
            double.float(value, &mut text);
            assert_eq!(crate::number::parse_float64(&text).map(f64::to_bits), Some(f64::from(value).to_bits()), "{value}");
        }
        text.clear();
        float.float(f32::NAN, &mut text);
        assert!(crate::number::parse_float32(&text).is_some_and(f32::is_nan));
        text.clear();
        float.double(12.0, &mut text);
        assert_eq!(text, b"12");
    }

    proptest::proptest! {
        #[test]
        fn any_double_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let mut text = Vec::new();
            field(FieldType::Double, Joining::default()).double(value, &mut text);
            let found = crate::number::parse_float64(&text).expect("a number");
            proptest::prop_assert!(found.to_bits() == bits || (found.is_nan() && value.is_nan()));
        }
    }

    /// What a feature reads of a cell, as bits: the number, or the text read as a number.
    fn bits(kind: FieldType, cell_kind: CellKind, cell: &[u8]) -> Option<u64> {
        let eight = || u64::from_le_bytes(cell.try_into().expect("8 bytes"));
        match (cell_kind, kind) {
            (CellKind::Integer | CellKind::Float | CellKind::Double, _) => Some(eight()),
            (CellKind::Text, FieldType::Int32) => crate::number::parse_int32(cell).map(|value| i64::from(value).cast_unsigned()),
            (CellKind::Text, FieldType::Int64) => crate::number::parse_int64(cell).map(i64::cast_unsigned),
            (CellKind::Text, FieldType::Float) => crate::number::parse_float32(cell).map(|value| u64::from(value.to_bits())),
            (CellKind::Text, _) => crate::number::parse_float64(cell).map(f64::to_bits),
        }
    }

    /// A number as a cell has the bits of its text.
    #[track_caller]
    fn check_cells(write_cell: impl Fn(&SourceField, &mut Vec<u8>) -> CellKind, write_text: impl Fn(&SourceField, &mut Vec<u8>)) {
        for kind in [FieldType::Int32, FieldType::Int64, FieldType::Float, FieldType::Double] {
            let field = field(kind, Joining::default());
            let (mut cell, mut text) = (Vec::new(), Vec::new());
            let cell_kind = write_cell(&field, &mut cell);
            write_text(&field, &mut text);
            let read = bits(kind, CellKind::Text, &text);
            assert_eq!(bits(kind, cell_kind, &cell), read, "{kind:?} {}", String::from_utf8_lossy(&text));
        }
    }

    fn check_double(value: f64) {
        check_cells(|field, cell| field.double_cell(value, cell), |field, text| field.double(value, text));
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_what_their_texts_are(integer: i64, small: i32, float_bits: u32, double_bits: u64, short in -1e6..1e6_f64) {
            for value in [integer, i64::from(small), integer >> 20] {
                check_cells(|field, cell| field.integer_cell(value, cell), |field, text| field.integer(value, text));
            }
            let float = f32::from_bits(float_bits);
            check_cells(|field, cell| field.float_cell(float, cell), |field, text| field.float(float, text));
            check_double(f64::from_bits(double_bits));
            // Numbers where two f32 part, and their neighbours.
            let halfway = f64::from_bits(f64::from(float).to_bits() & !0x1fff_ffff | 0x1000_0000);
            for value in [short, (short * 100.0).round() / 100.0, halfway, halfway.next_up(), halfway.next_down(), f64::from(float)] {
                check_double(value);
            }
        }
    }

    #[test]
    fn numbers_at_the_ends_are_what_their_texts_are() {
        let (tiny, least) = (f64::from(f32::MIN_POSITIVE), f64::from(f32::from_bits(1)));
        let ends =
            [0.0, f64::INFINITY, 1e39, f64::from(f32::MAX) * 1.000_000_01, tiny, tiny - least * 0.5, tiny * 0.75, least * 1.5, least * 0.5];
        for value in ends {
            check_double(value);
            check_double(-value);
        }
        check_double(f64::NAN);
    }

    #[test]
    fn truth_values_fit_the_type() {
        for (kind, expected) in [(FieldType::String, "true false"), (FieldType::Bool, "true false"), (FieldType::Int32, "1 0")] {
            let field = field(kind, Joining::default());
            let mut text = Vec::new();
            field.boolean(true, &mut text);
            text.push(b' ');
            field.boolean(false, &mut text);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    #[test]
    fn lists_are_joined() {
        let tags = field(FieldType::String, Joining { values: Some(b'|'), inner: Some(b';'), keys: Some(b':') });
        let join_as = |mut list: List<'_>, values: &[&str]| {
            let mut text = Vec::new();
            for value in values {
                list.value(&mut text, |text| {
                    text.extend_from_slice(value.as_bytes());
                    Ok(())
                })?;
            }
            Ok(String::from_utf8(text).expect("UTF-8"))
        };
        let join = |field: &SourceField, values: &[&str]| join_as(List::new(field), values);
        assert_eq!(join(&tags, &[]), Ok(String::new()));
        assert_eq!(join(&tags, &["a", "", "b"]), Ok("a||b".to_string()));
        assert!(matches!(join(&tags, &["a|b"]), Err(Rule::SeparatorInValue { .. })));
        assert_eq!(join_as(List::of_feature(&tags), &["a|b"]), Ok("a|b".to_string()));
        assert!(matches!(join_as(List::of_feature(&tags), &["a|b", "c"]), Err(Rule::SeparatorInValue { .. })));
        let one = field(FieldType::String, Joining::default());
        assert_eq!(join(&one, &["a|b"]), Ok("a|b".to_string()));
        assert!(matches!(join(&one, &["a", "b"]), Err(Rule::SeveralValues { .. })));
    }

    #[test]
    fn entries_are_joined() {
        let put = |part: &'static [u8]| {
            move |text: &mut Vec<u8>| {
                text.extend_from_slice(part);
                Ok(())
            }
        };
        let map = field(FieldType::String, Joining { values: Some(b'|'), inner: None, keys: Some(b':') });
        let mut text = Vec::new();
        assert_eq!(entry(&map, &mut text, put(b"a"), put(b"0.5")), Ok(()));
        assert_eq!(text, b"a:0.5");
        assert!(matches!(entry(&map, &mut text, put(b"a:b"), put(b"1")), Err(Rule::SeparatorInValue { .. })));
        let tags = field(FieldType::String, Joining { values: Some(b'|'), ..Joining::default() });
        assert!(matches!(entry(&tags, &mut text, put(b"a"), put(b"1")), Err(Rule::KeysWithoutSeparator { .. })));
    }
}
