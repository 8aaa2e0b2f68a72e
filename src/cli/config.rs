//! `lakegate config`: what a process would run with, and where each setting was said.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::exit::{self, Usage};
use crate::cli::out::Out;
use crate::cli::table::{Align, Table};
use crate::config::file::{self, TEXT_BYTES_MAX};
use crate::config::overlay::Flag;
use crate::config::problem::{Origin, Problem, Problems};
use crate::config::section::Shown;
use crate::config::settings::{Layers, read, resolve};
use crate::config::sources::SourceFlag;
use crate::lake::url::Stores;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its value and where it was said
    #[command(after_help = "Example: lakegate config show --config lakegate.toml\n\n\
                            Secrets are printed as ***. Exit codes: 0, 64 faults (after the table).")]
    Show(ConfigArgs),
    /// Check a configuration: every fault at once, each with its place and remedy
    #[command(after_help = "Example: lakegate config check --config lakegate.toml\n\nExit codes: 0 no fault, 64 faults.")]
    Check(ConfigArgs),
}

#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Settings: a TOML file. The environment (LAKEGATE__SECTION__KEY) is laid over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One line of JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct ShowView<'a> {
    settings: &'a [Shown],
    problems: &'a [Problem],
}

#[derive(Debug, Serialize)]
struct CheckView<'a> {
    problems: &'a [Problem],
    /// What nobody said and `run` needs; flags may say it.
    missing: &'a [Problem],
    settings: Counts,
}

/// Settings by where they were said.
#[derive(Debug, Default, Serialize)]
struct Counts {
    file: usize,
    environment: usize,
    default: usize,
}

/// The layers of this process. `config`: the file, read whole.
///
/// # Errors
/// [`Usage`]: the file cannot be read, or every fault of its syntax.
pub fn layers(config: Option<&Path>, flags: Vec<Flag>, sources: Vec<SourceFlag>) -> anyhow::Result<Layers> {
    let file = match config {
        None => Vec::new(),
        Some(path) => {
            let name = path.display().to_string();
            let failed = |e: std::io::Error| Usage(format!("--config {name}: {e}"));
            let bytes = std::fs::metadata(path).map_err(failed)?.len();
            if bytes > TEXT_BYTES_MAX as u64 {
                return Err(Usage(format!("--config {name}: {bytes} bytes; at most {TEXT_BYTES_MAX} are read")).into());
            }
            let text = std::fs::read_to_string(path).map_err(failed)?;
            file::read(&name, &text).map_err(|list| refused(Problems { list }))?
        }
    };
    Ok(Layers { file, environment: environment(std::env::vars_os()), flags, sources })
}

/// How stores are reached, for a command that opens one itself.
///
/// # Errors
/// As [`layers`]; every fault of the configuration.
pub fn stores(config: Option<&Path>) -> anyhow::Result<Stores> {
    let settings = resolve(layers(config, Vec::new(), Vec::new())?).map_err(refused)?;
    Ok(settings.stores)
}

/// What is not UTF-8 keeps a mark that the configuration refuses.
fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    let text = |os: OsString| os.to_string_lossy().into_owned();
    variables.map(|(name, value)| (text(name), text(value))).collect()
}

/// The faults as the user's error; exit code 64.
pub fn refused(problems: Problems) -> anyhow::Error {
    let count = problems.list.len();
    let heading = if count == 1 { "the configuration has a fault" } else { "the configuration has faults" };
    Usage(format!("{heading}:\n{problems}")).into()
}

/// # Errors
/// When the file cannot be read or output not be written.
pub fn run(command: ConfigCommand, out: &mut Out) -> anyhow::Result<u8> {
    let (ConfigCommand::Show(args) | ConfigCommand::Check(args)) = &command;
    let layers = layers(args.config.as_deref(), Vec::new(), Vec::new())?;
    let (settings, problems) = read(layers);
    let (missing, shown) = (settings.missing(), settings.shown);
    match &command {
        ConfigCommand::Show(args) if args.json => out.json(&ShowView { settings: &shown, problems: &problems })?,
        ConfigCommand::Show(_) => {
            out.table(&table(&shown))?;
            for problem in &problems {
                out.note(&problem.to_string());
            }
        }
        ConfigCommand::Check(args) => {
            let counts = Counts::of(&shown);
            if args.json {
                out.json(&CheckView { problems: &problems, missing: &missing, settings: counts })?;
            } else if problems.is_empty() {
                let Counts { file, environment, default } = counts;
                let name = args.config.as_deref().map_or("no file".to_owned(), |p| p.display().to_string());
                out.line(&format!("no fault: {file} settings from {name}, {environment} from the environment, {default} defaults"))?;
                for problem in &missing {
                    out.note(&format!("run will need it: {problem}"));
                }
            } else {
                for problem in &problems {
                    out.line(&problem.to_string())?;
                }
            }
        }
    }
    Ok(if problems.is_empty() { exit::OK } else { exit::USAGE })
}

fn table(shown: &[Shown]) -> Table {
    let mut table = Table::new(&[("SETTING", Align::Left), ("VALUE", Align::Left), ("SAID BY", Align::Prose)]);
    for Shown { key, value, origin } in shown {
        let origin = match (value, origin) {
            (None, Origin::Default) => String::new(),
            (_, origin) => origin.to_string(),
        };
        table.row([key.clone(), value.clone().unwrap_or_else(|| "(not set)".to_owned()), origin]);
    }
    table
}

impl Counts {
    fn of(shown: &[Shown]) -> Self {
        let mut counts = Self::default();
        for Shown { value, origin, .. } in shown {
            match origin {
                Origin::File { .. } => counts.file += 1,
                Origin::Environment { .. } => counts.environment += 1,
                Origin::Flag { .. } => {}
                Origin::Default if value.is_some() => counts.default += 1,
                Origin::Default => {}
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn the_documentation_shows_what_is_really_printed() {
        let page = include_str!("../../docs/configuration.md");
        let block = |fence: &str| page.rsplit_once(fence).unwrap().1.split_once("```").unwrap().0;
        let environment = BTreeMap::from([("LAKEGATE__RUN__POLL".to_owned(), "10s".to_owned())]);
        let file = file::read("lakegate.toml", block("```toml\n")).unwrap();
        let (settings, problems) = read(Layers { file, environment, ..Layers::default() });
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(table(&settings.shown).render(), block("```text\n"));
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_refused_by_name() {
        let broken = (OsString::from("LAKEGATE__LAKE__URL"), OsString::from_vec(vec![b'/', 0xff]));
        let layers = Layers { environment: environment([broken].into_iter()), ..Layers::default() };
        let (_, problems) = read(layers);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].to_string(), "LAKEGATE__LAKE__URL: is not UTF-8; write the value in UTF-8");
    }
}
