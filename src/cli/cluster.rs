//! Where commands find a cluster: one set of flags, the rest under `[kafka]` in the configuration.

use std::path::PathBuf;

use clap::Args;

use crate::cli::config::{layers, refused};
use crate::cli::exit::Usage;
use crate::config::overlay::Flag;
use crate::config::settings::{Settings, resolve};
use crate::config::sources::SourceFlag;

/// The settings' file, and the cluster.
#[derive(Debug, Clone, Default, Args)]
pub struct ClusterArgs {
    /// Settings: a TOML file. Flags win over the environment (LAKEGATE__SECTION__KEY), the
    /// environment over the file. Without this flag no file is read, whatever lies in the folder.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Brokers of a Kafka cluster, host:port separated by commas; how to log in stands under [kafka] in the
    /// settings. Default: the embedded log of the state folder
    #[arg(long, value_name = "HOST:PORT,...")]
    pub kafka: Option<String>,
}

/// A flag of a setting, its key, and what was given.
pub type Given = (&'static str, (&'static str, &'static str), Option<String>);

impl ClusterArgs {
    /// The settings of all layers; `given` are the command's own flags.
    ///
    /// # Errors
    /// Every fault of flags, environment and file.
    pub fn settings(&self, given: Vec<Given>, sources: Vec<SourceFlag>) -> anyhow::Result<Settings> {
        let own = ("--kafka", ("kafka", "brokers"), self.kafka.clone());
        let said = given.into_iter().chain([own]);
        let flags = said.filter_map(|(flag, key, value)| Some(Flag { flag, key, value: value? })).collect();
        resolve(layers(self.config.as_deref(), flags, sources)?).map_err(refused)
    }
}

/// Nobody said which cluster.
pub fn unsaid() -> Usage {
    Usage(
        "no cluster is said: say --kafka HOST:PORT, or brokers under [kafka] in the file given with --config, or LAKEGATE__KAFKA__BROKERS"
            .to_owned(),
    )
}
