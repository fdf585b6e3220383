//! The layout of the tables in force, in a thread of its own: it refers to the policy it was made of.

use std::{sync::Arc, sync::mpsc, thread};

use ipnet::IpNet;

use crate::{
    compile::members::{Change, Layout, Start, TooMuch},
    policy::{members::Deltas, model::Policy},
};

struct Asked {
    deltas: Deltas,
    regions: Vec<IpNet>,
    answer: mpsc::SyncSender<Result<Change, TooMuch>>,
}

/// Works out what changes of groups mean for one generation's tables. Ends with its last handle.
#[derive(Debug, Clone)]
pub struct Layouts(mpsc::Sender<Asked>);

impl Layouts {
    /// For tables that were compiled from `policy` and its run-time members.
    pub fn start(policy: Arc<Policy>, start: Start) -> Option<Self> {
        let (sender, asked) = mpsc::channel::<Asked>();
        let work = move || {
            let Ok(mut layout) = Layout::new(&policy, start) else { return };
            for Asked { deltas, regions, answer } in asked {
                let change = layout.change(&deltas, &regions);
                let over = change.is_err();
                // Nobody waits any more if this fails.
                let _ = answer.send(change);
                if over {
                    return;
                }
            }
        };
        thread::Builder::new().name("layout".into()).spawn(work).ok().map(|_| Self(sender))
    }

    /// See [`Layout::change`].
    ///
    /// # Errors
    /// It has to be compiled anew.
    pub fn change(&self, deltas: Deltas, regions: Vec<IpNet>) -> Result<Change, TooMuch> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.0.send(Asked { deltas, regions, answer }).map_err(|_| TooMuch)?;
        answered.recv().map_err(|_| TooMuch)?
    }
}
