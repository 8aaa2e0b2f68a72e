//! (to be written)
pub mod demo_inputs;
