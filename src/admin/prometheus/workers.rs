//! The series of all workers together: clients, commands, waits, memory.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Escaped, Numbers, Reading, Value, counter, gauge};
use crate::metrics::{MemoryKind, PinReason};

/// Counters without labels: name (`_total` is added), reading of one worker.
const COUNTERS: &[(&str, Reading)] = &[
    ("redan_sessions_opened", |w| w.sessions_total.get()),
    ("redan_holds", |w| w.holds_total.get()),
    ("redan_holds_expired", |w| w.holds_expired.get()),
    ("redan_scripts_repaired", |w| w.scripts_repaired.get()),
    ("redan_replays", |w| w.replays.get()),
    ("redan_in_doubt", |w| w.in_doubt.get()),
    ("redan_in_doubt_clients_closed", |w| w.doubtful_clients_closed.get()),
    ("redan_bounces", |w| w.bounces.get()),
    ("redan_marks_asked", |w| w.marks_asked.get()),
    ("redan_reads_fallback", |w| w.reads_fallback.get()),
    ("redan_reads_capped", |w| w.reads_capped.get()),
    ("redan_hedges", |w| w.hedges.get()),
    ("redan_hedges_won", |w| w.hedges_won.get()),
    ("redan_messages", |w| w.messages_delivered.get()),
    ("redan_resubscriptions", |w| w.resubscriptions.get()),
    ("redan_auth_failures", |w| w.auth_failures.get()),
    ("redan_protocol_errors", |w| w.protocol_errors.get()),
    ("redan_slow_clients_closed", |w| w.slow_clients_closed.get()),
    ("redan_untrusted_clients_closed", |w| w.untrusted_clients_closed.get()),
    ("redan_memory_clients_closed", |w| w.memory_clients_closed.get()),
    ("redan_slow_commands", |w| w.slow_commands.get()),
    ("redan_big_replies", |w| w.big_replies.get()),
    ("redan_panics", |w| w.panics.get()),
];

/// Gauges without labels.
const GAUGES: &[(&str, Reading)] = &[
    ("redan_sessions", |w| w.sessions_open.get()),
    ("redan_holds_now", |w| w.holds_now.get()),
    ("redan_lanes", |w| w.lanes_open.get()),
    ("redan_subscriptions", |w| w.subscriptions.get()),
    ("redan_upstream_subscriptions", |w| w.upstream_subscriptions.get()),
    ("redan_pins", |w| w.pins_open.get()),
];

/// Counters with one label: name, the label, and its values with their readings.
type Split = (&'static str, &'static str, &'static [(&'static str, Reading)]);
const SPLITS: &[Split] = &[
    (
        "redan_commands",
        "kind",
        &[
            ("read", |w| w.commands_read.get()),
            ("write", |w| w.commands_write.get()),
            ("local", |w| w.commands_local.get()),
            ("pinned", |w| w.commands_pinned.get()),
        ],
    ),
    ("redan_reads", "from", &[("replica", |w| w.reads_replica.get()), ("master", |w| w.reads_master.get())]),
    ("redan_client_bytes", "direction", &[("in", |w| w.bytes_in.get()), ("out", |w| w.bytes_out.get())]),
    (
        "redan_holds_refused",
        "budget",
        &[("sessions", |w| w.holds_refused_sessions.get()), ("bytes", |w| w.holds_refused_bytes.get())],
    ),
    (
        "redan_durable_writes",
        "outcome",
        &[
            ("assured", |w| w.writes_assured.get()),
            ("late", |w| w.writes_not_durable.get()),
            ("unknown", |w| w.writes_lost.get()),
            ("refused", |w| w.writes_refused.get()),
        ],
    ),
    (
        "redan_tls_handshakes",
        "outcome",
        &[("succeeded", |w| w.tls_handshakes.get()), ("failed", |w| w.tls_failures.get())],
    ),
];

/// Counters of microseconds, exported in seconds.
const MICROS: &[(&str, Reading)] = &[
    ("redan_hold_seconds", |w| w.hold_us.get()),
    ("redan_subscription_gap_seconds", |w| w.subscription_gap_us.get()),
    ("redan_durable_wait_seconds", |w| w.assurance_wait_us.get()),
];

impl Numbers {
    fn sum(&self, reading: Reading) -> Value {
        Value::Whole(self.0.workers.iter().map(|worker| reading(worker)).fold(0, u64::wrapping_add))
    }

    /// What becomes of sampled commands that are told of outside.
    pub(super) fn traces(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let dropped = self.0.workers.iter().map(|worker| worker.traces_dropped.get()).fold(0, u64::wrapping_add);
        let (exported, failed) = (self.0.traces.exported.get(), self.0.traces.failed.get());
        let traces = [("exported", exported), ("dropped", dropped), ("failed", failed)];
        counter(out, "redan_traces", traces.map(|(word, n)| (vec![("outcome", Escaped(word))], Value::Whole(n))))
    }

    pub(super) fn workers(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        for (name, reading) in COUNTERS {
            counter(out, name, [(vec![], self.sum(*reading))])?;
        }
        for (name, reading) in GAUGES {
            gauge(out, name, [(vec![], self.sum(*reading))])?;
        }
        for (name, label, values) in SPLITS {
            let samples = values.iter().map(|(value, reading)| (vec![(*label, Escaped(value))], self.sum(*reading)));
            counter(out, name, samples)?;
        }
        let pins = PinReason::ALL.into_iter().map(|reason| {
            let taken = self.0.workers.iter().map(|worker| worker.pins.of(reason).get()).fold(0, u64::wrapping_add);
            (vec![("reason", Escaped(reason.name()))], Value::Whole(taken))
        });
        counter(out, "redan_pins_taken", pins)?;

        let memory = MemoryKind::ALL.into_iter().map(|kind| {
            let held = self.0.workers.iter().map(|worker| worker.memory.of(kind).get()).sum();
            (vec![("kind", Escaped(kind.name()))], Value::Whole(held))
        });
        gauge(out, "redan_memory_bytes", memory)?;
        let bound = self.0.memory.bound().map(|bound| (vec![], Value::Whole(bound)));
        gauge(out, "redan_memory_limit_bytes", bound)?;
        let longest = self.0.workers.iter().map(|worker| worker.longest_hold_ms.get()).max().unwrap_or(0);
        gauge(out, "redan_hold_longest_seconds", [(vec![], Duration::from_millis(longest).into())])?;
        for (name, reading) in MICROS {
            let sum = self.0.workers.iter().map(|worker| reading(worker)).fold(0, u64::wrapping_add);
            counter(out, name, [(vec![], Duration::from_micros(sum).into())])?;
        }

        let rejected = self.0.workers.iter().map(|worker| worker.sessions_rejected.get()).fold(0, u64::wrapping_add);
        let rejected = rejected.wrapping_add(self.0.acceptor.rejected.get());
        counter(out, "redan_sessions_rejected", [(vec![], Value::Whole(rejected))])?;
        let failed = self.0.acceptor.accept_errors.get();
        counter(out, "redan_accept_errors", [(vec![], Value::Whole(failed))])?;

        let numbers: Vec<String> = (0..self.0.workers.len()).map(|index| index.to_string()).collect();
        let ages = numbers
            .iter()
            .enumerate()
            .map(|(index, number)| (vec![("worker", Escaped(number))], self.0.heartbeat_age(index).into()));
        gauge(out, "redan_worker_heartbeat_age_seconds", ages)?;
        let sessions = numbers
            .iter()
            .zip(&self.0.workers)
            .map(|(number, worker)| (vec![("worker", Escaped(number))], Value::Whole(worker.sessions_open.get())));
        gauge(out, "redan_worker_sessions", sessions)
    }
}
