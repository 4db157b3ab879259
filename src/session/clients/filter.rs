//! Which clients a CLIENT LIST or CLIENT KILL means. Pure; `arguments` reads it, every worker compares its sessions with it.

/// A client's kind, as TYPE names it. Redan has no masters and replicas among its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Normal,
    Master,
    Replica,
    PubSub,
}

/// Something that is asked of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// One of these.
    Ids(Vec<u64>),
    Class(Class),
    User(String),
    Address(String),
    LocalAddress(String),
    /// Connected for at least so many seconds.
    Age(u64),
    /// Silent for at least so many.
    Idle(u64),
    /// Has all of these.
    Flags(String),
    Capabilities(String),
    Name(Vec<u8>),
    Library(Vec<u8>),
    LibraryVersion(Vec<u8>),
    Database(u32),
    Ip(String),
}

/// Nothing given means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Each with what the answer must be.
    checks: Vec<(Check, bool)>,
    /// Not this session.
    pub(super) but: Option<u64>,
}

impl Filter {
    pub(super) fn with(check: Check) -> Self {
        Self { checks: vec![(check, true)], but: None }
    }

    /// These sessions.
    pub(crate) fn of_ids(ids: Vec<u64>) -> Self {
        Self::with(Check::Ids(ids))
    }

    /// What is said again counts in place of what was said before, except that ids add up.
    pub(super) fn add(&mut self, check: Check, wanted: bool) {
        let same = |(old, of): &&mut (Check, bool)| {
            *of == wanted && std::mem::discriminant(old) == std::mem::discriminant(&check)
        };
        match (self.checks.iter_mut().find(same), check) {
            (Some((Check::Ids(ids), _)), Check::Ids(more)) => ids.extend(more),
            (Some((old, _)), check) => *old = check,
            (None, check) => self.checks.push((check, wanted)),
        }
    }

    /// For a server that takes one id: the last one counts.
    pub(super) fn without_ids(mut self) -> Self {
        self.checks.retain(|(check, _)| !matches!(check, Check::Ids(_)));
        self
    }

    /// `passes` says how one client stands to a check.
    pub(super) fn means(&self, id: u64, mut passes: impl FnMut(&Check) -> bool) -> bool {
        self.but != Some(id) && self.checks.iter().all(|(check, wanted)| passes(check) == *wanted)
    }

    /// Those asked for by number.
    pub(super) fn ids(&self) -> Option<&[u64]> {
        self.checks.iter().find_map(|(check, wanted)| match check {
            Check::Ids(ids) if *wanted => Some(&ids[..]),
            _ => None,
        })
    }
}
