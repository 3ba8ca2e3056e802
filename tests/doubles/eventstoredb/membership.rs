//! Which node of a cluster leads. Nodes share one log: what a majority has, survives. A node that is apart from
//! the others still answers its clients, from the log as it was then.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::messages::NodeState;

/// How a node reaches the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Up,
    /// Its process is down or stopped.
    Down,
    /// Its clients reach it, the other nodes do not. The log had this many events at that time.
    Apart {
        events: usize,
    },
}

/// What a node may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Leader,
    /// The others are out of reach, and it has not noticed yet. Its writes never commit. The others may have
    /// another leader already.
    LeaderApart,
    /// Follows the leader at this address.
    Follower(SocketAddr),
    /// There is no leader, or none that this node knows.
    Leaderless,
}

#[derive(Debug)]
pub struct Membership {
    /// From the loss of a leader until the others have another.
    election_time: Duration,
    /// From the election of another leader until a leader that is apart notices that it leads no more.
    resignation_delay: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    leader: Option<usize>,
    /// The next leader is elected then.
    election_ends: Instant,
    /// The node that led last.
    last_leader: usize,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    address: SocketAddr,
    reach: Reach,
    /// A leader that is apart believes that it leads until then.
    leads_until: Option<Instant>,
}

impl Membership {
    /// The first node leads.
    pub fn new(addresses: &[SocketAddr], election_time: Duration, resignation_delay: Duration) -> Self {
        let node = |address: &SocketAddr| Node { address: *address, reach: Reach::Up, leads_until: None };
        let state = State {
            nodes: addresses.iter().map(node).collect(),
            leader: Some(0),
            election_ends: Instant::now(),
            last_leader: 0,
        };
        Self { election_time, resignation_delay, state: Mutex::new(state) }
    }

    pub fn set_reach(&self, node: usize, reach: Reach) {
        let mut state = self.state();
        state.settle();
        let leads = state.leader == Some(node);
        state.nodes[node].reach = reach;
        let is_apart = matches!(reach, Reach::Apart { .. });
        let leads_until = Instant::now() + self.election_time + self.resignation_delay;
        state.nodes[node].leads_until = (leads && is_apart).then_some(leads_until);
        if leads && reach != Reach::Up || !state.has_majority() {
            state.leader = None;
        }
        if state.leader.is_none() {
            state.election_ends = Instant::now() + self.election_time;
        }
    }

    pub fn leader(&self) -> Option<usize> {
        let mut state = self.state();
        state.settle();
        state.leader
    }

    pub fn role(&self, node: usize) -> Role {
        let mut state = self.state();
        state.settle();
        let Node { reach, leads_until, .. } = state.nodes[node];
        match state.leader {
            _ if leads_until.is_some_and(|until| Instant::now() < until) => Role::LeaderApart,
            Some(leader) if leader == node => Role::Leader,
            Some(leader) if reach == Reach::Up => Role::Follower(state.nodes[leader].address),
            _ => Role::Leaderless,
        }
    }

    /// The number of events that a node can read, out of the events in the log.
    pub fn readable(&self, node: usize, events: usize) -> usize {
        match self.state().nodes[node].reach {
            Reach::Apart { events: then } => then.min(events),
            Reach::Up | Reach::Down => events,
        }
    }

    /// The members as one node sees them: address, state, and whether the node reaches it.
    pub fn members(&self, seen_from: usize) -> Vec<(SocketAddr, NodeState, bool)> {
        let count = self.state().nodes.len();
        let roles: Vec<_> = (0..count).map(|node| self.role(node)).collect();
        let state = self.state();
        let is_apart = state.nodes[seen_from].reach != Reach::Up;
        let member = |(index, node): (usize, &Node)| {
            let is_alive = index == seen_from || !is_apart && node.reach == Reach::Up;
            let node_state = match roles[index] {
                Role::Leader => NodeState::Leader,
                Role::LeaderApart if index == seen_from => NodeState::Leader,
                Role::Follower(_) => NodeState::Follower,
                Role::LeaderApart | Role::Leaderless => NodeState::Unknown,
            };
            (node.address, node_state, is_alive)
        };
        state.nodes.iter().enumerate().map(member).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_majority(&self) -> bool {
        self.nodes.iter().filter(|node| node.reach == Reach::Up).count() * 2 > self.nodes.len()
    }

    /// Elects a leader if one is due: the next node that is up, in order.
    fn settle(&mut self) {
        if self.leader.is_some() || !self.has_majority() || Instant::now() < self.election_ends {
            return;
        }
        let count = self.nodes.len();
        let candidates = (1..=count).map(|step| (self.last_leader + step) % count);
        self.leader = candidates.into_iter().find(|node| self.nodes[*node].reach == Reach::Up);
        self.last_leader = self.leader.unwrap_or(self.last_leader);
    }
}
