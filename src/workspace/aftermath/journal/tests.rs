use super::others::Other;
use super::*;

fn root(path: &str, inode: u64) -> Root {
    let way = vec![Identity { device: 1, inode, born: Some(7) }];
    Root {
        path: Path::new(path).into(),
        way,
        pinned: vec![],
        risky: vec![],
        hooks: vec![],
        signs: None,
        folders: vec![],
        git: vec![],
        trees: vec![],
    }
}

fn journal(roots: Vec<Root>) -> Journal {
    Journal { form: FORM, machine: None, boot: None, engine: String::new(), began: 0, roots }
}

fn id(text: &str) -> WorkflowId {
    text.parse().unwrap()
}

#[test]
fn no_two_runs_have_directories_that_contain_one_another() {
    let other =
        |path, inode| [Other { id: id("0000000a"), lives: true, journal: journal(vec![root(path, inode)]) }];
    for there in ["/p", "/p/a/b", "/"] {
        assert!(apart(&[root("/x", 9), root("/p/a", 1)], &other(there, 2)).is_err(), "{there}");
    }
    for (there, inode) in [("/p/a", 1), ("/p/a", 2), ("/p/ab", 2), ("/q", 2)] {
        assert!(apart(&[root("/p/a", 1)], &other(there, inode)).is_ok(), "{there}");
    }
}

/// A project with a repository, a state folder, and journals of runs in it.
struct World {
    dir: tempfile::TempDir,
    at: PathBuf,
}

const BEFORE: &str = "[core]\n\tbare = false\n[alias]\n\tst = status\n";
const EVIL: &str =
    "[core]\n\tbare = false\n\tsshCommand = evil\n[alias]\n\tst = !evil\n[credential]\n\thelper = evil\n";

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("project");
        fs::create_dir(dir.path().join("aftermath")).unwrap();
        let world = World { dir, at };
        world.repository(BEFORE);
        world
    }

    fn repository(&self, config: &str) {
        for folder in [".git/objects", ".git/refs"] {
            fs::create_dir_all(self.at.join(folder)).unwrap();
        }
        fs::write(self.at.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        self.put(config);
    }

    fn put(&self, config: &str) {
        fs::write(self.at.join(".git/config"), config).unwrap();
    }

    fn config(&self) -> String {
        fs::read_to_string(self.at.join(".git/config")).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("aftermath")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(format!("{name}.{ENDING}"))
    }

    /// Begins a run, as [`Aftermath::begin`] does.
    fn begin(&self, name: &str) -> Aftermath {
        let open: OwnedFd = fs::File::open(&self.at).unwrap().into();
        let found = find(open.as_fd(), Look::default()).unwrap();
        let pins = pins(open.as_fd(), &self.at, &found, &[]).unwrap();
        let mut root = Root {
            path: self.at.as_path().into(),
            way: whereabouts::way_to(&self.at).unwrap(),
            pinned: pins.all.into_values().collect(),
            risky: vec![],
            hooks: vec![],
            signs: None,
            folders: pins.folders,
            git: vec![],
            trees: vec![],
        };
        let (others, _) = others(&self.folder()).unwrap();
        inherit(&mut root, &others);
        let began = others.len() as u64;
        let journal =
            Journal { machine: kernel::machine_id(), boot: kernel::boot_id(), began, ..journal(vec![root]) };
        let path = self.path(name);
        let lock = write(&self.folder(), &path, &journal).unwrap();
        Aftermath { id: id(name), path, journal, roots: vec![open], _lock: lock }
    }

    /// Simulates a run whose supervisor was killed.
    fn killed(&self, name: &str) {
        drop(self.begin(name));
    }

    fn settle(&self, name: &str) -> SettleReport {
        // A child of another test has the lock too, between its start and its own program.
        for _ in 0..500 {
            if let Some(told) = settle_file(&self.path(name), id(name), |_| true).unwrap() {
                return told.told;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the journal stays locked");
    }
}

#[test]
fn a_new_project_in_the_place_of_an_old_one_keeps_its_configuration() {
    let world = World::new();
    world.killed("0000000a");
    world.put(EVIL);
    // The control: the same project is put back.
    let told = world.settle("0000000a");
    assert!(world.config() == BEFORE && told.failures.is_empty(), "{told:?}");
    assert!(!world.path("0000000a").exists());
    // Made anew again and again: sooner or later its inode is the old one's.
    for _ in 0..20 {
        world.killed("0000000b");
        fs::remove_dir_all(&world.at).unwrap();
        world.repository(EVIL);
        let told = world.settle("0000000b");
        assert_eq!(world.config(), EVIL, "what is configured there is the person's");
        let lines = told.put_back().join("\n");
        assert!(lines.contains("another directory is there now") && lines.contains("0000000b"), "{lines}");
        assert!(told.failures.is_empty() && !world.path("0000000b").exists(), "the record ends: {lines}");
    }
    world.killed("0000000c");
    fs::remove_dir_all(&world.at).unwrap();
    let lines = world.settle("0000000c").put_back().join("\n");
    assert!(lines.contains("no such directory") && !world.path("0000000c").exists(), "{lines}");
}

#[test]
fn a_project_that_was_moved_is_put_back_where_it_is() {
    let mut world = World::new();
    world.killed("0000000a");
    world.put(EVIL);
    let moved = world.at.with_file_name("moved");
    fs::rename(&world.at, &moved).unwrap();
    world.repository(EVIL);
    let told = world.settle("0000000a");
    assert_eq!(world.config(), EVIL, "the new one is the person's");
    world.at = moved;
    assert_eq!(world.config(), BEFORE);
    assert!(told.put_back().join("\n").contains("moved"), "{told:?}");
}

#[test]
fn of_two_runs_on_one_directory_the_last_to_end_puts_back() {
    for first_ends_first in [true, false] {
        let world = World::new();
        let first = world.begin("0000000a");
        world.put(EVIL);
        let second = world.begin("0000000b");
        let (early, late) = if first_ends_first { (first, second) } else { (second, first) };
        let left_to = late.id.to_string();
        let lines = early.settle().put_back().join("\n");
        assert!(lines.contains(&left_to) && lines.contains("do NOT run git"), "{lines}");
        assert_eq!(world.config(), EVIL, "the other agent's work goes on");
        let told = late.settle();
        assert!(world.config() == BEFORE && told.failures.is_empty(), "{told:?}");
        assert_eq!(others(&world.folder()).unwrap().0.len(), 0, "no journal stays");
    }
}

#[test]
fn what_a_killed_run_left_is_put_back_by_the_one_that_goes_on() {
    let world = World::new();
    world.killed("0000000a");
    world.put(EVIL);
    let second = world.begin("0000000b");
    let lines = world.settle("0000000a").put_back().join("\n");
    assert!(lines.contains("0000000b") && world.config() == EVIL, "{lines}");
    second.settle();
    assert_eq!(world.config(), BEFORE);
}

#[test]
fn a_damaged_hostile_or_foreign_record_touches_nothing() {
    let world = World::new();
    world.killed("0000000a");
    world.put(EVIL);
    let path = world.path("0000000a");
    let text = fs::read_to_string(&path).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let changed = |pointer: &str, to: serde_json::Value| {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap() = to;
        value.to_string()
    };
    let above = Bytes(b"../outside".to_vec());
    let relative = Bytes(b"project".to_vec());
    for wrong in [
        text[..text.len() / 2].to_owned(),
        String::new(),
        changed("/form", 1.into()),
        changed("/form", (FORM + 1).into()),
        changed("/roots/0/pinned/0/path", serde_json::to_value(above).unwrap()),
        changed("/roots/0/path", serde_json::to_value(relative).unwrap()),
        changed("/roots/0/way", serde_json::json!([])),
        text.replacen("\"form\"", "\"more\":1,\"form\"", 1),
    ] {
        fs::write(&path, &wrong).unwrap();
        let failure = settle_file(&path, id("0000000a"), |_| true).unwrap_err();
        assert!(failure.hint.is_some() && path.exists(), "{failure}");
    }
    fs::write(&path, changed("/machine", "another".into())).unwrap();
    assert!(settle_file(&path, id("0000000a"), |_| true).unwrap().is_none());
    assert!(world.config() == EVIL && path.exists());
    fs::write(&path, &text).unwrap();
    world.settle("0000000a");
    assert_eq!(world.config(), BEFORE, "the control");
}

#[test]
fn what_was_not_seen_whole_ends_the_start() {
    let seen = ScanResult::default();
    assert!(whole(&seen, Path::new("/p")).is_ok());
    let unseen = ScanResult { unseen: vec!["d".to_owned()], ..ScanResult::default() };
    assert!(whole(&unseen, Path::new("/p")).is_err());
}
