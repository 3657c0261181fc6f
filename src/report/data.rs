//! A report as JSON.

use serde_json::{Value, json};

use super::run::RunReport;
use super::words::{reached_in_order, refused_in_order};

/// Returns the account of one run.
pub(crate) fn of(run: &RunReport) -> Value {
    let totals = &run.totals;
    json!({
        "source": run.source,
        "doubts": run.doubts,
        "workflow": run.id.map(|id| id.to_string()),
        "image": run.start.as_ref().and_then(|start| start.image_name.as_ref()),
        "project": run.start.as_ref().and_then(|start| start.project.as_ref()),
        "digest": run.digest,
        "ended": run.ended,
        "first": run.span.map(|(first, _)| first),
        "last": run.span.map(|(_, last)| last),
        "events": run.events,
        "unread": run.unread,
        "connections": totals.connections,
        "observed": totals.observed,
        "refusals": totals.refusals,
        "bytes_out": totals.bytes_out,
        "bytes_in": totals.bytes_in,
        "unlisted": totals.unlisted,
        "unlisted_changes": totals.unlisted_changes,
        "unlisted_decisions": totals.unlisted_decisions,
        "changes": run.changes.iter().map(|(time, what, made)| json!({"time": time, "what": what, "made": made})).collect::<Vec<_>>(),
        "reached": reached(run),
        "refused": refused(run),
        "rules": run.rules.iter().map(|(rule, used)| json!({
            "rule": rule, "permitted": used.permitted, "refused": used.refused,
        })).collect::<Vec<_>>(),
    })
}

fn reached(run: &RunReport) -> Vec<Value> {
    let target = |(target, seen): (&String, &super::targets::ReachedTarget)| {
        json!({
            "target": target, "connections": seen.connections, "rule": seen.rule,
            "bytes_out": seen.bytes_out, "bytes_in": seen.bytes_in,
            "mean_ms": seen.mean_ms(), "longest_ms": seen.longest_ms,
            "first": seen.first, "last": seen.last, "new": seen.is_new,
        })
    };
    reached_in_order(run).into_iter().map(target).collect()
}

fn refused(run: &RunReport) -> Vec<Value> {
    let target = |((target, reason), seen): (&(String, String), &super::targets::RefusedTarget)| {
        json!({
            "target": target, "reason": reason, "attempts": seen.attempts.count, "rule": seen.rule,
            "remedy": seen.remedy, "first": seen.attempts.first, "last": seen.last, "new": seen.is_new,
        })
    };
    refused_in_order(run).into_iter().map(target).collect()
}
