//! Commands too long to be gathered: sent on over a pin as they come.

use super::assured::TOO_FEW_REPLICAS;
use super::pinned::{After, Expect, Pinned};
use super::special::{admin_refused, forbidden};
use super::{Inner, Session};
use crate::command::{self, Kind, Local, Pin};
use crate::limits;
use crate::resp::request::RequestScanner;

impl Session {
    /// Half a command stands in the input. One that is too long to be gathered is sent on as it comes.
    pub(super) fn upload(
        &self,
        inner: &mut Inner,
        pinned: &mut Pinned,
        input: &[u8],
        used: &mut usize,
    ) -> Result<(), After> {
        let rest = &input[*used..];
        let large = inner.scanner.announced() > limits::GATHERED_COMMAND as u64 && is_known(&inner.scanner, rest);
        if !large && !pinned.uploading {
            return Ok(());
        }
        if !pinned.uploading {
            if let Err(words) = self.may_be_streamed(inner, rest) {
                if !pinned.expected.is_empty() {
                    // Answered in its turn.
                    return Ok(());
                }
                self.answer_error(inner, &words);
                inner.closing = true;
                return Ok(());
            }
            pinned.uploading = true;
            let kind = kind_of(&inner.scanner, rest);
            // Whether an XREAD waits only its end would tell.
            let may_wait =
                matches!(kind, Some(Kind::Pin(Pin::Blocking) | Kind::ReadUnlessBlock | Kind::WriteUnlessBlock));
            pinned.uploads_wait = may_wait && !pinned.in_multi;
            // It may leave the connection another than it was.
            pinned.spoiled |= kind.is_none_or(|kind| matches!(kind, Kind::Pin(_) | Kind::Admin(_)));
            pinned.journal = None;
            pinned.queued += u32::from(pinned.in_multi);
            let before = (pinned.in_multi, pinned.expected.len());
            pinned.expected.push_back(if pinned.in_multi { Expect::Opening } else { Expect::Reply });
            self.began_over_pin(pinned, kind, before);
            self.context.workspace.counters.commands_pinned.increment();
        }
        let n = inner.scanner.passed(rest.len());
        pinned.pin.output.extend_from_slice(&rest[..n]);
        inner.scanner.forget(n);
        *used += n;
        Ok(())
    }

    /// Whether a command of which only the beginning has come may be sent on; if not, its reply.
    pub(super) fn may_be_streamed(&self, inner: &Inner, buf: &[u8]) -> Result<(), String> {
        let scanner = &inner.scanner;
        let Some(name) = scanner.name() else {
            return Err("ERR the name of this command is too long".to_owned());
        };
        let second = scanner.second().map(|second| second.of(buf));
        let spec = command::lookup(name.of(buf), second);
        if second.is_none() && spec.is_some() && command::lookup(name.of(buf), Some(b"\0")).is_none() {
            // The second word is half of the name, no subcommand's is so long, and a server may look no further than its first
            // NUL byte: it must not pass for the container alone, which may be permitted where a subcommand is not.
            return Err("ERR the name of this command is too long".to_owned());
        }
        if spec.is_none() && command::is_ambiguous(name.of(buf), second) {
            return Err("ERR unknown command, with a NUL byte in its name".to_owned());
        }
        if inner.permissions.as_ref().is_some_and(|permissions| !permissions.permits(spec)) {
            return Err(forbidden(spec, name.of(buf)));
        }
        match spec.map(|spec| spec.kind) {
            Some(Kind::Write | Kind::WriteUnlessBlock | Kind::Pin(Pin::Blocking))
                if self.lacks_replicas() && self.refuses_name(name.of(buf)) =>
            {
                Err(TOO_FEW_REPLICAS.to_owned())
            }
            Some(Kind::Admin(_)) if !self.context.listener().allow_admin_commands => {
                Err(admin_refused(spec, name.of(buf)))
            }
            Some(Kind::Refused(_)) => Err("ERR this command is not carried".to_owned()),
            // What it does to the connection is decided by arguments that have not come.
            Some(Kind::Pin(pin)) if !matches!(pin, Pin::Blocking | Pin::Unknown) => {
                Err("ERR this command is too long".to_owned())
            }
            Some(Kind::Local(local)) if !matches!(local, Local::Ping | Local::Echo) => {
                Err("ERR this command takes no argument of such a length".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Of a command of which the beginning has come.
fn kind_of(scanner: &RequestScanner, buf: &[u8]) -> Option<Kind> {
    let name = scanner.name()?;
    command::lookup(name.of(buf), scanner.second().map(|second| second.of(buf))).map(|spec| spec.kind)
}

/// Whether enough of a command has come to say what it is: its second argument, or more than either may take.
pub(super) fn is_known(scanner: &RequestScanner, buf: &[u8]) -> bool {
    scanner.second().is_some() || buf.len() > limits::INLINE
}
