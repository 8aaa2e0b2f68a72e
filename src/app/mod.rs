//! The shell's rooms: wiring, runs, the demo.

pub mod board;
pub mod contracts;
pub mod demo;
pub mod demo_inputs;
pub mod run;
pub mod wiring;
