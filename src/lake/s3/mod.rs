//! Stores behind `s3://bucket[/prefix]`: Amazon's, and what speaks its protocol.
//!
//! ```text
//! store ─ keys below the prefix, quoted e-tags, refusals as what they are
//!   └─ object_store's AmazonS3 ─ signing, paging, retries
//!        └─ answer ─ what a server says, put right before object_store reads it
//! ```
//! Deliberately absent: creating buckets, profiles of `~/.aws`, and whatever needs a list of versions.

pub mod options;

#[cfg(feature = "s3")]
mod answer;
#[cfg(feature = "s3")]
mod open;
#[cfg(feature = "s3")]
mod store;

#[cfg(feature = "s3")]
pub use open::open;
