//! The series of commands by name, and of errors by code. Their number is that of the command table's rows and of the known
//! codes, whatever clients send.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;

use super::{Escaped, Numbers, Value, counter};
use crate::command::{NO_ROW, table};
use crate::metrics::{ERROR_CODES, OTHERS};

struct Command {
    name: &'static str,
    calls: u64,
    micros: u64,
    errors: u64,
}

impl Numbers {
    /// A command that nobody has sent has no series.
    pub(super) fn commands(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rows = (0..).map_while(|row| Some((row, table::name_of(row)?))).chain([(NO_ROW, OTHERS)]);
        let command = |(row, name)| {
            let mut command = Command { name, calls: 0, micros: 0, errors: 0 };
            for cell in self.0.workers.iter().map(|worker| worker.commands.of(row)) {
                command.calls = command.calls.wrapping_add(cell.calls.get());
                command.micros = command.micros.wrapping_add(cell.micros.get());
                command.errors = command.errors.wrapping_add(cell.errors.get());
            }
            command
        };
        let sent: Vec<Command> = rows.map(command).filter(|command| command.calls > 0).collect();
        let each = |value: fn(&Command) -> Value| {
            sent.iter().map(move |command| (vec![("command", Escaped(command.name))], value(command)))
        };
        counter(out, "redan_command_calls", each(|command| Value::Whole(command.calls)))?;
        counter(out, "redan_command_seconds", each(|command| Duration::from_micros(command.micros).into()))?;
        counter(out, "redan_command_errors", each(|command| Value::Whole(command.errors)))?;
        let errors = ["node", "redan"].into_iter().flat_map(|from| {
            let mut counts = [0_u64; ERROR_CODES.len()];
            for worker in &self.0.workers {
                let errors = if from == "node" { &worker.node_errors } else { &worker.own_errors };
                counts.iter_mut().zip(errors.iter()).for_each(|(sum, (_, count))| *sum = sum.wrapping_add(count));
            }
            let counted = ERROR_CODES.into_iter().zip(counts).filter(|(_, count)| *count > 0);
            counted
                .map(move |(code, count)| (vec![("from", Escaped(from)), ("code", Escaped(code))], Value::Whole(count)))
        });
        counter(out, "redan_errors", errors)
    }
}
