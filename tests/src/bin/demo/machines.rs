//! The servers of the town and of the networks around it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::Result;
use sekimori_tests::harness::{netns::Ns, service::Server};

/// Bytes of the file everybody downloads.
pub(crate) const DOWNLOAD: usize = 4 * 1024 * 1024;
/// Sent at a time, so that the download takes a few seconds and can be interrupted.
const PIECE: usize = 16 * 1024;
const PAUSE: Duration = Duration::from_millis(15);

/// A web server on `port`: `/` is one line, `/me` the client's address as the server sees it, `/file` the download.
pub(crate) fn web(ns: &Ns, port: u16, greeting: &'static str) -> Result<Server> {
    Server::tcp(ns, (std::net::Ipv6Addr::UNSPECIFIED, port), move |stream| {
        // A client that leaves is no error of the server.
        answer(stream, greeting).ok();
    })
}

fn answer(mut stream: TcpStream, greeting: &str) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    match request.split(' ').nth(1) {
        Some("/file") => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {DOWNLOAD}\r\nConnection: close\r\n\r\n")?;
            for _ in 0..DOWNLOAD / PIECE {
                stream.write_all(&[b'.'; PIECE])?;
                thread::sleep(PAUSE);
            }
            Ok(())
        }
        Some("/me") => {
            let peer = stream.peer_addr()?.ip().to_canonical();
            reply(&mut stream, &format!("{peer}\n"))
        }
        _ => reply(&mut stream, &format!("{greeting}\n")),
    }
}

fn reply(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// A name server that knows one answer to every question about an IPv4 address.
pub(crate) fn names(ns: &Ns, address: IpAddr, answer: Ipv4Addr) -> Result<Server> {
    Server::udp(ns, (address, 53), move |query, _| resolve(query, answer))
}

/// RFC 1035 §4: the question again, and one A record that points back at its name.
fn resolve(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let name = question.iter().position(|byte| *byte == 0)?;
    let question = question.get(..name + 5)?;
    let mut reply = query.get(..2)?.to_vec();
    // A response, recursion desired and available; one question, one answer.
    reply.extend([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    reply.extend(question);
    // A pointer to the name at offset 12; type A, class IN, 60 seconds, 4 bytes.
    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    reply.extend(address.octets());
    Some(reply)
}
