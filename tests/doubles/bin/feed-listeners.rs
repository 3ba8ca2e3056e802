//! Listeners of `tests/scripts/feed-listeners.sh`: of single orders and SKUs, of tiles, of the whole feed, and some that do
//! not read. One thread, so that one processor is enough. Prints `ready` and then one JSON object.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use clap::Parser;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
    time::{self, Instant},
};
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    /// Address of the query API, on this machine.
    #[arg(long)]
    address: SocketAddr,
    /// How long the listeners listen.
    #[arg(long)]
    seconds: u64,
    /// Listeners of single streams and of tiles.
    #[arg(long)]
    single: usize,
    /// Listeners of the whole feed.
    #[arg(long)]
    whole: usize,
    /// Listeners of the whole feed that do not read.
    #[arg(long)]
    stuck: usize,
}

/// What a listener has got.
#[derive(Default)]
struct Heard {
    /// The server has ended the answer.
    ended: bool,
    events: usize,
    /// The most events within a second.
    events_per_s_max: usize,
    /// Events that do not follow the one before.
    gaps: usize,
    last: Option<u64>,
    bytes: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printed = LocalSet::new().block_on(&runtime, listen(options))?;
    println!("{printed}");
    Ok(())
}

async fn listen(options: Options) -> io::Result<serde_json::Value> {
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let (mut single, mut whole, mut stuck) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..options.single {
        // A busy stream, streams without events, and tiles.
        let subject = match number % 3 {
            0 => "?stream=stock-PLENTY".to_owned(),
            1 => format!("?stream=order-{}", Uuid::new_v4()),
            _ => "?topic=tiles".to_owned(),
        };
        let stream = connect(options.address, &subject).await?;
        single.push(tokio::task::spawn_local(hear(stream, end)));
    }
    for _ in 0..options.whole {
        let stream = connect(options.address, "").await?;
        whole.push(tokio::task::spawn_local(hear(stream, end)));
    }
    for _ in 0..options.stuck {
        stuck.push(connect(options.address, "").await?);
    }
    println!("ready");
    let (single, whole) = (all(single).await, all(whole).await);
    let mut closed = 0;
    for stream in stuck {
        // What is left in the buffers of the connection, and then its end.
        let left_over = hear(stream, Instant::now() + Duration::from_secs(1)).await;
        closed += usize::from(left_over.ended && left_over.last.is_some());
    }
    Ok(json!({
        "ended": single.iter().chain(&whole).filter(|heard| heard.ended).count(),
        "events_per_s_max": single.iter().map(|heard| heard.events_per_s_max).max(),
        "whole_events": whole.iter().map(|heard| heard.events).collect::<Vec<_>>(),
        "whole_gaps": whole.iter().map(|heard| heard.gaps).sum::<usize>(),
        "whole_last": whole.iter().map(|heard| heard.last).collect::<Vec<_>>(),
        "whole_bytes": whole.iter().map(|heard| heard.bytes).sum::<usize>(),
        "stuck_closed_with_a_place": closed,
    }))
}

async fn all(running: Vec<tokio::task::JoinHandle<Heard>>) -> Vec<Heard> {
    let mut heard = Vec::new();
    for listener in running {
        heard.push(listener.await.unwrap_or_default());
    }
    heard
}

async fn connect(address: SocketAddr, subject: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /v1/feed{subject} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Reads until `end`, or until the server ends the answer. Each chunk of an answer ends with a line, so lines are whole.
async fn hear(mut stream: TcpStream, end: Instant) -> Heard {
    let (mut heard, mut buffer, mut second, mut in_second) =
        (Heard::default(), Vec::new(), Instant::now(), 0);
    let mut id = None;
    while let Ok(read) = time::timeout_at(end, stream.read_buf(&mut buffer)).await {
        let Ok(1..) = read else {
            heard.ended = true;
            break;
        };
        if second.elapsed() >= Duration::from_secs(1) {
            (second, in_second) = (Instant::now(), 0);
        }
        let whole = buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in buffer[..whole].split(|byte| *byte == b'\n') {
            if let Some(digits) = line.strip_prefix(b"id: ") {
                id = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            } else if line == b"event: recorded" {
                heard.gaps += usize::from(heard.last.is_some_and(|last| id != Some(last + 1)));
                heard.last = id;
                heard.events += 1;
                in_second += 1;
                heard.events_per_s_max = heard.events_per_s_max.max(in_second);
            }
        }
        heard.bytes += whole;
        buffer.drain(..whole);
    }
    heard
}
