//! How the blocks of a backbone read a feature group: as features, as raw values, or as ids of one table.

use crate::pipeline::Pipeline;
use crate::proto::block::Layer;
use crate::proto::input::Name;
use crate::proto::{BackboneTower, Block};

/// The ways in which a feature group is read. A group that no block names is read as features: its model class does so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupReaders {
    /// As embeddings and numbers.
    pub features: bool,
    /// By a `raw_input` block.
    pub raw: bool,
    /// By an `embedding_layer` block.
    pub embedding_layer: bool,
}

impl Pipeline {
    /// How a feature group is read.
    #[must_use]
    pub fn group_readers(&self, group: &str) -> GroupReaders {
        let mut readers = GroupReaders::default();
        let backbone = self.proto.model_config.as_ref().and_then(|model| model.backbone.as_ref());
        for block in backbone.into_iter().flat_map(blocks).filter(|block| names(block, group)) {
            match block.layer {
                Some(Layer::RawInput(_)) => readers.raw = true,
                Some(Layer::EmbeddingLayer(_)) => readers.embedding_layer = true,
                _ => readers.features = true,
            }
        }
        readers.features |= readers == GroupReaders::default();
        readers
    }
}

/// The blocks of a backbone and its packages.
fn blocks(tower: &BackboneTower) -> impl Iterator<Item = &Block> {
    tower.blocks.iter().chain(tower.packages.iter().flat_map(|package| &package.blocks))
}

/// Whether a block has the group as an input, or as what it gives to a package.
fn names(block: &Block, group: &str) -> bool {
    block.inputs.iter().any(|input| {
        let named = match &input.name {
            Some(Name::FeatureGroupName(name) | Name::BlockName(name)) => name == group,
            _ => false,
        };
        named || input.package_input.as_deref() == Some(group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Edits;

    #[test]
    fn ways_of_reading() {
        let text = "model_config { model_class: 'RankModel'
          feature_groups { group_name: 'a' } feature_groups { group_name: 'b' } feature_groups { group_name: 'c' }
          backbone {
            blocks { name: 'raw' inputs { feature_group_name: 'a' } raw_input {} }
            blocks { name: 'm' inputs { block_name: 'raw' } inputs { feature_group_name: 'b' } }
            packages { name: 'p' blocks { name: 'e' inputs { feature_group_name: 'b' } embedding_layer { embedding_dim: 4 } } } } }";
        let pipeline = Pipeline::parse("a.config", text, &Edits::default()).expect("a config");
        let ways = |features, raw, embedding_layer| GroupReaders { features, raw, embedding_layer };
        assert_eq!(pipeline.group_readers("a"), ways(false, true, false));
        assert_eq!(pipeline.group_readers("b"), ways(true, false, true));
        assert_eq!(pipeline.group_readers("c"), ways(true, false, false));
    }
}
