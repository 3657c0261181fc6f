//! go: modules come through the proxy, whatever their own hosts are. Its environment is not looked
//! at.

use super::collector::Collector;

pub(super) fn read(name: &str, text: &str, found: &mut Collector) {
    let mut block = false;
    let mut modules = false;
    for line in text.lines().map(|line| line.split("//").next().unwrap_or(line).trim()) {
        let mut words = line.split_whitespace();
        match (name, words.next()) {
            ("go.sum", Some(_)) => modules |= line.contains(" h1:"),
            (_, Some("require")) => {
                block = line.ends_with('(');
                modules |= !block && words.count() >= 2;
            }
            (_, Some("toolchain")) => modules |= words.next().is_some_and(|name| name != "default"),
            (_, Some(")")) => block = false,
            (_, Some(_)) => modules |= block && words.next().is_some_and(|version| version.starts_with('v')),
            (_, None) => {}
        }
    }
    if modules {
        found.default_of("go");
    }
}
