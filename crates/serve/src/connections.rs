//! Connections: accepted up to a number, closed when their clients stall, ended in order when the server stops.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, sleep};

use crate::metrics::Metrics;

/// How connections are treated.
#[derive(Clone)]
pub(crate) struct Treatment {
    pub(crate) idle: Duration,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
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
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(treatment.idle);
        let http2 = &mut builder.http2();
        http2.timer(TokioTimer::new()).keep_alive_interval(treatment.idle).keep_alive_timeout(treatment.idle);
        http2.max_concurrent_streams(256).max_header_list_size(32 << 10);
        let stream = TokioIo::new(Watched::new(stream, treatment.idle));
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(builder.serve_connection(stream, service).into_owned());
        let metrics = Arc::clone(&treatment.metrics);
        tokio::spawn(async move {
            let _place = place;
            metrics.connections.inc();
            // How a client ends its connection is its own business.
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection");
            }
            metrics.connections.dec();
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
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
struct Watched {
    stream: TcpStream,
    idle: Duration,
    /// Runs until the first bytes are there.
    opening: Option<Pin<Box<Sleep>>>,
    read: usize,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn new(stream: TcpStream, idle: Duration) -> Watched {
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

impl AsyncRead for Watched {
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

impl AsyncWrite for Watched {
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
