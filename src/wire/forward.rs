//! Words between a supervisor that forwards ports and its helper in the agent's network namespace.
//!
//! ```text
//!  supervisor                                     helper: `ringfence fence forward`
//!  first conversation: CONTROL port ────────────▶ "ready": it has no capability any more
//!      a beat, or a question for ports ─────────▶ the ports that the agent listens on, a line
//!  each connection: port (2 bytes) ─────────────▶ dials it on loopback, says how that went, then bytes both ways
//! ```

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use netpolicy::ruleset::RESERVED_PORTS;

/// The number that stands for the conversation about the forward itself.
pub(crate) const CONTROL: u16 = 0;
/// Says that the helper lives on.
pub(crate) const BEAT: u8 = b'.';
/// Asks for the ports that the agent listens on.
pub(crate) const ASK_PORTS: u8 = b'?';
/// Time between two beats.
pub(crate) const BEATS: Duration = Duration::from_secs(10);
/// Silence after which a helper takes its supervisor for gone.
pub(crate) const SILENCE: Duration = Duration::from_secs(45);
/// Ports that a helper names in one line.
pub(crate) const MOST_PORTS: usize = 64;
/// The longest line of ports, with its end.
pub(crate) const LONGEST_LINE: usize = MOST_PORTS * 6 + 1;

/// Port of the agent that may be forwarded to: any but the fence's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AgentPort(NonZeroU16);

/// Reason for which a port is no [`AgentPort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAgentPort {
    /// It is no number from 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    NoPort,
    /// The fence listens there.
    #[error("the port is the fence's own")]
    OfTheFence,
}

impl AgentPort {
    /// Returns the number.
    pub(crate) fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for AgentPort {
    type Error = NoAgentPort;

    fn try_from(number: u16) -> Result<AgentPort, NoAgentPort> {
        let port = NonZeroU16::new(number).ok_or(NoAgentPort::NoPort)?;
        if RESERVED_PORTS.contains(&number) {
            return Err(NoAgentPort::OfTheFence);
        }
        Ok(AgentPort(port))
    }
}

impl FromStr for AgentPort {
    type Err = NoAgentPort;

    fn from_str(text: &str) -> Result<AgentPort, NoAgentPort> {
        number(text).ok_or(NoAgentPort::NoPort)?.try_into()
    }
}

impl fmt::Display for AgentPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a port as digits alone: no sign, no blank.
pub(crate) fn number(text: &str) -> Option<u16> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_digits.then(|| text.parse().ok()).flatten()
}

/// Answer of a helper to the beginning of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The agent's port takes the connection; of the control conversation: the helper is ready.
    Connected,
    /// Nobody listens on that port.
    Refused,
}

impl Answer {
    /// Returns the byte that stands for it.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Answer::Connected => b'+',
            Answer::Refused => b'-',
        }
    }

    /// Reads a byte.
    pub(crate) fn read(byte: u8) -> Option<Answer> {
        [Answer::Connected, Answer::Refused].into_iter().find(|answer| answer.byte() == byte)
    }
}

/// Writes the ports that an agent listens on as a line, the first [`MOST_PORTS`] of them.
pub(crate) fn line_of_ports(ports: impl IntoIterator<Item = AgentPort>) -> String {
    let ports: Vec<String> = ports.into_iter().take(MOST_PORTS).map(|port| port.to_string()).collect();
    format!("{}\n", ports.join(" "))
}

/// Reads such a line, without its end. What is no such line is nothing.
pub(crate) fn read_ports(line: &str) -> Option<Vec<AgentPort>> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    let ports: Option<Vec<AgentPort>> = words.take(MOST_PORTS + 1).map(|word| word.parse().ok()).collect();
    ports.filter(|ports| ports.len() <= MOST_PORTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fences_ports_and_what_is_no_number_are_no_ports_of_an_agent() {
        for text in ["1", "80", "1455", "65535", "65442"] {
            assert_eq!(text.parse::<AgentPort>().unwrap().to_string(), text);
        }
        for text in ["53", "65053", "65443"] {
            assert_eq!(text.parse::<AgentPort>(), Err(NoAgentPort::OfTheFence), "{text}");
        }
        for text in ["0", "65536", "-1", "+80", "", " 80", "8０", "x", "99999999999999999999"] {
            assert_eq!(text.parse::<AgentPort>(), Err(NoAgentPort::NoPort), "{text:?}");
        }
    }

    #[test]
    fn ports_are_read_back_and_no_more_than_were_promised() {
        let port = |number: u16| AgentPort::try_from(number).unwrap();
        for ports in [vec![], vec![port(80)], vec![port(65535), port(1)]] {
            let line = line_of_ports(ports.clone());
            assert_eq!(read_ports(line.trim_end()), Some(ports));
        }
        let many: Vec<AgentPort> = (60000..=60200).map(port).collect();
        let line = line_of_ports(many);
        assert!(line.len() <= LONGEST_LINE);
        assert_eq!(read_ports(line.trim_end()).unwrap().len(), MOST_PORTS);
        for bad in [&"1 ".repeat(MOST_PORTS + 1), "80 53", "80,81", "80 \u{1b}[2J", "0"] {
            assert_eq!(read_ports(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_its_own_bytes_are_answers() {
        let read: Vec<u8> = (0..=255).filter(|byte| Answer::read(*byte).is_some()).collect();
        assert_eq!(read, [b'+', b'-']);
    }
}
