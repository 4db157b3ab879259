//! Whether a sync may go on to the master: decided from what the replica asks for, what the master says of itself, and what this
//! end of the link remembers. Pure.
//!
//! A replica that has followed one history must not be emptied by a master that has another one and next to no keys.

use super::handshake::Wish;
use super::inquiry::Master;
use crate::config::link::EmptyMaster;

/// What the operator wants, and what this end knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case<'a> {
    pub(super) wish: &'a Wish,
    /// Or why it is not known.
    pub(super) master: Result<&'a Master, &'a str>,
    pub(super) policy: EmptyMaster,
    /// A master with fewer keys is empty.
    pub(super) empty_below: u64,
    /// The history that this replica followed when it was last here.
    pub(super) remembered: Option<&'a str>,
    /// This master was found empty before; that it has got some keys since does not bring the others back.
    pub(super) found_empty: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// The replica would lose what it has.
    Empty,
    Loading,
    /// It might, and nobody can tell.
    Unsure(String),
}

pub(super) fn judge(case: &Case<'_>) -> Verdict {
    let Some(followed) = followed(case.wish, case.remembered) else {
        return Verdict::Pass;
    };
    match case.master {
        _ if case.policy == EmptyMaster::Allow => Verdict::Pass,
        Err(why) => Verdict::Unsure(why.to_owned()),
        // It has not read its keys yet, and might come to an end with that before PSYNC reaches it.
        Ok(master) if master.loading => Verdict::Loading,
        Ok(master) if is_of(master, followed) => Verdict::Pass,
        Ok(master) if master.keys < case.empty_below || case.found_empty => Verdict::Empty,
        Ok(_) => Verdict::Pass,
    }
}

/// The history whose data the replica has. A server that has never replicated asks, when it is made a replica, for the first byte
/// of a history that it has made up itself.
pub(super) fn followed<'a>(wish: &'a Wish, remembered: Option<&'a str>) -> Option<&'a str> {
    wish.history.as_deref().filter(|_| wish.offset > 1).or(remembered)
}

fn is_of(master: &Master, history: &str) -> bool {
    history == master.history || history == master.former
}

/// Whether the master will answer with what the replica lacks, and send nothing whole: as `masterTryPartialResynchronization`
/// decides it.
pub(super) fn is_partial(wish: &Wish, master: &Master) -> bool {
    let (Some(history), Some((first, length))) = (&wish.history, master.backlog) else { return false };
    let known = *history == master.history || (*history == master.former && wish.offset <= master.former_end);
    known && (first..=first.saturating_add(length)).contains(&wish.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(history: &str, offset: u64) -> Wish {
        Wish { said: Vec::new(), history: Some(history.to_owned()).filter(|history| history != "?"), offset }
    }

    fn master(keys: u64) -> Master {
        Master {
            history: "new".to_owned(),
            former: "old".to_owned(),
            former_end: 50,
            backlog: Some((10, 90)),
            backlog_size: 1000,
            keys,
            loading: false,
        }
    }

    #[test]
    fn only_who_would_lose_data_is_refused() {
        let empty = master(0);
        let ask = |wish: &Wish, master: &Master, remembered: Option<&str>, found_empty: bool| {
            let policy = EmptyMaster::Refuse;
            judge(&Case { wish, master: Ok(master), policy, empty_below: 10, remembered, found_empty })
        };
        for (history, offset, remembered, expected) in [
            ("?", 0, None, Verdict::Pass),
            ("own", 1, None, Verdict::Pass),
            ("other", 2, None, Verdict::Empty),
            ("?", 0, Some("other"), Verdict::Empty),
            ("own", 1, Some("other"), Verdict::Empty),
            ("new", 2, None, Verdict::Pass),
            ("old", 2, Some("other"), Verdict::Pass),
            ("?", 0, Some("old"), Verdict::Pass),
        ] {
            let wish = wish(history, offset);
            assert_eq!(ask(&wish, &empty, remembered, false), expected, "{history} {offset} {remembered:?}");
        }
        let stray = wish("other", 2);
        assert_eq!(ask(&stray, &master(9), None, false), Verdict::Empty);
        assert_eq!(ask(&stray, &master(10), None, false), Verdict::Pass);
        assert_eq!(ask(&stray, &master(10), None, true), Verdict::Empty);
        let loading = Master { loading: true, ..master(5000) };
        assert_eq!(ask(&stray, &loading, None, false), Verdict::Loading);
        assert_eq!(ask(&wish("?", 0), &loading, None, false), Verdict::Pass);
        let unknown = |wish: &Wish, policy| {
            judge(&Case { wish, master: Err("NOPERM"), policy, empty_below: 1, remembered: None, found_empty: false })
        };
        assert_eq!(unknown(&stray, EmptyMaster::Refuse), Verdict::Unsure("NOPERM".to_owned()));
        assert_eq!(unknown(&stray, EmptyMaster::Allow), Verdict::Pass);
        assert_eq!(unknown(&wish("?", 0), EmptyMaster::RefuseUnsure), Verdict::Pass);
    }

    #[test]
    fn partial_syncs_are_foreseen_as_the_master_decides_them() {
        for (history, offset, expected) in [
            ("new", 10, true),
            ("new", 100, true),
            ("new", 9, false),
            ("new", 101, false),
            ("old", 50, true),
            ("old", 51, false),
            ("other", 50, false),
            ("?", 50, false),
        ] {
            assert_eq!(is_partial(&wish(history, offset), &master(1)), expected, "{history} {offset}");
        }
        assert!(!is_partial(&wish("new", 50), &Master { backlog: None, ..master(1) }));
    }
}
