//! One HTTP request on a connection of its own; for set-up, never for what is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::Result;

/// Status and body of `method path`.
pub fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or("no end of the head")?
        + 4;
    let status = std::str::from_utf8(&answer[9..12])?.parse()?;
    Ok((status, answer.split_off(end)))
}

/// The body of an answer that must be 200.
pub fn ok(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
    match call(address, method, path, body)? {
        (200, answer) => Ok(answer),
        (status, answer) => Err(format!(
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&answer)
        )
        .into()),
    }
}

/// The same as JSON.
pub fn json(address: SocketAddr, path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&ok(address, "GET", path, "")?)?)
}
