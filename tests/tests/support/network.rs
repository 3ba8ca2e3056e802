//! A network between client and server that fails on demand.

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

/// The state of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    /// Closes all connections, new ones too.
    Down,
    /// Carries nothing further on the connections of this time, and closes none. They stay silent for ever.
    Silent,
    /// Closes a connection after the server has answered a `COMMIT`, before the answer reaches the client.
    LosesAnswersToCommits,
    /// Closes one connection before the next answer reaches the client; then works again.
    LosesNextAnswer,
}

/// A TCP proxy on a free local port.
pub struct Network {
    address: SocketAddr,
    state: watch::Sender<State>,
    answers_lost: Arc<AtomicUsize>,
}

impl Network {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, state_changes) = watch::channel(State::Up);
        let answers_lost = Arc::new(AtomicUsize::new(0));
        let (sender, lost) = (state.clone(), Arc::clone(&answers_lost));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (sender, state_changes) = (sender.clone(), state_changes.clone());
                let answers_lost = Arc::clone(&lost);
                tokio::spawn(async move {
                    // An error of either side closes both.
                    let _ = carry(client, server, sender, state_changes, &answers_lost).await;
                });
            }
        });
        Self { address, state, answers_lost }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn take_down(&self) {
        self.state.send_replace(State::Down);
    }

    /// Carries nothing until [`Network::restore`], and then only on new connections.
    pub fn fall_silent(&self) {
        self.state.send_replace(State::Silent);
    }

    pub fn restore(&self) {
        self.state.send_replace(State::Up);
    }

    pub fn lose_answers_to_commits(&self) {
        self.state.send_replace(State::LosesAnswersToCommits);
    }

    pub fn lose_next_answer(&self) {
        self.state.send_replace(State::LosesNextAnswer);
    }

    pub fn answers_lost(&self) -> usize {
        self.answers_lost.load(Ordering::Acquire)
    }
}

async fn carry(
    mut client: TcpStream,
    server: SocketAddr,
    state: watch::Sender<State>,
    mut state_changes: watch::Receiver<State>,
    answers_lost: &AtomicUsize,
) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(server).await?;
    let (mut request_buffer, mut answer_buffer) = (vec![0; 65_536], vec![0; 65_536]);
    let mut commits = false;
    loop {
        let now = *state_changes.borrow_and_update();
        if now == State::Silent {
            // Ends with the proxy.
            let _ = state_changes.wait_for(|state| *state == State::Down).await;
        }
        if now != State::Up && *state_changes.borrow() == State::Down {
            return Ok(());
        }
        tokio::select! {
            _ = state_changes.changed() => {}
            length = client.read(&mut request_buffer) => {
                let request = &request_buffer[..length?];
                if request.is_empty() {
                    return Ok(());
                }
                commits = request.windows(6).any(|bytes| bytes == b"COMMIT");
                upstream.write_all(request).await?;
            }
            length = upstream.read(&mut answer_buffer) => {
                let answer = &answer_buffer[..length?];
                if answer.is_empty() {
                    return Ok(());
                }
                if commits && *state_changes.borrow() == State::LosesAnswersToCommits {
                    answers_lost.fetch_add(1, Ordering::AcqRel);
                    return Ok(());
                }
                if state.send_if_modified(lost_its_answer) {
                    answers_lost.fetch_add(1, Ordering::AcqRel);
                    return Ok(());
                }
                client.write_all(answer).await?;
            }
        }
    }
}

/// Ends [`State::LosesNextAnswer`]; true if it was set.
fn lost_its_answer(state: &mut State) -> bool {
    let loses = *state == State::LosesNextAnswer;
    if loses {
        *state = State::Up;
    }
    loses
}
