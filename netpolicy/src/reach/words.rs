//! Lines in words: what is reached, and by which rule of which policy.

use std::fmt;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::difference::{At, Difference, Line, Ports, Targets, Whose};
use crate::decide::Verdict;
use crate::host::HostPattern;

impl fmt::Display for Line {
    /// Writes the change without the rules: `*.gitlab.com:443 but not api.gitlab.com, until
    /// 2027-01-31`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.whose {
            Whose::Agent => {}
            Whose::WeakerLayers => f.write_str("weaker layers may permit ")?,
            Whose::OtherLayers => f.write_str("other layers may permit ")?,
        }
        match &self.targets {
            Targets::Names { pattern, .. } => write!(f, "{pattern}")?,
            Targets::PermittedNames => f.write_str("permitted names")?,
            Targets::Ranges(nets) => f.write_str(&list(nets))?,
        }
        match (&self.ports, &self.targets) {
            (Ports::Only(ports), Targets::PermittedNames) => write!(f, ":{}", list(ports))?,
            (Ports::Only(ports), Targets::Ranges(nets)) if nets.len() > 1 => {
                write!(f, " on {}", list(ports))?
            }
            (Ports::Only(ports), _) => write!(f, ":{}", list(ports))?,
            (Ports::AllBut(ports), _) if ports.is_empty() && self.whose == Whose::OtherLayers => {
                f.write_str(" on every port")?
            }
            (Ports::AllBut(ports), _) if ports.is_empty() => {}
            (Ports::AllBut(ports), _) if self.whose == Whose::OtherLayers => {
                write!(f, " on every port but {}", list(ports))?
            }
            (Ports::AllBut(ports), _) => write!(f, " (but on {})", list(ports))?,
        }
        match &self.at {
            At::Anywhere => {}
            At::Ranges(nets) => write!(f, " at {}", list(nets))?,
            At::Proxy => f.write_str(" resolved by the proxy")?,
            At::Host => f.write_str(", the host itself")?,
            At::Loopback => f.write_str(", on the loopback of the supervisor's machine")?,
            At::HostIn(nets) => write!(f, " that are the host itself, at {}", list(nets))?,
        }
        if let Targets::Names { except, .. } = &self.targets
            && !except.is_empty()
        {
            write!(f, ", but not {}", list(except))?;
        }
        if let Some(from) = self.from {
            write!(f, ", from {from}")?;
        }
        if let Some(until) = self.until {
            write!(f, ", until {until}")?;
        }
        if let (true, Some(old), true, Some(new)) =
            (self.old.allowed, self.old.protocol, self.new.allowed, self.new.protocol)
        {
            write!(f, ", checked as {} instead of {}", new.as_str(), old.as_str())?;
        }
        Ok(())
    }
}

/// The most items that a line names before it counts the rest.
const SHOWN: usize = 8;

fn list<T: fmt::Display>(items: &[T]) -> String {
    let mut words: Vec<String> = items.iter().take(SHOWN).map(ToString::to_string).collect();
    if items.len() > SHOWN {
        words.push(format!("and {} more", items.len() - SHOWN));
    }
    words.join(",")
}

impl Line {
    /// Returns both policies' verdicts in words, each with its rule: `not-allowed`; `allowed,
    /// new.yml:4 gitlab.com:443`.
    pub fn causes(&self) -> (String, String) {
        (side(&self.old), side(&self.new))
    }

    /// Returns the whole line, for programs.
    pub fn to_json(&self) -> Value {
        let (targets, except) = match &self.targets {
            Targets::Names { pattern, except } => (json!({"names": pattern}), patterns(except)),
            Targets::PermittedNames => (json!("permitted-names"), Value::Null),
            Targets::Ranges(nets) => (json!({"ranges": nets}), Value::Null),
        };
        let ports = match &self.ports {
            Ports::Only(ports) => json!({"only": ports}),
            Ports::AllBut(ports) => json!({"all_but": ports}),
        };
        let at = |nets: &[IpNet]| json!({"ranges": nets});
        let at = match &self.at {
            At::Anywhere => Value::Null,
            At::Ranges(nets) => at(nets),
            At::Proxy => json!("proxy"),
            At::Host => json!("host"),
            At::Loopback => json!("loopback"),
            At::HostIn(nets) => json!({"host_in": nets}),
        };
        json!({
            "text": self.to_string(),
            "targets": targets,
            "except": except,
            "ports": ports,
            "at": at,
            "from": self.from,
            "until": self.until,
            "for": match self.whose {
                Whose::Agent => "agent",
                Whose::WeakerLayers => "weaker-layers",
                Whose::OtherLayers => "other-layers",
            },
            "old": verdict(&self.old),
            "new": verdict(&self.new),
            "example": {
                "target": self.witness.target.to_string(),
                "port": self.witness.port,
                "address": self.witness.address,
            },
        })
    }
}

impl Difference {
    /// Returns the whole difference, for programs.
    pub fn to_json(&self) -> Value {
        let lines = |lines: &[Line]| lines.iter().map(Line::to_json).collect::<Vec<_>>();
        json!({"opens": lines(&self.opens), "closes": lines(&self.closes), "changes": self.changes})
    }
}

fn patterns(list: &[HostPattern]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

fn verdict(verdict: &Verdict) -> Value {
    let rule = verdict.rule.as_ref().map(|rule| {
        let origin = &rule.origin;
        json!({"text": origin.text, "layer": origin.layer, "file": origin.file, "line": origin.line})
    });
    json!({
        "verdict": if verdict.allowed { "allow" } else { "deny" },
        "reason": verdict.reason,
        "protocol": verdict.protocol,
        "rule": rule,
    })
}

fn side(verdict: &Verdict) -> String {
    let rule = verdict.rule.as_ref().map(|rule| format!("{} {}", rule.origin.place(), rule.origin.text));
    match rule {
        Some(rule) => format!("{}, {rule}", verdict.reason),
        None => verdict.reason.to_string(),
    }
}
