//! Sends requests over some connections, each as soon as the answer before it is there, and tells throughput and latency.
//!
//! `cargo run --release -p rankmill-serve --example load -- 127.0.0.1:8000 /score application/json body.json 4 10`
//! sends `body.json` again and again over 4 connections for 10 seconds.
//!
//! `load http|grpc ADDRESS REQUESTS CONNECTIONS ANSWERS` is the client of `benches/serving.py`: it measures a window for each line of
//! input, a number of seconds. REQUESTS holds whole HTTP/1.1 requests, or messages for KServe's ModelInfer, each behind its length in four
//! bytes, little-endian. The bodies that answer the first time go to ANSWERS in the same form.

mod http;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::{Failure, connect, expect, post};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [address, path, content_type, body, connections, seconds] => {
            let request = post(path, content_type, &std::fs::read(body)?);
            let to = Server { protocol: "http", address, connections: connections.parse()? };
            show(&to.window(&[request], Duration::from_secs_f64(seconds.parse()?))?)
        }
        [protocol, address, requests, connections, answers] => {
            let to = Server { protocol, address, connections: connections.parse()? };
            answer_windows(&to, &read_messages(&std::fs::read(requests)?)?, answers)
        }
        _ => {
            Err("usage: load ADDRESS PATH CONTENT_TYPE BODY_FILE CONNECTIONS SECONDS, or http|grpc ADDRESS REQUESTS CONNECTIONS ANSWERS"
                .into())
        }
    }
}

/// What is measured, and over how many connections.
struct Server<'a> {
    protocol: &'a str,
    address: &'a str,
    connections: usize,
}

/// What a window has shown.
struct Window {
    per_second: f64,
    /// From a request to its answer, the shortest first.
    latencies: Vec<Duration>,
}

impl Window {
    /// The latency in milliseconds that a share of the requests did not exceed.
    fn quantile(&self, share: f64) -> f64 {
        self.latencies[((self.latencies.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3
    }
}

#[expect(clippy::print_stdout, reason = "a tool of its own")]
fn show(window: &Window) -> Result<(), Failure> {
    let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| window.quantile(share));
    println!("{} requests, {:.0} a second", window.latencies.len(), window.per_second);
    println!("p50 {p50:.3} ms, p90 {p90:.3} ms, p99 {p99:.3} ms, most {most:.3} ms");
    Ok(())
}

/// A window for each line of input, as a line of JSON.
fn answer_windows(to: &Server<'_>, requests: &[Vec<u8>], answers: &str) -> Result<(), Failure> {
    write_messages(answers, &mut to.connect()?, requests)?;
    let mut out = std::io::stdout();
    writeln!(out, "{{\"requests\": {}}}", requests.len()).and_then(|()| out.flush())?;
    for line in std::io::stdin().lock().lines() {
        let window = to.window(requests, Duration::from_secs_f64(line?.trim().parse()?))?;
        let (speed, p50, p99) = (window.per_second, window.quantile(0.5), window.quantile(0.99));
        writeln!(out, "{{\"per_second\": {speed:.2}, \"p50\": {p50:.4}, \"p99\": {p99:.4}}}").and_then(|()| out.flush())?;
    }
    Ok(())
}

impl Server<'_> {
    fn connect(&self) -> Result<Connection, Failure> {
        match self.protocol {
            "http" => Ok(Connection::Http(BufReader::with_capacity(1 << 16, connect(self.address)?))),
            "grpc" => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let channel = runtime.block_on(Endpoint::from_shared(format!("http://{}", self.address))?.connect())?;
                Ok(Connection::Grpc(Box::new((runtime, tonic::client::Grpc::new(channel)))))
            }
            other => Err(format!("there is no protocol {other}").into()),
        }
    }

    /// Measures so long. Servers close connections that were idle for some seconds, as they are between windows, so every window has its
    /// own; each sends a request before the clock starts.
    fn window(&self, requests: &[Vec<u8>], seconds: Duration) -> Result<Window, Failure> {
        let mut open = (0..self.connections).map(|_| self.connect()).collect::<Result<Vec<_>, _>>()?;
        open.iter_mut().try_for_each(|connection| connection.send(&requests[0]).map(drop))?;
        let started = Instant::now();
        let mut latencies = std::thread::scope(|scope| -> Result<Vec<Duration>, Failure> {
            let send = |(place, connection): (usize, &mut Connection)| {
                // Each connection begins elsewhere, so that not all ask for the same.
                let first = place * requests.len() / self.connections;
                let mut latencies = Vec::new();
                for request in requests.iter().cycle().skip(first) {
                    let sent = Instant::now();
                    connection.send(request)?;
                    latencies.push(sent.elapsed());
                    if started.elapsed() >= seconds {
                        break;
                    }
                }
                Ok::<_, Failure>(latencies)
            };
            let threads: Vec<_> = open.iter_mut().enumerate().map(|connection| scope.spawn(move || send(connection))).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().map_err(|_| "a connection's thread failed")??);
            }
            Ok(all)
        })?;
        let per_second = latencies.len() as f64 / started.elapsed().as_secs_f64();
        latencies.sort();
        if latencies.is_empty() { Err("there are no connections".into()) } else { Ok(Window { per_second, latencies }) }
    }
}

fn read_messages(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let parts = rest.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (message, rest) = parts.ok_or("a request is cut off")?;
        messages.push(message.to_vec());
        bytes = rest;
    }
    if messages.is_empty() { Err("there are no requests".into()) } else { Ok(messages) }
}

fn write_messages(path: &str, connection: &mut Connection, requests: &[Vec<u8>]) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    for request in requests {
        let answer = connection.send(request)?;
        bytes.extend_from_slice(&(answer.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&answer);
    }
    Ok(std::fs::write(path, bytes)?)
}

/// A connection to a server.
enum Connection {
    Http(BufReader<TcpStream>),
    Grpc(Box<(tokio::runtime::Runtime, tonic::client::Grpc<Channel>)>),
}

impl Connection {
    /// Sends a request and gives the body that answers it.
    fn send(&mut self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        match self {
            Connection::Http(stream) => {
                stream.get_mut().write_all(request)?;
                Ok(expect(stream, "HTTP/1.1 200")?.1)
            }
            Connection::Grpc(grpc) => {
                let (runtime, client) = &mut **grpc;
                runtime.block_on(async {
                    client.ready().await?;
                    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
                    Ok(client.unary(Request::new(request.to_vec()), path, Plain).await?.into_inner())
                })
            }
        }
    }
}

/// Messages that are ready as bytes.
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Plain;
    type Decoder = Plain;

    fn encoder(&mut self) -> Plain {
        Plain
    }

    fn decoder(&mut self) -> Plain {
        Plain
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; bytes::Buf::remaining(from)];
        bytes::Buf::copy_to_slice(from, &mut message);
        Ok(Some(message))
    }
}
