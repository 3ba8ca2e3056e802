//! Commands to a running fixture, one on each line.

use std::time::Duration;

use super::{Cancelled, Cluster, Server, Unready};

/// Obeys one command. Returns the text after `done`, empty for most commands.
///
/// Commands for the cluster, where I is the index of a node from 0:
///
/// - `kill I`, `start I`: end the process of a node, and start it again.
/// - `silence I`, `wake I`: stop the process of a node, and let it go on.
/// - `part I`, `rejoin I`: cut a node off from the other nodes, and undo that.
/// - `leader`: the index of the leader, or `none`.
/// - `node I COMMAND`: a command for one node. Without `node I` it is for node 0.
pub async fn obey(cluster: &Cluster, command: &str) -> Result<String, String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let node = |text: &str| {
        let index = number(text)?;
        if index < cluster.nodes().len() { Ok(index) } else { Err(format!("no such node: {text}")) }
    };
    match words[..] {
        ["kill", index] => cluster.kill(node(index)?),
        ["start", index] => {
            cluster.start_again(node(index)?).await.map_err(|error| error.to_string())?;
        }
        ["silence", index] => cluster.silence(node(index)?),
        ["wake", index] => cluster.wake(node(index)?),
        ["part", index] => cluster.part(node(index)?),
        ["rejoin", index] => cluster.rejoin(node(index)?),
        ["leader"] => return Ok(cluster.leader().map_or("none".to_owned(), |leader| leader.to_string())),
        ["node", index, ref words @ ..] => return obey_as_node(&cluster.nodes()[node(index)?], words).await,
        ref words => return obey_as_node(&cluster.nodes()[0], words).await,
    }
    Ok(String::new())
}

/// Commands for one node:
///
/// - `refuse`, `accept`: refuse new connections, and accept them again.
/// - `cut`: cut all connections.
/// - `lose-answers N`, `abort-appends N written|not-written`, `hide-positions N`: faults of the next N appends.
/// - `refuse-calls N not-leader ADDRESS|no-leader|not-ready|too-busy`: refuse the next N calls.
/// - `delay-answers MS`, `delay-appends MS written|not-written`, `delay-ends-of-reads MS`: delays. An append
///   whose call was cancelled during the delay is written, or not.
/// - `end-subscriptions`, `hold-subscriptions`: end all subscriptions, or let them deliver nothing more.
/// - `restore N`: take the log back to its first N events.
/// - `events`: the number of events in the log.
/// - `calls`: the number of calls of each kind.
/// - `calls-per TYPE`: calls of each kind for each event of this type (or of types that begin so), since the last
///   `calls-per TYPE` or the start. With `order.placed`, the calls for an order.
async fn obey_as_node(server: &Server, words: &[&str]) -> Result<String, String> {
    let faults = server.faults();
    match *words {
        ["refuse"] => server.refuse_connections(),
        ["accept"] => server.accept_connections().await.map_err(|error| error.to_string())?,
        ["cut"] => faults.cut_connections(),
        ["lose-answers", count] => faults.lose_answers(number(count)?),
        ["abort-appends", count, written] => {
            faults.abort_appends(number(count)?, cancelled(written)? == Cancelled::Written);
        }
        ["hide-positions", count] => faults.hide_positions(number(count)?),
        ["refuse-calls", count, ref why @ ..] => faults.refuse_calls(number(count)?, unready(why)?),
        ["delay-answers", ms] => faults.delay_answers(time(ms)?),
        ["delay-appends", ms, written] => faults.delay_appends(time(ms)?, cancelled(written)?),
        ["delay-ends-of-reads", ms] => faults.delay_ends_of_reads(time(ms)?),
        ["end-subscriptions"] => faults.end_subscriptions(),
        ["hold-subscriptions"] => faults.hold_subscriptions(),
        ["restore", count] => server.restore(number(count)?),
        ["events"] => return Ok(server.events().to_string()),
        ["calls"] => return Ok(server.calls().to_string()),
        ["calls-per", type_prefix] => return Ok(server.calls_per_event(type_prefix).to_string()),
        _ => return Err(format!("no such command: {}", words.join(" "))),
    }
    Ok(String::new())
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("no number: {text}"))
}

fn time(ms: &str) -> Result<Duration, String> {
    Ok(Duration::from_millis(number(ms)? as u64))
}

fn cancelled(text: &str) -> Result<Cancelled, String> {
    match text {
        "written" => Ok(Cancelled::Written),
        "not-written" => Ok(Cancelled::NotWritten),
        _ => Err(format!("neither written nor not-written: {text}")),
    }
}

fn unready(words: &[&str]) -> Result<Unready, String> {
    match words {
        ["not-leader", address] => {
            address.parse().map(Unready::NotLeader).map_err(|_| format!("no address: {address}"))
        }
        ["no-leader"] => Ok(Unready::NoLeader),
        ["not-ready"] => Ok(Unready::NotReady),
        ["too-busy"] => Ok(Unready::TooBusy),
        _ => Err(format!("no such reason: {}", words.join(" "))),
    }
}
