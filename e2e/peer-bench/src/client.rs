//! A plain, blocking client for questions beside the load: is the server there, what does it say of itself. Not for
//! measuring speed.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(60);

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT)).context("timeout")?;
    Ok(stream)
}

/// A connection to a RESP server that asks one thing after the other.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = connect(address)?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Waits for answers as long as this from now on.
    ///
    /// # Errors
    /// If the socket refuses.
    pub fn be_patient(&self, bound: Duration) -> Result<()> {
        self.0
            .get_ref()
            .set_read_timeout(Some(bound))
            .context("timeout")
    }

    /// Asks one thing. The reply is a string, a number as text, empty for null, and of an aggregate its items, line by line.
    ///
    /// # Errors
    /// If the server does not answer, or with an error.
    pub fn ask(&mut self, arguments: &[&str]) -> Result<String> {
        let mut request = format!("*{}\r\n", arguments.len());
        for argument in arguments {
            request.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
        }
        self.0
            .get_mut()
            .write_all(request.as_bytes())
            .context("write")?;
        read_reply(&mut self.0)
    }

    /// A word of `INFO`, such as `master_link_status`.
    ///
    /// # Errors
    /// If the server does not answer or does not have it.
    pub fn info(&mut self, section: &str, name: &str) -> Result<String> {
        let text = self.ask(&["INFO", section])?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = value.with_context(|| format!("INFO has no {name}"))?;
        Ok(value.trim().to_owned())
    }
}

/// Asks a RESP server one thing over a connection of its own; see [`Client::ask`].
///
/// # Errors
/// If the server does not answer, or with an error.
pub fn resp(address: SocketAddr, arguments: &[&str]) -> Result<String> {
    Client::connect(address)?.ask(arguments)
}

fn read_reply(reader: &mut impl BufRead) -> Result<String> {
    let line = read_line(reader)?;
    let (kind, rest) = line.split_at_checked(1).context("empty reply")?;
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "$" => {
            let Ok(length) = rest.parse::<usize>() else {
                return Ok(String::new());
            };
            let mut value = vec![0; length + 2];
            reader.read_exact(&mut value).context("read")?;
            value.truncate(length);
            Ok(String::from_utf8_lossy(&value).into_owned())
        }
        "*" => {
            let count = rest.parse::<usize>().unwrap_or(0);
            let items = (0..count).map(|_| read_reply(reader));
            Ok(items.collect::<Result<Vec<_>>>()?.join("\n"))
        }
        _ => bail!("{line}"),
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line).context("read")? == 0 {
        bail!("the server closed the connection");
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// A figure of `INFO`, such as `used_memory`.
///
/// # Errors
/// If the server does not answer or does not have it.
pub fn info(address: SocketAddr, section: &str, name: &str) -> Result<u64> {
    Client::connect(address)?
        .info(section, name)?
        .parse()
        .with_context(|| format!("{name} of INFO"))
}

/// A figure of memcached's `stats`, such as `bytes`.
///
/// # Errors
/// If the server does not answer or does not have it.
pub fn memcached_statistic(address: SocketAddr, name: &str) -> Result<u64> {
    let mut stream = connect(address)?;
    stream.write_all(b"stats\r\n").context("write")?;
    let mut reader = BufReader::new(stream);
    loop {
        let line = read_line(&mut reader)?;
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("STAT"), Some(found), Some(value)) if found == name => {
                return value.parse().with_context(|| format!("statistic {name}"));
            }
            (Some("STAT"), ..) => {}
            _ => bail!("no statistic {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_every_kind_become_text() {
        let read = |mut bytes: &[u8]| read_reply(&mut bytes);
        assert_eq!(read(b"+PONG\r\n").unwrap(), "PONG");
        assert_eq!(read(b":12\r\n").unwrap(), "12");
        assert_eq!(read(b"$3\r\na\nb\r\n").unwrap(), "a\nb");
        assert_eq!(read(b"$-1\r\n").unwrap(), "");
        assert_eq!(
            read(b"*3\r\n:1\r\n*1\r\n$1\r\na\r\n+b\r\n").unwrap(),
            "1\na\nb"
        );
        assert_eq!(read(b"-ERR x\r\n").unwrap_err().to_string(), "-ERR x");
    }
}
