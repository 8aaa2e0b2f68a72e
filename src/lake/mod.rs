//! The lake seam: `object_store::ObjectStore` *is* the seam; here are our adapter for directories,
//! the layout of every key we write, and what is asked of a store before it is trusted.

pub mod identity;
pub mod layout;
pub mod local;
pub mod metered;
pub mod probe;
pub mod s3;
pub mod url;

/// The store answers, and will go on refusing.
pub fn is_denied(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
}
