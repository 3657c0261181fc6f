use clap::CommandFactory;

use super::*;
use crate::cli::Cli;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/from-docker.md");
const BEFORE: &str = "<!-- The table is made of src/cli/docker/table.rs; a test compares. -->\n";

/// Returns the options of `ringfence run`, hidden ones included: names and letters.
fn own() -> (Vec<String>, Vec<char>) {
    let mut command = Cli::command();
    command.build();
    let run = command.find_subcommand("run").unwrap();
    let longs = run.get_arguments().flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default());
    let aliases = run.get_arguments().flat_map(|arg| arg.get_all_aliases().unwrap_or_default());
    let shorts = run.get_arguments().filter_map(clap::Arg::get_short).collect();
    (longs.chain(aliases).map(str::to_owned).collect(), shorts)
}

#[test]
fn each_option_of_dockers_is_what_the_table_says() {
    let (longs, shorts) = own();
    for flag in FLAGS {
        let is_own = longs.iter().any(|long| long == flag.long);
        match flag.answer {
            Support::Same(_) | Support::NoEffect(_) => {
                assert!(is_own, "--{}: no option of ringfence's", flag.long);
                assert!(flag.short.is_none_or(|short| shorts.contains(&short)), "{}", flag.shown());
            }
            Support::Other(words) => {
                assert!(!is_own, "--{}: ringfence has it", flag.long);
                assert!(!flag.short.is_some_and(|short| shorts.contains(&short)), "{}", flag.shown());
                assert!(words.len() > 10, "{}: {words}", flag.long);
            }
        }
        assert_eq!(FLAGS.iter().filter(|other| other.long == flag.long).count(), 1, "{}", flag.long);
    }
}

#[test]
fn an_option_is_found_however_it_is_typed() {
    for (word, long) in
        [("--publish", "publish"), ("--publish=80", "publish"), ("-p", "publish"), ("-p8080:80", "publish")]
    {
        assert_eq!(flag_of(word).unwrap().long, long, "{word}");
    }
    for word in ["--publish-", "--", "-", "", "image", "--no-such", "-z"] {
        assert!(flag_of(word).is_none(), "{word}");
    }
}

#[test]
fn the_page_is_the_table() {
    let text = std::fs::read_to_string(PAGE).unwrap();
    let (head, shown) = text.split_once(BEFORE).expect("the page has its mark");
    let mut table = "| `docker run` | `ringfence run` |\n|---|---|\n".to_owned();
    for flag in FLAGS {
        let typed = format!("--{}", flag.long);
        let typed = flag.short.map_or(format!("`{typed}`"), |short| format!("`{typed}`, `-{short}`"));
        let cell = match flag.answer {
            Support::Same("") => "the same".to_owned(),
            Support::Same(but) => format!("the same; {but}"),
            Support::NoEffect(why) => format!("changes nothing, which is reported: {why}"),
            Support::Other(words) => format!("refused: {words}"),
        };
        table.push_str(&format!("| {typed} | {cell} |\n"));
    }
    if std::env::var_os("RINGFENCE_UPDATE").is_some() {
        std::fs::write(PAGE, format!("{head}{BEFORE}{table}")).unwrap();
        return;
    }
    assert!(shown == table, "run the tests with RINGFENCE_UPDATE=1 to write the table anew");
}
