//! The largest replies, one entry for each command and key.

/// Entries of a worker.
const KEPT: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Large {
    /// The command's name and its first key, cut as in the slow log.
    pub(crate) command: Vec<u8>,
    pub(crate) key: Vec<u8>,
    /// Of the largest reply; how many there were that were large enough to be noted.
    pub(crate) bytes: u64,
    pub(crate) count: u64,
    /// Of the largest: who gave it, when in milliseconds since 1970, to whom.
    pub(crate) node: String,
    pub(crate) at_ms: u64,
    pub(crate) client: String,
}

#[derive(Debug, Default)]
pub(crate) struct LargeReplies(Vec<Large>);

impl LargeReplies {
    pub(crate) fn push(&mut self, large: Large) {
        add(&mut self.0, large);
    }

    /// The largest first.
    pub(crate) fn report(&self) -> Vec<Large> {
        let mut all = self.0.clone();
        sort(&mut all);
        all
    }
}

fn add(all: &mut Vec<Large>, large: Large) {
    if let Some(known) = all.iter_mut().find(|known| known.command == large.command && known.key == large.key) {
        let count = known.count + large.count;
        if large.bytes > known.bytes {
            *known = large;
        }
        known.count = count;
        return;
    }
    if all.len() < KEPT {
        return all.push(large);
    }
    if let Some(least) = all.iter_mut().min_by_key(|known| known.bytes).filter(|least| least.bytes < large.bytes) {
        *least = large;
    }
}

fn sort(all: &mut [Large]) {
    all.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key.cmp(&b.key)));
}

pub(super) fn merge(all: &mut Vec<Large>, others: Vec<Large>) {
    others.into_iter().for_each(|large| add(all, large));
    sort(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(key: &str, bytes: u64) -> Large {
        let (node, client) = ("n".to_owned(), "c".to_owned());
        Large { command: b"GET".to_vec(), key: key.into(), bytes, count: 1, node, at_ms: bytes, client }
    }

    #[test]
    fn the_largest_are_kept_each_key_once() {
        let mut replies = LargeReplies::default();
        for number in 0..100 {
            replies.push(reply(&number.to_string(), 1000 + number));
        }
        replies.push(reply("99", 5000));
        replies.push(reply("99", 10));
        let report = replies.report();
        assert_eq!(report.len(), KEPT);
        let first = &report[0];
        assert_eq!((&first.key[..], first.bytes, first.count, first.at_ms), (&b"99"[..], 5000, 3, 5000));
        assert_eq!(report.last().map(|large| large.bytes), Some(1068));
        let mut all = report;
        merge(&mut all, vec![reply("99", 9000), reply("new", 4000)]);
        let top: Vec<(u64, u64)> = all.iter().take(2).map(|large| (large.bytes, large.count)).collect();
        assert_eq!(top, [(9000, 4), (4000, 1)]);
    }
}
