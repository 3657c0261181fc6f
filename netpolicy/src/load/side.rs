//! The list that a rule stands in.

use super::shape;

/// List in which a rule stands. Rules of both lists read the same and are held to different
/// demands, since a wide denial opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Permits.
    Allow,
    /// Refuses.
    Deny,
    /// Bounds what weaker layers may permit.
    Ceiling,
}

impl Side {
    pub(super) fn default_ports(self, port: Option<u16>) -> Vec<u16> {
        match (self, port) {
            (_, Some(port)) => vec![port],
            (Side::Allow | Side::Ceiling, None) => vec![443],
            (Side::Deny, None) => Vec::new(),
        }
    }

    pub(super) fn section(self) -> &'static shape::Section {
        match self {
            Side::Allow | Side::Ceiling => &shape::RULE,
            Side::Deny => &shape::DENIAL,
        }
    }
}
