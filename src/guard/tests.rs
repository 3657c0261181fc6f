//! Tests of the whole guard on loopback.
