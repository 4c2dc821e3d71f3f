//! EasyRec pipeline configs: schema, text reader with places, edits, checks and lints.
//!
//! ```
//! use rankmill_config::{Edits, Pipeline};
//!
//! let edits = Edits { set: vec!["train_config.num_steps=100".into()], ..Edits::default() };
//! let pipeline = Pipeline::parse("a.config", "model_dir: 'out' train_config { num_steps: 5 }", &edits)?;
//! assert_eq!(pipeline.proto.train_config.as_ref().map(|train| train.num_steps()), Some(100));
//! assert_eq!(pipeline.locate("model_dir").column, 12);
//!
//! let problems = Pipeline::parse("a.config", "model_dirr: 'out'", &Edits::default()).unwrap_err();
//! assert!(problems.to_string().starts_with("a.config:1:1: EasyRecConfig has no field `model_dirr`; did you mean `model_dir`?"));
//! # Ok::<(), rankmill_config::Diagnostics>(())
//! ```

mod as_backbone;
mod diagnostic;
mod edit;
pub mod expression;
mod features;
mod group_readers;
mod lints;
mod path;
mod pipeline;
mod places;
pub mod proto;
mod settings;
mod source;
mod task_towers;
mod textproto;
mod validate;
mod walk;
mod writer;

pub use as_backbone::{AsBackbone, Variable, as_backbone};
pub use diagnostic::{Diagnostic, Diagnostics, Severity, Span, did_you_mean, nearest};
pub use edit::Edits;
pub use features::{Feature, FeatureGroup, GroupFeature, InputField};
pub use group_readers::GroupReaders;
pub use lints::{FIXABLE, LINTS, Lint, LintRule, lints};
pub use pipeline::Pipeline;
pub use prost_types;
pub use settings::{SettingError, Settings, message_settings};
pub use validate::validate;
