//! The client of `benches/serving.py`: sends ready requests over some connections, each as soon as the answer before it is there, and
//! tells throughput and latency of a window for each line of input, a number of seconds.
//!
//! `load_windows http|grpc ADDRESS REQUESTS CONNECTIONS ANSWERS`: REQUESTS holds whole HTTP/1.1 requests, or messages for KServe's
//! ModelInfer, each behind its length in four bytes, little-endian. The bodies that answer the first time go to ANSWERS in the same form.

mod http;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::{Failure, expect};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, address, requests, connections, answers] = arguments.as_slice() else {
        return Err("usage: load_windows http|grpc ADDRESS REQUESTS CONNECTIONS ANSWERS".into());
    };
    let requests = read_messages(&std::fs::read(requests)?)?;
    let connections: usize = connections.parse()?;
    let connect = || Connection::new(protocol, address);
    write_messages(answers, &mut connect()?, &requests)?;
    let mut open = (0..connections).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout();
    writeln!(out, "{{\"requests\": {}}}", requests.len()).and_then(|()| out.flush())?;
    for line in std::io::stdin().lock().lines() {
        let seconds = Duration::from_secs_f64(line?.trim().parse()?);
        writeln!(out, "{}", window(&mut open, &requests, seconds)?).and_then(|()| out.flush())?;
    }
    Ok(())
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

/// The figures of a window in JSON.
fn window(open: &mut [Connection], requests: &[Vec<u8>], seconds: Duration) -> Result<String, Failure> {
    let started = Instant::now();
    let count = open.len();
    let mut latencies = std::thread::scope(|scope| -> Result<Vec<Duration>, Failure> {
        let send = |(place, connection): (usize, &mut Connection)| {
            // Each connection begins elsewhere, so that not all ask for the same.
            let first = place * requests.len() / count;
            let mut latencies = Vec::new();
            for number in (0..requests.len()).cycle().skip(first) {
                let sent = Instant::now();
                connection.send(&requests[number])?;
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
    let elapsed = started.elapsed().as_secs_f64();
    latencies.sort();
    let quantile = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize].as_secs_f64() * 1e3;
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    Ok(format!("{{\"per_second\": {:.2}, \"p50\": {p50:.4}, \"p99\": {p99:.4}}}", latencies.len() as f64 / elapsed))
}

/// A connection that stays open.
enum Connection {
    Http(BufReader<TcpStream>),
    Grpc(Box<(tokio::runtime::Runtime, tonic::client::Grpc<Channel>)>),
}

impl Connection {
    fn new(protocol: &str, address: &str) -> Result<Connection, Failure> {
        match protocol {
            "http" => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Connection::Http(BufReader::with_capacity(1 << 16, stream)))
            }
            "grpc" => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let channel = runtime.block_on(Endpoint::from_shared(format!("http://{address}"))?.connect())?;
                Ok(Connection::Grpc(Box::new((runtime, tonic::client::Grpc::new(channel)))))
            }
            other => Err(format!("there is no protocol {other}").into()),
        }
    }

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
