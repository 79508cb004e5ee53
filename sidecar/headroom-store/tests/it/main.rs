//! The store against a disk that fails, and against the real one.

mod crash;
mod damage;
mod directory;
mod failure;
mod follow;
mod speed;
mod support;
