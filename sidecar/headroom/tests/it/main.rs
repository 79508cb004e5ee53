//! Tests of the program as it is shipped: a child process, real sockets, a real disk.

mod input;
mod kill;
mod operations;
mod race;
mod story;
mod support;
