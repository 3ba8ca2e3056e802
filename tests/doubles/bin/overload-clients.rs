//! Clients of `tests/scripts/overload.sh`: steady ones, far too many, and slow ones. One thread, so that one processor is
//! enough. Prints one JSON object.

#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::{
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::LocalSet,
    time,
};

/// Time limit for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Pause of a slow client before it connects again, as long as that of the tool slowloris.
const RECONNECT_AFTER: Duration = Duration::from_secs(15);

#[derive(Parser)]
struct Options {
    /// Address of the command API, on this machine.
    #[arg(long)]
    address: SocketAddr,
    /// How long the clients work.
    #[arg(long)]
    seconds: u64,
    /// Makes the idempotency keys of this run unique.
    #[arg(long, default_value = "run")]
    name: String,
    #[command(subcommand)]
    clients: Clients,
}

#[derive(Subcommand)]
enum Clients {
    /// Each places one order after another.
    Closed { clients: usize },
    /// Orders are placed at this rate for each second, whatever the answers.
    Open { clients: usize, rate: u32 },
    /// Each sends a request byte by byte and never ends it.
    Slow { clients: usize, addresses: u8 },
}

/// The answers that a client has got.
#[derive(Default)]
struct Answers {
    /// The times of accepted orders, in microseconds.
    accepted_us: Vec<u32>,
    shed: usize,
    other: usize,
    failed: usize,
    sent: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (local, options) = (LocalSet::new(), Rc::new(options));
    let printed = local.block_on(&runtime, async {
        match options.clients {
            Clients::Closed { clients } => orders(&options, clients, None).await,
            Clients::Open { clients, rate } => orders(&options, clients, Some(rate)).await,
            Clients::Slow { clients, addresses } => slow(&options, clients, addresses).await,
        }
    });
    println!("{printed}");
    Ok(())
}

/// `rate`: orders a second of all clients together.
async fn orders(options: &Rc<Options>, clients: usize, rate: Option<u32>) -> serde_json::Value {
    let begun = Instant::now();
    let every = rate.map(|rate| Duration::from_secs(1).mul_f64(clients as f64 / f64::from(rate)));
    let running: Vec<_> = (0..clients)
        .map(|number| {
            let options = Rc::clone(options);
            // The clients of a rate begin one after another, not all at once.
            let first = every.unwrap_or_default().mul_f64(number as f64 / clients as f64);
            tokio::task::spawn_local(async move {
                time::sleep(first).await;
                buy(&options, number, every).await
            })
        })
        .collect();
    let mut all = Answers::default();
    for client in running {
        if let Ok(answers) = client.await {
            all.accepted_us.extend(answers.accepted_us);
            all.shed += answers.shed;
            all.other += answers.other;
            all.failed += answers.failed;
            all.sent += answers.sent;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    all.accepted_us.sort_unstable();
    let percentile_ms = |share: f64| {
        let index = (all.accepted_us.len() as f64 * share) as usize;
        let last = all.accepted_us.len().saturating_sub(1);
        all.accepted_us.get(index.min(last)).map_or(0.0, |us| f64::from(*us) / 1_000.0)
    };
    json!({
        "sent_per_s": all.sent as f64 / seconds, "accepted_per_s": all.accepted_us.len() as f64 / seconds,
        "p50_ms": percentile_ms(0.5), "p99_ms": percentile_ms(0.99),
        "shed": all.shed, "other": all.other, "failed": all.failed,
    })
}

/// Places orders until the time is over. `every`: at these times, or at once if the last answer came later.
async fn buy(options: &Options, number: usize, every: Option<Duration>) -> Answers {
    let (mut answers, mut open, mut buffer) = (Answers::default(), None, Vec::new());
    let end = time::Instant::now() + Duration::from_secs(options.seconds);
    let mut ticks = every.map(time::interval);
    for order in 0.. {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        if time::Instant::now() >= end {
            break;
        }
        let request = request(&options.name, number, order);
        let begun = Instant::now();
        answers.sent += 1;
        match time::timeout(ANSWER_MAX, ask(&mut open, options.address, &request, &mut buffer)).await {
            Ok(Ok(201)) => {
                answers.accepted_us.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok(Ok(503)) => answers.shed += 1,
            Ok(Ok(_)) => answers.other += 1,
            Ok(Err(_)) | Err(_) => {
                answers.failed += 1;
                open = None;
                time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    answers
}

fn request(name: &str, client: usize, order: u64) -> String {
    const BODY: &str = r#"{"currency":"EUR","lines":[{"sku":"PLENTY","quantity":1,"unit_price":100}]}"#;
    format!(
        "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: \
         {name}-{client}-{order}\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
}

async fn connect(address: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.into(), 0))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The status of the answer. Leaves the connection open unless the server closes it.
async fn ask(
    open: &mut Option<TcpStream>,
    address: SocketAddr,
    request: &str,
    buffer: &mut Vec<u8>,
) -> io::Result<u16> {
    let mut stream = match open.take() {
        Some(stream) => stream,
        None => connect(address, Ipv4Addr::LOCALHOST).await?,
    };
    stream.write_all(request.as_bytes()).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((status, closes)) = complete(buffer) {
            if !closes {
                *open = Some(stream);
            }
            return Ok(status);
        }
    }
}

/// The status of an answer that has arrived in full, and whether its connection ends.
fn complete(answer: &[u8]) -> Option<(u16, bool)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let length: usize = value("content-length: ")?.trim().parse().ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (answer.len() >= end + 4 + length).then(|| (status, value("connection: close").is_some()))
}

/// Counts the connections that the server closes.
async fn slow(options: &Rc<Options>, clients: usize, addresses: u8) -> serde_json::Value {
    let running: Vec<_> = (0..clients)
        .map(|number| {
            let options = Rc::clone(options);
            let from = Ipv4Addr::new(127, 1, 0, 1 + (number % usize::from(addresses)) as u8);
            tokio::task::spawn_local(async move {
                time::sleep(Duration::from_millis(number as u64 / 2)).await;
                trickle(&options, from).await
            })
        })
        .collect();
    let mut closed = 0;
    for client in running {
        closed += client.await.unwrap_or_default();
    }
    json!({ "closed": closed })
}

async fn trickle(options: &Options, from: Ipv4Addr) -> usize {
    let end = time::Instant::now() + Duration::from_secs(options.seconds);
    let mut closed = 0;
    while time::Instant::now() < end {
        if let Ok(mut stream) = connect(options.address, from).await {
            let sending = async {
                for byte in request(&options.name, 0, 0).bytes() {
                    stream.write_all(&[byte]).await?;
                    let mut answer = [0; 512];
                    let reading = time::timeout(Duration::from_secs(1), stream.read(&mut answer));
                    if let Ok(Ok(0) | Err(_)) = reading.await {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                }
                Ok::<_, io::Error>(())
            };
            match time::timeout_at(end, sending).await {
                Ok(_) => closed += 1,
                Err(_) => return closed,
            }
        }
        time::sleep(RECONNECT_AFTER).await;
    }
    closed
}
