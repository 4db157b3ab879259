//! A guide as steps: its code blocks, each with the hosts and the file that the line above names, and remarks for the test.
//!
//! Readers see `On `a`:` above commands and `On `a`, `/etc/redan/proxy.toml`:` above a file. What happens in words only (a server
//! is lost) stands beside the words as a remark that no reader sees: `<!-- test: lose a -->`. `stage` carries the steps out.

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A file is written, or `more` is added to it.
    File { hosts: Vec<String>, path: String, more: bool, text: String },
    /// Commands are run, line by line.
    Commands { hosts: Vec<String>, text: String },
    /// The words of a remark.
    Remark(Vec<String>),
}

/// The steps of a guide. Panics where nothing says what a block is for.
pub(super) fn steps(guide: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut above, mut skip) = (String::new(), false);
    let mut open: Option<(String, String)> = None;
    for line in guide.lines() {
        if let Some((_, text)) = &mut open {
            if line.starts_with("```") {
                let (kind, text) = open.take().expect("it is open");
                if !std::mem::take(&mut skip) {
                    steps.push(block(&above, &kind, text));
                }
            } else {
                text.push_str(line);
                text.push('\n');
            }
        } else if let Some(kind) = line.strip_prefix("```") {
            open = Some((kind.to_owned(), String::new()));
        } else if let Some(remark) = line.strip_prefix("<!-- test: ").and_then(|rest| rest.strip_suffix(" -->")) {
            match remark.strip_prefix("not run: ") {
                Some(why) => {
                    assert!(why.len() > 10, "say why: {line}");
                    skip = true;
                }
                None => steps.push(Step::Remark(remark.split(' ').map(str::to_owned).collect())),
            }
        } else if !line.is_empty() {
            // Indented code would be passed over unseen.
            assert!(!line.starts_with("    "), "code stands between fences in a guide: {line}");
            above = line.to_owned();
        }
    }
    assert!(open.is_none(), "a block without an end");
    steps
}

fn block(above: &str, kind: &str, text: String) -> Step {
    let names: Vec<&str> = above.split('`').skip(1).step_by(2).collect();
    assert!(above.starts_with("On `") && above.ends_with(':'), "nothing says where this is done: {above}\n{text}");
    let hosts: Vec<String> = names.iter().filter(|name| !is_path(name)).map(|&name| name.to_owned()).collect();
    let path = names.iter().find(|name| is_path(name));
    match (kind, path) {
        ("sh", None) => Step::Commands { hosts, text },
        ("toml" | "conf", Some(&path)) => {
            Step::File { hosts, path: path.to_owned(), more: above.contains("more in `"), text }
        }
        _ => panic!("a block of kind '{kind}' under: {above}"),
    }
}

fn is_path(name: &str) -> bool {
    name.contains(['/', '.'])
}

/// What a command line says that it prints, in parts that come in this order; and the command.
pub(super) fn command_and_output(line: &str) -> (&str, Vec<&str>) {
    let (command, wanted) = line.split_once("# prints: ").unwrap_or((line, ""));
    let parts = wanted.split('…').map(str::trim).filter(|part| !part.is_empty()).collect();
    (command.trim_end(), parts)
}

/// Whether `said` has all parts in their order.
pub(super) fn has_in_order(said: &str, parts: &[&str]) -> bool {
    let mut rest = said;
    parts.iter().all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

#[test]
fn steps_are_read_as_they_are_written() {
    let guide = "# Title\n\nText.\n<!-- test: host a 10.0.0.1 -->\n\nOn `a` and `b`, `/etc/x.conf`:\n\n```conf\nport 1\n```\n\n\
                 <!-- test: not run: there is no such thing here -->\n```sh\nrm\n```\n\nOn `a`, more in `/etc/x.conf`:\n\n```conf\nsave\n```\n\n\
                 On `b`:\n\n```sh\nls  # prints: one … two\n```\n";
    let hosts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let file = |names: &[&str], more: bool, text: &str| Step::File {
        hosts: hosts(names),
        path: "/etc/x.conf".to_owned(),
        more,
        text: text.to_owned(),
    };
    let wanted = [
        Step::Remark(hosts(&["host", "a", "10.0.0.1"])),
        file(&["a", "b"], false, "port 1\n"),
        file(&["a"], true, "save\n"),
        Step::Commands { hosts: hosts(&["b"]), text: "ls  # prints: one … two\n".to_owned() },
    ];
    assert_eq!(steps(guide), wanted);
    assert_eq!(command_and_output("ls  # prints: one … two"), ("ls", vec!["one", "two"]));
    assert!(has_in_order("one and two", &["one", "two"]) && !has_in_order("two and one", &["one", "two"]));
}
