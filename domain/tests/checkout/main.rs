//! The checkout policy under everything that can happen to it: reactions repeated, cut off by a crash, run by
//! two processes at once with other commands in between, while customers, operators and the provider act.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod process;
mod rules;
mod settled;
mod shop;
mod simulation;
mod world;
