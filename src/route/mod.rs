//! Routing: the EventBridge event-pattern language and the table that leads an event to a dataset.
//!
//! Deliberately absent: any knowledge of carriers (an event arrives in EventBridge's shape, see
//! [`crate::event::envelope`]) and of contracts (the table takes compiled patterns).

pub mod address;
pub mod condition;
pub mod fields;
pub mod number;
pub mod pattern;
pub mod table;
pub mod wildcard;

#[cfg(test)]
mod tests;
