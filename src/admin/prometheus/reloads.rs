//! How often the configuration was read again, and what came of it.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Numbers, Value, counter, gauge};

impl Numbers {
    pub(super) fn reloads(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let reloads = &self.0.reloads;
        let whole = Value::Whole;
        let help = "Times the configuration was read again, by whether it was taken";
        let outcomes = [("accepted", reloads.accepted.get()), ("refused", reloads.refused.get())];
        let outcomes = outcomes.map(|(outcome, count)| (vec![("outcome", super::Escaped(outcome))], whole(count)));
        counter(out, "redan_config_reloads", help, outcomes)?;
        for (name, help, value) in [
            ("redan_config_generation", "Configurations used so far, that of the start included", &reloads.generation),
            (
                "redan_config_last_reload_accepted",
                "1 while the configuration that was read last is in use",
                &reloads.last_accepted,
            ),
            (
                "redan_config_accepted_at_seconds",
                "When the configuration in use was read, in seconds since 1970",
                &reloads.accepted_at,
            ),
        ] {
            gauge(out, name, help, [(vec![], whole(value.get()))])?;
        }
        Ok(())
    }
}
