//! The checkout policy under faults: reactions are repeated, cut off by a crash, or run by two processes at
//! once, while customers, operators and the provider send commands in between.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod crashes;
mod process;
mod rules;
mod scene;
mod settled;
mod shop;
mod simulation;
mod world;
