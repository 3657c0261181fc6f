//! A row of the doctor's table.

use serde::Serialize;

/// Verdict about a risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Nothing is to be done.
    Ok,
    /// Weaker than it could be; it is for the person to weigh.
    Warn,
    /// A condition that ringfence relies on, or that a policy demands, is not met.
    Fail,
    /// The risk could not be judged.
    Unknown,
}

impl Verdict {
    /// Returns the word in tables and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
        }
    }

    /// Returns the graver of two verdicts; `unknown` is graver than a warning, and lighter than a
    /// failure.
    pub(super) fn or_worse(self, other: Verdict) -> Verdict {
        let weight = |verdict| match verdict {
            Verdict::Ok => 0,
            Verdict::Warn => 1,
            Verdict::Unknown => 2,
            Verdict::Fail => 3,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

/// One risk: what was found, what it means, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// `R1` to `R10`.
    pub(crate) risk: &'static str,
    /// The risk in a few words.
    pub(crate) title: &'static str,
    /// Verdict about the risk.
    pub(crate) verdict: Verdict,
    /// Evidence, a statement each.
    pub(crate) evidence: Vec<String>,
    /// Advice, a step each; empty where there is nothing to do.
    pub(crate) remedy: Vec<String>,
}

impl Row {
    /// Makes a row that is good until something is found.
    pub(crate) fn new(risk: &'static str, title: &'static str) -> Row {
        Row { risk, title, verdict: Verdict::Ok, evidence: Vec::new(), remedy: Vec::new() }
    }

    /// Adds what was found.
    pub(crate) fn found(&mut self, what: impl Into<String>) {
        self.evidence.push(what.into());
    }

    /// Adds what was found, and what it means.
    pub(super) fn held_against(&mut self, verdict: Verdict, what: impl Into<String>) {
        self.verdict = self.verdict.or_worse(verdict);
        self.evidence.push(what.into());
    }

    /// Adds what to do, once.
    pub(crate) fn advise(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.remedy.contains(&what) {
            self.remedy.push(what);
        }
    }
}

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut row = serializer.serialize_struct("Row", 5)?;
        row.serialize_field("risk", self.risk)?;
        row.serialize_field("title", self.title)?;
        row.serialize_field("verdict", &self.verdict)?;
        row.serialize_field("evidence", &self.evidence.join("\n"))?;
        row.serialize_field("remedy", &self.remedy.join("\n"))?;
        row.end()
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Fail, Ok, Unknown, Warn};

    #[test]
    fn not_knowing_is_never_covered_by_a_warning() {
        assert_eq!(Ok.or_worse(Warn).or_worse(Unknown).or_worse(Warn), Unknown);
        assert_eq!(Unknown.or_worse(Fail).or_worse(Ok), Fail);
    }
}
