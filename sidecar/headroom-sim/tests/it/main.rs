//! The histories, and the direction of the dependencies.

mod arrows;
mod histories;
