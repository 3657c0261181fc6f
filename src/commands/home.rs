//! `ringfence home`: the homes that runs keep.

use serde::Serialize;

use crate::host::clock::unix_seconds;
use crate::supervisor::engine;
use crate::supervisor::inventory::homes::remove_home;
use crate::supervisor::records::homes::{self, HeldHome, HomeRecord};
use crate::supervisor::spec::home::HomeOwner;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{HomeName, UnixTime};

const TITLES: [&str; 5] = ["NAME", "STATE", "LAST USE", "IMAGE", "PROJECT"];

/// Row of a home, for programs.
#[derive(Serialize)]
struct HomeRow {
    name: HomeName,
    in_use: bool,
    #[serde(flatten)]
    owner: HomeOwner,
    engine: String,
    volume: String,
    created_at: UnixTime,
    last_use: Option<UnixTime>,
}

impl HomeRow {
    fn of((record, in_use): (HomeRecord, bool)) -> HomeRow {
        HomeRow {
            volume: record.identity.volume(),
            name: record.identity.name,
            in_use,
            owner: record.identity.owner,
            engine: record.engine,
            created_at: record.identity.created_at,
            last_use: record.last.map(|last| last.at),
        }
    }

    fn cells(&self, now: u64) -> [String; 5] {
        [
            self.name.to_string(),
            if self.in_use { "in use" } else { "free" }.to_owned(),
            self.last_use
                .map_or("-".to_owned(), |at| format!("{} ago", super::ps::short(now.saturating_sub(at.0)))),
            self.owner.image.clone(),
            self.owner.project.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

/// Lists the homes of this machine. No engine is asked.
pub(crate) fn ls(json: bool) -> Result<u8, Failure> {
    let rows: Vec<HomeRow> = homes::all()?.into_iter().map(HomeRow::of).collect();
    if json {
        crate::term::print_json(&rows)?;
    } else {
        crate::term::print(&table(&rows, unix_seconds()))?;
    }
    Ok(0)
}

fn table(rows: &[HomeRow], now: u64) -> String {
    let rows: Vec<[String; 5]> =
        std::iter::once(TITLES.map(str::to_owned)).chain(rows.iter().map(|row| row.cells(now))).collect();
    super::ps::aligned(&rows)
}

/// Removes homes; their names on stdout. One that cannot be removed keeps nobody from the others.
pub(crate) async fn rm(engine_host: Option<&str>, names: &[String]) -> Result<u8, Failure> {
    // All words are understood before the first home is touched.
    let names = names.iter().map(|text| home_name(text)).collect::<Result<Vec<_>, _>>()?;
    let engine = engine::connect(engine_host).await?;
    let mut failures = Vec::new();
    for name in names {
        let removed = match HeldHome::of_removal(&name) {
            Ok(Some(held)) => remove_home(&engine, held).await,
            Ok(None) => Err(Failure::new(COULD_NOT_RUN, format!("this machine has no home `{name}`"))
                .hint("`ringfence home ls` lists them")),
            Err(failure) => Err(failure),
        };
        match removed {
            Ok(()) => crate::term::print(&format!("{name}\n"))?,
            Err(failure) => failures.push(failure),
        }
    }
    super::all_or_last(failures)
}

/// Reads a home's name.
pub(crate) fn home_name(text: &str) -> Result<HomeName, Failure> {
    text.parse().map_err(|_| {
        Failure::new(COULD_NOT_RUN, format!("{text:?} cannot be a home's name"))
            .hint("use at most 63 letters, digits, `-`, `_` and `.`, beginning with a letter or digit")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_listed_with_what_it_belongs_to() {
        let row = |name: &str, in_use, project: Option<&str>, last_use| HomeRow {
            name: name.parse().unwrap(),
            in_use,
            owner: HomeOwner {
                project: project.map(str::to_owned),
                image: "docker.io/library/agent".to_owned(),
            },
            engine: "unix:///e".to_owned(),
            volume: format!("ringfence-home-{name}"),
            created_at: UnixTime(1),
            last_use,
        };
        let rows =
            [row("play", false, None, None), row("work", true, Some("/src/app"), Some(UnixTime(1000)))];
        insta::assert_snapshot!(table(&rows, 8300), @r"
        NAME  STATE   LAST USE  IMAGE                    PROJECT
        play  free    -         docker.io/library/agent  -
        work  in use  2h ago    docker.io/library/agent  /src/app
        ");
    }

    #[test]
    fn a_name_becomes_no_path() {
        for bad in ["", "..", ".x", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(home_name(bad).is_err(), "{bad:?}");
        }
        for good in ["work", "a.b-c_1"] {
            assert_eq!(home_name(good).unwrap().as_ref(), good);
        }
    }
}
