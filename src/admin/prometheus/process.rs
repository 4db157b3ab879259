//! The series of the process itself, of its listeners, and of what they present.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::DescriptorEncoder;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::{Escaped, Labels, Numbers, Value, catalog, counter, gauge, histogram};
use crate::config::Listener;
use crate::limits;
use crate::metrics::{ServedCounters, Times};
use crate::tls::validity;

fn labels(listener: &Listener) -> Labels<'_> {
    vec![("listener", Escaped(&listener.name))]
}

impl Numbers {
    /// The names that begin with `process_` are those of every Prometheus client, which dashboards know.
    pub(super) fn process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let build = catalog::find("redan_build");
        out.encode_descriptor(build.name, &build.help, None, build.kind)?.encode_info(&version)?;
        let started = self.0.started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge(out, "process_start_time_seconds", [(vec![], started.into())])?;
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let spent = Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec as u32);
        counter(out, "process_cpu_seconds", [(vec![], spent.into())])?;
        let alone = |number: Option<u64>| number.map(|number| (vec![], Value::Whole(number)));
        gauge(out, "process_resident_memory_bytes", alone(self.0.resident.bytes()))?;
        gauge(out, "process_open_fds", alone(self.0.open_files.count()))?;
        gauge(out, "process_max_fds", alone(getrlimit(Resource::Nofile).current))
    }

    pub(super) fn listeners(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = || self.0.config.listeners.iter().enumerate();
        let crowd = |index: usize| (self.0.crowd)(index);
        let limits = all().map(|(_, listener)| (labels(listener), Value::Whole(listener.max_clients as u64)));
        gauge(out, "redan_listener_clients_limit", limits)?;
        let open = all().map(|(index, listener)| (labels(listener), Value::Whole(crowd(index).clients)));
        gauge(out, "redan_listener_sessions", open)?;
        let held = all().map(|(index, listener)| (labels(listener), Value::Whole(crowd(index).held)));
        gauge(out, "redan_listener_holds_now", held)?;
        let at_the_door = |index| self.0.acceptor.listener(index);
        let accepted = all()
            .filter_map(|(index, listener)| Some((labels(listener), Value::Whole(at_the_door(index)?.accepted.get()))));
        counter(out, "redan_listener_sessions_opened", accepted)?;
        let rejected = all()
            .filter_map(|(index, listener)| Some((labels(listener), Value::Whole(at_the_door(index)?.rejected.get()))));
        counter(out, "redan_listener_sessions_rejected", rejected)?;
        // Those beyond the table share its last place, and are told of by the name of the first of them.
        let counted = || all().take(limits::LISTENER_COUNTERS);
        let served = |index: usize| self.0.workers.iter().map(move |worker| worker.listeners.of(index as u8));
        let commands = counted().map(|(index, listener)| {
            let sum = served(index).map(|served: &ServedCounters| served.commands.get()).fold(0, u64::wrapping_add);
            (labels(listener), Value::Whole(sum))
        });
        counter(out, "redan_listener_commands", commands)?;
        let latency = counted().map(|(index, listener)| {
            let mut times = Times::default();
            served(index).for_each(|served| served.latency.add_to(&mut times));
            (labels(listener), times)
        });
        histogram(out, "redan_listener_latency_seconds", latency)
    }

    pub(super) fn certificates(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let renewals = &self.0.renewals;
        let expiries = renewals.expiries.load();
        let now = validity::now();
        let files: Vec<String> = expiries.iter().map(|(_, expiry)| expiry.file.display().to_string()).collect();
        let left = expiries.iter().zip(&files).map(|((owner, expiry), file)| {
            let labels = vec![("of", Escaped(owner.kind)), ("name", Escaped(&owner.name)), ("file", Escaped(file))];
            // Negative after the end, and exact far beyond any certificate.
            (labels, Value::Real(expiry.left(now) as f64))
        });
        gauge(out, "redan_certificate_expires_in_seconds", left)?;
        let outcomes = [("succeeded", renewals.succeeded.get()), ("failed", renewals.failed.get())];
        let outcomes = outcomes.into_iter().map(|(word, n)| (vec![("outcome", Escaped(word))], Value::Whole(n)));
        counter(out, "redan_tls_renewals", outcomes)
    }
}
