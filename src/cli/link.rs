//! `redan link`: orders to the running Redan about a link of its.

use std::process::ExitCode;
use std::time::Duration;

use super::LinkOrder;
use super::promote::{order, with_admin};

pub(super) fn run(wanted: &LinkOrder) -> ExitCode {
    let LinkOrder::Allow { link, time, config, admin } = wanted;
    with_admin(config, *admin, |admin| {
        let body = format!("link={link}&for_ms={}", time.as_millis());
        Ok(order(admin, "link-allow", &body, Duration::ZERO)?.0)
    })
}
