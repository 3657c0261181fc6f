//! Volumes that nobody has yet: only such a volume is filled from an image.
//!
//! ```text
//!  made ─▶ untouched ─▶ first creation that has it: the engine may fill it ─▶ never again
//! ```
//! Engines fill a volume as root and by its paths. A program that has the volume could put links
//! there meanwhile. So it counts who made a volume and who got it, and never what is in it. Until
//! the engine has answered a creation, no other creation gets its volumes, and none is removed.
//! Where it never answers, also because `serve` was killed meanwhile, nobody gets those that it may
//! be filling.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::serve::denied::Denied;
use crate::serve::text::shown;

/// Time in which another creation gives a volume back.
const PATIENCE: Duration = Duration::from_secs(60);

/// The volumes that creations and removals hold, and those that no container ever got.
#[derive(Default)]
pub(crate) struct VolumeHolds {
    held: RefCell<BTreeSet<String>>,
    untouched: RefCell<BTreeSet<String>>,
    /// Volumes of creations whose end nobody saw: the engine may be filling them still.
    left: RefCell<BTreeSet<String>>,
    freed: Notify,
}

/// Volumes that one creation or removal holds, until it is dropped.
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
    /// Begins with what an earlier `serve` left.
    pub(crate) fn after(left: BTreeSet<String>) -> VolumeHolds {
        VolumeHolds { left: RefCell::new(left), ..VolumeHolds::default() }
    }

    /// Holds volumes, all of them or none, once nobody else does.
    ///
    /// # Errors
    /// When another creation does not give one back, or nobody saw the end of one.
    pub(crate) async fn hold(self: &Rc<Self>, names: BTreeSet<String>) -> Result<HeldVolumes, Denied> {
        self.refuse_left(&names)?;
        let free = async {
            loop {
                let freed = self.freed.notified();
                if self.first_held(&names).is_none() {
                    return;
                }
                freed.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, free).await;
        self.refuse_left(&names)?;
        if waited.is_err()
            && let Some(name) = self.first_held(&names)
        {
            return Err(filling(&name));
        }
        Ok(self.held_now(names))
    }

    /// Holds a volume that is to be removed, if nobody else does.
    ///
    /// # Errors
    /// When somebody does, or nobody saw the end of its creation.
    pub(crate) fn hold_to_remove(self: &Rc<Self>, name: &str) -> Result<HeldVolumes, Denied> {
        let names = BTreeSet::from([name.to_owned()]);
        self.refuse_left(&names)?;
        match self.first_held(&names) {
            Some(name) => Err(filling(&name)),
            None => Ok(self.held_now(names)),
        }
    }

    /// Holds a volume of a creation whose end nobody saw; none where somebody else holds it.
    pub(crate) fn hold_left(self: &Rc<Self>, name: &str) -> Option<HeldVolumes> {
        let names = BTreeSet::from([name.to_owned()]);
        let is_free = self.left.borrow().contains(name) && self.first_held(&names).is_none();
        is_free.then(|| self.held_now(names))
    }

    fn held_now(self: &Rc<Self>, names: BTreeSet<String>) -> HeldVolumes {
        self.held.borrow_mut().extend(names.iter().cloned());
        HeldVolumes { of: Rc::clone(self), names: RefCell::new(names) }
    }

    fn first_held(&self, names: &BTreeSet<String>) -> Option<String> {
        let held = self.held.borrow();
        names.iter().find(|name| held.contains(*name)).cloned()
    }

    fn refuse_left(&self, names: &BTreeSet<String>) -> Result<(), Denied> {
        let left = self.left.borrow();
        match names.iter().find(|name| left.contains(*name)) {
            Some(name) => Err(unseen(name)),
            None => Ok(()),
        }
    }

    /// Lists the volumes of creations whose end nobody saw.
    pub(crate) fn left(&self) -> BTreeSet<String> {
        self.left.borrow().clone()
    }

    /// Gives up a volume of such a creation, which is not on the engine any more.
    pub(crate) fn give_up(&self, name: &str) {
        self.left.borrow_mut().remove(name);
        self.forget(name);
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

    /// Gives volumes to nobody any more: the engine may be filling them still.
    pub(crate) fn keep(&self, fills: &BTreeSet<String>) {
        self.of.left.borrow_mut().extend(fills.iter().cloned());
    }
}

fn unseen(name: &str) -> Denied {
    let name = shown(name);
    let what = format!(
        "the engine was let fill the volume {name} from an image, and nobody saw the end of that; use \
         another volume. There may be data of yours in this one: save what you need, and remove it then \
         with the real engine: env -u DOCKER_HOST docker --context default volume rm {name}"
    );
    Denied::new(409, what)
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

    #[tokio::test(start_paused = true)]
    async fn a_left_volume_is_looked_for_by_one_at_a_time() {
        let holds = Rc::new(VolumeHolds::after(names(&["v"])));
        assert!(holds.hold_left("other").is_none(), "nobody left it");
        let looking = holds.hold_left("v").unwrap();
        assert!(holds.hold_left("v").is_none());
        holds.give_up("v");
        let began = Instant::now();
        assert!(holds.hold(names(&["v"])).await.is_err(), "it is being looked for");
        assert!(began.elapsed() >= PATIENCE);
        drop(looking);
        assert!(holds.hold_left("v").is_none(), "it was given up");
        assert!(holds.hold(names(&["v"])).await.is_ok());
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
            assert_eq!(holds.hold_to_remove(name).err().unwrap().status, 409);
            let began = Instant::now();
            let refused = holds.hold(names(&["a", name])).await.err().unwrap();
            assert!(refused.status == 409 && refused.message.contains(name), "{refused:?}");
            assert!(began.elapsed() >= PATIENCE);
        }
        // Nothing was held by the one that was refused.
        drop(holds.hold(names(&["a"])).await.unwrap());
        let (waits, gives) = (holds.hold(names(&["drawn", "v"])), async { drop(held) });
        let (next, ()) = tokio::join!(waits, gives);
        drop(next.unwrap());
        // A removal holds a volume as a creation does.
        let goes = holds.hold_to_remove("v").unwrap();
        assert!(holds.hold_to_remove("v").is_err());
        let (waits, gone) = (holds.hold(names(&["v"])), async { drop(goes) });
        assert!(tokio::join!(waits, gone).0.is_ok(), "it is made anew after that");
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_of_a_creation_that_nobody_saw_end_is_given_to_nobody() {
        let holds = Rc::new(VolumeHolds::default());
        let next = holds.hold(names(&["v", "a"])).await.unwrap();
        next.made("v");
        let (waits, never) = (holds.hold(names(&["v"])), async {
            next.keep(&names(&["v"]));
            drop(next);
        });
        let refused = tokio::join!(waits, never).0.err().unwrap();
        assert!(refused.status == 409 && refused.message.contains("nobody saw the end"), "{refused:?}");
        // As it is for the next `serve`, which finds the name on disk.
        for holds in [holds, Rc::new(VolumeHolds::after(names(&["v"])))] {
            let began = Instant::now();
            assert!(holds.hold(names(&["a", "v"])).await.is_err());
            assert!(holds.hold_to_remove("v").is_err());
            assert!(began.elapsed() < PATIENCE, "nobody waits for it");
            assert!(holds.hold(names(&["a"])).await.is_ok(), "the control");
            assert_eq!(holds.left(), names(&["v"]));
            holds.give_up("v");
            let held = holds.hold(names(&["v"])).await.unwrap();
            assert!(!held.is_first("v"), "it is another one by now, and was not made here");
        }
    }
}
