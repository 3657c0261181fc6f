//! One value for each key, made once, also when several ask for it at the same time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::OnceCell;

/// The cell of one key.
type KeyCell<T> = Rc<OnceCell<Rc<T>>>;

/// Values by their keys.
pub(crate) struct OncePerKey<T> {
    cells: RefCell<BTreeMap<String, KeyCell<T>>>,
}

/// A cell that somebody waits for. The last one who gives up takes an empty cell out, and no other.
struct KeyWait<'a, T> {
    of: &'a OncePerKey<T>,
    key: &'a str,
    cell: KeyCell<T>,
}

impl<T> Drop for KeyWait<'_, T> {
    fn drop(&mut self) {
        let mut cells = self.of.cells.borrow_mut();
        let is_there = cells.get(self.key).is_some_and(|cell| Rc::ptr_eq(cell, &self.cell));
        // One is the map's: nobody else waits for this cell.
        if is_there && !self.cell.initialized() && Rc::strong_count(&self.cell) == 2 {
            cells.remove(self.key);
        }
    }
}

impl<T> OncePerKey<T> {
    /// Begins without values.
    pub(crate) fn new() -> OncePerKey<T> {
        OncePerKey { cells: RefCell::default() }
    }

    /// Returns a value that is there.
    pub(crate) fn get(&self, key: &str) -> Option<Rc<T>> {
        self.cells.borrow().get(key).and_then(|cell| cell.get().cloned())
    }

    /// Counts the values that are being made.
    pub(crate) fn in_making(&self) -> usize {
        self.cells.borrow().values().filter(|cell| !cell.initialized()).count()
    }

    /// Puts a value in, unless the key has one.
    pub(crate) fn put(&self, key: &str, value: &Rc<T>) {
        let cell = || Rc::new(OnceCell::new_with(Some(Rc::clone(value))));
        self.cells.borrow_mut().entry(key.to_owned()).or_insert_with(cell);
    }

    /// Takes a value out.
    pub(crate) fn take_out(&self, value: &Rc<T>) {
        let is_it = |cell: &KeyCell<T>| cell.get().is_some_and(|other| Rc::ptr_eq(other, value));
        self.cells.borrow_mut().retain(|_, cell| !is_it(cell));
    }

    /// Returns the value of a key. Where it is not there it is made, by one of those who ask; if
    /// that fails, by the next.
    ///
    /// # Errors
    /// As the making does.
    pub(crate) async fn get_or_make<E, F>(&self, key: &str, make: impl FnOnce() -> F) -> Result<Rc<T>, E>
    where
        F: Future<Output = Result<Rc<T>, E>>,
    {
        let cell = Rc::clone(self.cells.borrow_mut().entry(key.to_owned()).or_default());
        let wait = KeyWait { of: self, key, cell };
        wait.cell.get_or_try_init(make).await.cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn a_failed_making_takes_nobody_elses_along() {
        LocalSet::new()
            .run_until(async {
                let values = Rc::new(OncePerKey::<u8>::new());
                let (go, made) = (Rc::new(Notify::new()), Rc::new(Cell::new(0)));
                let slow = |key: &'static str| {
                    let (values, go, made) = (Rc::clone(&values), Rc::clone(&go), Rc::clone(&made));
                    spawn_local(async move {
                        let make = || async {
                            made.set(made.get() + 1);
                            go.notified().await;
                            Ok::<_, ()>(Rc::new(made.get()))
                        };
                        values.get_or_make(key, make).await.unwrap()
                    })
                };
                let first = slow("shop");
                yield_now().await;
                assert!(values.get_or_make("other", || async { Err::<Rc<u8>, _>("no") }).await.is_err());
                assert_eq!(values.in_making(), 1, "the failed one is gone, and it alone");
                let second = slow("shop");
                yield_now().await;
                go.notify_waiters();
                let (first, second) = (first.await.unwrap(), second.await.unwrap());
                assert!(Rc::ptr_eq(&first, &second), "one value for one key");
                assert_eq!(made.get(), 1);
                assert_eq!((values.in_making(), values.get("shop").is_some()), (0, true));
            })
            .await;
    }

    #[tokio::test]
    async fn who_waits_for_a_making_that_fails_makes_it_in_the_same_cell() {
        LocalSet::new()
            .run_until(async {
                let (values, go) = (Rc::new(OncePerKey::<u8>::new()), Rc::new(Notify::new()));
                let (of_first, its_go) = (Rc::clone(&values), Rc::clone(&go));
                let first = spawn_local(async move {
                    let make = || async {
                        its_go.notified().await;
                        Err::<Rc<u8>, _>("no")
                    };
                    of_first.get_or_make("shop", make).await
                });
                yield_now().await;
                let of_second = Rc::clone(&values);
                let second = spawn_local(async move {
                    of_second.get_or_make("shop", || async { Ok::<_, ()>(Rc::new(7)) }).await
                });
                yield_now().await;
                go.notify_waiters();
                assert!(first.await.unwrap().is_err());
                let second = second.await.unwrap().unwrap();
                let listed = values.get("shop").expect("the next one with this key finds it");
                assert!(Rc::ptr_eq(&listed, &second));
                values.put("shop", &Rc::new(8));
                assert_eq!(values.get("shop").as_deref(), Some(&7), "what is there stays");
                values.take_out(&Rc::new(7));
                assert!(values.get("shop").is_some(), "another of the same worth is another");
                values.take_out(&second);
                assert!(values.get("shop").is_none());
            })
            .await;
    }

    #[tokio::test]
    async fn who_gives_up_leaves_no_empty_cell() {
        let values = OncePerKey::<u8>::new();
        let waiting = values.get_or_make("shop", std::future::pending::<Result<Rc<u8>, ()>>);
        let gave_up = tokio::time::timeout(std::time::Duration::from_millis(1), waiting).await;
        assert!(gave_up.is_err());
        assert_eq!(values.in_making(), 0);
    }
}
