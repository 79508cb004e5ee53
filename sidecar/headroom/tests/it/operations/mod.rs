//! What operators do with the program: start, look, change, stop, copy, and repair.

mod backup;
mod clock;
mod command_line;
mod damage;
mod doors;
mod explain;
mod full_disk;
mod moments;
mod reload;
mod slips;
mod spans;
mod start;
mod stop;
mod watch;
mod words;
