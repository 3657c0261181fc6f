//! Names: which rules speak about them, whatever their address.
//!
//! ```text
//!  every written name ──tree──▶ cells: the name · what lies below it and below no other
//!                                 └─ asked in both policies, by port, day and kind of address ──▶ items ──join──▶ patterns
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use ipnet::IpNet;

use super::addresses::{Addresses, is_private};
use super::side::{Both, Change, NEW, OLD, Side, State, patterns, reaches_more};
use super::spans::{Span, join, to_nets};
use super::{At, Draft, Ports, Targets, Witness};
use crate::decide::Target;
use crate::floor;
use crate::host::{HostName, HostPattern};
use crate::policy::{Date, Protocol, ResolvedBy, Rule, day_after};

/// What the names of one policy reach, for the half of the comparison that is about addresses.
#[derive(Default)]
pub(super) struct Reach {
    public: BTreeMap<u16, (HostName, Date)>,
    private: BTreeMap<u16, Vec<(Span, (HostName, Date))>>,
    host: BTreeMap<u16, (HostName, Date)>,
}

impl Reach {
    pub(super) fn host_ports(&self) -> impl Iterator<Item = u16> {
        self.host.keys().copied()
    }

    /// The ports on which some name may have this address.
    pub(super) fn ports(&self, host: bool, address: IpAddr) -> impl Iterator<Item = u16> {
        let private = is_private(address);
        let of_host = host.then_some(self.host.keys());
        let of_public = (!host && !private).then_some(self.public.keys());
        let of_private = (!host && private).then_some(self.private.keys());
        let inside = move |port: &u16| self.in_private(address, *port).is_some();
        let of_private = of_private.into_iter().flatten().copied().filter(inside);
        of_host.into_iter().flatten().chain(of_public.into_iter().flatten()).copied().chain(of_private)
    }

    pub(super) fn has(&self, host: bool, address: IpAddr, port: u16) -> bool {
        self.witness(host, address, port).is_some()
    }

    /// A name that is permitted on the port and may have this address, and the day on which it is.
    pub(super) fn witness(&self, host: bool, address: IpAddr, port: u16) -> Option<&(HostName, Date)> {
        match (host, is_private(address)) {
            (true, _) => self.host.get(&port),
            (false, false) => self.public.get(&port),
            (false, true) => self.in_private(address, port),
        }
    }

    fn in_private(&self, address: IpAddr, port: u16) -> Option<&(HostName, Date)> {
        let spans = self.private.get(&port)?;
        let after = spans.partition_point(|(span, _)| span.first <= address);
        spans[..after].last().filter(|(span, _)| address <= span.last).map(|(_, witness)| witness)
    }
}

/// What changed in one cell on one port.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Item {
    port: u16,
    place: Place,
    change: Change,
    from: Date,
    until: Option<Date>,
}

/// Where the names' addresses lie.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    Public,
    Private(Rc<[Span]>),
    Proxy,
    Host,
}

/// A written name and the names below it.
struct Node {
    name: HostName,
    parent: Option<usize>,
    at: Vec<usize>,
    /// `None` when a name below would be too long.
    below: Option<(HostName, Vec<usize>)>,
    alias: bool,
}

/// Finds names that are permitted in one policy and not in the other, or under another check; and what names reach at all.
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
        reach: [Reach::default(), Reach::default()],
        private: [HashMap::new(), HashMap::new()],
    };
    let nodes = asking.tree();
    asking.lines(&nodes, found);
    asking.reach()
}

/// An address that is good for everybody in both policies, denied ranges aside.
fn public_address(sides: &Both<Side>) -> IpAddr {
    let well_known = [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(9, 9, 9, 9)];
    let virtual_in =
        |address: &Ipv4Addr| sides.iter().any(|side| side.surroundings.virtual_range.contains(address));
    // Two ranges cannot hold three addresses of different /8.
    let free = well_known.into_iter().find(|address| !virtual_in(address));
    IpAddr::V4(free.unwrap_or(well_known[0]))
}

struct Asking<'a> {
    sides: &'a Both<Side>,
    today: Date,
    addresses: &'a Addresses,
    public: IpAddr,
    /// Private ranges, cut at each other's ends and at the floor's.
    atoms: HashMap<Vec<IpNet>, Rc<[Span]>>,
    items: Vec<(Item, Option<IpAddr>)>,
    index: HashMap<Item, Option<usize>>,
    /// An address at which a change shows: by place, port, and the policies that must let it through.
    visible: HashMap<(Place, u16, Both<bool>), Option<Option<IpAddr>>>,
    reach: Both<Reach>,
    private: Both<HashMap<(u16, Span), (HostName, Date)>>,
}

impl Asking<'_> {
    /// Every written name, each after the one it is below, with what changes at it and below it.
    fn tree(&mut self) -> Vec<Node> {
        let sides = self.sides;
        let mut names: Vec<&HostName> = floor::aliases().collect();
        for side in sides {
            names.extend(patterns(side.policy()));
        }
        names.sort_by_cached_key(|name| backwards(name));
        names.dedup();
        let written: HashSet<&str> = names.iter().map(|name| name.as_str()).collect();
        let mut nodes: Vec<Node> = Vec::with_capacity(names.len());
        let mut open: Vec<usize> = Vec::new();
        for name in &names {
            while open.last().is_some_and(|above| !name.is_below(&nodes[*above].name)) {
                open.pop();
            }
            let parent = open.last().copied();
            open.push(nodes.len());
            let at = self.cell(name);
            let below = unwritten_below(name, &written).map(|name| {
                let items = self.cell(&name);
                (name, items)
            });
            let alias = floor::refused_name(name).is_some();
            nodes.push(Node { name: (*name).clone(), parent, at, below, alias });
        }
        nodes
    }

    /// What changes for one name, as items in order.
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
            // A host alias is reached at the host or nowhere.
            let (place, address) =
                if alias { (Place::Host, None) } else { (Place::Public, Some(self.public)) };
            let ask = |side: usize, day| sides[side].name(&target, port, address, day);
            self.simple(name, port, place, &days, ask, &mut items);
            if proxied {
                let ask = |side: usize, day| sides[side].by_proxy(&target, port, day);
                self.simple(name, port, Place::Proxy, &days, ask, &mut items);
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
        place: Place,
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
                    Place::Public => reach.public.entry(port).or_insert_with(|| (name.clone(), from)),
                    Place::Host => reach.host.entry(port).or_insert_with(|| (name.clone(), from)),
                    Place::Proxy | Place::Private(_) => continue,
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
        let mut alike: Vec<((Date, Option<Date>, Change), Vec<Span>)> = Vec::new();
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
            let place = Place::Private(join(spans).into());
            items.extend(self.item(Item { port, place, change, from, until }));
        }
    }

    /// The cells of private addresses that grants speak of.
    fn atoms(&mut self, mut grants: Vec<IpNet>, limits: Vec<IpNet>) -> Rc<[Span]> {
        if grants.is_empty() {
            return Rc::new([]);
        }
        grants.sort_unstable();
        grants.dedup();
        let mut key = grants.clone();
        key.extend(&limits);
        let sides = self.sides;
        let atoms = self.atoms.entry(key).or_insert_with_key(|key| {
            let floor = sides.iter().flat_map(|side| floor::ranges(&side.surroundings));
            let inside = |span: &Span| grants.iter().any(|net| net.contains(&span.first));
            super::spans::cut(key.iter().copied().chain(floor)).into_iter().filter(inside).collect()
        });
        Rc::clone(atoms)
    }

    /// The number of a change; `None` when nothing changes, or when no address shows it.
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

    /// An address of the place that passes in the policies that matter; `Some(None)` where none is looked at.
    fn address_of(&self, place: &Place, port: u16, through: Both<bool>) -> Option<Option<IpAddr>> {
        let sides = self.sides;
        let matters = || [OLD, NEW].into_iter().filter(|side| through[*side]);
        let open =
            |address: &IpAddr| matters().all(|side| sides[side].address(*address, port) == State::Open);
        let allowed = |address: &IpAddr| {
            !matters().any(|side| matches!(sides[side].address(*address, port), State::Denied(_)))
        };
        let cells = |spans| self.addresses.within(spans).map(|cell| cell.witness);
        match place {
            Place::Proxy => Some(None),
            Place::Public => cells(None).find(open).map(Some),
            Place::Private(spans) => cells(Some(&**spans)).find(open).map(Some),
            // Engines give the host a private address; any will do.
            Place::Host => {
                let pools: Vec<Span> = floor::PRIVATE_RANGES.iter().map(Span::of).collect();
                let private = cells(Some(pools.as_slice())).find(allowed);
                private.or_else(|| cells(None).find(allowed)).map(Some)
            }
        }
    }

    /// Joins equal neighbours: one line for each pattern and change, the exceptions beside it.
    fn lines(&self, nodes: &[Node], found: &mut Vec<Draft>) {
        struct Region {
            item: usize,
            pattern: HostPattern,
            except: Vec<HostPattern>,
            witness: HostName,
        }
        let mut regions: Vec<Region> = Vec::new();
        // For each node: the items that hold below it, and their regions.
        let mut below_all: Vec<Vec<(usize, usize)>> = Vec::with_capacity(nodes.len());
        for node in nodes {
            let inherited = node.parent.map_or(&[][..], |parent| &below_all[parent]);
            let below = node.below.as_ref().map(|(_, items)| items);
            let has = |items: &[usize], item: usize| items.binary_search(&item).is_ok();
            if node.alias && node.at.is_empty() && below.is_none_or(Vec::is_empty) {
                // The floor keeps it out of every pattern.
                let same = inherited.to_vec();
                below_all.push(same);
                continue;
            }
            let mut here: Vec<(usize, usize)> = Vec::new();
            for (item, region) in inherited {
                let own = || node.name.clone();
                let holds_below = below.is_none_or(|items| has(items, *item));
                let exception = match (has(&node.at, *item), holds_below) {
                    (true, true) => None,
                    (false, true) => Some(HostPattern::Exact(own())),
                    (true, false) => Some(HostPattern::Below(own())),
                    (false, false) => Some(HostPattern::AtOrBelow(own())),
                };
                regions[*region].except.extend(exception);
                if holds_below {
                    here.push((*item, *region));
                }
            }
            let is_new = |item: &usize| !inherited.iter().any(|(other, _)| other == item);
            let mut begin = |item: usize, pattern: HostPattern, witness: &HostName| {
                regions.push(Region { item, pattern, except: Vec::new(), witness: witness.clone() });
                regions.len() - 1
            };
            if let Some((witness, items)) = &node.below {
                for item in items.iter().copied().filter(is_new) {
                    let region = if has(&node.at, item) {
                        begin(item, HostPattern::AtOrBelow(node.name.clone()), &node.name)
                    } else {
                        begin(item, HostPattern::Below(node.name.clone()), witness)
                    };
                    here.push((item, region));
                }
            }
            let only_here = |item: &usize| is_new(item) && !below.is_some_and(|items| has(items, *item));
            for item in node.at.iter().copied().filter(only_here) {
                begin(item, HostPattern::Exact(node.name.clone()), &node.name);
            }
            below_all.push(here);
        }
        for Region { item, pattern, except, witness } in regions {
            let (item, address) = &self.items[item];
            for side in [OLD, NEW].into_iter().filter(|side| reaches_more(&item.change, *side)) {
                found.push(self.draft(side, item, *address, &pattern, &except, &witness));
            }
        }
    }

    fn draft(
        &self,
        side: usize,
        item: &Item,
        address: Option<IpAddr>,
        pattern: &HostPattern,
        except: &[HostPattern],
        witness: &HostName,
    ) -> Draft {
        let at = match &item.place {
            Place::Public => At::Anywhere,
            Place::Private(spans) => At::Ranges(to_nets(spans)),
            Place::Proxy => At::Proxy,
            Place::Host => At::Host,
        };
        Draft {
            side,
            targets: Targets::Names { pattern: pattern.clone(), except: except.to_vec() },
            ports: Ports::Only(vec![item.port]),
            at,
            from: (item.from > self.today).then_some(item.from),
            until: item.until,
            witness: Witness {
                target: Target::Name(witness.clone()),
                port: item.port,
                address,
                resolver: if item.place == Place::Proxy { ResolvedBy::Proxy } else { ResolvedBy::Guard },
                is_the_host: item.place == Place::Host,
                day: item.from,
            },
        }
    }

    fn reach(self) -> Both<Reach> {
        let Asking { mut reach, private, .. } = self;
        for (reach, private) in reach.iter_mut().zip(private) {
            let mut found: Vec<_> = private.into_iter().collect();
            found.sort_unstable_by_key(|((port, span), _)| (*port, span.first, std::cmp::Reverse(span.last)));
            for ((port, span), witness) in found {
                let spans = reach.private.entry(port).or_default();
                if spans.last().is_none_or(|(before, _)| before.last < span.last) {
                    spans.push((span, witness));
                }
            }
        }
        reach
    }
}

/// Whether an atom follows the last of some spans.
fn ends_at(spans: &[Span], atom: &Span) -> bool {
    spans.last().is_some_and(|last| join([*last, *atom]).len() == 1)
}

/// The days on which something may change, from today on: each the day after a permission's last.
pub(super) fn days<'r>(today: Date, rules: impl Iterator<Item = &'r Rule>) -> Vec<Date> {
    let ends = rules.filter_map(|rule| rule.expires).filter(|last| *last >= today);
    let days: BTreeSet<Date> = ends.filter_map(|last| day_after(last, 1)).chain([today]).collect();
    days.into_iter().collect()
}

/// The periods in which the answer differs between the policies, or lets somebody through at all.
pub(super) fn periods(
    days: &[Date],
    ask: impl Fn(usize, Date) -> Option<Protocol>,
) -> Vec<(Date, Option<Date>, Change)> {
    let mut periods: Vec<(Date, Option<Date>, Change)> = Vec::new();
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

/// A key that puts every name right after the names above it.
fn backwards(name: &HostName) -> String {
    // No label has a character this low.
    name.as_str().rsplit('.').collect::<Vec<_>>().join("\u{1}")
}

/// A name directly below another that is not written anywhere; `None` when there is no room for one.
fn unwritten_below(name: &HostName, written: &HashSet<&str>) -> Option<HostName> {
    (0usize..)
        .map(|number| format!("{}.{name}", label(number)))
        .take_while(|text| text.len() <= 253)
        .find(|text| !written.contains(text.as_str()))
        .and_then(|text| HostName::parse(&text).ok())
}

/// Every label of letters and digits, the short ones first.
fn label(mut number: usize) -> String {
    const LETTERS: &[u8] = b"xabcdefghijklmnopqrstuvwyz0123456789_";
    let mut text = String::new();
    loop {
        text.push(char::from(LETTERS[number % LETTERS.len()]));
        match (number / LETTERS.len()).checked_sub(1) {
            Some(rest) => number = rest,
            None => return text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_all_different_and_get_longer() {
        let labels: Vec<String> = (0..2000).map(label).collect();
        assert_eq!(labels.iter().collect::<HashSet<_>>().len(), labels.len());
        assert!(labels.windows(2).all(|pair| pair[0].len() <= pair[1].len()));
    }

    #[test]
    fn names_follow_the_names_above_them() {
        let mut names: Vec<HostName> = ["b.a", "a", "b-a.x", "a-b", "c.b.a", "a.b-a.x", "x"]
            .map(|name| HostName::parse(name).unwrap())
            .to_vec();
        names.sort_by_cached_key(backwards);
        let names: Vec<&str> = names.iter().map(HostName::as_str).collect();
        assert_eq!(names, ["a", "b.a", "c.b.a", "a-b", "x", "b-a.x", "a.b-a.x"]);
    }

    #[test]
    fn a_name_without_room_below_has_none() {
        let long = format!("{}.{}.{}.{}", "a".repeat(63), "a".repeat(63), "a".repeat(63), "a".repeat(60));
        let name = HostName::parse(&long).unwrap();
        assert_eq!(unwritten_below(&name, &HashSet::new()), None);
        let short = HostName::parse(&long[1..]).unwrap();
        assert_eq!(unwritten_below(&short, &HashSet::new()), None);
        let shorter = HostName::parse(&long[2..]).unwrap();
        assert!(unwritten_below(&shorter, &HashSet::new()).is_some());
    }
}
