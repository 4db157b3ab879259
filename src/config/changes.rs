//! What Redan may do about a group's master by itself: `failover` and `fence`, with what belongs to them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::Section;
use crate::topology::fence::FenceSettings;

/// Servers speak to each other once a second, so less tells nothing; in more than five minutes somebody is awake.
const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
const DEFAULT: Duration = Duration::from_secs(5);

/// A master with more replicas than this is no group that Redan was made for.
const REPLICAS: RangeInclusive<usize> = 1..=16;

/// After how long without its master the group gets another one; `None`: not by Redan.
pub(super) fn failover(section: &Section<'_>) -> Option<Duration> {
    let auto = section.choice("failover", &[("off", false), ("auto", true)]);
    let down_after = section.duration("down_after", TIMES);
    if section.has("down_after") && auto != Some(true) {
        section.error("down_after", "`down_after` has a meaning only with `failover = \"auto\"`; remove one of them");
    }
    (auto == Some(true)).then(|| down_after.unwrap_or(DEFAULT))
}

pub(super) fn fence(section: &Section<'_>) -> Option<FenceSettings> {
    let fence = section.boolean("fence");
    let after = section.duration("fence_after", TIMES);
    let replicas = section.integer("min_replicas", REPLICAS);
    for key in ["fence_after", "min_replicas"] {
        if section.has(key) && fence != Some(true) {
            section.error(key, format!("`{key}` has a meaning only with `fence = true`; remove one of them"));
        }
    }
    (fence == Some(true)).then(|| FenceSettings { after: after.unwrap_or(DEFAULT), replicas: replicas.unwrap_or(1) })
}
