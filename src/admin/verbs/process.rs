//! Verbs about the process and its links: RELOAD, UPGRADE, LOG LEVEL, LINK ALLOW.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Call, Doing, Verb, time};
use crate::reload::Outcome;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "RELOAD",
        usage: "",
        help: "reads the configuration and all its files again, as SIGHUP does, and tells what came of it",
        arity: (0, 0),
        run: reload,
    },
    Verb {
        name: "UPGRADE",
        usage: "",
        help: "has another process take the place of this one, as SIGUSR2 does, and waits for it",
        arity: (0, 0),
        run: upgrade,
    },
    Verb {
        name: "LOG LEVEL",
        usage: "level",
        help: "logs more or less until the next start: debug, redan::control=debug,info",
        arity: (1, 1),
        run: level,
    },
    Verb {
        name: "LINK ALLOW",
        usage: "link [FOR time]",
        help: "lets a master that came back empty empty the replicas of a link for a while",
        arity: (1, 3),
        run: allow,
    },
];

fn reload(call: Call) -> Doing {
    Box::pin(async move {
        let Outcome { accepted, lines } = call.state.reloads.ask().await;
        match (accepted, lines.is_empty()) {
            (true, true) => call.said("nothing differs in the configuration; the files of TLS are read again"),
            (true, false) => call.said(lines.join("\n")),
            (false, _) => Err(format!("{}; nothing was changed", lines.join("; "))),
        }
    })
}

fn upgrade(call: Call) -> Doing {
    Box::pin(async move {
        let (told, outcome) = oneshot::channel();
        let gone = || "this process is ending".to_owned();
        call.state.orders.upgrade.send(told).map_err(|_| gone())?;
        let successor = outcome.await.map_err(|_| gone())??;
        call.said(format!("process {successor} is in charge now"))
    })
}

fn level(call: Call) -> Doing {
    Box::pin(async move {
        let level = call.text(0);
        (call.state.orders.level)(&level)?;
        tracing::warn!("the log level is \"{level}\" from now on, as ordered");
        call.said(format!("the log level is \"{level}\" until the next start"))
    })
}

/// Replicas ask again every second.
const USUAL: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

fn allow(call: Call) -> Doing {
    Box::pin(async move {
        let name = call.text(0);
        let [time_wanted] = call.options(1, ["FOR"])?;
        let length = time_wanted.map_or(Ok(USUAL), |text| time(&text, LONGEST))?;
        call.link(&name)?.counters.desk.allow(length);
        tracing::warn!(
            "link '{name}': for {length:?}, as ordered, a master that came back empty may empty its replicas"
        );
        call.said(format!("link '{name}' lets every full sync pass for {length:?}"))
    })
}
