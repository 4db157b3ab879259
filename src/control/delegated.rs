//! A planned switch where Sentinels are in charge: they are asked for it, and choose the node themselves.
//!
//! Used by [`super::promoting`]. It tells no node anything: two who move the master are one too many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::sentinel::Inquiry;
use super::switch::Ending;
use crate::config::Group;
use crate::net::Shortcuts;
use crate::topology::Snapshot;

/// Sentinels switch in about a second; asking a snapshot costs nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Delegated {
    pub(super) group: Arc<Group>,
    pub(super) shortcuts: Arc<Shortcuts>,
    /// Those that are known.
    pub(super) sentinels: Vec<Arc<str>>,
    /// Whom the operator wants.
    pub(super) node: String,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) deadline: Instant,
}

impl Delegated {
    pub(super) async fn run(self) -> (Ending, String) {
        let before = self.master();
        let by = match self.ask().await {
            Ok(by) => by,
            Err(why) => return (Ending::Refused, why),
        };
        while Instant::now() < self.deadline {
            match self.master() {
                Some(now) if before.as_ref() != Some(&now) && *now == *self.node => {
                    return (Ending::Done, format!("{now} is the master: the Sentinels switched"));
                }
                Some(now) if before.as_ref() != Some(&now) => {
                    let text = format!(
                        "the Sentinels chose {now} and not {}: they prefer the smaller replica-priority, then the replica with \
                         more data",
                        self.node
                    );
                    return (Ending::Failed, text);
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        (Ending::Failed, format!("the Sentinel {by} took it on, but there is no other master yet: see its log"))
    }

    /// The first Sentinel that takes it on; an error says what each answered.
    async fn ask(&self) -> Result<Arc<str>, String> {
        let mut refusals = Vec::new();
        for address in &self.sentinels {
            let Some(mut inquiry) = Inquiry::new(address.clone(), &self.group, &self.shortcuts) else { continue };
            match inquiry.fail_over().await {
                Ok(()) => return Ok(address.clone()),
                Err(failure) => refusals.push(format!("{address}: {}", failure.text)),
            }
        }
        let answers = if refusals.is_empty() { "none is known".to_owned() } else { refusals.join("; ") };
        Err(format!("no Sentinel switches the master ({answers}); nothing was changed"))
    }

    fn master(&self) -> Option<Arc<str>> {
        self.snapshot.load().master().map(|master| master.address.clone())
    }
}
