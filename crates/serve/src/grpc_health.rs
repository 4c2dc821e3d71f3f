//! gRPC's own health check, which Kubernetes' probes and load balancers ask for.

use std::sync::Arc;

use axum::Router;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::error::{ErrorKind, ServeError};

/// The messages and the service, as gRPC names them.
#[expect(missing_docs, reason = "generated from the protocol")]
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

use health::health_check_response::ServingStatus;
use health::health_server::{Health, HealthServer};
use health::{HealthCheckRequest, HealthCheckResponse};

/// The services whose health may be asked for; the empty name means the server.
const SERVICES: [&str; 3] = ["", "inference.GRPCInferenceService", "tensorflow.serving.PredictionService"];

/// The service's pages; unknown ones are left to others.
pub(crate) fn routes(app: &Arc<App>) -> Router {
    let path = format!("/{}/{{*method}}", <HealthServer<Service> as tonic::server::NamedService>::NAME);
    Router::new().route_service(&path, HealthServer::new(Service(Arc::clone(app))))
}

struct Service(Arc<App>);

#[tonic::async_trait]
impl Health for Service {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !SERVICES.contains(&service.as_str()) {
            let message = format!("there is no service `{}`", rankmill_data::shown(service.as_bytes()));
            return Err(ServeError::new(ErrorKind::NotFound, message).into());
        }
        let status = if self.0.is_ready() { ServingStatus::Serving } else { ServingStatus::NotServing };
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }
}
