//! Ports, log groups and names that fence, guard and ruleset agree on.

/// The gate's socket: permitted connections are redirected here.
pub const GATE_PORT: u16 = 65443;
/// The DNS filter's sockets, UDP and TCP.
pub const DNS_PORT: u16 = 65053;
/// The port that is the DNS filter's, whatever address it is asked at.
pub const FILTER_PORT: u16 = 53;
/// The ports that the fence keeps for itself, on every address: nothing behind them can be
/// permitted.
pub const RESERVED_PORTS: [u16; 3] = [FILTER_PORT, DNS_PORT, GATE_PORT];
/// The log group of refused packets.
pub const NFLOG_GROUP: u16 = 5;
/// The log group of those beyond the rate at which they are listed: they come in batches and are
/// counted only.
pub const NFLOG_REST: u16 = 6;
/// The name of every table of the fence.
pub const TABLE: &str = "fence";
/// The set of permitted pairs, in the inet table.
pub const PERMIT_SET: &str = "permit";
