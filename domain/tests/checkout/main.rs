//! The checkout policy under everything that can happen to it: reactions repeated, cut off by a crash, run by
//! two processes at once with other commands in between, while customers, operators and the provider act.

mod process;
mod rules;
mod settled;
mod shop;
mod simulation;
mod world;
