//! What control counts about a group: what has become of its master. Written by control's thread alone.

use super::cell::Counter;

/// What a new snapshot says of the master, against the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MasterEvent {
    /// The first since the start.
    Found,
    /// Another node than the last one.
    Moved,
    /// The same node as before, after a time without any.
    Returned,
    /// There is none any more.
    Lost,
}

impl MasterEvent {
    pub(crate) const ALL: [Self; 4] = [Self::Found, Self::Moved, Self::Returned, Self::Lost];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Moved => "moved",
            Self::Returned => "returned",
            Self::Lost => "lost",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct GroupCounters([Counter; MasterEvent::ALL.len()]);

/// What was last published of a master, by whoever publishes. Its address is what it is known by: the same server may come back
/// under another number.
#[derive(Debug, Default)]
pub(crate) struct LastMaster {
    last: Option<Box<str>>,
    is_there: bool,
}

impl LastMaster {
    /// What has happened, if anything has.
    pub(crate) fn becomes(&mut self, now: Option<&str>) -> Option<MasterEvent> {
        let event = event(self.last.as_deref(), self.last.as_deref().filter(|_| self.is_there), now);
        self.is_there = now.is_some();
        if event.is_some()
            && let Some(now) = now
        {
            self.last = Some(now.into());
        }
        event
    }
}

impl GroupCounters {
    pub(crate) fn of(&self, event: MasterEvent) -> &Counter {
        // `ALL` lists the variants in the order of their discriminants, which a test holds it to.
        &self.0[event as usize]
    }
}

/// What has happened between two snapshots, if anything has. `last` is the last master there was.
fn event(last: Option<&str>, before: Option<&str>, now: Option<&str>) -> Option<MasterEvent> {
    match (before, now) {
        (Some(_), None) => Some(MasterEvent::Lost),
        (before, Some(_)) if before == now => None,
        (_, Some(_)) if last.is_none() => Some(MasterEvent::Found),
        (_, Some(_)) if last == now => Some(MasterEvent::Returned),
        (_, Some(_)) => Some(MasterEvent::Moved),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_published_last_is_remembered() {
        let mut master = LastMaster::default();
        let happened: Vec<_> = [None, Some("a"), Some("a"), None, None, Some("a"), Some("b"), None, Some("b")]
            .into_iter()
            .filter_map(|now| master.becomes(now))
            .map(MasterEvent::name)
            .collect();
        assert_eq!(happened, ["found", "lost", "returned", "moved", "lost", "returned"]);
    }

    #[test]
    fn what_becomes_of_a_master() {
        let (a, b) = (Some("a"), Some("b"));
        assert_eq!(event(None, None, None), None);
        assert_eq!(event(None, None, a), Some(MasterEvent::Found));
        assert_eq!(event(a, a, a), None);
        assert_eq!(event(a, a, None), Some(MasterEvent::Lost));
        assert_eq!(event(a, None, None), None);
        assert_eq!(event(a, None, a), Some(MasterEvent::Returned));
        assert_eq!(event(a, None, b), Some(MasterEvent::Moved));
        assert_eq!(event(a, a, b), Some(MasterEvent::Moved));
        for (index, event) in MasterEvent::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
        }
    }
}
