//! Verbs about the process and its links: RELOAD, LOG LEVEL, LINK ALLOW.

use std::time::Duration;

use super::{Call, Doing, Verb, time};

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "RELOAD",
        usage: "",
        help: "reads the files of TLS anew at once, as SIGHUP does",
        arity: (0, 0),
        run: reload,
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
        call.state.orders.reload.notify_one();
        call.said("the files of TLS are read anew; the log says what came of it")
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
        let links = &call.state.links;
        let Some((name, counters)) = links.iter().find(|(link, _)| *link == name) else {
            let names = links.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(format!("no link is called '{name}'; there is {names}"));
        };
        counters.desk.allow(length);
        tracing::warn!(
            "link '{name}': for {length:?}, as ordered, a master that came back empty may empty its replicas"
        );
        call.said(format!("link '{name}' lets every full sync pass for {length:?}"))
    })
}
