//! Volumes that nobody has yet: only such a volume is filled from an image.
//!
//! ```text
//!  made ─▶ untouched ─▶ first creation that has it: the engine may fill it ─▶ never again
//! ```
//! Engines fill a volume as root and by its paths. A program that has the volume could put links
//! there meanwhile. So it counts who made a volume and who got it, and never what is in it. Until
//! the engine has answered a creation, no other creation gets its volumes.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::serve::denied::Denied;
use crate::serve::text::shown;

/// Time in which another creation gives a volume back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The volumes that creations hold, and those that no container ever got.
#[derive(Default)]
pub(crate) struct VolumeHolds {
    held: RefCell<BTreeSet<String>>,
    untouched: RefCell<BTreeSet<String>>,
    freed: Notify,
}

/// Volumes that one creation holds, until it is dropped.
pub(crate) struct HeldVolumes {
    of: Rc<VolumeHolds>,
    names: RefCell<BTreeSet<String>>,
}

impl Drop for HeldVolumes {
    fn drop(&mut self) {
        let names = self.names.borrow();
        self.of.held.borrow_mut().retain(|name| !names.contains(name));
        self.of.freed.notify_waiters();
    }
}

impl VolumeHolds {
    /// Holds volumes, all of them or none, once nobody else does.
    ///
    /// # Errors
    /// When another creation does not give one back.
    pub(crate) async fn hold(self: &Rc<Self>, names: BTreeSet<String>) -> Result<HeldVolumes, Denied> {
        let free = async {
            loop {
                let freed = self.freed.notified();
                if self.first_held(&names).is_none() {
                    return;
                }
                freed.await;
            }
        };
        if tokio::time::timeout(PATIENCE, free).await.is_err()
            && let Some(name) = self.first_held(&names)
        {
            return Err(filling(&name));
        }
        self.held.borrow_mut().extend(names.iter().cloned());
        Ok(HeldVolumes { of: Rc::clone(self), names: RefCell::new(names) })
    }

    fn first_held(&self, names: &BTreeSet<String>) -> Option<String> {
        let held = self.held.borrow();
        names.iter().find(|name| held.contains(*name)).cloned()
    }

    /// Refuses to remove a volume that a creation holds.
    ///
    /// # Errors
    /// When one does.
    pub(crate) fn may_go(&self, name: &str) -> Result<(), Denied> {
        if self.held.borrow().contains(name) { Err(filling(name)) } else { Ok(()) }
    }

    /// Forgets a volume that is gone.
    pub(crate) fn forget(&self, name: &str) {
        self.untouched.borrow_mut().remove(name);
    }
}

impl HeldVolumes {
    /// Holds one more volume, whose name was drawn.
    pub(crate) fn add(&self, drawn: &str) {
        self.of.held.borrow_mut().insert(drawn.to_owned());
        self.names.borrow_mut().insert(drawn.to_owned());
    }

    /// Notes that a held volume was made just now.
    pub(crate) fn made(&self, name: &str) {
        debug_assert!(self.names.borrow().contains(name), "only what is held is made");
        self.of.untouched.borrow_mut().insert(name.to_owned());
    }

    /// Tells whether no container got a volume yet. The next one to ask is told that one did.
    pub(crate) fn is_first(&self, name: &str) -> bool {
        self.names.borrow().contains(name) && self.of.untouched.borrow_mut().remove(name)
    }

    /// Holds the volumes for as long as this `serve` lives: the engine may be filling them still.
    pub(crate) fn keep(&self) {
        self.names.borrow_mut().clear();
    }
}

fn filling(name: &str) -> Denied {
    let what = format!(
        "the volume {} is being given to another container, and may be filled from its image; try again \
         when that container is there, or use another volume",
        shown(name)
    );
    Denied::new(409, what)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_volume_is_filled_for_the_first_container_alone() {
        let holds = Rc::new(VolumeHolds::default());
        let made = holds.hold(names(&["v"])).await.unwrap();
        made.made("v");
        drop(made);
        let first = holds.hold(names(&["v", "old"])).await.unwrap();
        assert!(!first.is_first("old"), "nobody knows who had it");
        assert!(first.is_first("v"));
        assert!(!first.is_first("v"), "another place of the same volume");
        first.add("drawn");
        first.made("drawn");
        assert!(first.is_first("drawn"));
        drop(first);
        assert!(!holds.hold(names(&["v"])).await.unwrap().is_first("v"), "the first one failed, or has it");
        let again = holds.hold(names(&["v"])).await.unwrap();
        again.made("v");
        holds.forget("v");
        assert!(!again.is_first("v"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_volume_is_given_to_nobody_until_it_is_free() {
        let holds = Rc::new(VolumeHolds::default());
        let held = holds.hold(names(&["v"])).await.unwrap();
        held.add("drawn");
        for name in ["v", "drawn"] {
            assert_eq!(holds.may_go(name).unwrap_err().status, 409);
            let began = Instant::now();
            let refused = holds.hold(names(&["a", name])).await.err().unwrap();
            assert!(refused.status == 409 && refused.message.contains(name), "{refused:?}");
            assert!(began.elapsed() >= PATIENCE);
        }
        // Nothing was held by the one that was refused.
        drop(holds.hold(names(&["a"])).await.unwrap());
        let (waits, gives) = (holds.hold(names(&["drawn", "v"])), async { drop(held) });
        let (next, ()) = tokio::join!(waits, gives);
        let next = next.unwrap();
        next.keep();
        drop(next);
        assert!(holds.hold(names(&["v"])).await.is_err(), "the engine never answered");
    }
}
