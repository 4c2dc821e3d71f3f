//! TLS, over HTTP and gRPC.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rankmill_serve::grpc::inference::ServerReadyRequest;
use rankmill_serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use rankmill_serve::{ModelSettings, Server, StartError, TlsFiles};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tonic::transport::{Endpoint, Uri};

use crate::client::{connect, read};
use crate::grpc::run;
use crate::models::{eventually, options, trained};

fn certificates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/certificates")
}

/// A folder with the certificate and key of that name.
fn folder(name: &str) -> (tempfile::TempDir, TlsFiles) {
    let folder = tempfile::tempdir().expect("a folder");
    put(folder.path(), name);
    let files = TlsFiles { certificates: folder.path().join("tls.pem"), key: folder.path().join("tls.key") };
    (folder, files)
}

fn put(folder: &Path, name: &str) {
    for (ending, target) in [("key", "tls.key"), ("pem", "tls.pem")] {
        fs::copy(certificates().join(format!("{name}.{ending}")), folder.join(target)).expect("copied");
    }
}

fn start(files: TlsFiles) -> Result<Server, StartError> {
    let mut options = options(vec![ModelSettings::new("ctr", trained().join("model"))]);
    options.tls = Some(files);
    options.limits.idle_time = Duration::from_millis(500);
    Server::start(options)
}

fn trusting() -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates().join("authority.pem")).expect("a certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
    Arc::new(builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots).with_no_client_auth())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

fn stream(address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    StreamOwned::new(ClientConnection::new(trusting(), name()).expect("a connection"), connect(address))
}

/// The certificate that a new connection gets.
fn presented(address: SocketAddr) -> CertificateDer<'static> {
    let mut stream = stream(address);
    stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("written");
    assert_eq!(read(&mut stream).status, 200);
    stream.conn.peer_certificates().expect("certificates")[0].clone().into_owned()
}

fn known(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(certificates().join(format!("{name}.pem"))).expect("a certificate")
}

#[test]
fn requests_are_answered_over_http_and_grpc() {
    let (_folder, files) = folder("first");
    let server = start(files).expect("it starts");
    let address = server.addresses()[0];
    let body = r#"{"rows": [{"user_id": 1}]}"#;
    let mut stream = stream(address);
    let head = format!("POST /score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).expect("written");
    assert_eq!(read(&mut stream).ok()["model_version"], "20");
    run(async move {
        let connector = tower::service_fn(move |_: Uri| async move {
            let mut config = ClientConfig::clone(&trusting());
            config.alpn_protocols = vec![b"h2".to_vec()];
            let stream = tokio::net::TcpStream::connect(address).await?;
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name(), stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await.expect("a channel");
        let answer = GrpcInferenceServiceClient::new(channel).server_ready(ServerReadyRequest {}).await.expect("an answer");
        assert!(answer.into_inner().ready);
    });
    server.stop();
}

#[test]
fn clients_without_tls_and_silent_ones_lose_their_connections() {
    let (_folder, files) = folder("first");
    let server = start(files).expect("it starts");
    let address = server.addresses()[0];
    for opening in [&b"GET /v2/health/live HTTP/1.1\r\nHost: test\r\n\r\n"[..], b"", b"\x16\x03\x01"] {
        let mut plain = connect(address);
        plain.write_all(opening).expect("written");
        let mut answer = Vec::new();
        // The server may say by an alert why it closes, or just close.
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    presented(address);
    server.stop();
}

#[test]
fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
    let (folder, files) = folder("first");
    let server = start(files).expect("it starts");
    let address = server.addresses()[0];
    assert_eq!(presented(address), known("first"));
    put(folder.path(), "second");
    eventually("the new certificate is used", || presented(address) == known("second"));
    fs::write(folder.path().join("tls.pem"), "no certificate").expect("written");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(presented(address), known("second"));
    server.stop();
}

#[test]
fn what_cannot_be_used_is_named_at_the_start() {
    let (folder, files) = folder("first");
    let error = |files: TlsFiles| start(files).err().expect("an error").to_string();
    let missing = TlsFiles { key: folder.path().join("nowhere.key"), ..files.clone() };
    assert!(error(missing).contains("nowhere.key"));
    fs::copy(certificates().join("second.key"), &files.key).expect("copied");
    let mismatch = error(files.clone());
    assert!(mismatch.contains("tls.pem") && mismatch.contains("key"), "{mismatch}");
    fs::write(&files.certificates, "").expect("written");
    assert!(error(files).contains("no certificate"));
}
