//! Connections: accepted up to a number, in the clear or by TLS, closed when their clients stall, ended in order when the server stops.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, sleep, timeout};

use crate::metrics::Metrics;
use crate::tls::Tls;

/// How connections are treated.
#[derive(Clone)]
pub(crate) struct Treatment {
    pub(crate) idle: Duration,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tls: Option<Arc<Tls>>,
}

/// Serves a listener until `stop` says so, and then until what is under way is done.
pub(crate) async fn serve(listener: TcpListener, router: Router, treatment: Treatment, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &treatment.room) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely; others will be closed.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (connection, graceful) = (Counted::new(&treatment.metrics.connections, place), graceful.watcher());
        let (treatment, router) = (treatment.clone(), router.clone());
        tokio::spawn(async move {
            let _connection = connection;
            // How a client ends its connection is its own business.
            if let Err(error) = converse(stream, &treatment, router, graceful).await {
                tracing::debug!(error, "connection");
            }
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Answers a connection's requests until it ends.
async fn converse(stream: TcpStream, treatment: &Treatment, router: Router, graceful: Watcher) -> Result<(), Failure> {
    match &treatment.tls {
        None => answer(Watched::new(stream, treatment.idle), treatment, router, graceful).await,
        Some(tls) => {
            let stream = timeout(treatment.idle, tls.acceptor().accept(stream)).await??;
            answer(Watched::new(stream, treatment.idle), treatment, router, graceful).await
        }
    }
}

async fn answer<S>(stream: Watched<S>, treatment: &Treatment, router: Router, graceful: Watcher) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(treatment.idle);
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(treatment.idle).keep_alive_timeout(treatment.idle);
    http2.max_concurrent_streams(256).max_header_list_size(32 << 10);
    let service = TowerToHyperService::new(router);
    graceful.watch(builder.serve_connection(TokioIo::new(stream), service)).await
}

/// A connection among those that are open.
struct Counted {
    open: Gauge,
    _place: OwnedSemaphorePermit,
}

impl Counted {
    fn new(open: &Gauge, place: OwnedSemaphorePermit) -> Counted {
        open.inc();
        Counted { open: open.clone(), _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.dec();
    }
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// Binds an address.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Bytes by which HTTP/2 can be told from HTTP/1: until they are there, nothing else takes the time.
const OPENING: usize = 24;

/// A stream whose client must say something soon, and whose writes may not stand still for longer than a time: a client that does not
/// read would hold its answer for ever. Later reads have their own limits: that of a request's head, and that of the whole request.
struct Watched<S> {
    stream: S,
    idle: Duration,
    /// Runs until the first bytes are there.
    opening: Option<Pin<Box<Sleep>>>,
    read: usize,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    fn new(stream: S, idle: Duration) -> Watched<S> {
        Watched { stream, idle, opening: Some(Box::pin(sleep(idle))), read: 0, stalled: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let idle = self.idle;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(idle)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(opening) = &mut self.opening else { return poll };
        if poll.is_pending() {
            ready!(opening.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.read += buffer.filled().len() - before;
        if self.read >= OPENING {
            self.opening = None;
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, poll)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, poll)
    }
}
