//! The command line: parses arguments, dispatches to one file per subcommand, returns the exit code.
//!
//! Exit codes are those of sysexits.h where it has one: 78 for a wrong configuration, 70 for a defect of Redan,
//! 2 (clap's) for wrong arguments. Nothing in here may do the work of a subcommand.

mod cert;
pub(crate) mod check;
mod demo;
mod diff;
mod health;
mod keygen;
mod logging;
mod operator;
mod pages;
mod passwd;
mod top;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{self, Config};

/// EX_CONFIG: the operator corrects the configuration; starting again before that is useless.
const WRONG_CONFIGURATION: u8 = 78;
/// EX_UNAVAILABLE: what is needed cannot be reached.
const UNAVAILABLE: u8 = 69;
/// EX_SOFTWARE: whose fault it is, is Redan's.
const DEFECT: u8 = 70;

/// One fast, encrypted endpoint in front of a Redis or Valkey replication group.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients as the configuration file says, until SIGTERM
    Run {
        /// The configuration file, proxy.toml by custom; without it the variables REDAN_* of the environment
        file: Option<PathBuf>,
    },
    /// Say everything that is wrong with a configuration file, and whether its nodes can be reached
    Check {
        /// The configuration file, proxy.toml by custom; without it the variables REDAN_* of the environment
        file: Option<PathBuf>,
    },
    /// Say what the running Redan would change if it read another configuration file
    Diff {
        /// The file that is in use
        old: PathBuf,
        /// The file that is to take its place
        new: PathBuf,
    },
    /// Ask the running Redan whether it is healthy, or ready
    Health(health::Health),
    /// Watch the running Redan in the terminal: groups, nodes, traffic, links, events
    Top(top::Top),
    #[command(flatten)]
    Operator(operator::Order),
    /// Compare the data of a group's nodes, by counts and by a sample of the keys
    Verify(Verify),
    /// Start a small replication group on this machine with Redan in front of it, to try it out
    Demo(Demo),
    /// Make certificates: a small authority, servers', clients', revocation lists
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Make the line that a users file holds for a password, read from the terminal or from standard input
    Passwd {
        /// Make a random password instead, and print it on a line before its hash
        #[arg(long)]
        generate: bool,
    },
    /// Make the private key of a link, and print the line by which the other end knows it
    Keygen {
        /// The file for the private key; redan.key without it
        file: Option<PathBuf>,
        /// Print the line of a key, or of a certificate, that is there already
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        public: Option<PathBuf>,
        /// Print the certificate of a key that is there already, for programs that want one (PEM)
        #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "public"])]
        certificate: Option<PathBuf>,
    },
    /// Print the completions of a shell for redan's own arguments
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, redan.1 and one for each subcommand
    Man {
        /// The folder for them; it is made if it is not there
        folder: PathBuf,
    },
}

/// The arguments of `redan verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The group's name
    group: String,
    /// The configuration file
    #[arg(long, default_value = "proxy.toml")]
    config: PathBuf,
    /// How many keys to compare, at most, of each database
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: u32,
    /// Print one JSON object instead of sentences
    #[arg(long)]
    json: bool,
}

/// The arguments of `redan demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Walk through what Redan does, a failover included, and explain each step
    #[arg(long)]
    pub(crate) tour: bool,
}

/// Runs the program named by the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Also --help and --version, which are no errors; where even printing fails, nobody is reading.
            drop(answer.print());
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    match cli.command {
        Command::Run { file: Some(file) } => serve(&file),
        Command::Run { file: None } => with(config::load_environment(), run_proxy),
        Command::Check { file: Some(file) } => with_config(&file, check_configuration),
        Command::Check { file: None } => with(config::load_environment(), check_configuration),
        Command::Diff { old, new } => diff::run(&old, &new),
        Command::Health(arguments) => health::run(&arguments),
        Command::Verify(arguments) => with_config(&arguments.config, |config| verify::run(&config, &arguments)),
        Command::Top(arguments) => top::run(&arguments),
        Command::Operator(order) => operator::run(order),
        Command::Demo(demo) => demo::run(&demo),
        Command::Cert(command) => cert::run(command),
        Command::Passwd { generate } => passwd::run(generate),
        Command::Keygen { file, public, certificate } => keygen::run(file, public, certificate),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { folder } => pages::manual(&folder),
    }
}

pub(crate) fn serve(file: &Path) -> ExitCode {
    with_config(file, run_proxy)
}

fn with_config(file: &Path, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    with(config::load(file), then)
}

fn with(config: Result<Config, config::Errors>, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match config {
        Ok(config) => then(config),
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::from(WRONG_CONFIGURATION)
        }
    }
}

fn run_proxy(config: Config) -> ExitCode {
    let log = match logging::init(&config.log) {
        Ok(log) => log,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(DEFECT);
        }
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    app::run(config, log)
}

fn check_configuration(config: Config) -> ExitCode {
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    check::run(&config)
}
