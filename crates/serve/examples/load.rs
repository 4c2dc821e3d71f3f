//! Sends one request again and again over several connections, and tells throughput and latency.
//!
//! `cargo run --release -p rankmill-serve --example load -- 127.0.0.1:8000 /score application/json body.json 4 10`
//! sends `body.json` over 4 connections for 10 seconds, each as soon as the answer before it is there.

mod http;

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http::{Failure, expect};

#[expect(clippy::print_stdout, reason = "a tool of its own")]
fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, content_type, file, connections, seconds] = arguments.as_slice() else {
        return Err("usage: load ADDRESS PATH CONTENT_TYPE BODY_FILE CONNECTIONS SECONDS".into());
    };
    let body = std::fs::read(file)?;
    let (connections, seconds): (usize, u64) = (connections.parse()?, seconds.parse()?);
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
    let request = [head.as_bytes(), &body].concat();
    let (started, until) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let send = || send_until(address, &request, until);
    let mut times = std::thread::scope(|scope| -> Result<Vec<Duration>, Failure> {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(send)).collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a connection's thread failed")??);
        }
        Ok(all)
    })?;
    let elapsed = started.elapsed().as_secs_f64();
    times.sort();
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{} requests, {:.0} a second", times.len(), times.len() as f64 / elapsed);
    println!("p50 {:.3} ms, p90 {:.3} ms, p99 {:.3} ms, most {:.3} ms", quantile(0.5), quantile(0.9), quantile(0.99), quantile(1.0));
    Ok(())
}

fn send_until(address: &str, request: &[u8], until: Instant) -> Result<Vec<Duration>, Failure> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut times = Vec::new();
    loop {
        let sent = Instant::now();
        stream.write_all(request)?;
        expect(&mut reader, "HTTP/1.1 200")?;
        times.push(sent.elapsed());
        if Instant::now() >= until {
            return Ok(times);
        }
    }
}
