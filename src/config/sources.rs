//! `[[source]]` and the flags that name a source: where objects come to be known.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use object_store::path::Path as StorePath;

use super::file::{Entry, Value};
use super::problem::{Origin, Problem};
use super::section::{Reading, Refused, Said, Section, Shown, parsed, span, text};
use crate::app::sources::{Hook, Landing, Notices, Source};
use crate::contract::fault::nearest;
use crate::domain::names::BucketName;
use crate::domain::time::Span;
use crate::event::Family;

/// The section's name.
pub const SECTION: &str = "source";

/// A source said by a flag; it replaces the file's source of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceFlag {
    /// `--landing [NAME=]URL`
    Landing { name: String, url: String },
    /// `--notices [NAME=]FILE`
    Notices { name: String, path: PathBuf },
    /// `--webhook ADDR`
    Webhook { address: String },
}

/// The name `--webhook` gives its source.
const WEBHOOK_NAME: &str = "webhook";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Listing,
    File,
    Webhook,
}

const KINDS: [(&str, Kind); 4] =
    [("listing", Kind::Listing), ("directory", Kind::Listing), ("file", Kind::File), ("webhook", Kind::Webhook)];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS.iter().find(|(_, k)| k == self).map_or("", |(word, _)| word))
    }
}

/// Every source of file and flags, names and buckets checked against each other. `poll` is `run.poll`.
pub fn read(root: &[Entry], flags: &[SourceFlag], poll: &Said<Span>, reading: &mut Reading) -> Vec<Source> {
    let mut all: Vec<Said<Source>> = Vec::new();
    for entry in root.iter().filter(|e| e.key == SECTION) {
        let Value::List(nodes) = &entry.node.value else {
            let (origin, key) = (Some(entry.origin.clone()), SECTION.to_owned());
            let message = format!("wants a list of tables, found {}", entry.node.value.kind());
            reading.problems.push(Problem { origin, key, message, remedy: Some("write [[source]]".to_owned()) });
            continue;
        };
        for (idx, node) in nodes.iter().enumerate() {
            let mark = reading.shown.len();
            let section = Section::of(format!("{SECTION}[{idx}]"), node, reading);
            let Some(source) = one(section, poll, reading) else { continue };
            if flags.iter().any(|flag| flag.name() == source.name()) {
                reading.shown.truncate(mark);
            } else {
                all.push(Said { value: source, origin: node.origin.clone() });
            }
        }
    }
    for flag in flags {
        let shown = Origin::Flag { flag: flag.flag() };
        let mut show = |key: &str, value: String, origin: &Origin| {
            let (key, origin) = (format!("{SECTION}({}).{key}", flag.name()), origin.clone());
            reading.shown.push(Shown { key, value: Some(value), origin });
        };
        show("kind", flag.kind().to_string(), &shown);
        match flag {
            SourceFlag::Landing { url, .. } => show("url", url.clone(), &shown),
            SourceFlag::Notices { path, .. } => show("path", path.display().to_string(), &shown),
            SourceFlag::Webhook { address } => show("address", address.clone(), &shown),
        }
        if !matches!(flag, SourceFlag::Webhook { .. }) {
            show("poll", poll.value.to_string(), &poll.origin);
        }
        if let Some(source) = flag.source(reading) {
            all.push(Said { value: source, origin: shown });
        }
    }
    agree(&all, reading);
    all.into_iter().map(|s| s.value).collect()
}

impl SourceFlag {
    fn name(&self) -> &str {
        match self {
            SourceFlag::Landing { name, .. } | SourceFlag::Notices { name, .. } => name,
            SourceFlag::Webhook { .. } => WEBHOOK_NAME,
        }
    }

    fn flag(&self) -> &'static str {
        match self {
            SourceFlag::Landing { .. } => "--landing",
            SourceFlag::Notices { .. } => "--notices",
            SourceFlag::Webhook { .. } => "--webhook",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            SourceFlag::Landing { .. } => Kind::Listing,
            SourceFlag::Notices { .. } => Kind::File,
            SourceFlag::Webhook { .. } => Kind::Webhook,
        }
    }

    fn source(&self, reading: &mut Reading) -> Option<Source> {
        let mut refuse = |key: &str, refused: Refused| {
            let origin = Some(Origin::Flag { flag: self.flag() });
            let key = format!("{SECTION}({}).{key}", self.name());
            reading.problems.push(Problem { origin, key, message: refused.message, remedy: refused.remedy });
        };
        match self {
            SourceFlag::Landing { name, url } => match name.parse() {
                Ok(bucket) => Some(Source::Landing(Landing::new(bucket, url.clone()))),
                Err(e) => {
                    refuse("bucket", Refused { message: format!("{e}"), remedy: Some("write NAME=URL".to_owned()) });
                    None
                }
            },
            SourceFlag::Notices { name, path } => {
                Some(Source::Notices(Notices { name: name.clone(), path: path.clone(), family: None, poll: None }))
            }
            SourceFlag::Webhook { address } => match host_and_port(&Value::Word(address.clone())) {
                Ok(address) => Some(Source::Webhook(Hook { name: WEBHOOK_NAME.to_owned(), address, family: None })),
                Err(refused) => {
                    refuse("address", refused);
                    None
                }
            },
        }
    }
}

fn one(mut section: Section<'_>, poll: &Said<Span>, reading: &mut Reading) -> Option<Source> {
    let name = section.required("name", reading, source_name);
    let kind = section.required("kind", reading, |value| {
        let word = text(value)?;
        KINDS.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind).ok_or_else(|| {
            let known = KINDS.map(|(known, _)| known);
            let hint = nearest(&word, known).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
            Refused { message: format!("{word:?} is no kind of source"), remedy: Some(format!("{hint}kinds are {}", known.join(", "))) }
        })
    });
    let Some(kind) = kind else {
        // Without its kind nobody can tell which keys belong here.
        return None;
    };
    let family = |section: &mut Section<'_>, reading: &mut Reading| section.optional("family", reading, parsed::<Family>);
    let source = match kind.value {
        Kind::Listing => {
            let url = section.required("url", reading, text);
            let default = name.as_ref().and_then(|n| n.value.parse::<BucketName>().ok());
            let bucket = match default {
                Some(bucket) => Some(section.or("bucket", bucket, reading, parsed::<BucketName>)),
                None => section.optional("bucket", reading, parsed::<BucketName>).map(|b| b.value),
            };
            if bucket.is_none() && name.is_some() {
                section.refuse("its name is no bucket's", "add bucket = \"…\"", reading);
            }
            let prefix = section.optional("prefix", reading, prefix);
            let poll = Some(section.or_said("poll", poll.clone(), reading, span).value);
            (|| {
                let prefix = prefix.map(|p| p.value);
                Some(Source::Landing(Landing { name: name?.value, bucket: bucket?, url: url?.value, prefix, poll }))
            })()
        }
        Kind::File => {
            let path = section.required("path", reading, text);
            let family = family(&mut section, reading).map(|f| f.value);
            let poll = Some(section.or_said("poll", poll.clone(), reading, span).value);
            (|| Some(Source::Notices(Notices { name: name?.value, path: path?.value.into(), family, poll })))()
        }
        Kind::Webhook => {
            let address = section.required("address", reading, host_and_port);
            let family = family(&mut section, reading).map(|f| f.value);
            (|| Some(Source::Webhook(Hook { name: name?.value, address: address?.value, family })))()
        }
    };
    section.finish(reading);
    source
}

/// Names are keys of state and words in headers.
fn source_name(value: &Value) -> Result<String, Refused> {
    let name = text(value)?;
    if name.contains('/') || name.chars().any(char::is_control) || name.len() > 64 {
        let remedy = Some("use at most 64 bytes, without / and control characters".to_owned());
        return Err(Refused { message: format!("{name:?} is no name of a source"), remedy });
    }
    Ok(name)
}

fn prefix(value: &Value) -> Result<StorePath, Refused> {
    let text = text(value)?;
    StorePath::parse(text.trim_end_matches('/')).map_err(|e| {
        let remedy = Some("write whole segments, such as landing/orders".to_owned());
        Refused { message: format!("{text:?} is no prefix of keys: {e}"), remedy }
    })
}

pub(super) fn host_and_port(value: &Value) -> Result<String, Refused> {
    let text = text(value)?;
    let fits = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !fits {
        let remedy = Some("write HOST:PORT, such as 127.0.0.1:8080 or 0.0.0.0:8080".to_owned());
        return Err(Refused { message: format!("{text:?} is no address to listen on"), remedy });
    }
    Ok(text)
}

/// Names and addresses stand once; one bucket is one place.
fn agree(all: &[Said<Source>], reading: &mut Reading) {
    let mut names: BTreeMap<&str, &Origin> = BTreeMap::new();
    let mut addresses: BTreeMap<&str, &Origin> = BTreeMap::new();
    let mut buckets: BTreeMap<&str, (&str, &Origin)> = BTreeMap::new();
    for Said { value: source, origin } in all {
        let mut clash = |message: String, remedy: &str| {
            let (origin, key) = (Some(origin.clone()), format!("{SECTION}({})", source.name()));
            reading.problems.push(Problem { origin, key, message, remedy: Some(remedy.to_owned()) });
        };
        if let Some(first) = names.insert(source.name(), origin) {
            clash(format!("two sources are named {}, the first at {first}", source.name()), "rename one");
        }
        match source {
            Source::Webhook(hook) => {
                let free = hook.address.ends_with(":0");
                if let Some(first) = addresses.insert(&hook.address, origin).filter(|_| !free) {
                    clash(format!("two webhooks listen on {}, the first at {first}", hook.address), "give each its own port");
                }
            }
            Source::Landing(landing) => match buckets.insert(landing.bucket.as_str(), (&landing.url, origin)) {
                Some((url, first)) if url != landing.url => {
                    let message = format!("bucket {} stands at {url} ({first}) and at {}", landing.bucket, landing.url);
                    clash(message, "give one of them another bucket");
                }
                _ => {}
            },
            Source::Notices(_) => {}
        }
    }
}
