//! Pure rules of the validate stage: may this object come in, and is it news?
//!
//! The order is decisions.md 26: unsafe key, ignored object, route, then content. Deliberately
//! absent: reading the object, and any state of its own (see [`ledger`] for the rules of the state
//! the stage keeps).

pub mod ignored;
pub mod key;
pub mod lateness;
pub mod layout;
pub mod ledger;
pub mod size;
pub mod suffix;

#[cfg(test)]
mod tests;
