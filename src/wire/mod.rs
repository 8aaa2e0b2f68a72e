//! Records on the wire: Avro twins of `schemas/`, framed for a schema registry.

pub mod codec;
mod datum;
pub mod frame;
pub mod long;
pub mod records;
