//! The gate beside HAProxy, nginx and Squid, which inspect names too, on the same path: a redirect
//! of the kernel to a listening socket, each on the same core.
//!
//! ```text
//!  load ──▶ 25.N.0.1:443 ──redirect──▶ proxy N (guard, haproxy, …) ──▶ 198.51.100.10:443, its server
//!    └────────────────────────────────direct────────────────────────────────────────▲
//! ```
//! `RINGFENCE_BEFORE=PATH` measures another build of ringfence in the same rounds.

pub(crate) mod load;
mod peers;
pub(crate) mod world;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use integration::cargo::Beside;
use integration::performance::Row;
use integration::ringfence::Ringfence;
use integration::testbed::setup;
use netpolicy::host::HostPattern;
use netpolicy::policy::{Layer, Matcher, Origin, Policy, Protocol, Rule};
use netpolicy::settings::Upstream;

use self::load::{Figures, Work};
pub(crate) use self::peers::LOGGING;
use self::world::{BYTES, World};
use crate::guard::Guard;
use crate::process::{Cores, Process};
use crate::rows::{Better, Series, aimed, beside, ratio};
use crate::{BEFORE, Bench, spread};

/// The name that all connections are for.
const NAME: &str = "server.bench.test";

/// Proxies, or none, on the same path.
pub(crate) struct Field {
    pub(crate) world: World,
    cores: Cores,
    contenders: Vec<Contender>,
}

/// A proxy, or none.
struct Contender {
    name: String,
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

/// Measures connections and requests.
///
/// # Errors
/// When a proxy does not start, or a connection fails.
pub(crate) fn measure(bench: &Bench<'_>) -> Result<Vec<Row>> {
    let field = Field::make(bench, Cores::One, |_| true)?;
    let rounds = if bench.quick { 3 } else { 9 };
    let mut rows = Vec::new();
    for work in Work::REQUESTS {
        (bench.say)(work.title());
        let figures = field.rounds(rounds, |at, pid| load::run(work, at, pid))?;
        rows.extend(of(work, &figures)?);
    }
    Ok(rows)
}

impl Field {
    /// Makes the world and starts those of the others that are chosen by name.
    ///
    /// # Errors
    /// When a proxy does not start.
    pub(crate) fn make(bench: &Bench<'_>, cores: Cores, chosen: impl Fn(&str) -> bool) -> Result<Field> {
        setup::base(bench.say)?;
        (bench.say)("building ringfence");
        let executable = Ringfence::find(Beside::Nothing)?;
        let world = World::make()?;
        if cores == Cores::One {
            spread()?;
        }
        let own = Kind::Guard { executable, network: 0 };
        let mut contenders = vec![Contender { name: "ringfence".to_owned(), kind: own }];
        if let Some(before) = std::env::var_os(BEFORE) {
            let kind = Kind::Guard { executable: before.into(), network: 1 };
            contenders.push(Contender { name: "ringfence before".to_owned(), kind });
        }
        for (network, peer) in (2..).zip(&peers::ALL).filter(|(_, peer)| chosen(peer.name)) {
            let started = peer.start(&world, network, cores, bench.say).and_then(|process| {
                if process.is_some() {
                    load::first_bytes(world::virtual_address(network), 1)?;
                }
                Ok(process)
            });
            match started {
                Ok(Some(process)) => {
                    let kind = Kind::Peer { network, process };
                    contenders.push(Contender { name: peer.name.to_owned(), kind });
                }
                Ok(None) => {}
                Err(error) => (bench.say)(&format!("{} is not measured: {error:#}", peer.name)),
            }
        }
        contenders.push(Contender { name: "direct".to_owned(), kind: Kind::Direct });
        Ok(Field { world, cores, contenders })
    }

    /// Measures all in turn, round by round: each is told the address to connect to, and the
    /// process between.
    ///
    /// # Errors
    /// The measurement's own.
    pub(crate) fn rounds<T>(
        &self,
        rounds: usize,
        measure: impl Fn(Ipv4Addr, Option<u32>) -> Result<T>,
    ) -> Result<Vec<(String, Vec<T>)>> {
        let mut figures: Vec<(String, Vec<T>)> =
            self.contenders.iter().map(|contender| (contender.name.clone(), Vec::new())).collect();
        for _ in 0..rounds {
            for (contender, (name, figures)) in self.contenders.iter().zip(&mut figures) {
                let figure = self.one(contender, &measure);
                figures.push(figure.with_context(|| format!("{name} is measured"))?);
            }
        }
        Ok(figures)
    }

    fn one<T>(
        &self,
        contender: &Contender,
        measure: &impl Fn(Ipv4Addr, Option<u32>) -> Result<T>,
    ) -> Result<T> {
        match &contender.kind {
            Kind::Guard { executable, network } => {
                let guard = Guard::start(executable, &policy(*network)?, self.cores)?;
                self.world.redirect(*network, [guard.gate.port(); 3])?;
                measure(world::virtual_address(*network), Some(guard.pid()))
            }
            Kind::Peer { network, process } => measure(world::virtual_address(*network), Some(process.pid())),
            Kind::Direct => measure(world::SERVER, None),
        }
    }
}

/// Takes one figure of each measurement. Those that lack it are left out.
pub(crate) fn series<T>(figures: &[(String, Vec<T>)], of: impl Fn(&T) -> Option<f64>) -> Vec<Series> {
    let of = |figures: &Vec<T>| figures.iter().map(&of).collect::<Option<Vec<f64>>>();
    figures.iter().filter_map(|(name, figures)| Some((name.clone(), of(figures)?))).collect()
}

/// The rows of one kind of work: of one core, by the clock, and what a thousand cost.
fn of(work: Work, figures: &[(String, Vec<Figures>)]) -> Result<[Row; 3]> {
    let by_core = series(figures, |figures| figures.by_core);
    let by_clock = series(figures, |figures| Some(figures.by_clock));
    let cost = series(figures, |figures| figures.by_core.map(|rate| 1e6 / rate));
    let title = work.title();
    let core = beside(&format!("{title} of one core"), "a second", &by_core, &LOGGING, Better::More)?;
    let core = match work {
        Work::NewTls => aimed(core, "new-tls", |row| ratio(row, |ratio| ratio >= 1.0)),
        _ => core,
    };
    Ok([
        core,
        beside(&format!("{title} by the clock"), "a second", &by_clock, &LOGGING, Better::More)?,
        beside(&format!("processor time of 1,000 {title}"), "ms", &cost, &LOGGING, Better::Less)?,
    ])
}

/// A policy that permits the server in its own range of virtual addresses.
pub(crate) fn policy(network: u8) -> Result<Policy> {
    let mut policy = Policy::nothing();
    policy.network_denied = false;
    policy.dns.upstreams = vec![Upstream::Plain(world::DNS)];
    policy.dns.virtual_range = world::network(network).parse()?;
    for (port, protocol) in [(443, Protocol::Tls), (80, Protocol::Http), (BYTES, Protocol::Tcp)] {
        let origin =
            Origin { layer: Layer::Run, file: "bench.yml".to_owned(), line: 1, text: NAME.to_owned() };
        let rule = Rule::new(Matcher::Host(HostPattern::parse(NAME)?), vec![port], origin);
        policy.allow.push(Arc::new(Rule { protocol: Some(protocol), ..rule }));
    }
    Ok(policy)
}
