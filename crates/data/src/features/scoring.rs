//! The features of rows that are scored and not learned from: nobody sends a label with them, and no row may be left out.

use rankmill_config::proto::dataset_config::FieldType;

use super::set::{FeatureSet, OnError};

/// An input field as those who send rows to score need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoringField {
    /// `input_name`.
    pub name: String,
    /// `input_type`.
    pub kind: FieldType,
    /// Whether a feature of the model reads it; the text of other fields does not matter.
    pub is_read: bool,
}

impl FeatureSet {
    /// The same features without labels, sample weights and keys. Fields that only those read may hold anything, and a row that breaks
    /// a rule is always an error, whatever `data_config.ignore_error` says.
    #[must_use]
    pub fn for_scoring(mut self) -> FeatureSet {
        self.labels.clear();
        self.computed_labels.clear();
        self.label_names.clear();
        self.sample_weight = None;
        self.key_names.clear();
        self.keys.clear();
        self.on_error = OnError::Stop;
        self.hide_unread();
        self
    }

    /// The same with some of the features, in their order, and for scoring as [`FeatureSet::for_scoring`] has it.
    ///
    /// # Panics
    /// If there is not a choice for each feature.
    #[must_use]
    pub fn only(&self, chosen: &[bool]) -> FeatureSet {
        assert_eq!(chosen.len(), self.features.len(), "a choice for each feature");
        let mut some = self.clone().for_scoring();
        let mut choices = chosen.iter();
        some.specs.retain(|_| choices.next() == Some(&true));
        let mut choices = chosen.iter();
        some.features.retain(|_| choices.next() == Some(&true));
        some.hide_unread();
        some
    }

    /// The places of the fields that a feature reads.
    ///
    /// # Panics
    /// If there is no such feature.
    #[must_use]
    pub fn fields_of(&self, feature: usize) -> &[usize] {
        &self.features[feature].inputs
    }

    fn hide_unread(&mut self) {
        let read: Vec<bool> = self.scoring_fields().iter().map(|field| field.is_read).collect();
        for (field, _) in self.fields.iter_mut().zip(read).filter(|(_, is_read)| !is_read) {
            // Texts are never parsed.
            field.kind = FieldType::String;
        }
    }

    /// The input fields, in the order of `data_config.input_fields`.
    #[must_use]
    pub fn scoring_fields(&self) -> Vec<ScoringField> {
        let mut read = vec![false; self.fields.len()];
        for feature in &self.features {
            feature.inputs.iter().for_each(|&input| read[input] = true);
        }
        let describe =
            |(field, is_read): (&super::fields::Field, bool)| ScoringField { name: field.name.clone(), kind: field.kind, is_read };
        self.fields.iter().zip(read).map(describe).collect()
    }
}
