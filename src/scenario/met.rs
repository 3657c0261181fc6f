//! Conditions of a case that were made, and whether anything met them.
//!
//! ```text
//!  lines ─▶ change made ─▶ lookups and connections while it holds ─▶ change that ends it
//!                                                                 └─▶ notes: it met nothing, it ended nothing
//! ```
//! A note is no failure: an agent that asks for nothing may be what a case expects.

use std::collections::HashMap;
use std::time::Duration;

use netpolicy::decide::Reason;
use netpolicy::host::{HostName, HostPattern};

use super::plan::{Moment, Step};
use crate::wire::event::{Access, Control, Event, Kind, Known, Line, Phase, Time};

/// Time by which the line of a folded refusal may come after the refusal.
const LATE: Duration = Duration::from_secs(3);

/// A change that was made.
#[derive(Debug)]
struct MadeChange {
    /// The change, as the log has it.
    what: String,
    /// The names that it concerns.
    host: Option<HostPattern>,
    is_planned: bool,
    /// Time at which it was ended.
    ended: Option<Time>,
    /// Set where something met the condition, or where a restore ended one.
    took: bool,
}

/// Changes of a run, in the order of the log.
#[derive(Debug, Default)]
pub(super) struct MadeChanges {
    made: Vec<MadeChange>,
    /// Open connections, by their numbers.
    open: HashMap<u64, Option<HostName>>,
}

impl MadeChanges {
    /// Adds a line of the log.
    pub(super) fn add(&mut self, line: &Line) {
        match &line.event {
            Event::Control(control) if !line.event.is_denied() => self.change(control, line.time),
            Event::Access(access) => self.access(access, line.event.is_denied(), line.time),
            _ => {}
        }
    }

    fn change(&mut self, control: &Control, time: Time) {
        let Some(what) = control.what.clone().filter(|what| what.starts_with("net ")) else { return };
        let host = what.split_once(" host=").and_then(|(_, host)| HostPattern::parse(host).ok());
        let mut change =
            MadeChange { what, host, is_planned: control.is_planned(), ended: None, took: false };
        if change.is_restore() {
            for before in self.made.iter_mut().filter(|before| !before.is_restore() && before.ended.is_none())
            {
                if change.host.is_none() || change.host == before.host {
                    (before.ended, change.took) = (Some(time), true);
                }
            }
        } else {
            change.took =
                !change.is_of_names() && self.open.values().any(|host| change.concerns(host.as_ref()));
        }
        self.made.push(change);
    }

    fn access(&mut self, access: &Access, is_denied: bool, time: Time) {
        let is_cut = access.kind == Kind::Dns && access.reason == Some(Reason::Cut.into());
        for change in self.made.iter_mut().filter(|change| !change.is_restore() && !change.took) {
            let holds = change.ended.is_none_or(|ended| is_denied && time.after(ended) < LATE);
            change.took = holds && change.concerns(access.host.as_ref()) && (is_cut || !change.is_of_names());
        }
        match (access.conn, &access.phase) {
            (Some(conn), Some(Known::This(Phase::Close))) => _ = self.open.remove(&conn),
            (Some(conn), _) if !is_denied => _ = self.open.insert(conn, access.host.clone()),
            _ => {}
        }
    }

    /// Returns a note for each step that was made and met, or ended, nothing.
    pub(super) fn notes(&self, steps: &[Step]) -> Vec<String> {
        let mut left: Vec<&MadeChange> = self.made.iter().collect();
        let mut notes = Vec::new();
        for step in steps {
            let (what, is_timed) = (step.change.change().to_string(), matches!(step.when, Moment::After(_)));
            let is_it = |made: &&MadeChange| made.what == what && made.is_planned != is_timed;
            let Some(position) = left.iter().position(is_it) else { continue };
            let made = left.remove(position);
            match () {
                () if made.took => {}
                () if made.is_restore() => {
                    notes.push(format!("{step} ended nothing: no condition that it could end had begun"));
                }
                () if made.is_of_names() => notes.push(format!(
                    "{step} met nothing: the log has no lookup that was left without its answer while it held"
                )),
                () => notes.push(format!(
                    "{step} met nothing: the log has no lookup and no connection that it concerned while it held"
                )),
            }
        }
        notes
    }
}

impl MadeChange {
    fn is_restore(&self) -> bool {
        self.what.starts_with("net restore")
    }

    /// Tells whether lookups alone meet it.
    fn is_of_names(&self) -> bool {
        self.what.starts_with("net dns=")
    }

    /// Tells whether it concerns a name; what has no name may be of any.
    fn concerns(&self, name: Option<&HostName>) -> bool {
        match (&self.host, name) {
            (Some(host), Some(name)) => host.matches(name),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan::NetworkPlan;
    use crate::scenario::read::scenario;

    const PLAN: &str = r#""kind":"control","verdict":"allow","who":"plan","what":"net "#;
    const TIMED: &str = r#""kind":"control","verdict":"allow","who":"exec","what":"net "#;

    /// Notes about a network by the lines of a log: second, and fields.
    fn notes(network: &str, lines: &[(u64, String)]) -> Vec<String> {
        let file = format!("image: a\ncases: [{{name: x, expect: {{exit: 0}}, network: {network}}}]\n");
        let NetworkPlan::Steps(steps) = scenario("s.yml", &file).unwrap().cases.remove(0).network else {
            panic!()
        };
        let mut changes = MadeChanges::default();
        for (seq, (second, fields)) in lines.iter().enumerate() {
            let time = format!("2026-11-30T12:00:{second:02}.000Z");
            let text = format!(r#"{{"v":1,"seq":{seq},"time":"{time}","workflow":"0000002a",{fields}}}"#);
            changes.add(&Line::read(text.as_bytes()).unwrap());
        }
        changes.notes(&steps)
    }

    #[test]
    fn a_restore_before_its_condition_is_told() {
        let network = "[{on: connect a.test, do: cut}, {at: 5s, do: restore}]";
        let (cut, restore) = (format!("{PLAN}cut\""), format!("{TIMED}restore\""));
        let open = r#""kind":"connect","phase":"open","conn":1,"verdict":"allow","host":"a.test","port":443"#;
        let early = notes(network, &[(5, restore.clone()), (9, cut.clone()), (9, open.to_owned())]);
        assert_eq!(early, ["`restore` at 5s ended nothing: no condition that it could end had begun"]);
        assert_eq!(notes(network, &[(3, open.to_owned()), (3, cut), (5, restore)]), [] as [&str; 0]);
    }

    #[test]
    fn a_condition_that_met_nothing_is_told() {
        let network = "[{at: 0s, do: dns=timeout}, {at: 5s, do: restore}]";
        let (silent, restore) = (format!("{PLAN}dns=timeout\""), format!("{TIMED}restore\""));
        let lookup =
            |reason: &str| format!(r#""kind":"dns","verdict":"deny","reason":"{reason}","host":"a.test""#);
        let over = notes(network, &[(0, silent.clone()), (5, restore.clone()), (9, lookup("cut"))]);
        assert!(
            over.len() == 1 && over[0].starts_with("`dns=timeout` from the start met nothing"),
            "{over:?}"
        );
        let other = notes(network, &[(0, silent.clone()), (2, lookup("not-allowed")), (5, restore.clone())]);
        assert_eq!(other.len(), 1, "a lookup that the policy refuses is none that it silenced");
        // The line of a folded one comes late.
        for second in [2, 6] {
            let mut lines = vec![(0, silent.clone()), (second, lookup("cut")), (5, restore.clone())];
            lines.sort_by_key(|(second, _)| *second);
            assert_eq!(notes(network, &lines), [] as [&str; 0], "{second}");
        }
        let late = format!("{PLAN}latency=2s host=a.test\"");
        let network = "[{at: 0s, do: latency=2s, host: a.test}]";
        let open = |host: &str| {
            format!(
                r#""kind":"connect","phase":"open","conn":1,"verdict":"allow","host":"{host}","port":443"#
            )
        };
        assert_eq!(notes(network, &[(0, late.clone()), (1, open("b.test"))]).len(), 1);
        assert_eq!(notes(network, &[(0, late), (1, open("a.test"))]), [] as [&str; 0]);
    }
}
