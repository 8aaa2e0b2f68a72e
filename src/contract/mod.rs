//! Dataset contracts: everything that differs between datasets (contract.md).

pub mod canonical;
pub mod model;
