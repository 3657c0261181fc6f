//! Work of clients that goes on to its end when they go away: so much at once, and none that begins
//! while `serve` ends.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::state::Serving;
use crate::serve::denied::Denied;

/// Works at once. Further clients wait, and one that goes away waits no more.
const MOST: usize = 64;

/// The works that are under way.
pub(crate) struct ClientWork {
    room: Arc<Semaphore>,
    count: watch::Sender<usize>,
}

/// A work that is under way, until it is dropped.
pub(crate) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl ClientWork {
    /// Begins without work.
    pub(crate) fn new() -> ClientWork {
        ClientWork { room: Arc::new(Semaphore::new(MOST)), count: watch::Sender::new(0) }
    }

    /// Counts work of ringfence's own that has to come to its end.
    pub(crate) fn begin(&self) -> UnderWay {
        self.count.send_modify(|count| *count += 1);
        UnderWay(self.count.clone())
    }

    /// Lets no client begin any more.
    pub(crate) fn close(&self) {
        self.room.close();
    }

    /// Waits until nothing is under way.
    pub(crate) async fn done(&self) {
        let mut count = self.count.subscribe();
        // Its sender is this value's, so that the wait ends with the last of them.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    /// Does work to its end, also when the caller's client goes away. One that goes away before
    /// there is room takes its wish along.
    ///
    /// # Errors
    /// When `serve` ends, or as the work does.
    pub(crate) async fn to_its_end<T: 'static>(
        &self,
        work: impl Future<Output = Result<T, Denied>> + 'static,
    ) -> Result<T, Denied> {
        let ending = || Denied::new(503, "`ringfence serve` is ending; ask the next one");
        let place = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ending())?;
        let under_way = self.begin();
        let working = tokio::task::spawn_local(async move {
            let done = work.await;
            drop((place, under_way));
            done
        });
        working.await.unwrap_or_else(|_| Err(Denied::new(500, "the work was ended")))
    }
}

impl Serving {
    /// Does work of a client's to its end.
    ///
    /// # Errors
    /// When `serve` ends, or as the work does.
    pub(crate) async fn to_its_end<T: 'static, F>(
        self: &Rc<Self>,
        work: impl FnOnce(Rc<Serving>) -> F,
    ) -> Result<T, Denied>
    where
        F: Future<Output = Result<T, Denied>> + 'static,
    {
        self.work.to_its_end(work(Rc::clone(self))).await
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::sync::Notify;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn work_goes_on_without_its_client_and_no_more_begins_than_there_is_room() {
        LocalSet::new()
            .run_until(async {
                let (work, go, begun) =
                    (Rc::new(ClientWork::new()), Rc::new(Notify::new()), Rc::new(Cell::new(0)));
                let client = || {
                    let (work, go, begun) = (Rc::clone(&work), Rc::clone(&go), Rc::clone(&begun));
                    spawn_local(async move {
                        let doing = async move {
                            begun.set(begun.get() + 1);
                            go.notified().await;
                            Ok(())
                        };
                        work.to_its_end(doing).await
                    })
                };
                let clients: Vec<_> = (0..MOST * 3).map(|_| client()).collect();
                for _ in 0..MOST * 9 {
                    yield_now().await;
                }
                assert_eq!(begun.get(), MOST);
                // All of them go away: what has begun goes on, and nothing else begins.
                clients.iter().for_each(tokio::task::JoinHandle::abort);
                for client in clients {
                    assert!(client.await.is_err());
                }
                assert_eq!((begun.get(), *work.count.borrow()), (MOST, MOST));
                work.close();
                assert_eq!(client().await.unwrap().unwrap_err().status, 503, "serve ends");
                go.notify_waiters();
                work.done().await;
                assert_eq!((begun.get(), *work.count.borrow()), (MOST, 0));
            })
            .await;
    }
}
