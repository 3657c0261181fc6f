//! Requests as clients send them, read into types that can hold nothing else.
//!
//! ```text
//!  GET /v1.41/containers/json?all=1 ─target─▶ version, segments, query ─route, by rules─▶ ApiCall
//!  {"Image":"debian", …} ─json─▶ tree without a key twice ─fields, by rules─▶ bodies ─▶ Taken<CreateBody>
//! ```

pub(crate) mod bodies;
pub(crate) mod calls;
pub(crate) mod fields;
pub(crate) mod filters;
pub(crate) mod json;
pub(crate) mod names;
pub(crate) mod query;
pub(crate) mod route;
pub(crate) mod target;
pub(crate) mod upstream_line;
pub(crate) mod version;
