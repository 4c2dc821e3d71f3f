//! HTTP/1.1 as the clients of this folder speak it.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A connection on which nothing is waited for longer than a minute.
pub(crate) fn connect(address: impl ToSocketAddrs) -> Result<TcpStream, Failure> {
    const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(PATIENCE)?;
    stream.set_write_timeout(PATIENCE)?;
    Ok(stream)
}

/// A whole request.
pub(crate) fn post(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: rankmill\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// The head and the body of an answer.
pub(crate) fn answer(stream: &mut BufReader<TcpStream>) -> Result<(String, Vec<u8>), Failure> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let before = head.len();
        if stream.read_line(&mut head)? == 0 {
            return Err(format!("the connection ended after {head:?}").into());
        }
        let line = head[before..].trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}

/// As [`answer`], with an error that tells the answer if its head does not begin with `start`.
pub(crate) fn expect(stream: &mut BufReader<TcpStream>, start: &str) -> Result<(String, Vec<u8>), Failure> {
    let (head, body) = answer(stream)?;
    if head.starts_with(start) { Ok((head, body)) } else { Err(format!("{head}{}", String::from_utf8_lossy(&body)).into()) }
}
