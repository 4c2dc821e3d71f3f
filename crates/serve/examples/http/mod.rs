//! Answers over HTTP/1.1, as the clients of this folder read them.

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

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
