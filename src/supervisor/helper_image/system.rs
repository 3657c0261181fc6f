//! Programs and libraries of this machine, as far as they are root's: what goes into the helper
//! image has power over the fence.
//!
//! ```text
//!  name ─▶ fixed directories ─▶ root's, and so are all folders above? ─▶ path
//!                                                │
//!                     PT_INTERP of it ─▶ loader, root's ─▶ `loader --list`, no environment ─▶ libraries, root's
//! ```
//!
//! Nothing is looked for by `PATH`, `LD_LIBRARY_PATH` or a working directory: an agent can write a
//! program into its project, and a person who starts ringfence by `npm run` or from an activated
//! environment has such folders in front.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{FileKind, ReadCache};
use object::{Endianness, elf};

use super::VARIABLE;
use crate::host::owners::Owners;
use crate::term::{COULD_NOT_RUN, Failure};

/// Directories with a system's programs.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];
const ROOT: u32 = 0;

/// Finds a program of the system.
pub(crate) fn program(name: &str) -> Result<PathBuf, Failure> {
    find(name, &DIRECTORIES.map(Path::new), ROOT)
}

fn find(name: &str, directories: &[&Path], owner: u32) -> Result<PathBuf, Failure> {
    let mut refused = Vec::new();
    for path in directories.iter().map(|directory| directory.join(name)) {
        if path.symlink_metadata().is_err() {
            continue;
        }
        match check(&path, owner) {
            Ok(()) => return Ok(path),
            Err(why) => refused.push(format!("{}: {why}", path.display())),
        }
    }
    let message = if refused.is_empty() {
        format!("the program `{name}` is in none of {}", DIRECTORIES.join(", "))
    } else {
        format!("the program `{name}` could be replaced by others than root")
    };
    let mut failure = Failure::new(COULD_NOT_RUN, message);
    failure.causes = refused;
    Err(failure.hint(elsewhere()))
}

/// Returns the advice for a system that keeps its programs elsewhere, or lets others write them.
fn elsewhere() -> String {
    format!(
        "the helper image is made of the system's own files only; elsewhere, `ringfence helper-image --output FILE` on a \
         Linux machine of the same architecture makes one, and {VARIABLE}=FILE has it used here"
    )
}

/// Checks that the file and the folders above it are `owner`'s, and that nobody else may write
/// them.
fn check(path: &Path, owner: u32) -> Result<(), String> {
    Owners::strict(&[owner]).open_file(path).map(drop)
}

/// Prepares the system's program, with nothing of the caller's surroundings.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    // A library path may have an empty part, which is the working directory.
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command
}

/// Lists the shared libraries of an executable, loader included.
///
/// The loader itself is asked, as it is the one that will look for them: it alone knows its cache,
/// its directories and the executable's own search path. It runs nothing of the executable.
pub(super) fn libraries(program: &Path) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |why: String| {
        let mut failure =
            Failure::new(COULD_NOT_RUN, format!("cannot list the libraries of {}", program.display()));
        failure.causes.push(why);
        failure.hint(elsewhere())
    };
    let root = |path: &Path| check(path, ROOT).map_err(|why| cannot(format!("{}: {why}", path.display())));
    let Some(loader) = interpreter(program).map_err(cannot)? else { return Ok(Vec::new()) };
    root(&loader)?;
    let output = command(&loader)
        .arg("--list")
        .arg(program)
        .output()
        .map_err(|error| cannot(format!("{}: {error}", loader.display())))?;
    let mut found = parse(&String::from_utf8_lossy(&output.stdout))
        .map_err(|name| cannot(format!("{name} is not found")))?;
    if !output.status.success() {
        return Err(cannot(format!(
            "{}: {}",
            loader.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    found.push(loader);
    found.iter().try_for_each(|path| root(path))?;
    Ok(found)
}

/// Returns the loader that an executable names; none for a static one.
fn interpreter(program: &Path) -> Result<Option<PathBuf>, String> {
    let file = File::open(program).map_err(|error| error.to_string())?;
    let data = ReadCache::new(file);
    let named = match FileKind::parse(&data) {
        Ok(FileKind::Elf64) => named::<elf::FileHeader64<Endianness>>(&data),
        Ok(FileKind::Elf32) => named::<elf::FileHeader32<Endianness>>(&data),
        _ => return Err("it is no ELF program".to_owned()),
    };
    let Some(path) = named.map_err(|error| error.to_string())? else { return Ok(None) };
    let path = String::from_utf8(path).map(PathBuf::from).map_err(|error| error.to_string())?;
    if path.is_absolute() { Ok(Some(path)) } else { Err(format!("it names the loader {}", path.display())) }
}

fn named<Header: FileHeader<Endian = Endianness>>(data: &ReadCache<File>) -> object::Result<Option<Vec<u8>>> {
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    for part in header.program_headers(endian, data)? {
        if let Some(path) = part.interpreter(endian, data)? {
            return Ok(Some(path.to_vec()));
        }
    }
    Ok(None)
}

/// Reads `libx.so.1 => /lib/libx.so.1 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`; the vdso has no
/// file. The error is a missing name.
fn parse(text: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let (name, place) = line.split_once(" => ").unwrap_or(("", line));
        if place.starts_with("not found") {
            return Err(name.to_owned());
        }
        if let Some(path) = place.split_whitespace().next().filter(|path| path.starts_with('/')) {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn folder(above: &Path, name: &str, mode: u32) -> PathBuf {
        let path = above.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_program_that_others_can_write_is_not_taken_and_the_next_one_is() {
        let above = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let [open, shared, good] = [("open", 0o777), ("shared", 0o755), ("good", 0o755)]
            .map(|(name, mode)| folder(above.path(), name, mode));
        file(&open, "nft", 0o755);
        file(&shared, "nft", 0o775);
        let taken = file(&good, "nft", 0o755);
        let find = |folders: &[&Path], owner| super::find("nft", folders, owner);

        assert_eq!(find(&[&open, &shared, &good], own).unwrap(), taken);
        let failure = find(&[&open, &shared], own).unwrap_err();
        assert_eq!(failure.message, "the program `nft` could be replaced by others than root");
        assert!(failure.causes[0].contains("others than its owner can replace it"), "{:?}", failure.causes);
        assert!(failure.causes[1].contains("others than its owner can write it"), "{:?}", failure.causes);
        assert!(failure.hint.unwrap().contains("RINGFENCE_HELPER_IMAGE=FILE"));
        // A good one that belongs to somebody else, and a link out of a good folder into one that
        // is not.
        assert!(find(&[&good], own + 1).is_err());
        let linked = folder(above.path(), "linked", 0o755);
        file(&open, "other", 0o755);
        symlink(open.join("other"), linked.join("nft")).unwrap();
        assert!(find(&[&linked], own).unwrap_err().causes[0].contains("can replace it"));

        let failure = find(&[above.path()], own).unwrap_err();
        assert!(failure.message.starts_with("the program `nft` is in none of /usr/sbin"), "{failure}");
        assert!(failure.causes.is_empty());
    }

    #[test]
    fn libraries_are_read_from_what_a_loader_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(parse(text), Ok(["/lib/x/libc.so.6", "/lib64/ld.so.2"].map(PathBuf::from).to_vec()));
        assert_eq!(parse("\tliby.so => not found\n"), Err("liby.so".to_owned()));
    }

    #[test]
    fn the_loader_of_a_program_is_read_from_it_and_a_script_has_none() {
        let own = std::env::current_exe().unwrap();
        let loader = interpreter(&own).unwrap().expect("tests are linked dynamically");
        let libraries = libraries(&own).unwrap();
        assert!(libraries.contains(&loader), "{libraries:?}");
        assert!(libraries.iter().any(|path| path.to_string_lossy().contains("/libc.")), "{libraries:?}");
        let dir = tempfile::tempdir().unwrap();
        let script = file(dir.path(), "script", 0o755);
        assert_eq!(interpreter(&script), Err("it is no ELF program".to_owned()));
    }
}
