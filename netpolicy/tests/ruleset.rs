//! The fence's rules: their JSON is kept as a snapshot, and where nft and root are at hand the kernel's
//! reading of it must equal that of the ruleset in words.

use netpolicy::ruleset::{FencePlan, Permit, netdev_ruleset, ruleset};

fn plan() -> FencePlan {
    FencePlan {
        own: "10.9.8.7".parse().unwrap(),
        permits: vec![
            Permit { range: "25.0.0.0/16".parse().unwrap(), port: 443 },
            Permit { range: "25.0.0.1/32".parse().unwrap(), port: 443 },
            Permit { range: "25.0.0.1/32".parse().unwrap(), port: 22 },
        ],
        links: vec!["eth0".into(), "eth1".into()],
    }
}

#[test]
fn as_data() {
    insta::assert_json_snapshot!("inet_and_arp", ruleset(&plan()));
    insta::assert_json_snapshot!("netdev", netdev_ruleset(&plan()));
}

#[test]
fn every_refusal_is_logged_before_it_is_refused() {
    let json = ruleset(&plan()).to_json().unwrap();
    let log = json.find(r#""log":{"group":5}"#).unwrap();
    let first_reject = json.find(r#""reject""#).unwrap();
    assert!(log < first_reject, "{json}");
}

#[test]
fn no_permit_leaves_an_empty_set() {
    let json = ruleset(&FencePlan { permits: Vec::new(), ..plan() }).to_json().unwrap();
    assert!(!json.contains("\"elem\""), "{json}");
}
