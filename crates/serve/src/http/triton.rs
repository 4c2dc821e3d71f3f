//! Triton's extensions of KServe's protocol that its load tool asks for, over REST and gRPC: statistics and the configuration of a model.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::body::Target;
use super::kserve::{PLATFORM, output_shape};
use crate::app::App;
use crate::error::ServeError;
use crate::grpc::inference::{
    DataType, InferStatistics, ModelConfig, ModelInput, ModelOutput, ModelStatistics, ModelStatisticsResponse, StatisticDuration,
};
use crate::registry::{Version, Wanted};
use crate::statistics::Timer;

fn duration(timer: &Timer) -> Option<StatisticDuration> {
    let (count, ns) = timer.read();
    Some(StatisticDuration { count, ns })
}

fn statistics_of(version: &Version) -> ModelStatistics {
    let statistics = &version.statistics;
    let none = Some(StatisticDuration::default());
    ModelStatistics {
        name: version.model.clone(),
        version: version.number.to_string(),
        last_inference: statistics.last(),
        inference_count: statistics.rows(),
        execution_count: statistics.batches(),
        inference_stats: Some(InferStatistics {
            success: duration(&statistics.success),
            fail: duration(&statistics.failure),
            queue: duration(&statistics.queue),
            compute_input: duration(&statistics.features),
            compute_infer: duration(&statistics.graph),
            compute_output: none,
            cache_hit: none,
            cache_miss: none,
        }),
        batch_stats: Vec::new(),
    }
}

/// The statistics of all versions, of those of a model, or of one.
pub(crate) fn model_statistics(app: &App, model: Option<&str>, wanted: Wanted<'_>) -> Result<ModelStatisticsResponse, ServeError> {
    let versions: Vec<Arc<Version>> = match (model, wanted) {
        (None, _) => app.registry.models().values().flat_map(|model| model.versions.values().cloned()).collect(),
        (model, Wanted::Any) => app.registry.model(model)?.versions.values().cloned().collect(),
        (model, wanted) => vec![Arc::clone(app.registry.model(model)?.version(wanted)?)],
    };
    Ok(ModelStatisticsResponse { model_stats: versions.iter().map(|version| statistics_of(version)).collect() })
}

/// The configuration of a version, as far as Triton's form has words for it.
pub(crate) fn model_config(version: &Version) -> ModelConfig {
    let datatype = |name: &str| DataType::from_str_name(&format!("TYPE_{}", if name == "BYTES" { "STRING" } else { name }));
    let input = |field: &crate::schema::Field| ModelInput {
        name: field.name.clone(),
        data_type: datatype(field.datatype()).unwrap_or_default().into(),
        dims: vec![-1],
    };
    let output = |output: &rankmill_model::OutputSpec| ModelOutput {
        name: output.name.clone(),
        data_type: DataType::TypeFp32.into(),
        dims: output_shape(-1, output.width as i64),
    };
    ModelConfig {
        name: version.model.clone(),
        platform: PLATFORM.to_owned(),
        backend: String::new(),
        max_batch_size: 0,
        input: version.schema.needed().map(input).collect(),
        output: version.schema.outputs.iter().map(output).collect(),
    }
}

pub(super) async fn statistics(State(app): State<Arc<App>>, target: Target) -> Result<Response, ServeError> {
    Ok(super::json(&model_statistics(&app, target.model(), target.wanted())?))
}

pub(super) async fn config(State(app): State<Arc<App>>, target: Target) -> Result<Response, ServeError> {
    let model = app.registry.model(target.model())?;
    let config = model_config(model.version(target.wanted())?);
    let input = |input: &ModelInput| json!({"name": input.name, "data_type": input.data_type().as_str_name(), "dims": input.dims});
    let output = |output: &ModelOutput| json!({"name": output.name, "data_type": output.data_type().as_str_name(), "dims": output.dims});
    Ok(super::json(&json!({
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "max_batch_size": config.max_batch_size,
        "input": config.input.iter().map(input).collect::<Vec<_>>(),
        "output": config.output.iter().map(output).collect::<Vec<_>>(),
    })))
}
