//! The shell's rooms: wiring, runs, the demo.

pub mod access;
pub mod board;
pub mod check;
pub mod contracts;
pub mod control;
pub mod demo;
pub mod demo_inputs;
pub mod desk;
pub mod docket;
pub mod exposition;
pub mod flow;
pub mod instance;
pub mod observer;
pub mod query;
pub mod registry;
pub mod reload;
pub mod replay_order;
pub mod replays;
pub mod rounds;
pub mod run;
pub mod shutdown;
mod since;
pub mod sources;
pub mod standing;
pub mod sweeping;
pub mod topics;
pub mod upkeep;
pub mod verdicts;
pub mod view;
pub mod wiring;

#[cfg(test)]
mod tests;
