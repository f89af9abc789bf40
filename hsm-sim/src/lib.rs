#![doc = include_str!("../README.md")]

mod abi;
mod attributes;
mod breakdown;
pub mod config;
mod crypto;
pub mod dialect;
pub mod error;
pub mod fault;
mod folder;
pub mod function;
mod keys;
mod lock;
pub mod mechanism;
pub mod module;
mod object;
pub mod objects;
pub mod operations;
mod rules;
mod seal;
mod session;
pub mod sessions;
mod slot;
