//! Bytes of chance, and bent good ones: they are read in time and in bounds, or refused.

use std::{fs, io};

use super::super::attributes::{Attributes, Converting};
use super::super::delta;
use super::super::object::{self, Form, Kind};
use super::super::pack::{At, Pack};
use super::super::store::{self, Budget};
use super::{World, pack_index};

impl At for Vec<u8> {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |offset| offset.min(self.len()));
        let length = into.len().min(self.len() - start);
        into[..length].copy_from_slice(&self[start..start + length]);
        Ok(length)
    }
}

/// Makes a repository with a pack of a few small objects, one of them a delta, and the names of
/// all.
fn packed() -> (World, Vec<String>) {
    let world = World::with_repository(&[]);
    let text: String = (0..40).map(|number| format!("line {number}\n")).collect();
    world.put("one", &text);
    world.commit();
    world.put("one", text + "more\n");
    world.commit();
    world.git(&["repack", "-a", "-d", "-f", "--quiet"]);
    let listed = world.git(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]);
    (world, listed.lines().map(str::to_owned).collect())
}

#[test]
fn fuzz_packs_are_read_or_refused() {
    let (world, names) = packed();
    let index = pack_index(&world);
    let (index, pack) = (fs::read(&index).unwrap(), fs::read(index.with_extension("pack")).unwrap());
    let names: Vec<_> = names.iter().map(|name| Form::Sha1.parse(name.as_bytes()).unwrap()).collect();
    let look = |index: Vec<u8>, pack: Vec<u8>| {
        let pack = Pack { index, pack, form: Form::Sha1 };
        let mut budget = Budget(1 << 24);
        let read = |name| pack.find(name).ok()?.map(|place| pack.object(place, 1 << 16, &mut budget));
        names.iter().filter_map(read).flatten().filter(|(_, content)| content.len() <= 1 << 16).count()
    };
    assert_eq!(look(index.clone(), pack.clone()), names.len(), "the good one is read whole");
    let words: [&[u8]; 4] = [b"PACK", b"\xfftOc", b"\x78\x9c", b"\xff\xff\xff\xff"];
    ::fuzz::run("a pack", &::fuzz::bytes(vec![pack.clone()], &words, 4000), |bytes| {
        look(index.clone(), bytes.0);
        Ok(())
    });
    ::fuzz::run("a pack's index", &::fuzz::bytes(vec![index], &words, 4000), |bytes| {
        look(bytes.0, pack.clone());
        Ok(())
    });
}

#[test]
fn fuzz_deltas_make_what_they_say_or_are_refused() {
    let base: Vec<u8> = (0..200).collect();
    // Twenty bytes from the tenth, two new ones, and all.
    let good = [&b"\xc8\x01\xde\x01\x91\x0a\x14\x02ab"[..], b"\x90\xc8"].concat();
    assert_eq!(delta::apply(&base, &good).unwrap().len(), 222);
    ::fuzz::run("a delta", &::fuzz::bytes(vec![good], &[b"\x80", b"\xff\xff\xff\xff\xff"], 100), |bytes| {
        if let (Ok((_, to)), Ok(made)) = (delta::sizes(&bytes.0), delta::apply(&base, &bytes.0)) {
            assert_eq!(made.len(), to);
        }
        Ok(())
    });
}

#[test]
fn fuzz_loose_objects_and_trees_are_read_or_refused() {
    let (world, _) = packed();
    world.put("two", "x");
    world.git(&["add", "two"]);
    let id = world.git(&["rev-parse", ":two"]);
    let good = fs::read(world.at(&format!(".git/objects/{}/{}", &id[..2], &id[2..]))).unwrap();
    assert_eq!(store::loose(good.as_slice(), 100).unwrap(), (Kind::Blob, b"x".to_vec()));
    ::fuzz::run("a loose object", &::fuzz::bytes(vec![good], &[b"blob ", b"\0"], 200), |bytes| {
        if let Ok((_, content)) = store::loose(bytes.0.as_slice(), 100) {
            assert!(content.len() <= 100);
        }
        Ok(())
    });
    let tree = world.bytes(&["cat-file", "tree", "HEAD^{tree}"]);
    assert!(object::find(&tree, b"one", Form::Sha1).unwrap().is_some());
    ::fuzz::run("a tree", &::fuzz::bytes(vec![tree], &[b"100644 one\0", b"40000 "], 400), |bytes| {
        let _ = object::find(&bytes.0, b"one", Form::Sha1);
        let _ = object::tree_of(&bytes.0, Form::Sha1);
        Ok(())
    });
}

#[test]
fn fuzz_attributes_are_read_in_time() {
    let seeds = [
        "*.env filter=x -text\n[attr]m filter\n",
        "\"a\\303\" m\n/a/**/b -filter !ident\n",
        "a[a-z]?*b m\n",
        "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b m\n**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b m\n",
    ];
    let seeds = seeds.map(|text| text.as_bytes().to_vec()).to_vec();
    let words: [&[u8]; 6] = [b"filter", b"**/", b"*a", b"[attr]", b"\"", b" -"];
    let path = [b"a/".repeat(500), b"a".repeat(200)].concat();
    ::fuzz::run("attributes", &::fuzz::bytes(seeds, &words, 2000), |bytes| {
        let file = Attributes { folder: Vec::new(), text: bytes.0 };
        let _ = Converting::of([&file].into_iter()).convert(&file, &path);
        Ok(())
    });
}
