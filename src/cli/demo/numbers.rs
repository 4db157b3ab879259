//! What Redan says of itself: its `/metrics`, fetched over HTTP and read.
//!
//! The demo knows nothing about the running Redan but this, so what it shows is what any monitoring sees.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;

/// A scrape takes about a millisecond.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, PartialEq)]
pub(super) struct NodeNumbers {
    pub(super) address: String,
    pub(super) role: String,
    /// It is the proven master.
    pub(super) master: bool,
    pub(super) readable: bool,
    pub(super) lag_bytes: Option<f64>,
    pub(super) lag_seconds: Option<f64>,
    pub(super) commands: f64,
}

/// One scrape. Counters are sums since Redan started.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) at: Instant,
    pub(super) sessions: f64,
    pub(super) writes: f64,
    pub(super) reads_replica: f64,
    pub(super) reads_master: f64,
    pub(super) in_doubt: f64,
    pub(super) nodes: Vec<NodeNumbers>,
}

impl Numbers {
    pub(super) fn master(&self) -> Option<&NodeNumbers> {
        self.nodes.iter().find(|node| node.master)
    }

    pub(super) fn node(&self, address: &str) -> Option<&NodeNumbers> {
        self.nodes.iter().find(|node| node.address == address)
    }
}

pub(super) async fn fetch(admin: &str) -> Result<Numbers, Failure> {
    let trouble = |words: String| Failure::new(format!("http://{admin}/metrics gives no numbers: {words}"));
    let body = match tokio::time::timeout(PATIENCE, get(admin)).await {
        Ok(body) => body.map_err(trouble)?,
        Err(_) => return Err(trouble(format!("no answer within {} s", PATIENCE.as_secs()))),
    };
    Ok(read(&body, Instant::now()))
}

async fn get(admin: &str) -> Result<String, String> {
    let asked = async {
        let mut stream = TcpStream::connect(admin).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = asked.await.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer is not HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(status.to_owned()) }
}

/// One line of the exposition: `name{label="value",…} number`.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self { name, labels: labels.trim_end_matches('}'), value: value.parse().ok()? })
    }

    /// Values with a comma or a quote do not occur: they are addresses and words.
    fn label(&self, wanted: &str) -> Option<&'a str> {
        self.labels.split(',').find_map(|label| {
            let (name, value) = label.split_once('=')?;
            (name == wanted).then(|| value.trim_matches('"'))
        })
    }
}

fn read(body: &str, at: Instant) -> Numbers {
    let samples: Vec<Sample<'_>> =
        body.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::read).collect();
    let sum = |name: &str, label: &str, wanted: &str| {
        let fits =
            |sample: &&Sample<'_>| sample.name == name && (label.is_empty() || sample.label(label) == Some(wanted));
        samples.iter().filter(fits).map(|sample| sample.value).sum::<f64>()
    };
    let of_node = |name: &str, address: &str| {
        let found = samples.iter().find(|sample| sample.name == name && sample.label("node") == Some(address));
        found.map(|sample| sample.value)
    };
    let nodes = samples.iter().filter(|sample| sample.name == "redan_node_role").filter_map(|sample| {
        let address = sample.label("node")?;
        Some(NodeNumbers {
            address: address.to_owned(),
            role: sample.label("role")?.to_owned(),
            master: of_node("redan_node_master", address) == Some(1.0),
            readable: of_node("redan_node_readable", address) == Some(1.0),
            lag_bytes: of_node("redan_node_lag_bytes", address),
            lag_seconds: of_node("redan_node_lag_seconds", address),
            commands: of_node("redan_node_commands_total", address).unwrap_or_default(),
        })
    });
    Numbers {
        at,
        sessions: sum("redan_sessions", "", ""),
        writes: sum("redan_commands_total", "kind", "write"),
        reads_replica: sum("redan_reads_total", "from", "replica"),
        reads_master: sum("redan_reads_total", "from", "master"),
        in_doubt: sum("redan_in_doubt_total", "", ""),
        nodes: nodes.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exposition_is_read() {
        let body = "# HELP redan_sessions Client connections open now.\n# TYPE redan_sessions gauge\n\
                    redan_sessions 6\nredan_commands_total{kind=\"read\"} 50\nredan_commands_total{kind=\"write\"} 7\n\
                    redan_reads_total{from=\"replica\"} 40\nredan_reads_total{from=\"master\"} 10\n\
                    redan_in_doubt_total 0\n\
                    redan_node_master{group=\"main\",node=\"127.0.0.1:1\"} 1\n\
                    redan_node_readable{group=\"main\",node=\"127.0.0.1:1\"} 1\n\
                    redan_node_readable{group=\"main\",node=\"127.0.0.1:2\"} 0\n\
                    redan_node_lag_bytes{group=\"main\",node=\"127.0.0.1:2\"} 14\n\
                    redan_node_lag_seconds{group=\"main\",node=\"127.0.0.1:2\"} 0.25\n\
                    redan_node_role{group=\"main\",node=\"127.0.0.1:1\",role=\"master\"} 1\n\
                    redan_node_role{group=\"main\",node=\"127.0.0.1:2\",role=\"replica\"} 1\n\
                    redan_node_commands_total{group=\"main\",node=\"127.0.0.1:2\"} 41\n# EOF\n";
        let numbers = read(body, Instant::now());
        assert_eq!((numbers.sessions, numbers.writes, numbers.in_doubt), (6.0, 7.0, 0.0));
        assert_eq!((numbers.reads_replica, numbers.reads_master), (40.0, 10.0));
        assert_eq!(numbers.master().map(|node| node.address.as_str()), Some("127.0.0.1:1"));
        let replica = NodeNumbers {
            address: "127.0.0.1:2".to_owned(),
            role: "replica".to_owned(),
            master: false,
            readable: false,
            lag_bytes: Some(14.0),
            lag_seconds: Some(0.25),
            commands: 41.0,
        };
        assert_eq!(numbers.node("127.0.0.1:2"), Some(&replica));
    }
}
