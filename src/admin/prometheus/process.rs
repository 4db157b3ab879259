//! The series of the process itself, of its listeners, and of what they present.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::DescriptorEncoder;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::{Escaped, Labels, Numbers, Value, catalog, counter, gauge, histogram};
use crate::admin::KnownListener;
use crate::metrics::{ListenerCounters, ServedCounters, Times};
use crate::tls::validity;

fn labels(listener: &KnownListener) -> Labels<'_> {
    vec![("listener", Escaped(&listener.config.name))]
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

    pub(super) fn listeners(&self, out: &mut DescriptorEncoder<'_>, all: &[KnownListener]) -> fmt::Result {
        let each = |value: fn(&KnownListener) -> u64| {
            all.iter().map(move |listener| (labels(listener), Value::Whole(value(listener))))
        };
        gauge(out, "redan_listener_clients_limit", each(|listener| listener.config.max_clients as u64))?;
        gauge(out, "redan_listener_sessions", each(|listener| (listener.crowd)().clients))?;
        gauge(out, "redan_listener_holds_now", each(|listener| (listener.crowd)().held))?;
        let at_the_door = |value: fn(&ListenerCounters) -> u64| {
            all.iter().filter_map(move |listener| {
                Some((labels(listener), Value::Whole(value(self.0.acceptor.listener(listener.number)?))))
            })
        };
        counter(out, "redan_listener_sessions_opened", at_the_door(|counted| counted.accepted.get()))?;
        counter(out, "redan_listener_sessions_rejected", at_the_door(|counted| counted.rejected.get()))?;
        // Those beyond the table share its last place, and are told of by the name of the first of them.
        let counted = || all.iter().filter_map(|listener| Some((listener, listener.row()?)));
        let served = |row: u8| self.0.workers.iter().map(move |worker| worker.listeners.of(row));
        let commands = counted().map(|(listener, row)| {
            let sum = served(row).map(|served: &ServedCounters| served.commands.get()).fold(0, u64::wrapping_add);
            (labels(listener), Value::Whole(sum))
        });
        counter(out, "redan_listener_commands", commands)?;
        let latency = counted().map(|(listener, row)| {
            let mut times = Times::default();
            served(row).for_each(|served| served.latency.add_to(&mut times));
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
