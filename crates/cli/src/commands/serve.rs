//! `rankmill serve`: scores rows for others, over HTTP and gRPC.

use std::fmt;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rankmill_model::Sharing;
use rankmill_model::bundle::Storage;
use rankmill_serve::{Batching, Limits, ModelSettings, ServeOptions, Server, TlsFiles};
use serde::Serialize;
use tracing_subscriber::filter::LevelFilter;

use crate::Outcome;
use crate::arguments::{PrecisionArgs, TablesArgs};
use crate::output::{Level, Output};

/// Serve models over HTTP and gRPC: raw fields in, scores out.
///
/// Every address speaks HTTP/1.1, HTTP/2 and gRPC: KServe's Open Inference Protocol v2 (/v2/..., with binary tensors), TensorFlow
/// Serving's REST (/v1/models/NAME:predict), and /score for rows as JSON, JSON lines, CSV or Arrow. /metrics is for Prometheus,
/// /openapi.json describes the pages. New versions in a model's directory are loaded, checked against their golden rows and warmed up
/// before they take requests; one that can't be used is refused, and the old one goes on. SIGTERM and SIGINT end the server when what
/// is under way is answered.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Models: a model directory (its newest checkpoint is served), one checkpoint, an exported bundle, or a directory of versions named by numbers; the
    /// model is called like the directory, or NAME.
    #[arg(value_name = "[NAME=]MODEL", required_unless_present = "models")]
    model: Vec<String>,
    /// A JSON file of further models, with versions, labels, canaries and shadows; it is read again when it changes.
    #[arg(long, value_name = "FILE")]
    models: Option<PathBuf>,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    http: SocketAddr,
    /// Second address to listen on, where gRPC clients look for it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001")]
    grpc: SocketAddr,
    #[command(flatten)]
    access: AccessArgs,
    /// Threads that score; the scores do not depend on their number [default: one per processor].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    tables: TablesArgs,
    /// Keep large variables in their file, mapped into memory: processes share them, and they are read when they are first looked at.
    /// The file must be replaced by renaming then, and never be written to. Not with --tables.
    #[arg(long, conflicts_with = "tables")]
    map_weights: bool,
    #[command(flatten)]
    batching: BatchingArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    operation: OperationArgs,
}

/// Who may come, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
struct AccessArgs {
    /// A file of tokens, one a line, of which requests must bring one (`Authorization: Bearer ...`); health needs none.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Serve by TLS, with this certificate and those that lead from it to a root: a PEM file, which is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key: a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// How requests are put together.
#[derive(Debug, Args)]
#[command(next_help_heading = "Batching")]
struct BatchingArgs {
    /// Rows that are scored at once; larger requests are cut, and shared by the threads.
    #[arg(long, value_name = "ROWS", default_value = "256")]
    max_batch_rows: NonZeroUsize,
    /// How long a request may wait for others, in microseconds. 0 takes what waits already, which is best unless requests are many
    /// and small.
    #[arg(long, value_name = "MICROSECONDS", default_value = "0")]
    max_batch_delay: u64,
    /// Work that rows of a request share: `auto` computes what follows from fields that are equal in all its rows once, `off` computes
    /// every row by itself. Scores are the same.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    sharing: SharingChoice,
}

/// Whether rows share work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum SharingChoice {
    /// Where fields are equal.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What requests may be.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Requests that wait; more get 429 or RESOURCE_EXHAUSTED.
    #[arg(long, value_name = "REQUESTS", default_value = "1000")]
    max_queue: NonZeroUsize,
    /// Bytes of a body.
    #[arg(long, value_name = "BYTES", default_value = "16777216")]
    max_body: NonZeroUsize,
    /// Rows of a request.
    #[arg(long, value_name = "ROWS", default_value = "20000")]
    max_rows: NonZeroUsize,
    /// Bytes of one value.
    #[arg(long, value_name = "BYTES", default_value = "65536")]
    max_text: NonZeroUsize,
    /// Seconds from a request to its answer.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    request_timeout: NonZeroU64,
    /// Seconds that a connection may stand still while it brings a request's head or takes an answer.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    idle_timeout: NonZeroU64,
    /// Connections at the same time; more wait to be accepted.
    #[arg(long, value_name = "CONNECTIONS", default_value = "4096")]
    max_connections: NonZeroUsize,
}

/// Start, change and end.
#[derive(Debug, Args)]
#[command(next_help_heading = "Operation")]
struct OperationArgs {
    /// Seconds between looks at the models' directories; 0 never looks again.
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    reload_interval: u64,
    /// Seconds to go on after readiness is denied, so that load balancers notice, before connections are closed.
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    drain_delay: u64,
    /// Seconds to wait for requests that are under way.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    drain_timeout: u64,
    /// The form of log lines on stderr.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is served.
#[derive(Debug, Serialize)]
struct ServeReport {
    addresses: Vec<SocketAddr>,
    tls: bool,
    models: Vec<ServedModel>,
}

#[derive(Debug, Serialize)]
struct ServedModel {
    name: String,
    versions: Vec<u64>,
}

impl fmt::Display for ServeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for model in &self.models {
            let versions: Vec<String> = model.versions.iter().map(u64::to_string).collect();
            writeln!(f, "model {}, version {}", model.name, versions.join(", "))?;
        }
        let scheme = if self.tls { "https" } else { "http" };
        let addresses: Vec<String> = self.addresses.iter().map(|address| format!("{scheme}://{address}")).collect();
        write!(f, "serving on {}", addresses.join(" and "))
    }
}

/// Runs the command, until a signal ends it.
pub(crate) fn run(arguments: &ServeArgs, output: &Output) -> anyhow::Result<Outcome> {
    start_log(output.level(), arguments.operation.log_format);
    let server = Server::start(options(arguments)?)?;
    let models = server.models().into_iter().map(|(name, versions)| ServedModel { name, versions }).collect();
    output.result(&ServeReport { addresses: server.addresses().to_vec(), tls: arguments.access.tls_cert.is_some(), models })?;
    server.wait_for_signal()?;
    server.stop();
    Ok(Outcome::Done)
}

fn options(arguments: &ServeArgs) -> anyhow::Result<ServeOptions> {
    let models = arguments.model.iter().map(|argument| named(argument)).collect::<anyhow::Result<Vec<_>>>()?;
    let defaults = ServeOptions::default();
    let LimitArgs { max_queue, max_body, max_rows, max_text, request_timeout, idle_timeout, max_connections } = &arguments.limits;
    let (access, operation) = (&arguments.access, &arguments.operation);
    Ok(ServeOptions {
        models,
        models_file: arguments.models.clone(),
        addresses: vec![arguments.http, arguments.grpc],
        threads: arguments.threads.unwrap_or(defaults.threads),
        precision: arguments.precision.precision.supported()?,
        sharing: match arguments.batching.sharing {
            SharingChoice::Auto => Sharing::Auto,
            SharingChoice::Off => Sharing::Off,
        },
        tables: arguments.tables.tables.format(),
        storage: if arguments.map_weights { Storage::File } else { Storage::Memory },
        batching: Batching {
            rows: arguments.batching.max_batch_rows.get(),
            delay: Duration::from_micros(arguments.batching.max_batch_delay),
        },
        limits: Limits {
            body_bytes: max_body.get(),
            rows: max_rows.get(),
            text_bytes: max_text.get(),
            queue: max_queue.get(),
            request_time: Duration::from_secs(request_timeout.get()),
            idle_time: Duration::from_secs(idle_timeout.get()),
            connections: max_connections.get(),
        },
        reload: (operation.reload_interval > 0).then(|| Duration::from_secs(operation.reload_interval)),
        tokens: access.token_file.as_deref().map(read_tokens).transpose()?.unwrap_or_default(),
        tls: access.tls_cert.clone().zip(access.tls_key.clone()).map(|(certificates, key)| TlsFiles { certificates, key }),
        drain_delay: Duration::from_secs(operation.drain_delay),
        drain_time: Duration::from_secs(operation.drain_timeout),
    })
}

/// `NAME=PATH`, or a path whose last part is the name.
fn named(argument: &str) -> anyhow::Result<ModelSettings> {
    if let Some((name, path)) = argument.split_once('=') {
        return Ok(ModelSettings::new(name, path));
    }
    let path = Path::new(argument);
    let full = path.canonicalize().with_context(|| argument.to_owned())?;
    let name = full.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{argument}: the path does not end in a name; write NAME={argument}"))?;
    Ok(ModelSettings::new(name, path))
}

fn read_tokens(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let tokens: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    anyhow::ensure!(!tokens.is_empty(), "{}: there is no token in it", path.display());
    Ok(tokens)
}

fn start_log(level: Level, format: LogFormat) {
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
    };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    // This is the only place that starts one.
    let _ = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
