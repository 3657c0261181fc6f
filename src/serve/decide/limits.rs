//! Limits of a container: what a client asks for, up to the policy's.

use std::collections::BTreeMap;

use super::facts::Ground;
use super::member::MemberLimits;
use crate::serve::denied::Denied;
use crate::serve::request::bodies::{HostBody, UlimitBody, UpdateBody};
use crate::serve::text::shown;
use crate::supervisor::spec::limits::{bytes, for_engine};
use crate::supervisor::spec::surface::SHM;

/// The least memory that engines take.
const LEAST_MEMORY: u64 = 6 << 20;
/// The usual period of a quota, in microseconds.
const PERIOD: i64 = 100_000;
/// The most weight beside others: the usual one.
const MOST_SHARES: i64 = 1024;
/// Limits of a process that a client may set.
const ULIMITS: [&str; 13] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nofile",
    "nproc",
    "rss",
    "sigpending",
    "stack",
];
/// Limits that would run a program before others.
const PRIORITIES: [&str; 3] = ["nice", "rtprio", "rttime"];

/// Wishes for CPUs, memory and processes, of a create or an update.
#[derive(Debug, Clone, Default)]
pub(super) struct Asking {
    memory: Option<i64>,
    reservation: Option<i64>,
    nano_cpus: Option<i64>,
    quota: Option<i64>,
    period: Option<i64>,
    shares: Option<i64>,
    cpuset_cpus: Option<String>,
    cpuset_mems: Option<String>,
    pids: Option<i64>,
}

impl Asking {
    /// Reads an update.
    pub(super) fn of_update(body: &UpdateBody) -> Asking {
        Asking {
            memory: body.memory,
            reservation: body.memory_reservation,
            nano_cpus: body.nano_cpus,
            quota: body.cpu_quota,
            period: body.cpu_period,
            shares: body.cpu_shares,
            cpuset_cpus: body.cpuset_cpus.clone(),
            cpuset_mems: body.cpuset_mems.clone(),
            pids: body.pids_limit,
        }
    }

    fn of_create(host: &HostBody) -> Asking {
        Asking {
            memory: host.memory,
            reservation: host.memory_reservation,
            nano_cpus: host.nano_cpus,
            quota: host.cpu_quota,
            period: host.cpu_period,
            shares: host.cpu_shares,
            cpuset_cpus: host.cpuset_cpus.clone(),
            cpuset_mems: host.cpuset_mems.clone(),
            pids: host.pids_limit,
        }
    }

    /// Returns the memory that is asked for.
    pub(super) fn memory(
        &self,
        ground: &Ground<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<u64>, Denied> {
        let Some(asked) = positive(self.memory) else { return Ok(None) };
        if asked < LEAST_MEMORY {
            let least = bytes(LEAST_MEMORY);
            return Err(Denied::field("Memory", format!("{asked} bytes are too few; give at least {least}")));
        }
        let most = ground.limits.memory;
        if asked > most {
            warnings.push(format!("ringfence: Memory was lowered to the limit of {}", bytes(most)));
        }
        Ok(Some(asked.min(most)))
    }

    /// Returns the CPUs that are asked for, in billionths.
    pub(super) fn nano_cpus(&self, ground: &Ground<'_>, warnings: &mut Vec<String>) -> Option<i64> {
        let of_quota = self.quota.filter(|quota| *quota > 0).map(|quota| {
            let period = self.period.filter(|period| *period > 0).unwrap_or(PERIOD);
            i64::try_from(i128::from(quota) * 1_000_000_000 / i128::from(period)).unwrap_or(i64::MAX)
        });
        let asked = self.nano_cpus.filter(|cpus| *cpus > 0).or(of_quota)?;
        let most = ground.limits.nano_cpus;
        if asked > most {
            let cpus = most as f64 / 1e9;
            warnings.push(format!("ringfence: NanoCpus was lowered to the limit of {cpus} CPUs"));
        }
        // Engines refuse less than a hundredth.
        Some(asked.min(most).max(10_000_000.min(most)))
    }

    /// Returns the processes that are asked for.
    pub(super) fn pids(&self, ground: &Ground<'_>, warnings: &mut Vec<String>) -> Option<u64> {
        let asked = positive(self.pids)?;
        let most = ground.limits.pids;
        if asked > most {
            warnings.push(format!("ringfence: PidsLimit was lowered to the limit of {most}"));
        }
        Some(asked.min(most))
    }

    /// Returns the weight beside others.
    pub(super) fn shares(&self) -> Option<i64> {
        self.shares.filter(|shares| *shares > 0).map(|shares| shares.clamp(2, MOST_SHARES))
    }

    /// Returns the memory that is wished for.
    pub(super) fn reservation(&self, memory: u64) -> Option<u64> {
        positive(self.reservation).map(|asked| asked.max(LEAST_MEMORY).min(memory))
    }

    /// Returns lists of CPUs and of memory nodes.
    pub(super) fn sets(&self) -> Result<(Option<String>, Option<String>), Denied> {
        let set = |field: &str, text: &Option<String>| {
            let Some(text) = text.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
            let plain = |c: char| c.is_ascii_digit() || c == ',' || c == '-';
            if text.len() > 256 || !text.chars().all(plain) {
                return Err(Denied::field(
                    field,
                    format!("{} is no list of numbers; write 0-3,5", shown(text)),
                ));
            }
            Ok(Some(text.clone()))
        };
        Ok((set("CpusetCpus", &self.cpuset_cpus)?, set("CpusetMems", &self.cpuset_mems)?))
    }
}

/// Decides the limits of a new container.
///
/// # Errors
/// When one is of no use.
pub(super) fn of_create(
    host: &HostBody,

    ground: &Ground<'_>,
    warnings: &mut Vec<String>,
) -> Result<MemberLimits, Denied> {
    let asked = Asking::of_create(host);
    let memory = asked.memory(ground, warnings)?.unwrap_or(ground.limits.memory);
    let (cpuset_cpus, cpuset_mems) = asked.sets()?;
    Ok(MemberLimits {
        memory,
        reservation: asked.reservation(memory),
        nano_cpus: asked.nano_cpus(ground, warnings).unwrap_or(ground.limits.nano_cpus),
        cpu_shares: asked.shares(),
        cpuset_cpus,
        cpuset_mems,
        pids: asked.pids(ground, warnings).unwrap_or(ground.limits.pids),
        shm: positive(host.shm_size).unwrap_or(SHM).min(memory),
        ulimits: ulimits(host.ulimits.as_deref().unwrap_or_default(), ground, warnings)?,
        oom_score: oom_score(host.oom_score_adj)?,
    })
}

fn positive(number: Option<i64>) -> Option<u64> {
    number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
}

/// Decides the limits of each process.
fn ulimits(
    asked: &[UlimitBody],
    ground: &Ground<'_>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, (i64, i64)>, Denied> {
    let field = "HostConfig.Ulimits";
    let files = for_engine(ground.limits.open_files);
    let mut limits = BTreeMap::from([("nofile".to_owned(), (files, files))]);
    if asked.len() > ULIMITS.len() + PRIORITIES.len() {
        return Err(Denied::field(field, "there are more than the kernel knows; give each once"));
    }
    for one in asked {
        let name = one.name.clone().unwrap_or_default().to_ascii_lowercase();
        let (soft, hard) = (one.soft.unwrap_or_default(), one.hard.unwrap_or_default());
        if PRIORITIES.contains(&name.as_str()) {
            warnings
                .push(format!("ringfence: {field}: {name} was left out: no container runs before others"));
            continue;
        }
        if !ULIMITS.contains(&name.as_str()) {
            return Err(Denied::field(
                field,
                format!("{} is no limit of the kernel; leave it out", shown(&name)),
            ));
        }
        let unlimited = |value: i64| if value < 0 { i64::MAX } else { value };
        if unlimited(soft) > unlimited(hard) {
            return Err(Denied::field(
                field,
                format!("{name}: the soft limit is above the hard one; lower it"),
            ));
        }
        let (soft, hard) = match name.as_str() {
            "nofile" => (unlimited(soft).min(files), unlimited(hard).min(files)),
            _ => (soft.max(-1), hard.max(-1)),
        };
        limits.insert(name, (soft, hard));
    }
    Ok(limits)
}

fn oom_score(asked: Option<i64>) -> Result<Option<i64>, Denied> {
    match asked {
        None | Some(0) => Ok(None),
        Some(score @ 1..=1000) => Ok(Some(score)),
        Some(_) => Err(Denied::field(
            "HostConfig.OomScoreAdj",
            "no container outlives the machine's own programs; give 0 to 1000, or leave it out",
        )),
    }
}
