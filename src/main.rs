//! `ringfence` runs an AI agent in a container that reaches exactly the names its policy permits.
fn main() {}
