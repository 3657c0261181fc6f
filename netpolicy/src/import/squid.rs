//! Domain lists and configurations of Squid.
//!
//! ```text
//!  list: .x.example, x.example ────────────────▶ allow (80, 443)
//!  acl N dstdomain …, port …, src … ──▶ Acl ─┐
//!  http_access allow|deny [!]N… in order ────┴─▶ State ──▶ allow, deny, notes
//! ```
//! A name with a leading dot is the name and everything below it, without it that name alone. The
//! first `http_access` whose lists all match wins. A denial that is not about names, ports or who
//! asks ends what is permitted.

use std::collections::BTreeMap;

use super::imported::ImportError;
use super::intake::{self, Intake};

/// Ports that Squid serves and a policy can say.
const PORTS: &[u16] = &[80, 443];
/// Kinds of lists that say who asks, or how: the agent is the only one who does.
const WHO: &[&str] = &[
    "src",
    "myip",
    "localip",
    "proxy_auth",
    "proxy_auth_regex",
    "arp",
    "eui64",
    "maxconn",
    "srcdomain",
    "ident",
];

pub(super) fn read(text: &str, intake: &mut Intake) -> Result<(), ImportError> {
    let directive = |line: &str| ["acl", "http_access", "http_port"].contains(&first_word(line));
    let statements = statements(text);
    if !statements.iter().any(|(_, line)| directive(line)) {
        list(text, intake);
        return Ok(());
    }
    let mut acls: BTreeMap<&str, Acl<'_>> = predefined();
    let mut state = State::default();
    let mut others: BTreeMap<&str, u32> = BTreeMap::new();
    for (line, content) in statements.iter().map(|(line, content)| (*line, content.as_str())) {
        let mut words = content.split_whitespace().take_while(|word| !word.starts_with('#'));
        match words.next() {
            Some("acl") => {
                let (Some(name), Some(kind)) = (words.next(), words.next()) else {
                    return Err(ImportError::Shape {
                        line,
                        message: "`acl` needs a name and a kind".to_owned(),
                    });
                };
                let acl = acls.entry(name).or_insert(Acl { kind: Kind::of(kind), values: Vec::new() });
                acl.values.extend(words.map(|word| (line, word)));
            }
            Some("http_access") => {
                let allow = match words.next() {
                    Some("allow") => true,
                    Some("deny") => false,
                    _ => {
                        return Err(ImportError::Shape {
                            line,
                            message: "`http_access` allows or denies".to_owned(),
                        });
                    }
                };
                let access = Access { line, content, names: words.collect() };
                if allow { state.allow(&access, &acls, intake) } else { state.deny(&access, &acls, intake) }
            }
            Some(other) => {
                others.entry(other).or_insert(line);
            }
            None => {}
        }
    }
    for (directive, line) in others {
        intake.leave_out(line, directive, "not about what may be reached");
    }
    Ok(())
}

/// Returns the statements of a configuration with the lines where they begin: a backslash at a
/// line's end joins the next.
fn statements(text: &str) -> Vec<(u32, String)> {
    let mut statements: Vec<(u32, String)> = Vec::new();
    let mut open = false;
    for (line, raw) in (1u32..).zip(text.lines()) {
        let (content, goes_on) = match raw.trim().strip_suffix('\\') {
            Some(content) => (content, true),
            None => (raw.trim(), false),
        };
        match statements.last_mut().filter(|_| open) {
            Some((_, statement)) => {
                statement.push(' ');
                statement.push_str(content);
            }
            None => statements.push((line, content.to_owned())),
        }
        open = goes_on;
    }
    statements.retain(|(_, statement)| !statement.is_empty() && !statement.starts_with('#'));
    statements
}

fn first_word(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or_default()
}

/// Reads a file that `acl … dstdomain "file"` names.
fn list(text: &str, intake: &mut Intake) {
    for (line, content) in intake::lines(text) {
        for entry in content.split_whitespace().take_while(|word| !word.starts_with('#')) {
            allow(line, entry, PORTS, intake);
        }
    }
}

fn allow(line: u32, entry: &str, ports: &[u16], intake: &mut Intake) {
    if entry.contains('*') {
        intake.leave_out(
            line,
            entry,
            "a `*` means nothing to Squid; `.x.example` is a name and everything below it",
        );
    } else {
        intake.allow(line, entry, entry, ports);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Names,
    Addresses,
    Ports,
    Who,
    /// `method`, and CONNECT itself.
    Method,
    /// `all`.
    All,
    /// Squid's own pages and targets that the floor refuses anyhow.
    Own,
    Other,
}

impl Kind {
    fn of(word: &str) -> Kind {
        match word {
            "dstdomain" | "ssl::server_name" => Kind::Names,
            "dst" => Kind::Addresses,
            "port" => Kind::Ports,
            "method" => Kind::Method,
            word if WHO.contains(&word) => Kind::Who,
            _ => Kind::Other,
        }
    }
}

struct Acl<'t> {
    kind: Kind,
    values: Vec<(u32, &'t str)>,
}

fn predefined() -> BTreeMap<&'static str, Acl<'static>> {
    let acl = |kind| Acl { kind, values: Vec::new() };
    BTreeMap::from([
        ("all", acl(Kind::All)),
        ("manager", acl(Kind::Own)),
        ("localhost", acl(Kind::Who)),
        ("to_localhost", acl(Kind::Own)),
        ("to_linklocal", acl(Kind::Own)),
        ("CONNECT", acl(Kind::Method)),
    ])
}

struct Access<'t> {
    line: u32,
    content: &'t str,
    names: Vec<&'t str>,
}

/// State of reading that the directives so far leave open.
struct State {
    ports: Vec<u16>,
    /// The list that `deny !LIST` has left.
    only: Option<String>,
    /// The line after which nothing is permitted any more, and why.
    ended: Option<(u32, &'static str)>,
}

impl Default for State {
    fn default() -> State {
        State { ports: PORTS.to_vec(), only: None, ended: None }
    }
}

impl State {
    fn allow(&mut self, access: &Access<'_>, acls: &BTreeMap<&str, Acl<'_>>, intake: &mut Intake) {
        let (line, content) = (access.line, access.content);
        if let Some((ended, why)) = self.ended {
            return intake.leave_out(line, content, &format!("line {ended} {why}"));
        }
        let mut wanted = self.only.clone();
        let mut named = self.only.is_some();
        for name in &access.names {
            match acls.get(name).map(|acl| acl.kind) {
                Some(Kind::Names) if wanted.as_deref().is_none_or(|wanted| wanted == *name) => {
                    wanted = Some((*name).to_owned());
                    named = true;
                }
                Some(Kind::Names) => {
                    return intake.leave_out(line, content, "two lists of names that must both match");
                }
                Some(Kind::Who | Kind::All) => {}
                Some(Kind::Own) => return, // Squid's own pages.
                _ => {
                    return intake.leave_out(
                        line,
                        content,
                        &format!("`{name}` is a condition that a policy cannot make"),
                    );
                }
            }
        }
        let list = wanted.filter(|_| named).and_then(|name| acls.get(name.as_str()));
        let Some(list) = list else {
            return intake.leave_out(line, content, "it would permit every name");
        };
        for (line, entry) in &list.values {
            if entry.starts_with('"') {
                intake.leave_out(*line, entry, "import the file itself");
            } else if !entry.starts_with('-') {
                allow(*line, entry, &self.ports, intake);
            }
        }
    }

    fn deny(&mut self, access: &Access<'_>, acls: &BTreeMap<&str, Acl<'_>>, intake: &mut Intake) {
        let (line, content) = (access.line, access.content);
        if self.ended.is_some() {
            return;
        }
        let kind = |name: &str| acls.get(name).map(|acl| acl.kind);
        let other_than =
            |name: &str| name.strip_prefix('!').is_some_and(|name| kind(name) == Some(Kind::Names));
        let about_whom = |name: &str| matches!(kind(name), Some(Kind::Who | Kind::All));
        let names = access.names.as_slice();
        let negated: Vec<&str> = names.iter().copied().filter(|name| other_than(name)).collect();
        match negated.as_slice() {
            _ if names == ["all"] => self.ended = Some((line, "refuses everything before it")),
            [name] if names.iter().all(|other| other == name || about_whom(other)) => {
                let name = name.trim_start_matches('!');
                match &self.only {
                    Some(only) if only != name => {
                        self.ended = Some((line, "leaves only what two lists share"))
                    }
                    _ => self.only = Some(name.to_owned()),
                }
            }
            _ if names.iter().any(|name| matches!(kind(name), Some(Kind::Names | Kind::Addresses))) => {
                let lists =
                    names.iter().filter(|name| matches!(kind(name), Some(Kind::Names | Kind::Addresses)));
                let known = lists.filter_map(|name| acls.get(name)).all(|acl| deny_list(acl, intake));
                if !known {
                    self.ended = Some((line, "refuses what is not known here"));
                }
                if names.len() > 1 {
                    intake.narrower(line, content, "refused without the other conditions");
                }
            }
            [] => self.deny_ports(names, access, acls, intake),
            _ => self.ended = Some((line, "refuses what a policy cannot tell")),
        }
    }

    /// Reads `deny !Safe_ports`, `deny CONNECT !SSL_ports`, and denials that name nobody's host.
    fn deny_ports(
        &mut self,
        names: &[&str],
        access: &Access<'_>,
        acls: &BTreeMap<&str, Acl<'_>>,
        intake: &mut Intake,
    ) {
        let kind = |name: &&str| acls.get(name.trim_start_matches('!')).map(|acl| acl.kind);
        let ports = names.iter().find(|name| kind(name) == Some(Kind::Ports));
        let simple =
            names.iter().all(|name| matches!(kind(name), Some(Kind::Ports | Kind::Method | Kind::All)));
        if let (Some(name), true) = (ports, simple) {
            let listed = acls.get(name.trim_start_matches('!')).map_or(&[] as &[_], |acl| &acl.values);
            let holds = |port: u16| listed.iter().any(|(_, range)| in_range(range, port));
            // CONNECT is how TLS is asked for, so its ports say nothing about port 80.
            let connect = names.contains(&"CONNECT");
            self.ports.retain(|port| (connect && *port == 80) || holds(*port) == name.starts_with('!'));
            return;
        }
        if names.iter().all(|name| matches!(kind(name), Some(Kind::Method | Kind::All))) {
            let listed = names.iter().filter_map(|name| acls.get(name.trim_start_matches('!')));
            let connect = names.iter().any(|name| name.ends_with("CONNECT"))
                || listed
                    .flat_map(|acl| &acl.values)
                    .any(|(_, method)| method.eq_ignore_ascii_case("CONNECT"));
            if connect {
                self.ports.retain(|port| *port != 443);
            }
            return intake.leave_out(access.line, access.content, "a method cannot be told apart inside TLS");
        }
        match names.iter().map(kind).collect::<Option<Vec<_>>>() {
            Some(kinds) if kinds.contains(&Kind::Own) => {}
            Some(kinds) if kinds.contains(&Kind::Who) => {
                intake.leave_out(access.line, access.content, "who asks is always the agent");
            }
            _ => {
                intake.leave_out(
                    access.line,
                    access.content,
                    "not about names; what follows is not permitted",
                );
                self.ended = Some((access.line, "refuses what a policy cannot tell"));
            }
        }
    }
}

/// Reads a denial of a list. Returns `false` when it refuses names or addresses that are not
/// written here.
fn deny_list(acl: &Acl<'_>, intake: &mut Intake) -> bool {
    let mut known = true;
    for (line, entry) in &acl.values {
        let address = entry.parse::<ipnet::IpNet>().is_ok() || entry.parse::<std::net::IpAddr>().is_ok();
        if entry.starts_with('-') {
            // An option of the list.
        } else if entry.starts_with('"') || (acl.kind == Kind::Addresses && !address) {
            intake.leave_out(
                *line,
                entry,
                "it is not known what this refuses; what follows is not permitted",
            );
            known = false;
        } else if entry.contains('*') {
            intake.leave_out(*line, entry, "a `*` means nothing to Squid");
        } else {
            intake.deny(*line, entry, entry, &[]);
        }
    }
    known
}

fn in_range(range: &str, port: u16) -> bool {
    let bounds = range.split_once('-').unwrap_or((range, range));
    match (bounds.0.parse::<u16>(), bounds.1.parse::<u16>()) {
        (Ok(low), Ok(high)) => (low..=high).contains(&port),
        _ => false,
    }
}
