//! What the fuzzer calls: one module for each kind of input that comes from outside or from storage.
//!
//! `check` of each module panics if its input breaks a rule. `seeds` are valid inputs, from which the fuzzer
//! starts. README.md says how to run it.

pub mod addresses;
pub mod commands;
pub mod events;
pub mod messages;
pub mod notices;
mod platform_in_memory;
pub mod queries;
pub mod sales_files;

/// A rule about an input.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the program in `fuzz_targets/`.
    pub name: &'static str,
    pub check: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),*) => {
        pub const TARGETS: &[Target] =
            &[$(Target { name: stringify!($name), check: $name::check, seeds: $name::seeds }),*];
    };
}

targets!(addresses, commands, events, messages, notices, queries, sales_files);

/// The part before the first empty line, and the part after it.
fn split_at_empty_line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[]),
    }
}

#[cfg(test)]
mod tests;
