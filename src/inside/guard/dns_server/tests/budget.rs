//! Tests of how often the filter asks upstream.

use super::*;
use crate::inside::guard::names::OBSERVED_NAMES;

#[tokio::test]
async fn wildcards_ask_once_and_within_their_budget() {
    let served = Served::of(policy()).await;
    // Only who wants an address makes the guard ask.
    for kind in [RecordType::TXT, RecordType::NULL, RecordType::AAAA, RecordType::MX, RecordType::HTTPS] {
        assert_eq!(served.code("a.wild.example.", kind).await, ResponseCode::NoError);
        assert_eq!(served.code("dGhlIHNlY3JldA.wild.example.", kind).await, ResponseCode::NoError);
    }
    assert_eq!(served.questions(), 0);
    let a = served.ask("a.wild.example.", RecordType::A).await;
    for _ in 0..3 {
        assert_eq!(shown(&served.ask("A.wild.example.", RecordType::A).await), shown(&a));
        assert_eq!(
            shown(&served.ask("none.wild.example.", RecordType::A).await),
            "NON-EXISTENT DOMAIN, SOA 1"
        );
    }
    assert_eq!(served.code("bad.wild.example.", RecordType::A).await, ResponseCode::NXDomain);
    assert_eq!(served.questions(), 2);
    let over = shown(&served.ask("b.wild.example.", RecordType::A).await);
    assert!(over.contains("EDE 15 name-budget"), "{over}");
    assert_eq!(served.questions(), 2);
    assert_eq!(reasons(&served.log), ["denied-by-rule", "name-budget"]);
    // The first keeps its address when the budget is gone.
    assert_eq!(shown(&served.ask("a.wild.example.", RecordType::A).await), shown(&a));
}

#[tokio::test]
async fn no_flood_hides_a_question_that_goes_upstream() {
    let served = Served::of(policy()).await;
    for number in 0..700 {
        served.ask(&format!("n{number}.evil.test."), RecordType::A).await;
    }
    for name in ["a.wild.example", "none.wild.example"] {
        served.ask(&format!("{name}."), RecordType::A).await;
        let line =
            served.log.lines().into_iter().find(|line| line["resolver"] == "guard" && line["host"] == name);
        let line = line.unwrap_or_else(|| panic!("{name} went upstream without a line"));
        assert_eq!((&line["kind"], &line["verdict"]), (&"dns".into(), &"allow".into()));
    }
    assert_eq!(served.questions(), 2);
    served.guard.events.finish();
    let lines = served.log.lines();
    let refused = lines.iter().filter(|line| line["verdict"] == "deny");
    assert_eq!(refused.map(|line| 1 + line["left_out"].as_u64().unwrap_or(0)).sum::<u64>(), 700);
}

#[tokio::test]
async fn a_question_that_failed_is_repeated_later_and_paid_again() {
    tokio::time::pause();
    let mut policy = policy();
    policy.dns.names_per_wildcard = 3;
    let broken = Stage { names: [("broken.wild.example".to_owned(), Vec::new())].into(), ..Stage::default() };
    let (guard, _) = guard_on(policy, broken, None);
    let name = HostName::parse("broken.wild.example").unwrap();
    let mut asked = Vec::new();
    for second in 0..20 {
        let NameState::Ask(verdict) = guard.names.find(&name) else { panic!("a wildcard's name") };
        let before = stage(&guard).questions.load(Ordering::SeqCst);
        let found = guard.names.ask(&name, verdict, &guard.outside, &guard.events).await;
        if stage(&guard).questions.load(Ordering::SeqCst) > before {
            assert!(matches!(found, NameState::Unknown));
            asked.push(second);
        } else if asked.len() == 3 && second >= 7 {
            assert!(matches!(found, NameState::Refused(verdict) if verdict.reason == Reason::NameBudget));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(asked, [0, 1, 3], "and then the budget is used up");
}

#[tokio::test]
async fn an_observed_run_asks_about_so_many_names_and_once_about_each() {
    let names = (0..=OBSERVED_NAMES).map(|number| (format!("n{number}.example"), "198.51.100.7"));
    let names = names.map(|(name, address)| (name, vec![address.parse().unwrap()])).collect();
    let policy = Policy { network_observed: true, ..policy() };
    let (guard, log) = guard_on(policy, Stage { names, ..Stage::default() }, None);
    let ask = async |name: &str| {
        let name = HostName::parse(name).unwrap();
        match guard.names.find(&name) {
            NameState::Ask(verdict) => guard.names.ask(&name, verdict, &guard.outside, &guard.events).await,
            found => found,
        }
    };
    assert!(matches!(ask("none.example").await, NameState::Missing));
    for number in 1..OBSERVED_NAMES {
        let name = format!("n{number}.example");
        assert!(matches!(ask(&name).await, NameState::Virtual(_)), "{name}");
        assert!(matches!(ask(&name).await, NameState::Virtual(_)), "{name} keeps its address");
    }
    let over = ask("n0.example").await;
    assert!(matches!(over, NameState::Refused(verdict) if verdict.reason == Reason::NameBudget));
    let asked = u32::try_from(stage(&guard).questions.load(Ordering::SeqCst)).unwrap();
    assert_eq!(asked, OBSERVED_NAMES);
    // What a rule permits has its own budget.
    assert!(matches!(ask("a.wild.example").await, NameState::Virtual(_) | NameState::Missing));
    for local in ["printer.local", "intranet", "host.docker.internal"] {
        assert!(matches!(ask(local).await, NameState::Refused(_)), "{local}");
    }
    let line = log.lines().into_iter().find(|line| line["host"] == "n1.example").unwrap();
    assert_eq!((&line["reason"], &line["file"]), (&"observed".into(), &"--network observe".into()));
}

#[tokio::test]
async fn many_at_once_ask_once() {
    let mut policy = policy();
    policy.dns.names_per_wildcard = 64;
    let served = Served::of(policy).await;
    for _ in 0..40 {
        served.udp.send(&question("a.wild.example.", RecordType::A)).await.unwrap();
    }
    let first = shown(&served.receive().await);
    for _ in 1..40 {
        assert_eq!(shown(&served.receive().await), first);
    }
    assert_eq!(served.questions(), 1);
}

#[tokio::test]
async fn a_full_range_refuses_and_asks_nobody() {
    let mut policy = policy();
    // Six addresses: the five exact names, and one for a name under the wildcard.
    policy.dns.virtual_range = "25.7.0.0/29".parse().unwrap();
    policy.allow.push(host("zz.example", &[443], None));
    let served = Served::of(policy.clone()).await;
    assert_eq!(served.code("a.wild.example.", RecordType::A).await, ResponseCode::NoError);
    let asked = served.questions();
    assert_eq!(asked, 1);
    let answer = shown(&served.ask("b.wild.example.", RecordType::A).await);
    assert!(answer.contains("EDE 15 limit"), "{answer}");

    policy.allow.push(host("zz1.example", &[443], None));
    policy.allow.push(host("zz2.example", &[443], None));
    let served = Served::of(policy).await;
    assert_eq!(served.code("zz1.example.", RecordType::A).await, ResponseCode::NoError);
    for name in ["zz2.example.", "a.wild.example."] {
        let answer = shown(&served.ask(name, RecordType::A).await);
        assert!(answer.contains("EDE 15 limit"), "{name}: {answer}");
    }
    assert_eq!(served.questions(), 0);
}
