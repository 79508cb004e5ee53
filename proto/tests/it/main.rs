//! Tests of the generated code, all in one binary.

mod generated;
