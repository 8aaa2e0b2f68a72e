//! Where landings come from: notifications over HTTP or in a file, and listings.
//!
//! The webhook commits on its own, on every replica. Sources that are pulled are inputs of
//! [`crate::stage::bridge`], which keeps their cursors.

pub mod file;
pub mod landing;
pub mod listing;
pub mod routing;
pub mod webhook;
