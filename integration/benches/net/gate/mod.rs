//! The gate beside HAProxy and nginx, which inspect names too, on the same path: a redirect of the
//! kernel to a listening socket, each on the same core, in a network namespace of this process.
//!
//! ```text
//!  load ──▶ 25.N.0.1:443 ──redirect──▶ proxy N (guard, haproxy, nginx) ──▶ 198.51.100.10:443, its server
//!    └────────────────────────────────direct────────────────────────────────────────▲
//! ```
//! `RINGFENCE_BEFORE=PATH` measures another build of ringfence in the same rounds.

mod load;
mod peers;
mod world;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use integration::cargo::Beside;
use integration::ringfence::Ringfence;
use integration::testbed::setup;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Protocol, Rule};
use netpolicy::settings::Upstream;

use self::load::{Figures, Work};
use self::world::World;
use crate::guard::Guard;
use crate::process::{CORE, Process};
use crate::{BEFORE, Row, median, spread};

/// Rounds, each with all proxies in turn.
const ROUNDS: usize = 7;
/// The name that all connections are for.
const NAME: &str = "server.bench.test";

/// A proxy, or none.
struct Contender {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    /// A build of ringfence. The guard is started anew for each measurement, with a full budget of
    /// connections.
    Guard { executable: PathBuf, network: u8 },
    /// A proxy that stays.
    Peer { network: u8, process: Process },
    /// No proxy at all.
    Direct,
}

/// Measures all that are there.
///
/// # Errors
/// When a proxy does not start, or a connection fails.
pub(crate) fn measure(say: &dyn Fn(&str)) -> Result<Vec<Row>> {
    setup::base(say)?;
    say("building ringfence");
    let executable = Ringfence::find(Beside::Nothing)?;
    let world = World::make()?;
    spread()?;
    world.serve()?;
    let mut contenders = vec![Contender { name: "ringfence", kind: Kind::Guard { executable, network: 0 } }];
    if let Some(before) = std::env::var_os(BEFORE) {
        let kind = Kind::Guard { executable: before.into(), network: 1 };
        contenders.push(Contender { name: "before", kind });
    }
    for (network, (name, start)) in (2..).zip(peers::ALL) {
        if let Some(process) = start(&world, network, say)? {
            contenders.push(Contender { name, kind: Kind::Peer { network, process } });
        }
    }
    contenders.push(Contender { name: "direct", kind: Kind::Direct });
    let mut rows = Vec::new();
    for work in Work::ALL {
        say(work.title());
        let mut figures: Vec<Vec<Figures>> = contenders.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (contender, figures) in contenders.iter().zip(&mut figures) {
                figures.push(contender.measure(&world, work)?);
            }
        }
        rows.extend(of(work, &contenders, &figures));
    }
    Ok(rows)
}

impl Contender {
    fn measure(&self, world: &World, work: Work) -> Result<Figures> {
        match &self.kind {
            Kind::Guard { executable, network } => {
                let guard = Guard::start(executable, &policy(*network)?, CORE)?;
                world.redirect(*network, guard.gate.port(), guard.gate.port())?;
                load::run(work, world::virtual_address(*network), Some(guard.pid()))
            }
            Kind::Peer { network, process } => {
                load::run(work, world::virtual_address(*network), Some(process.pid()))
            }
            Kind::Direct => load::run(work, world::SERVER, None),
        }
    }
}

/// The rows of one kind of work: of one core, and by the clock.
fn of(work: Work, contenders: &[Contender], figures: &[Vec<Figures>]) -> [Row; 2] {
    let medians = |of: fn(&Figures) -> Option<f64>| -> Vec<(&'static str, Option<f64>)> {
        contenders
            .iter()
            .zip(figures)
            .map(|(contender, figures)| {
                let all: Option<Vec<f64>> = figures.iter().map(of).collect();
                (contender.name, all.map(median))
            })
            .collect()
    };
    let row = |what: String, mut all: Vec<(&'static str, Option<f64>)>, target: bool| {
        let own = all.remove(0).1.unwrap_or(f64::NAN);
        let peers = all.iter().filter(|(name, _)| peers::ALL.iter().any(|(peer, _)| peer == name));
        let best = peers.filter_map(|(_, figure)| *figure).fold(f64::NAN, f64::max);
        let target = target.then(|| (format!("≥ the best of them ({best:.1})"), own >= best));
        Row { what, own, others: all, target }
    };
    [
        row(format!("{} of one core", work.title()), medians(|figures| figures.by_core), true),
        row(format!("{} by the clock", work.title()), medians(|figures| Some(figures.by_clock)), false),
    ]
}

/// A policy that permits the server in its own range of virtual addresses.
fn policy(network: u8) -> Result<Policy> {
    let mut policy = Policy::nothing();
    policy.network_denied = false;
    policy.dns.upstreams = vec![Upstream::Plain(world::DNS)];
    policy.dns.virtual_range = world::network(network).parse()?;
    for (port, protocol) in [(443, Protocol::Tls), (80, Protocol::Http)] {
        let origin =
            Origin { layer: Layer::Run, file: "bench.yml".to_owned(), line: 1, text: NAME.to_owned() };
        let rule = Rule::new(Matcher::Host(HostPattern::parse(NAME)?), vec![port], origin);
        policy.allow.push(Arc::new(Rule { protocol: Some(protocol), ..rule }));
    }
    Ok(policy)
}
