//! How buckets are reached: where, as whom, and how long a request may take.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::domain::time::Span;

/// How this process reaches every bucket it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Of every bucket that says nothing else.
    pub common: Reach,
    /// What single buckets say instead.
    pub buckets: BTreeMap<String, Reach>,
    /// One request with its body; the largest file must fit in it.
    pub timeout: Span,
    pub connect_timeout: Span,
    /// `AWS_…` of the environment: where credentials come from that are said nowhere else.
    pub environment: Environment,
}

/// Where a bucket is and who asks for it. What is `None` is said by somebody else, or is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// `https://host[:port]`; `None` is Amazon's, by region.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// The bucket in the path rather than in the host's name; the default with an endpoint.
    pub path_style: Option<bool>,
    /// Plain HTTP is refused unless this says otherwise.
    pub allow_http: Option<bool>,
    pub keys: Option<Keys>,
    /// Requests are not signed: public buckets.
    pub anonymous: Option<bool>,
    /// Certificates to trust beside the system's, PEM.
    pub ca: Option<PathBuf>,
}

/// An access key. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub id: String,
    pub secret: String,
    pub session_token: Option<String>,
}

/// Variables that begin with `AWS_`. Their values stay out of logs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Keeps what begins with `AWS_` and says something.
    pub fn of(all: &BTreeMap<String, String>) -> Self {
        let own = all.iter().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
        Self(own.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            common: Reach::default(),
            buckets: BTreeMap::new(),
            timeout: Span::from_secs(120),
            connect_timeout: Span::from_secs(5),
            environment: Environment::default(),
        }
    }
}

impl Options {
    /// What one bucket says, over what all say.
    pub fn reach(&self, bucket: &str) -> Reach {
        let common = self.common.clone();
        match self.buckets.get(bucket).cloned() {
            None => common,
            Some(own) => Reach {
                endpoint: own.endpoint.or(common.endpoint),
                region: own.region.or(common.region),
                path_style: own.path_style.or(common.path_style),
                allow_http: own.allow_http.or(common.allow_http),
                keys: own.keys.or(common.keys),
                anonymous: own.anonymous.or(common.anonymous),
                ca: own.ca.or(common.ca),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_says_what_differs_and_no_secret_is_printed() {
        let keys = |id: &str| Some(Keys { id: id.to_owned(), secret: "hush".to_owned(), session_token: Some("hush".to_owned()) });
        let common = Reach { endpoint: Some("https://one".to_owned()), region: Some("r".to_owned()), keys: keys("a"), ..Reach::default() };
        let own = Reach { endpoint: Some("https://two".to_owned()), keys: keys("b"), ..Reach::default() };
        let variables = [("AWS_SECRET_ACCESS_KEY", "hush"), ("AWS_REGION", ""), ("PATH", "/bin")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = Options {
            common,
            buckets: [("landing".to_owned(), own)].into(),
            environment: Environment::of(&variables),
            ..Options::default()
        };
        let landing = options.reach("landing");
        assert_eq!((landing.endpoint.as_deref(), landing.region.as_deref()), (Some("https://two"), Some("r")));
        assert_eq!(landing.keys.map(|k| k.id).as_deref(), Some("b"));
        assert_eq!(options.reach("lake").endpoint.as_deref(), Some("https://one"));
        assert_eq!(options.environment.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["AWS_SECRET_ACCESS_KEY"]);
        assert!(!format!("{options:?}").contains("hush"));
    }
}
