//! Any event at all is read as it was written.

use fuzz::proptest::collection::{btree_map, vec};
use fuzz::proptest::option::of;
use fuzz::proptest::prelude::*;
use netpolicy::decide::Reason;
use netpolicy::policy::{Layer, ResolvedBy};

use super::*;

fn reason() -> impl Strategy<Value = Known<Reason>> {
    prop_oneof![
        proptest::sample::select(Reason::ALL).prop_map(Known::This),
        "later-[a-z]{1,8}".prop_map(|word| serde_json::from_value(word.into()).unwrap()),
    ]
}

fn decision() -> impl Strategy<Value = Known<Decision>> {
    proptest::sample::select(vec![Decision::Allow, Decision::Deny]).prop_map(Known::This)
}

fn ruling() -> impl Strategy<Value = Ruling> {
    let layer = proptest::sample::select(vec![Layer::Floor, Layer::Organisation, Layer::Project]);
    (of(any::<String>()), of(layer.prop_map(Known::This)), of(any::<String>()), of(any::<u32>()))
        .prop_map(|(rule, layer, file, line)| Ruling { rule, layer, file, line })
}

fn access() -> impl Strategy<Value = Event> {
    let kind =
        proptest::sample::select(vec![Kind::Dns, Kind::Connect, Kind::Tls, Kind::Http, Kind::Datagram]);
    let phase = proptest::sample::select(vec![Phase::Open, Phase::Close]).prop_map(Known::This);
    let transport =
        prop_oneof![Just(Transport::Udp), Just(Transport::Icmp), any::<u8>().prop_map(Transport::Number)];
    let what = (kind, of(phase), of(any::<u64>()), of(decision()), of(reason()));
    let host = "[a-z0-9]([a-z0-9_]{0,8}[a-z])?(\\.[a-z]{2,4})?";
    let host = host.prop_filter_map("a name", |text| text.parse().ok());
    let at = (of(host), of(any::<std::net::IpAddr>()), of(any::<u16>()), of(transport.prop_map(Known::This)));
    let by = (of(Just(Known::This(ResolvedBy::Proxy))), ruling());
    let counts = (of(any::<u64>()), of(any::<u64>()), of(any::<u64>()), of(any::<u64>()));
    (what, at, by, counts, of(any::<String>()), of(any::<String>())).prop_map(
        |(
            (kind, phase, conn, verdict, reason),
            (host, address, port, protocol),
            (resolver, by),
            counts,
            limit,
            error,
        )| {
            let (bytes_out, bytes_in, ms, left_out) = counts;
            Event::Access(Access {
                kind,
                phase,
                conn,
                verdict,
                reason,
                host,
                address,
                port,
                protocol,
                resolver,
                by,
                bytes_out,
                bytes_in,
                ms,
                left_out,
                limit,
                error,
            })
        },
    )
}

fn lifecycle() -> impl Strategy<Value = Event> {
    let map = btree_map(any::<String>(), any::<std::net::IpAddr>(), 0..4);
    let start =
        (of(any::<String>()), of(any::<u32>()), of(any::<String>()), of(vec(any::<String>(), 0..4)), of(map));
    let how = proptest::sample::select(vec![How::Exited, How::TimeLimit, How::SupervisorLost]);
    let seen = proptest::sample::select(vec![Observation::LogFull, Observation::RunsCode]);
    prop_oneof![
        start.prop_map(|(user, uid, project, command, map)| {
            Lifecycle::Start(Box::new(Start { user, uid, project, command, map, ..Start::default() })).into()
        }),
        (how, of(any::<u8>())).prop_map(|(how, exit_status)| {
            Lifecycle::AgentEnded(AgentEnded { how: how.into(), exit_status }).into()
        }),
        (seen, of(any::<String>()), of(any::<u64>())).prop_map(|(seen, what, left_out)| Note {
            reason: seen.into(),
            what,
            left_out
        }
        .into()),
        Just(Lifecycle::Ready.into()),
        Just(Lifecycle::End.into()),
    ]
}

fn control() -> impl Strategy<Value = Event> {
    (of(decision()), of(reason()), ruling(), of(any::<String>())).prop_map(|(verdict, reason, by, what)| {
        Event::Control(Control {
            verdict,
            reason,
            by,
            who: Some(ControlChannel::Exec.into()),
            what,
            digest: None,
        })
    })
}

proptest! {
    #[test]
    fn any_event_is_read_as_it_was_written(event in prop_oneof![access(), lifecycle(), control()], seq in any::<u64>()) {
        let written = Line::now(seq, "0000002a".parse().unwrap(), event, None);
        let text = serde_json::to_vec(&written).unwrap();
        prop_assert_eq!(Line::read(&text), Some(written));
    }
}
