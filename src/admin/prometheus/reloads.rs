//! The series of the configuration: how often it was read again, and what came of it.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Escaped, Numbers, Value, counter, gauge};

impl Numbers {
    pub(super) fn reloads(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let reloads = &self.0.reloads;
        let outcomes = [("accepted", reloads.accepted.get()), ("refused", reloads.refused.get())];
        let outcomes = outcomes.map(|(word, count)| (vec![("outcome", Escaped(word))], Value::Whole(count)));
        counter(out, "redan_config_reloads", outcomes)?;
        for (name, value) in [
            ("redan_config_generation", &reloads.generation),
            ("redan_config_last_reload_accepted", &reloads.last_accepted),
            ("redan_config_accepted_at_seconds", &reloads.accepted_at),
        ] {
            gauge(out, name, [(vec![], Value::Whole(value.get()))])?;
        }
        Ok(())
    }
}
