//! `ringfence serve`: a Docker socket behind which every container is in a fence.
//!
//! ```text
//!  request line ─request─▶ ApiCall ─┐
//!  body ──request, by rules─▶ typed ┴─decide─▶ MemberSpec ─upstream─▶ body that ringfence wrote ─▶ engine
//!                              └─▶ Denied                                     engine ─answer─▶ client
//! ```
//! `server` listens, makes fences and members, and speaks to the engine. No byte of the client's
//! reaches the engine. `request`, `rules`, `decide`, `answer` and `upstream` are pure: no file, no
//! clock, no socket.

pub(crate) mod answer;
pub(crate) mod decide;
pub(crate) mod denied;
pub(crate) mod request;
pub(crate) mod rules;
pub(crate) mod server;
pub(crate) mod text;
pub(crate) mod upstream;
