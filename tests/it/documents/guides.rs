//! Every guide is carried out as it stands there. `guide` reads it, `stage` has the hosts; from stunnel, which goes step by step
//! under replication that must never begin anew, is carried out by `link::migration`.

use std::fs;
use std::path::Path;

use super::document;
use super::stage::carry_out;
use crate::support::network::inside;

/// A test for each guide, and the list of those that have one.
macro_rules! guides {
    ($($test:ident: $file:literal,)*) => {
        $(
            #[test]
            fn $test() {
                inside(concat!("documents::guides::", stringify!($test)), |network| {
                    carry_out(network, &document(concat!("docs/guides/", $file)));
                });
            }
        )*

        const CARRIED_OUT: &[&str] = &[$($file),*];
    };
}

guides! {
    two_servers: "two-servers.md",
    three_nodes: "three-nodes.md",
    a_chain: "chain.md",
    sessions: "sessions.md",
    checking: "checking.md",
    an_empty_master: "empty-master.md",
    sentinel_across_data_centres: "sentinel-across-data-centres.md",
    from_spiped: "from-spiped.md",
    from_a_vpn: "from-a-vpn.md",
}

/// Carried out elsewhere, or not to be carried out here.
const OTHERS: &[(&str, &str)] = &[
    ("README.md", "the list of them"),
    ("from-stunnel.md", "link::migration"),
    ("containers.md", "needs container images; tried by the tests of the container files"),
];

#[test]
fn every_guide_is_carried_out_and_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides");
    let list = document("docs/guides/README.md");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = CARRIED_OUT.contains(&&*name) || OTHERS.iter().any(|(other, _)| *other == name);
        assert!(known, "no test carries out docs/guides/{name}");
        assert!(name == "README.md" || list.contains(&format!("({name})")), "docs/guides/README.md does not list {name}");
    }
}
