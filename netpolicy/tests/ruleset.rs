//! The fence's rules: their JSON is kept as a snapshot, and where nft and root are at hand the kernel's
//! reading of it must equal that of the ruleset in words.

use netpolicy::ruleset::{ConnectionBounds, Cut, FencePlan, Permit, Ruleset, netdev_ruleset, ruleset};

fn plan() -> FencePlan {
    FencePlan {
        own: "10.9.8.7".parse().expect("good"),
        permits: vec![
            Permit::on("25.0.0.0/16".parse().expect("good"), 443),
            Permit::on("25.0.0.1/32".parse().expect("good"), 443),
            Permit::on("25.0.0.1/32".parse().expect("good"), 22),
        ],
        links: vec!["eth0".into(), "eth1".into()],
        cut: Cut::Nothing,
        connections: ConnectionBounds::MOST,
    }
}

/// One command a line.
fn lines(ruleset: &Ruleset) -> String {
    let value: serde_json::Value = serde_json::to_value(ruleset).expect("JSON");
    let commands = value["nftables"].as_array().expect("a list").iter();
    commands.map(|command| format!("{command}\n")).collect()
}

#[test]
fn as_data() {
    insta::assert_snapshot!("inet_and_arp", lines(&ruleset(&plan())));
    insta::assert_snapshot!("netdev", lines(&netdev_ruleset(&plan())));
}

#[test]
fn every_refusal_is_logged_before_it_is_refused() {
    let json = ruleset(&plan()).to_json().unwrap();
    let log = json.find(r#""log":{"group":5}"#).unwrap();
    let first_reject = json.find(r#""reject""#).unwrap();
    assert!(log < first_reject, "{json}");
}

#[test]
fn what_is_cut_as_data() {
    let only = Cut::Only(vec!["25.0.0.1".parse().expect("good"), "25.0.0.7".parse().expect("good")]);
    for (name, cut) in [("cut_all", Cut::All), ("cut_only", only)] {
        let all = lines(&ruleset(&FencePlan { cut, ..plan() }));
        let without = lines(&ruleset(&plan()));
        let more: String =
            all.lines().filter(|line| !without.contains(line)).map(|line| format!("{line}\n")).collect();
        insta::assert_snapshot!(name, more);
    }
    let nothing = FencePlan { cut: Cut::Only(Vec::new()), ..plan() };
    assert_eq!(ruleset(&nothing), ruleset(&plan()));
}

#[test]
fn no_permit_leaves_an_empty_set() {
    let json = ruleset(&FencePlan { permits: Vec::new(), ..plan() }).to_json().unwrap();
    assert!(!json.contains("\"elem\""), "{json}");
}

/// The ruleset in words; what the kernel makes of both must be the same. Needs root and nft.
const IN_WORDS: &str = include_str!("fence.nft");

#[test]
fn loads_as_the_rules_in_words() {
    let listed = |script: &str, input: &str| -> Option<Vec<String>> {
        use std::io::Write;
        let mut child = std::process::Command::new("unshare")
            .args(["-n", "sh", "-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(input.as_bytes()).ok()?;
        let output = child.wait_with_output().ok()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("not permitted") || errors.contains("not found") {
            return None;
        }
        assert!(output.status.success(), "{errors}");
        Some(chains(&String::from_utf8_lossy(&output.stdout)))
    };
    let plan = FencePlan { links: vec!["eth0".into()], ..plan() };
    let Some(words) = listed("nft -f - && nft list ruleset", IN_WORDS) else {
        eprintln!("left out: needs root, unshare and nft");
        return;
    };
    let json = ruleset(&plan).to_json().unwrap();
    let netdev = netdev_ruleset(&plan).to_json().unwrap();
    // Loaded twice: a ruleset replaces itself whole.
    let script = format!(
        "cat > /dev/null; nft -j -f - <<'E' && nft -j -f - <<'E' && nft -j -f - <<'E' && nft list ruleset\n{json}\nE\n{json}\nE\n{netdev}\nE\n"
    );
    assert_eq!(listed(&script, "").unwrap(), words);
}

/// The blocks of a listing, sorted: the order of chains says nothing.
fn chains(listing: &str) -> Vec<String> {
    let mut table = String::new();
    let mut blocks = vec![String::new()];
    for line in listing.lines() {
        if line.starts_with("table") {
            table = line.to_owned();
            continue;
        }
        if line.trim_start().starts_with("chain") || line.trim_start().starts_with("set") {
            blocks.push(table.clone());
        }
        if let (Some(block), false) = (blocks.last_mut(), line.trim().is_empty() || line == "}") {
            block.push('\n');
            block.push_str(line.trim());
        }
    }
    blocks.retain(|block| block.contains("chain") || block.contains("set "));
    blocks.sort();
    blocks
}
