//! One request and its answer, by whichever of the registry's URLs answers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::answer::{Reply, read};
use crate::registry::RegistryError;
use crate::registry::address::{Address, BaseUrl, ClientIdentity, Credentials};

/// Longest answer read, in bytes: a schema of the longest kind, escaped as JSON text.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Longest PEM file read, in bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

const MEDIA: &str = "application/vnd.schemaregistry.v1+json";

/// Why no client can be made of an address.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{url} is no URL: {detail}")]
    Url { url: String, detail: String },
    #[error("{path}: {detail}")]
    Pem { path: String, detail: String },
    #[error("{path} and the key beside it are no certificate of a client")]
    Identity {
        path: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the HTTP client refuses its configuration")]
    Client(#[source] reqwest::Error),
}

/// What is asked of a registry.
pub(super) struct Request<'r> {
    pub(super) method: Method,
    /// Segments of the path, as they are meant: escaped here.
    pub(super) path: &'r [&'r str],
    pub(super) query: Option<&'static str>,
    pub(super) body: Option<Value>,
}

/// A client of one registry.
pub(super) struct Exchange {
    client: Client,
    urls: Vec<Url>,
    /// Place of the URL that answered last.
    answered: AtomicUsize,
    credentials: Credentials,
}

impl Exchange {
    /// # Errors
    /// By what of the address cannot be used; nothing is asked yet.
    pub(super) fn open(address: &Address) -> Result<Self, OpenError> {
        let mut client = Client::builder()
            .user_agent(concat!("lakegate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(address.connect_timeout.as_std())
            .timeout(address.timeout.as_std())
            // A redirected POST becomes a GET: whoever answers with one is not the registry.
            .redirect(reqwest::redirect::Policy::none())
            // The environment says nothing that the configuration does not say.
            .no_proxy();
        if let Some(path) = &address.ca {
            let failed = |detail: String| OpenError::Pem { path: path.display().to_string(), detail };
            let authorities = Certificate::from_pem_bundle(&pem(path)?).map_err(|e| failed(told(&e)))?;
            if authorities.is_empty() {
                return Err(failed("it holds no certificate".to_owned()));
            }
            client = authorities.into_iter().fold(client, |client, ca| client.add_root_certificate(ca));
        }
        if let Some(ClientIdentity { certificate, key }) = &address.client {
            let mut both = pem(certificate)?;
            both.push(b'\n');
            both.extend_from_slice(key.expose().as_bytes());
            let failed = |source| OpenError::Identity { path: certificate.display().to_string(), source };
            client = client.identity(Identity::from_pem(&both).map_err(failed)?);
        }
        Ok(Self {
            client: client.build().map_err(OpenError::Client)?,
            urls: address.urls.iter().map(url).collect::<Result<_, _>>()?,
            answered: AtomicUsize::new(0),
            credentials: address.credentials.clone(),
        })
    }

    /// Asks the URL that answered last, then the others in order. Every request of the seam may be repeated.
    ///
    /// # Errors
    /// `Denied` by the first that says so; else what all of them said.
    pub(super) async fn ask(&self, request: &Request<'_>) -> Result<Reply, RegistryError> {
        let first = self.answered.load(Ordering::Relaxed);
        let (mut silent, mut strange) = (Vec::new(), Vec::new());
        for at in (0..self.urls.len()).map(|n| (first + n) % self.urls.len()) {
            let host = &self.urls[at];
            match self.once(host, request).await {
                Err(RegistryError::Unreachable { detail }) => silent.push(format!("{host}: {detail}")),
                Err(RegistryError::NoRegistry { detail }) => strange.push(format!("{host}: {detail}")),
                other => {
                    self.answered.store(at, Ordering::Relaxed);
                    return other.map_err(|e| match e {
                        RegistryError::Denied { detail } => RegistryError::Denied { detail: format!("{host}: {detail}") },
                        other => other,
                    });
                }
            }
        }
        // One that is only silent may be the registry.
        if silent.is_empty() {
            return Err(RegistryError::NoRegistry { detail: strange.join("; ") });
        }
        silent.append(&mut strange);
        Err(RegistryError::Unreachable { detail: silent.join("; ") })
    }

    async fn once(&self, base: &Url, request: &Request<'_>) -> Result<Reply, RegistryError> {
        let mut url = base.clone();
        // Only URLs without a host have no segments; `url` refuses those.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(request.path);
        }
        url.set_query(request.query);
        let mut asked = self.client.request(request.method.clone(), url).header(ACCEPT, format!("{MEDIA}, application/json"));
        if let Some(body) = &request.body {
            asked = asked.header(CONTENT_TYPE, MEDIA).body(body.to_string());
        }
        let mut response = self.signed(asked).send().await.map_err(|e| unreachable(&e))?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        let body = bounded(&mut response).await?;
        read(status, location.as_deref(), &body)
    }

    fn signed(&self, asked: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Credentials::None => asked,
            Credentials::Basic { user, password } => asked.basic_auth(user, Some(password.expose())),
            Credentials::Bearer(token) => asked.bearer_auth(token.expose()),
        }
    }
}

async fn bounded(response: &mut Response) -> Result<Vec<u8>, RegistryError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(&e))? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(RegistryError::NoRegistry { detail: format!("its answer has more than {BODY_BYTES_MAX} bytes") });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn url(base: &BaseUrl) -> Result<Url, OpenError> {
    let failed = |detail: String| OpenError::Url { url: base.to_string(), detail };
    let url = Url::parse(base.as_str()).map_err(|e| failed(e.to_string()))?;
    if url.cannot_be_a_base() { Err(failed("it has no path".to_owned())) } else { Ok(url) }
}

fn pem(path: &Path) -> Result<Vec<u8>, OpenError> {
    let failed = |detail: String| OpenError::Pem { path: PathBuf::from(path).display().to_string(), detail };
    let bytes = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if bytes > PEM_BYTES_MAX {
        return Err(failed(format!("{bytes} bytes; at most {PEM_BYTES_MAX} are read")));
    }
    std::fs::read(path).map_err(|e| failed(e.to_string()))
}

fn unreachable(error: &reqwest::Error) -> RegistryError {
    RegistryError::Unreachable { detail: told(error) }
}

/// The causes of the client's error: its own text repeats the URL and hides them.
fn told(error: &reqwest::Error) -> String {
    let what = match error {
        e if e.is_timeout() => "it took too long",
        e if e.is_connect() => "no connection",
        _ => "the exchange broke off",
    };
    let mut causes: Vec<String> = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(e) = cause {
        causes.push(e.to_string());
        cause = e.source();
    }
    // The last is the one that says what happened.
    causes.pop().map_or_else(|| what.to_owned(), |last| format!("{what} ({last})"))
}
