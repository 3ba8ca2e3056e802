//! A network between a client and its server that fails on demand.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    /// Connections end, and new ones end at once.
    Down,
    /// Whoever sends `COMMIT` is cut off when the server has answered, before the answer arrives.
    LosesAnswersToCommits,
    /// The next answer is cut off before it arrives; then it is fine again.
    LosesNextAnswer,
}

/// Listens on a port of its own and passes on what it gets to another.
pub struct Network {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    answers_lost: Arc<AtomicUsize>,
}

impl Network {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, forecast) = watch::channel(Weather::Fine);
        let answers_lost = Arc::new(AtomicUsize::new(0));
        let (changing, lost) = (weather.clone(), Arc::clone(&answers_lost));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (weather, forecast, lost) = (changing.clone(), forecast.clone(), Arc::clone(&lost));
                tokio::spawn(async move {
                    // An error of either side ends both.
                    let _ = carry(client, server, weather, forecast, &lost).await;
                });
            }
        });
        Self { address, weather, answers_lost }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn take_down(&self) {
        self.weather.send_replace(Weather::Down);
    }

    pub fn restore(&self) {
        self.weather.send_replace(Weather::Fine);
    }

    pub fn lose_answers_to_commits(&self) {
        self.weather.send_replace(Weather::LosesAnswersToCommits);
    }

    pub fn lose_next_answer(&self) {
        self.weather.send_replace(Weather::LosesNextAnswer);
    }

    pub fn answers_lost(&self) -> usize {
        self.answers_lost.load(Ordering::Acquire)
    }
}

async fn carry(
    mut client: TcpStream,
    server: SocketAddr,
    weather: watch::Sender<Weather>,
    mut forecast: watch::Receiver<Weather>,
    lost: &AtomicUsize,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut commits = false;
    loop {
        if *forecast.borrow_and_update() == Weather::Down {
            return Ok(());
        }
        tokio::select! {
            _ = forecast.changed() => {}
            length = client.read(&mut asked) => {
                let asked = &asked[..length?];
                if asked.is_empty() {
                    return Ok(());
                }
                commits = asked.windows(6).any(|bytes| bytes == b"COMMIT");
                server.write_all(asked).await?;
            }
            length = server.read(&mut answered) => {
                let answer = &answered[..length?];
                if answer.is_empty() {
                    return Ok(());
                }
                if commits && *forecast.borrow() == Weather::LosesAnswersToCommits {
                    lost.fetch_add(1, Ordering::AcqRel);
                    return Ok(());
                }
                if weather.send_if_modified(clears_up) {
                    lost.fetch_add(1, Ordering::AcqRel);
                    return Ok(());
                }
                client.write_all(answer).await?;
            }
        }
    }
}

/// The one answer that was to be lost is here.
fn clears_up(weather: &mut Weather) -> bool {
    let loses = *weather == Weather::LosesNextAnswer;
    if loses {
        *weather = Weather::Fine;
    }
    loses
}
