//! The settings in `[redan]` of what is remembered of single commands.
//!
//! Read with the rest of the section; what they mean is in [`crate::insight`].

use std::time::Duration;

use super::section::Section;
use crate::insight::Settings;

const DAY: Duration = Duration::from_secs(86400);

pub(super) fn read(section: &Section<'_>) -> Settings {
    let default = Settings::default();
    let slow = section.duration("slowlog_threshold", Duration::ZERO..=DAY);
    let big = section.size("big_reply", 1024..=1 << 40);
    Settings {
        slow: slow.map_or(default.slow, |slow| Some(slow).filter(|slow| !slow.is_zero())),
        big: big.map_or(default.big, |bytes| Some(bytes).filter(|bytes| *bytes > 0)),
        hot_keys: section.choice("hot_keys", &[("off", false), ("on", true)]).unwrap_or(default.hot_keys),
        trace: section.share("trace_sample").unwrap_or(default.trace),
    }
}
