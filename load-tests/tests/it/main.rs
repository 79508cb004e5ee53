//! Tests of the parts that do not start servers, all in one binary.

mod proc_files;
mod stats;
