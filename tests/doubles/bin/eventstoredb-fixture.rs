//! The EventStoreDB fixture as a program, for tests that need a server in another process.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use tests::eventstoredb::{Certificates, Cluster, FixtureOptions, User, obey};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
};

/// A server for tests that speaks the protocol of EventStoreDB. Prints `listening on ADDRESS` (of several nodes:
/// `ADDRESS,ADDRESS,…`), and for a control port `control on ADDRESS`. Then reads commands from standard input and from connections to the control port,
/// one on each line (see `tests/doubles/eventstoredb/control.rs`), and answers each with `done` or `error`.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Also reads commands from connections to this address.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// File of the log. Without one, the log is in memory.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The largest append in bytes.
    #[arg(long, default_value_t = FixtureOptions::default().append_bytes_max)]
    max_append_size: usize,
    /// Administrators, as NAME:PASSWORD. With any user, the server checks access.
    #[arg(long, value_parser = admin)]
    admin: Vec<User>,
    /// Users without rights of an administrator, as NAME:PASSWORD.
    #[arg(long, value_parser = ordinary_user)]
    user: Vec<User>,
    /// Events that the server adds after each append.
    #[arg(long, default_value_t = 0)]
    foreign_events: usize,
    /// Delays acknowledgements, so that each call of a client with Nagle's algorithm takes 40 ms longer.
    #[arg(long)]
    delay_acknowledgements: bool,
    /// Ends a connection after this many reads that its client broke off.
    #[arg(long)]
    broken_off_reads: Option<usize>,
    /// Encrypts connections. Writes the certificate of its authority to `ca.pem` in this folder.
    #[arg(long, value_name = "FOLDER")]
    tls: Option<PathBuf>,
    /// Nodes of the cluster. The first listens at the given address, the others at free ports.
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// Milliseconds from the loss of a leader to the election of another.
    #[arg(long, default_value_t = 500)]
    election_ms: u64,
    /// Milliseconds for which a leader that is cut off goes on as a leader beside the next one.
    #[arg(long, default_value_t = 0)]
    resignation_ms: u64,
}

fn admin(text: &str) -> Result<User, String> {
    Ok(User { is_admin: true, ..ordinary_user(text)? })
}

fn ordinary_user(text: &str) -> Result<User, String> {
    let (name, password) = text.split_once(':').ok_or("not NAME:PASSWORD")?;
    Ok(User { name: name.to_owned(), password: password.to_owned(), is_admin: false })
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (listen, control) = (arguments.listen, arguments.control);
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The EventStoreDB fixture cannot listen on {listen} (control: {control:?}): {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let options = FixtureOptions {
        listen: arguments.listen,
        file: arguments.file,
        append_bytes_max: arguments.max_append_size,
        users: [arguments.admin, arguments.user].concat(),
        foreign_events: arguments.foreign_events,
        delay_acknowledgements: arguments.delay_acknowledgements,
        broken_off_reads_max: arguments.broken_off_reads,
        resignation_delay: Duration::from_millis(arguments.resignation_ms),
        tls: arguments.tls.as_deref().map(Certificates::create).transpose()?,
    };
    let election_time = Duration::from_millis(arguments.election_ms);
    let cluster = Arc::new(Cluster::start(arguments.nodes, election_time, options).await?);
    let addresses: Vec<_> = cluster.nodes().iter().map(|node| node.address().to_string()).collect();
    println!("listening on {}", addresses.join(","));
    if let Some(address) = arguments.control {
        let listener = TcpListener::bind(address).await?;
        println!("control on {}", listener.local_addr()?);
        tokio::spawn(accept(listener, cluster.clone()));
    }
    obey_lines(&cluster, tokio::io::stdin(), tokio::io::stdout()).await;
    // Standard input has ended: serves until a signal ends the process.
    std::future::pending().await
}

async fn accept(listener: TcpListener, cluster: Arc<Cluster>) {
    while let Ok((connection, _)) = listener.accept().await {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let (input, output) = connection.into_split();
            obey_lines(&cluster, input, output).await;
        });
    }
}

/// Obeys each line and answers it, until the input ends.
async fn obey_lines(cluster: &Cluster, input: impl AsyncRead + Unpin, mut output: impl AsyncWrite + Unpin) {
    let mut lines = BufReader::new(input).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match obey(cluster, &line).await {
            Ok(result) => format!("done {result}").trim_end().to_owned() + "\n",
            Err(reason) => format!("error: {reason}\n"),
        };
        if output.write_all(answer.as_bytes()).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}
