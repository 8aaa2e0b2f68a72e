//! Floor 0: the words everything else is said in.
//!
//! Names, units, time, positions, objects and reasons. Deliberately absent: any clock, any I/O,
//! any serialization (records have twins in [`crate::wire`]).

pub mod backoff;
pub mod names;
pub mod object;
pub mod position;
pub mod reason;
pub mod secret;
pub mod time;
pub mod trace;
pub mod units;
