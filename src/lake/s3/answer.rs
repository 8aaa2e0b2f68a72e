//! What a server answers, put right before `object_store` reads it.
//!
//! - A page of a listing with one key that no path can name (`a//b`, `/a`, `..`) would end the whole listing, and
//!   `a/` and `/a` would be taken for `a`: such entries are left out, and told once.
//! - A refusal (401, 403, a bucket that is not there) becomes an error that names bucket, operation and permission.
//! - A put that met another one under way (409) is one to repeat, not an object that stands there.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use memchr::memmem;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService, ReqwestConnector,
};

use crate::lake::url::is_nameable;

/// Largest page of a listing: a thousand keys of 1,024 bytes, escaped, stay below.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Largest text of an error that is read.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Keys left out that are remembered, so that each is told once.
const TOLD_MAX: usize = 1_000;

/// Opens clients whose answers pass through here.
#[derive(Debug)]
pub(super) struct Connector {
    pub bucket: String,
    /// Address of the bucket. Answers of other addresses (of credentials) are left as they are.
    pub base: String,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Answers { client, bucket: self.bucket.clone(), base: self.base.clone(), told: Mutex::default() }))
    }
}

#[derive(Debug)]
struct Answers {
    client: HttpClient,
    bucket: String,
    base: String,
    told: Mutex<BTreeSet<String>>,
}

/// The server does not let us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Denied { bucket: String, operation: Operation, key: String, status: u16, said: String },
    NoBucket { bucket: String, base: String },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Denied { bucket, operation, key, status, said } => {
                write!(f, "bucket {bucket} refuses {} ", operation.as_str())?;
                if !key.is_empty() {
                    write!(f, "of {key} ")?;
                }
                write!(f, "({status}{said}); allow {}, or look at the credentials", operation.permission())
            }
            Refusal::NoBucket { bucket, base } => write!(f, "there is no bucket {bucket} at {base}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// The refusal somewhere below an error, if there is one.
    pub(super) fn below<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refusal> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(refusal) = error.downcast_ref() {
                return Some(refusal);
            }
            cause = error.source();
        }
        None
    }
}

/// What was asked of the bucket, as the S3 API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    List,
    Get,
    Head,
    Put,
    Delete,
    DeleteMany,
    CreateUpload,
    UploadPart,
    CompleteUpload,
    AbortUpload,
}

impl Operation {
    fn of(method: &str, query: &str) -> Self {
        let asks = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
        match method {
            "GET" if asks("list-type") => Operation::List,
            "HEAD" => Operation::Head,
            "PUT" if asks("partNumber") => Operation::UploadPart,
            "PUT" => Operation::Put,
            "POST" if asks("delete") => Operation::DeleteMany,
            "POST" if asks("uploads") => Operation::CreateUpload,
            "POST" => Operation::CompleteUpload,
            "DELETE" if asks("uploadId") => Operation::AbortUpload,
            "DELETE" => Operation::Delete,
            _ => Operation::Get,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Operation::List => "ListObjectsV2",
            Operation::Get => "GetObject",
            Operation::Head => "HeadObject",
            Operation::Put => "PutObject",
            Operation::Delete => "DeleteObject",
            Operation::DeleteMany => "DeleteObjects",
            Operation::CreateUpload => "CreateMultipartUpload",
            Operation::UploadPart => "UploadPart",
            Operation::CompleteUpload => "CompleteMultipartUpload",
            Operation::AbortUpload => "AbortMultipartUpload",
        }
    }

    fn permission(self) -> &'static str {
        match self {
            Operation::List => "s3:ListBucket",
            Operation::Get | Operation::Head => "s3:GetObject",
            Operation::Put | Operation::CreateUpload | Operation::UploadPart | Operation::CompleteUpload => "s3:PutObject",
            Operation::Delete | Operation::DeleteMany => "s3:DeleteObject",
            Operation::AbortUpload => "s3:AbortMultipartUpload",
        }
    }
}

/// One request to the bucket.
struct Asked {
    operation: Operation,
    key: String,
}

#[async_trait]
impl HttpService for Answers {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let asked = self.asked(&request);
        let mut response = self.client.execute(request).await?;
        let Some(asked) = asked else { return Ok(response) };
        match response.status().as_u16() {
            200 if asked.operation == Operation::List => {
                let page = rebuilt(&mut response, PAGE_BYTES_MAX).await?;
                let Thinned { page, left_out } = thinned(&page);
                self.tell(left_out);
                *response.body_mut() = page.into();
            }
            status @ (401 | 403) => {
                let said = Said::of(&rebuilt(&mut response, ERROR_BYTES_MAX).await?);
                let (bucket, Asked { operation, key }) = (self.bucket.clone(), asked);
                return Err(refused(Refusal::Denied { bucket, operation, key, status, said: said.to_string() }));
            }
            404 => {
                let body = rebuilt(&mut response, ERROR_BYTES_MAX).await?;
                if Said::of(&body).code == "NoSuchBucket" {
                    return Err(refused(Refusal::NoBucket { bucket: self.bucket.clone(), base: self.base.clone() }));
                }
                *response.body_mut() = body.into();
            }
            409 if asked.operation == Operation::Put => {
                if let Ok(unavailable) = 503_u16.try_into() {
                    *response.status_mut() = unavailable;
                }
            }
            _ => {}
        }
        Ok(response)
    }
}

fn refused(refusal: Refusal) -> HttpError {
    // Of a kind that nobody repeats.
    HttpError::new(HttpErrorKind::Unknown, refusal)
}

impl Answers {
    fn asked(&self, request: &HttpRequest) -> Option<Asked> {
        let url = request.uri().to_string();
        let rest = url.strip_prefix(&self.base)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let key = path.trim_start_matches('/');
        let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
        Some(Asked { operation: Operation::of(request.method().as_str(), query), key })
    }

    fn tell(&self, left_out: Vec<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for key in left_out {
            if told.len() < TOLD_MAX && told.insert(key.clone()) {
                tracing::warn!(bucket = self.bucket, key, "an object whose key no path can name is left out");
            }
        }
    }
}

/// Takes the body, whole.
async fn rebuilt(response: &mut HttpResponse, bytes_max: usize) -> Result<Bytes, HttpError> {
    let body = std::mem::replace(response.body_mut(), HttpResponseBody::from(Bytes::new()));
    // What follows may be shorter.
    response.headers_mut().remove("content-length");
    let mut whole = Vec::new();
    let mut stream = body.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if whole.len() + chunk.len() > bytes_max {
            return Err(HttpError::new(HttpErrorKind::Decode, TooLong { bytes_max }));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

#[derive(Debug, thiserror::Error)]
#[error("the server's answer has more than {bytes_max} bytes")]
struct TooLong {
    bytes_max: usize,
}

/// Code and message of an error's XML.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    code: String,
    message: String,
}

impl Said {
    fn of(body: &[u8]) -> Self {
        let text = |tag: &str| element(body, tag, 0..body.len()).map(|at| unescaped(&body[at])).unwrap_or_default();
        Self { code: text("Code"), message: text("Message") }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => Ok(()),
            (code, "") => write!(f, " {code}"),
            ("", message) => write!(f, " {message}"),
            (code, message) => write!(f, " {code}: {message}"),
        }
    }
}

/// A page without what no path can name.
struct Thinned {
    page: Bytes,
    /// Folder markers (`a/`, empty) are nobody's loss and not among them.
    left_out: Vec<String>,
}

/// Entries of a listing, and the element that names each.
const ENTRIES: [(&str, &str); 2] = [("Contents", "Key"), ("CommonPrefixes", "Prefix")];

fn thinned(page: &Bytes) -> Thinned {
    let (mut cuts, mut left_out): (Vec<Range<usize>>, Vec<String>) = (Vec::new(), Vec::new());
    for (entry, name) in ENTRIES {
        let (open, close) = (format!("<{entry}>"), format!("</{entry}>"));
        let mut at = 0;
        while let Some(inner) = element(page, entry, at..page.len()) {
            let whole = inner.start - open.len()..inner.end + close.len();
            at = whole.end;
            let Some(key) = element(page, name, inner.clone()).map(|key| unescaped(&page[key])) else { continue };
            let is_prefix = entry == "CommonPrefixes";
            if is_nameable(if is_prefix { key.strip_suffix('/').unwrap_or(&key) } else { &key }) {
                continue;
            }
            let is_empty = element(page, "Size", inner).is_some_and(|size| &page[size] == b"0");
            let is_folder_marker = key.ends_with('/') && is_empty;
            if !(is_prefix || is_folder_marker) {
                left_out.push(key);
            }
            cuts.push(whole);
        }
    }
    if cuts.is_empty() {
        return Thinned { page: page.clone(), left_out };
    }
    cuts.sort_by_key(|cut| cut.start);
    let mut rest = Vec::with_capacity(page.len());
    let mut from = 0;
    for cut in cuts {
        rest.extend_from_slice(&page[from..cut.start.max(from)]);
        from = cut.end.max(from);
    }
    rest.extend_from_slice(&page[from..]);
    Thinned { page: rest.into(), left_out }
}

/// What stands in the first `<tag>` within a range.
fn element(text: &[u8], tag: &str, within: Range<usize>) -> Option<Range<usize>> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let within_text = text.get(within.clone())?;
    let start = memmem::find(within_text, open.as_bytes())? + open.len();
    let end = start + memmem::find(&within_text[start..], close.as_bytes())?;
    Some(within.start + start..within.start + end)
}

/// Character data of XML; what is no reference stays as it is.
fn unescaped(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let reference = rest.find(';').map(|end| (&rest[1..end], end + 1));
        match reference.and_then(|(name, length)| Some((character(name)?, length))) {
            Some((c, length)) => {
                plain.push(c);
                rest = &rest[length..];
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(key: &str, size: u64) -> String {
        format!("<Contents><Key>{key}</Key><Size>{size}</Size></Contents>")
    }

    fn prefix(text: &str) -> String {
        format!("<CommonPrefixes><Prefix>{text}</Prefix></CommonPrefixes>")
    }

    #[test]
    fn one_key_that_cannot_be_named_hides_none_of_its_neighbors() {
        let good = [entry("a b+c%20&amp;ä.csv", 3), entry("x&#x20;y", 1), prefix("lake/"), entry("last", 1)];
        let bad = [
            entry("a//b", 1),
            entry("/a", 1),
            entry("folder/", 0),
            entry("full/", 7),
            entry("../up", 1),
            entry("&#x1;", 1),
            prefix("/"),
            prefix("a//"),
        ];
        let page = |entries: &[&String]| {
            Bytes::from(format!("<R><Prefix>a//</Prefix>{}</R>", entries.iter().map(|e| e.as_str()).collect::<String>()))
        };
        let all: Vec<&String> =
            vec![&bad[0], &good[0], &bad[1], &bad[2], &good[1], &bad[3], &bad[4], &good[2], &bad[5], &bad[6], &bad[7], &good[3]];
        let Thinned { page: rest, left_out } = thinned(&page(&all));
        assert_eq!(rest, page(&good.iter().collect::<Vec<_>>()));
        assert_eq!(left_out, ["a//b", "/a", "full/", "../up", "\u{1}"]);
    }

    #[test]
    fn a_request_is_told_as_the_api_and_its_permissions_name_it() {
        for (method, query, name, permission) in [
            ("GET", "list-type=2&prefix=a", "ListObjectsV2", "s3:ListBucket"),
            ("GET", "versionId=1", "GetObject", "s3:GetObject"),
            ("PUT", "", "PutObject", "s3:PutObject"),
            ("PUT", "partNumber=1&uploadId=x", "UploadPart", "s3:PutObject"),
            ("POST", "delete", "DeleteObjects", "s3:DeleteObject"),
            ("POST", "uploads=", "CreateMultipartUpload", "s3:PutObject"),
            ("POST", "uploadId=x", "CompleteMultipartUpload", "s3:PutObject"),
            ("DELETE", "uploadId=x", "AbortMultipartUpload", "s3:AbortMultipartUpload"),
        ] {
            let operation = Operation::of(method, query);
            assert_eq!((operation.as_str(), operation.permission()), (name, permission));
        }
        let said = Said::of(b"<Error><Code>AccessDenied</Code><Message>Access &lt;Denied&gt;</Message></Error>");
        let refusal =
            Refusal::Denied { bucket: "raw".into(), operation: Operation::Get, key: "a b.csv".into(), status: 403, said: said.to_string() };
        let told =
            "bucket raw refuses GetObject of a b.csv (403 AccessDenied: Access <Denied>); allow s3:GetObject, or look at the credentials";
        assert_eq!(refusal.to_string(), told);
    }

    proptest! {
        #[test]
        fn any_page_passes_and_never_grows(parts in prop::collection::vec(prop_oneof![
            Just("<Contents>".to_owned()), Just("</Contents>".to_owned()), Just("<Key>".to_owned()), Just("</Key>".to_owned()),
            Just("<CommonPrefixes>".to_owned()), Just("<Size>0</Size>".to_owned()), "[a&#x/;.1]{0,6}",
        ], 0..40)) {
            let page = Bytes::from(parts.concat());
            prop_assert!(thinned(&page).page.len() <= page.len());
        }
    }
}
