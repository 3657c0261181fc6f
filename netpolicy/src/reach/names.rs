//! Names: which rules speak about them, whatever their address.
//!
//! ```text
//!  every written name ──tree──▶ cells: the name · what lies below it and below no other
//!                                 └─ asked in both policies, by port, day and kind of address ──▶ items ──join──▶ patterns
//! ```

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use ipnet::IpNet;

use super::cells::Addresses;
use super::difference::{At, Draft, Ports, Targets, Witness};
use super::patterns::{Node, Region, join_cells};
use super::reached::{Permitted, Reach};
use super::side::{Both, Change, NEW, OLD, Side, State, patterns, reaches_more};
use super::spans::{Span, join, to_nets};
use super::tree::tree;
use crate::floor;
use crate::host::HostName;
use crate::host_access::LOOPBACK_ADDRESS;
use crate::policy::{Date, Protocol, ResolvedBy, Rule, day_after};
use crate::target::Target;

/// Change in one cell on one port.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Item {
    port: u16,
    place: AddressKind,
    change: Change,
    from: Date,
    until: Option<Date>,
}

/// Kind of address that the names have.
#[derive(Clone, PartialEq, Eq, Hash)]
enum AddressKind {
    Public,
    Private(Rc<[Span]>),
    Proxy,
    Host,
    Loopback,
}

/// Finds names that are permitted in one policy and not in the other, or under another check; and
/// what names reach at all.
pub(super) fn compare(
    sides: &Both<Side>,
    today: Date,
    addresses: &Addresses,
    found: &mut Vec<Draft>,
) -> Both<Reach> {
    let mut asking = Asking {
        sides,
        today,
        addresses,
        public: public_address(sides),
        atoms: HashMap::new(),
        items: Vec::new(),
        index: HashMap::new(),
        visible: HashMap::new(),
        undenied: HashMap::new(),
        reach: [Reach::default(), Reach::default()],
        private: [HashMap::new(), HashMap::new()],
    };
    let nodes = asking.tree();
    let Asking { items, reach, private, .. } = asking;
    for region in join_cells(&nodes) {
        let (item, address) = &items[region.item];
        for side in [OLD, NEW].into_iter().filter(|side| reaches_more(&item.change, *side)) {
            found.push(draft(side, item, *address, &region, today));
        }
    }
    let [old, new] = reach;
    let [of_old, of_new] = private;
    [old.with_private(of_old), new.with_private(of_new)]
}

/// Returns an address that is good for everybody in both policies, denied ranges aside.
fn public_address(sides: &Both<Side>) -> IpAddr {
    let well_known = [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(9, 9, 9, 9)];
    let virtual_in =
        |address: &Ipv4Addr| sides.iter().any(|side| side.surroundings.virtual_range.contains(address));
    // Two ranges cannot hold three addresses of different /8.
    let free = well_known.into_iter().find(|address| !virtual_in(address));
    IpAddr::V4(free.unwrap_or(well_known[0]))
}

/// Private ranges that rules write: those of `allow`, then those of ceilings, each in order and
/// once.
type Written = (Vec<IpNet>, Vec<IpNet>);

/// Spans, a port, and the policies that let names through to them.
type Passage = (Vec<Span>, u16, Both<bool>);

struct Asking<'a> {
    sides: &'a Both<Side>,
    today: Date,
    addresses: &'a Addresses,
    public: IpAddr,
    /// Private ranges, cut at each other's ends and at the floor's.
    atoms: HashMap<Written, Rc<[Span]>>,
    items: Vec<(Item, Option<IpAddr>)>,
    index: HashMap<Item, Option<usize>>,
    /// An address at which a change shows: by place, port, and the policies that must let it
    /// through.
    visible: HashMap<(AddressKind, u16, Both<bool>), Option<Option<IpAddr>>>,
    /// Spans without what is denied in them: by port, and the policies that must let them through.
    undenied: HashMap<Passage, Rc<[Span]>>,
    reach: Both<Reach>,
    private: Both<HashMap<(u16, Span), Permitted>>,
}

impl Asking<'_> {
    /// Returns every written name, with the changes at it and below it.
    fn tree(&mut self) -> Vec<Node> {
        let sides = self.sides;
        let mut names: Vec<&HostName> = floor::aliases().collect();
        for side in sides {
            names.extend(patterns(side.policy()));
        }
        tree(names, |name| self.cell(name))
    }

    /// Compares both policies about one name, and returns the changes as items in order.
    fn cell(&mut self, name: &HostName) -> Vec<usize> {
        let sides = self.sides;
        let target = Target::Name(name.clone());
        let grants = sides.each_ref().map(|side| side.names.grants_of(&target));
        if grants.iter().all(Vec::is_empty) {
            return Vec::new();
        }
        let limits = sides.each_ref().map(|side| side.names.limits_of(&target));
        let granting = || grants.iter().flatten().copied();
        let days = days(self.today, granting().chain(limits.iter().flatten().copied()).map(|rule| &**rule));
        let ports: BTreeSet<u16> = granting().flat_map(|rule| rule.ports.iter().copied()).collect();
        let private = granting().flat_map(|rule| rule.private.iter().copied());
        let ceilings = limits.iter().flatten().flat_map(|rule| rule.private.iter().copied());
        let atoms = self.atoms(private.collect(), ceilings.collect());
        let proxied = sides.iter().any(|side| side.policy().proxy.is_some());
        let alias = floor::refused_name(name).is_some();
        let mut items = Vec::new();
        for port in ports {
            if alias {
                // It is reached at the host, by one of two ways, or nowhere.
                let ask = |side: usize, day| sides[side].host(&target, port, day);
                self.simple(name, port, AddressKind::Host, &days, ask, &mut items);
                let ask = |side: usize, day| sides[side].loopback(&target, port, day);
                self.simple(name, port, AddressKind::Loopback, &days, ask, &mut items);
            } else {
                let public = Some(self.public);
                let ask = |side: usize, day| sides[side].name(&target, port, public, day);
                self.simple(name, port, AddressKind::Public, &days, ask, &mut items);
            }
            if proxied {
                let ask = |side: usize, day| sides[side].by_proxy(&target, port, day);
                self.simple(name, port, AddressKind::Proxy, &days, ask, &mut items);
            }
            if !alias {
                self.private(&target, name, port, &atoms, &days, &mut items);
            }
        }
        items.sort_unstable();
        items
    }

    fn simple(
        &mut self,
        name: &HostName,
        port: u16,
        place: AddressKind,
        days: &[Date],
        ask: impl Fn(usize, Date) -> Option<Protocol>,
        items: &mut Vec<usize>,
    ) {
        for (from, until, change) in periods(days, ask) {
            for side in [OLD, NEW] {
                if change[side].is_none() {
                    continue;
                }
                let reach = &mut self.reach[side];
                match place {
                    AddressKind::Public => reach.public.entry(port).or_insert_with(|| (name.clone(), from)),
                    AddressKind::Host => reach.host.entry(port).or_insert_with(|| (name.clone(), from)),
                    AddressKind::Proxy | AddressKind::Loopback | AddressKind::Private(_) => continue,
                };
            }
            items.extend(self.item(Item { port, place: place.clone(), change, from, until }));
        }
    }

    fn private(
        &mut self,
        target: &Target,
        name: &HostName,
        port: u16,
        atoms: &[Span],
        days: &[Date],
        items: &mut Vec<usize>,
    ) {
        let sides = self.sides;
        let mut alike: Vec<(Period, Vec<Span>)> = Vec::new();
        for atom in atoms {
            let floored = sides.iter().all(|side| {
                floor::refusal(atom.first, floor::PRIVATE_RANGES, &[], &side.surroundings).is_some()
            });
            if floored {
                // Nobody ever reaches it: it parts no neighbours.
                alike
                    .iter_mut()
                    .filter(|(_, spans)| ends_at(spans, atom))
                    .for_each(|(_, spans)| spans.push(*atom));
                continue;
            }
            let ask = |side: usize, day| sides[side].name(target, port, Some(atom.first), day);
            for period in periods(days, ask) {
                for side in [OLD, NEW] {
                    if period.2[side].is_some() {
                        let witness = || (name.clone(), period.0);
                        self.private[side].entry((port, *atom)).or_insert_with(witness);
                    }
                }
                match alike.iter_mut().find(|(other, _)| *other == period) {
                    Some((_, spans)) => spans.push(*atom),
                    None => alike.push((period, vec![*atom])),
                }
            }
        }
        for ((from, until, change), spans) in alike {
            if change[OLD] == change[NEW] {
                continue;
            }
            let spans = self.not_denied(join(spans), port, change.map(|check| check.is_some()));
            if !spans.is_empty() {
                items.extend(self.item(Item {
                    port,
                    place: AddressKind::Private(spans),
                    change,
                    from,
                    until,
                }));
            }
        }
    }

    /// Takes from some spans the addresses that a policy that lets names through to them denies:
    /// there it reaches nothing.
    fn not_denied(&mut self, spans: Vec<Span>, port: u16, through: Both<bool>) -> Rc<[Span]> {
        let key: Passage = (spans, self.addresses.alike(port), through);
        if let Some(known) = self.undenied.get(&key) {
            return Rc::clone(known);
        }
        let denied = |address: IpAddr| {
            let matters = [OLD, NEW].into_iter().filter(|side| through[*side]);
            matters
                .into_iter()
                .any(|side| matches!(self.sides[side].address(address, port), State::Denied(_)))
        };
        let cells = self.addresses.within(Some(&key.0)).filter(|cell| !denied(cell.on(port)));
        let left: Rc<[Span]> = join(cells.map(|cell| cell.span)).into();
        self.undenied.insert(key, Rc::clone(&left));
        left
    }

    /// Returns the cells of private addresses that grants speak of.
    fn atoms(&mut self, mut grants: Vec<IpNet>, mut limits: Vec<IpNet>) -> Rc<[Span]> {
        if grants.is_empty() {
            return Rc::new([]);
        }
        for nets in [&mut grants, &mut limits] {
            nets.sort_unstable();
            nets.dedup();
        }
        let sides = self.sides;
        // The two lists stay apart: only what a grant speaks of is a cell, whatever a ceiling holds
        // besides.
        let atoms = self.atoms.entry((grants, limits)).or_insert_with_key(|(grants, limits)| {
            let floor = sides.iter().flat_map(|side| floor::ranges(&side.surroundings));
            let inside = |span: &Span| grants.iter().any(|net| net.contains(&span.first));
            let ends = grants.iter().chain(limits).copied().chain(floor);
            super::spans::cut(ends).into_iter().filter(inside).collect()
        });
        Rc::clone(atoms)
    }

    /// Returns the number of a change; `None` when nothing changes, or when no address shows it.
    fn item(&mut self, item: Item) -> Option<usize> {
        if item.change[OLD] == item.change[NEW] {
            return None;
        }
        if let Some(known) = self.index.get(&item) {
            return *known;
        }
        let through = item.change.map(|check| check.is_some());
        let key = (item.place.clone(), self.addresses.alike(item.port), through);
        let visible = match self.visible.get(&key) {
            Some(known) => *known,
            None => {
                let shown = self.address_of(&item.place, item.port, through);
                self.visible.insert(key, shown);
                shown
            }
        };
        let number = visible.map(|address| {
            self.items.push((item.clone(), address));
            self.items.len() - 1
        });
        self.index.insert(item, number);
        number
    }

    /// Returns an address of the kind that passes in the policies that matter; `Some(None)` where
    /// none is looked at.
    fn address_of(&self, place: &AddressKind, port: u16, through: Both<bool>) -> Option<Option<IpAddr>> {
        let sides = self.sides;
        let matters = || [OLD, NEW].into_iter().filter(|side| through[*side]);
        let open =
            |address: &IpAddr| matters().all(|side| sides[side].address(*address, port) == State::Open);
        let allowed = |address: &IpAddr| {
            !matters().any(|side| matches!(sides[side].address(*address, port), State::Denied(_)))
        };
        let cells = |spans| self.addresses.within(spans).map(|cell| cell.on(port));
        match place {
            AddressKind::Proxy => Some(None),
            AddressKind::Loopback => Some(Some(LOOPBACK_ADDRESS)),
            // Where every address is denied the name is answered all the same, and one below a
            // wildcard asked about upstream.
            AddressKind::Public => Some(cells(None).find(open)),
            AddressKind::Private(spans) => cells(Some(&**spans)).find(open).map(Some),
            // Engines give the host a private address; any will do.
            AddressKind::Host => {
                let pools: Vec<Span> = floor::PRIVATE_RANGES.iter().map(Span::of).collect();
                let private = cells(Some(pools.as_slice())).find(allowed);
                private.or_else(|| cells(None).find(allowed)).map(Some)
            }
        }
    }
}

fn draft(side: usize, item: &Item, address: Option<IpAddr>, region: &Region, today: Date) -> Draft {
    let at = match &item.place {
        AddressKind::Public => At::Anywhere,
        AddressKind::Private(spans) => At::Ranges(to_nets(spans)),
        AddressKind::Proxy => At::Proxy,
        AddressKind::Host => At::Host,
        AddressKind::Loopback => At::Loopback,
    };
    Draft {
        side,
        targets: Targets::Names { pattern: region.pattern.clone(), except: region.except.clone() },
        ports: Ports::Only(vec![item.port]),
        at,
        from: (item.from > today).then_some(item.from),
        until: item.until,
        witness: Witness {
            target: Target::Name(region.witness.clone()),
            port: item.port,
            address,
            resolver: if item.place == AddressKind::Proxy { ResolvedBy::Proxy } else { ResolvedBy::Guard },
            is_the_host: item.place == AddressKind::Host,
            day: item.from,
        },
    }
}

/// Tells whether an atom follows the last of some spans.
fn ends_at(spans: &[Span], atom: &Span) -> bool {
    spans.last().is_some_and(|last| join([*last, *atom]).len() == 1)
}

/// Returns the days on which something may change, from today on: each the day after a permission's
/// last.
pub(super) fn days<'r>(today: Date, rules: impl Iterator<Item = &'r Rule>) -> Vec<Date> {
    let ends = rules.filter_map(|rule| rule.expires).filter(|last| *last >= today);
    let days: BTreeSet<Date> = ends.filter_map(|last| day_after(last, 1)).chain([today]).collect();
    days.into_iter().collect()
}

/// The first day, the last (`None`: for ever), and what the policies do.
pub(super) type Period = (Date, Option<Date>, Change);

/// Returns the periods in which the answer differs between the policies, or lets somebody through
/// at all.
pub(super) fn periods(days: &[Date], ask: impl Fn(usize, Date) -> Option<Protocol>) -> Vec<Period> {
    let mut periods: Vec<Period> = Vec::new();
    for day in days {
        let change = [ask(OLD, *day), ask(NEW, *day)];
        match periods.last_mut() {
            Some((_, _, before)) if *before == change => {}
            last => {
                if let Some((_, until, _)) = last {
                    *until = day_after(*day, -1);
                }
                periods.push((*day, None, change));
            }
        }
    }
    periods
}
