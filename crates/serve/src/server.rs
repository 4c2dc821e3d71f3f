//! The server from start to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::tables::TableFormat;
use rankmill_model::bundle::Storage;
use rankmill_model::{LoadOptions, Sharing};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::app::App;
use crate::connections::{Treatment, bind, serve};
use crate::engine::Engine;
use crate::error::{ErrorKind, ServeError};
use crate::limits::Limits;
use crate::loader::Loader;
use crate::metrics::Metrics;
use crate::queue::Batching;
use crate::registry::Registry;
use crate::settings::{self, ModelSettings, SettingsFile};
use crate::tls::{Tls, TlsFiles};

/// Why a server can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("{address}: {error}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The system refuses threads or signals.
    #[error("the system refuses: {0}")]
    System(std::io::Error),
    /// The settings make no sense.
    #[error("{reason}")]
    Models {
        /// What is wrong.
        reason: String,
    },
    /// The certificate or its key can't be used.
    #[error("{}: {reason}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file of settings can't be used.
    #[error("{}: {reason}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A model can't be served.
    #[error("model `{name}`: {reason}")]
    Unserved {
        /// The model.
        name: String,
        /// Why.
        reason: String,
    },
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The models.
    pub models: Vec<ModelSettings>,
    /// A JSON file of further models, which is read again when it changes.
    pub models_file: Option<PathBuf>,
    /// Addresses to listen on; each speaks HTTP/1.1, HTTP/2 and gRPC.
    pub addresses: Vec<SocketAddr>,
    /// Threads that score.
    pub threads: NonZeroUsize,
    /// Precision of the factors of products.
    pub precision: Precision,
    /// Whether what is equal in all rows of a request is computed once.
    pub sharing: Sharing,
    /// The form of the tables of embeddings; as they were trained, if none.
    pub tables: Option<TableFormat>,
    /// Where large variables are.
    pub storage: Storage,
    /// How requests are put together.
    pub batching: Batching,
    /// What requests may be.
    pub limits: Limits,
    /// How often the models' directories and the certificate are looked at; never, if none.
    pub reload: Option<Duration>,
    /// The tokens of which requests must bring one; none is needed if there are none.
    pub tokens: Vec<String>,
    /// The certificate, if connections are by TLS.
    pub tls: Option<TlsFiles>,
    /// How long to answer requests after readiness is denied, so that those who send them notice.
    pub drain_delay: Duration,
    /// How long to wait for requests that are under way.
    pub drain_time: Duration,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            models: Vec::new(),
            models_file: None,
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 8000)), SocketAddr::from(([127, 0, 0, 1], 8001))],
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            precision: Precision::F32,
            sharing: Sharing::Auto,
            tables: None,
            storage: Storage::Memory,
            batching: Batching::default(),
            limits: Limits::default(),
            reload: Some(Duration::from_secs(1)),
            tokens: Vec::new(),
            tls: None,
            drain_delay: Duration::ZERO,
            drain_time: Duration::from_secs(30),
        }
    }
}

/// A running server.
pub struct Server {
    runtime: Runtime,
    app: Arc<App>,
    addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    listeners: Vec<tokio::task::JoinHandle<()>>,
    watcher: Mutex<Option<Watcher>>,
    drain_delay: Duration,
    drain_time: Duration,
}

/// What is looked at from time to time.
struct Upkeep {
    loader: Loader,
    /// The models that no file names.
    models: Vec<ModelSettings>,
    file: Option<SettingsFile>,
    tls: Option<Arc<Tls>>,
}

impl Upkeep {
    fn look(&mut self) {
        if let Some(file) = &mut self.file
            && file.has_changed()
        {
            match settings::all(&self.models, Some(file)) {
                Ok(settings) => {
                    tracing::info!("the file of models is read again");
                    self.loader.set(settings);
                }
                Err(error) => tracing::error!(%error, "the file of models can't be used; what it said before holds"),
            }
        }
        self.loader.refresh();
        if let Some(tls) = &self.tls {
            tls.refresh();
        }
    }
}

/// The thread that looks at files and directories.
struct Watcher {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens, so that health can be asked for; then loads the models.
    ///
    /// # Errors
    /// If an address can't be listened on, or a model has no version that can be served.
    pub fn start(options: ServeOptions) -> Result<Server, StartError> {
        let (models, mut file) = (options.models.clone(), options.models_file.clone().map(SettingsFile::new));
        let settings = settings::all(&models, file.as_mut())?;
        let tls =
            options.tls.clone().map(Tls::open).transpose().map_err(|error| StartError::Tls { path: error.path, reason: error.reason })?;
        let tls = tls.map(Arc::new);
        let metrics = Arc::new(Metrics::new());
        let registry = Arc::new(Registry::new(&settings, Arc::clone(&metrics)));
        let ServeOptions { threads, precision, tables, storage, sharing, batching, limits, .. } = options.clone();
        let engine = Engine::start(threads, batching, limits.clone(), Arc::clone(&metrics)).map_err(StartError::System)?;
        let (registry_of_app, metrics_of_app) = (Arc::clone(&registry), Arc::clone(&metrics));
        let app = Arc::new(App {
            registry: registry_of_app,
            engine,
            metrics: metrics_of_app,
            limits,
            tokens: options.tokens,
            draining: AtomicBool::new(false),
        });
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(threads.get().min(4)).thread_name("connections").enable_all().build();
        let (stop, _) = watch::channel(false);
        let mut server = Server {
            runtime: runtime.map_err(StartError::System)?,
            app,
            addresses: Vec::new(),
            stop,
            listeners: Vec::new(),
            watcher: Mutex::new(None),
            drain_delay: options.drain_delay,
            drain_time: options.drain_time,
        };
        server.listen(&options.addresses, tls.as_ref())?;
        let load = LoadOptions { threads, precision, tables, storage };
        let mut loader = Loader { registry, metrics, settings, load, sharing, refused: BTreeMap::new() };
        if let Some(unserved) = loader.refresh().into_iter().next() {
            return Err(StartError::Unserved { name: unserved.name, reason: unserved.reason });
        }
        if let Some(interval) = options.reload {
            server.watcher = Mutex::new(Some(Watcher::start(Upkeep { loader, models, file, tls }, interval).map_err(StartError::System)?));
        }
        Ok(server)
    }

    fn listen(&mut self, addresses: &[SocketAddr], tls: Option<&Arc<Tls>>) -> Result<(), StartError> {
        let room = Arc::new(Semaphore::new(self.app.limits.connections));
        let treatment = Treatment { idle: self.app.limits.idle_time, room, metrics: Arc::clone(&self.app.metrics), tls: tls.cloned() };
        for &address in addresses {
            let listener = self.runtime.block_on(bind(address)).map_err(|error| StartError::Address { address, error })?;
            self.addresses.push(listener.local_addr().map_err(|error| StartError::Address { address, error })?);
            let serve = serve(listener, crate::http::router(&self.app), treatment.clone(), self.stop.subscribe());
            self.listeners.push(self.runtime.spawn(serve));
        }
        Ok(())
    }

    /// The addresses, with the ports that the system chose where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Answers a `POST` as if it had come over a connection, through the same pages, token and limits: the status and the body.
    ///
    /// # Errors
    /// If path or headers are none that HTTP allows.
    pub fn answer(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<(u16, Vec<u8>), ServeError> {
        let invalid = |error: axum::http::Error| ServeError::invalid(format!("the request's head: {error}"));
        let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        let request = request.body(Body::from(body)).map_err(invalid)?;
        self.runtime.block_on(async {
            let Ok(response) = crate::http::router(&self.app).oneshot(request).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|error| ServeError::new(ErrorKind::Internal, error.to_string()))?;
            Ok((head.status.as_u16(), body.to_bytes().to_vec()))
        })
    }

    /// The models and their versions.
    pub fn models(&self) -> Vec<(String, Vec<u64>)> {
        self.app.registry.models().iter().map(|(name, model)| (name.clone(), model.versions.keys().copied().collect())).collect()
    }

    /// Waits for SIGTERM or SIGINT.
    ///
    /// # Errors
    /// If the system refuses to tell of signals.
    pub fn wait_for_signal(&self) -> Result<(), StartError> {
        self.runtime.block_on(signal()).map_err(StartError::System)
    }

    /// Denies readiness, answers what is under way, and ends.
    pub fn stop(self) {
        self.app.draining.store(true, Ordering::Relaxed);
        tracing::info!("the server stops");
        std::thread::sleep(self.drain_delay);
        // Nobody listens any more if all listeners have failed.
        let _ = self.stop.send(true);
        let wait = async {
            for listener in self.listeners {
                // A listener that panicked has ended, too.
                let _ = listener.await;
            }
        };
        let waited = self.runtime.block_on(async { tokio::time::timeout(self.drain_time, wait).await });
        if waited.is_err() {
            tracing::warn!("some requests were not done in time");
        }
        if let Some(watcher) = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watcher.stop();
        }
        self.app.engine.stop();
        self.runtime.shutdown_background();
    }
}

impl Watcher {
    fn start(mut upkeep: Upkeep, interval: Duration) -> std::io::Result<Watcher> {
        let (stop, stopped) = mpsc::channel();
        let watch = move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
                upkeep.look();
            }
        };
        Ok(Watcher { stop, thread: std::thread::Builder::new().name("watch".into()).spawn(watch)? })
    }

    fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("watching the models' directories failed: this is a defect of the server");
        }
    }
}

#[cfg(unix)]
async fn signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

#[cfg(not(unix))]
async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
