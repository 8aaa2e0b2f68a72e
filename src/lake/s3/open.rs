//! From a URL and options to a store.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut, S3CopyIfNotExists};
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use super::answer::Connector;
use super::options::{Options, Reach};
use super::store::S3Store;
use crate::lake::url::{OpenError, is_nameable};

/// Where Amazon's buckets are when nobody says a region.
const REGION: &str = "us-east-1";

/// The runner retries what a stage does. These few are for what every server does now and then (a closed connection,
/// SlowDown), so that one of them does not cost a whole round, and for commands, which no runner drives.
const RETRIES: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 },
    max_retries: 3,
    retry_timeout: Duration::from_secs(30),
};

/// A bucket and a prefix within it.
struct Place {
    bucket: String,
    prefix: Path,
}

/// Opens `s3://bucket[/prefix]`; nothing is asked of the server.
///
/// # Errors
/// `S3` when the URL or the options name no bucket that could be asked.
pub fn open(url: &str, options: &Options) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let refused = |detail: String| OpenError::S3 { url: url.to_owned(), detail };
    let Place { bucket, prefix } = place(url).map_err(refused)?;
    let reach = options.reach(&bucket);
    let variable = |name: &str| options.environment.get(name).map(str::to_owned);
    let region = reach.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
    let region = region.unwrap_or_else(|| REGION.to_owned());
    let endpoint = reach.endpoint.clone().or_else(|| variable("AWS_ENDPOINT_URL_S3")).or_else(|| variable("AWS_ENDPOINT_URL"));
    let base = base(&bucket, endpoint.as_deref(), &region, reach.path_style).map_err(refused)?;
    let plain = base.starts_with("http://");
    if plain && reach.allow_http != Some(true) {
        return Err(refused(format!("{base} is plain HTTP; say allow_http = true under [s3], or use https")));
    }
    let mut client = ClientOptions::new()
        .with_timeout(options.timeout.as_std())
        .with_connect_timeout(options.connect_timeout.as_std())
        .with_allow_http(plain);
    for certificate in certificates(&reach).map_err(refused)? {
        client = client.with_root_certificate(certificate);
    }
    let mut builder = AmazonS3Builder::new();
    for (name, value) in options.environment.iter() {
        // As object_store's `from_env`; variables of other tools are not its.
        if let Ok(key) = AmazonS3ConfigKey::from_str(&name.to_ascii_lowercase()) {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(keys) = reach.keys {
        builder = builder.with_access_key_id(keys.id).with_secret_access_key(keys.secret);
        builder = builder.with_config(AmazonS3ConfigKey::Token, keys.session_token.unwrap_or_default());
    }
    let inner = builder
        .with_skip_signature(reach.anonymous.unwrap_or(false))
        .with_bucket_name(&bucket)
        .with_region(region)
        // The whole address of the bucket: `virtual hosted` means that it is taken as it is.
        .with_config(AmazonS3ConfigKey::S3Endpoint, base.clone())
        .with_virtual_hosted_style_request(true)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .with_retry(RETRIES)
        .with_client_options(client)
        .with_http_connector(Connector { bucket: bucket.clone(), base })
        .build()
        .map_err(|source| OpenError::Store { url: url.to_owned(), source })?;
    Ok(Arc::new(S3Store::new(inner, bucket, prefix)))
}

/// Taken letter for letter, as other tools take such URLs: nothing is percent-decoded.
fn place(url: &str) -> Result<Place, String> {
    let rest = url.strip_prefix("s3://").unwrap_or(url);
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || !bucket.chars().all(plain) {
        return Err(format!("{bucket:?} is no bucket; write s3://bucket or s3://bucket/prefix"));
    }
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() && !is_nameable(prefix) {
        return Err(format!("{prefix:?} is no prefix of keys; write whole segments, such as s3://{bucket}/lake/one"));
    }
    Ok(Place { bucket: bucket.to_owned(), prefix: Path::parse(prefix).map_err(|e| e.to_string())? })
}

/// The address of a bucket.
fn base(bucket: &str, endpoint: Option<&str>, region: &str, path_style: Option<bool>) -> Result<String, String> {
    let Some(endpoint) = endpoint else {
        // A wildcard certificate covers one label: a bucket with a dot in its name has none in its host's.
        return Ok(match path_style.unwrap_or_else(|| bucket.contains('.')) {
            true => format!("https://s3.{region}.amazonaws.com/{bucket}"),
            false => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        });
    };
    let endpoint = endpoint.trim_end_matches('/');
    let host = |scheme: &'static str| endpoint.strip_prefix(scheme).filter(|host| !host.is_empty()).map(|host| (scheme, host));
    let Some((scheme, host)) = host("https://").or_else(|| host("http://")) else {
        return Err(format!("{endpoint:?} is no endpoint; write https://host or https://host:port"));
    };
    Ok(if path_style.unwrap_or(true) { format!("{endpoint}/{bucket}") } else { format!("{scheme}{bucket}.{host}") })
}

/// Largest file of certificates read, in bytes.
const CA_BYTES_MAX: u64 = 4 << 20;

fn certificates(reach: &Reach) -> Result<Vec<Certificate>, String> {
    let Some(path) = &reach.ca else { return Ok(Vec::new()) };
    let failed = |detail: String| format!("the certificates in {}: {detail}", path.display());
    let bytes = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if bytes > CA_BYTES_MAX {
        return Err(failed(format!("{bytes} bytes; at most {CA_BYTES_MAX} are read")));
    }
    let text = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    let found = Certificate::from_pem_bundle(&text).map_err(|e| failed(e.to_string()))?;
    if found.is_empty() { Err(failed("none is there; it wants PEM".to_owned())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_bucket_and_whole_segments() {
        for (url, bucket, prefix) in [
            ("s3://raw", "raw", ""),
            ("s3://raw/", "raw", ""),
            ("s3://raw.eu_1/lake/one/", "raw.eu_1", "lake/one"),
            ("s3://raw/a b%20+ä", "raw", "a b%20+ä"),
        ] {
            let found = place(url).unwrap();
            assert_eq!((found.bucket.as_str(), found.prefix.as_ref()), (bucket, prefix), "{url}");
        }
        for url in ["s3://", "s3:///a", "s3://a b", "s3://b:9000/x", "s3://b//x", "s3://b/a//b", "s3://b/../c", "s3://user@b/"] {
            assert!(place(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_bucket_stands_in_the_path_with_an_endpoint_and_in_the_host_at_amazon() {
        for (bucket, endpoint, style, expected) in [
            ("b", None, None, "https://b.s3.eu-west-1.amazonaws.com"),
            ("b.c", None, None, "https://s3.eu-west-1.amazonaws.com/b.c"),
            ("b", None, Some(true), "https://s3.eu-west-1.amazonaws.com/b"),
            ("b", Some("http://localhost:9000/"), None, "http://localhost:9000/b"),
            ("b", Some("https://minio.one:9000"), Some(false), "https://b.minio.one:9000"),
        ] {
            assert_eq!(base(bucket, endpoint, "eu-west-1", style).unwrap(), expected);
        }
        for endpoint in ["localhost:9000", "ftp://x", "https://", ""] {
            assert!(base("b", Some(endpoint), "r", None).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_the_reason() {
        let told = |reach: Reach| {
            let options = Options { common: reach, ..Options::default() };
            open("s3://b/p", &options).map(drop).unwrap_err().to_string()
        };
        let http = Reach { endpoint: Some("http://localhost:1".into()), ..Reach::default() };
        assert!(told(http).contains("http://localhost:1/b is plain HTTP; say allow_http = true"));
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        assert!(told(Reach { ca: Some(ca.clone()), ..Reach::default() }).contains("ca.pem: No such file"));
        std::fs::write(&ca, "no certificate").unwrap();
        assert!(told(Reach { ca: Some(ca), ..Reach::default() }).contains("ca.pem: none is there"));
    }
}
