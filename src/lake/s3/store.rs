//! A prefix of a bucket as a store.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

use super::answer::Refusal;

/// Objects below a prefix, under names of their own. Unlike `object_store`'s `PrefixStore` it keeps version ids, and
/// results of reading bear the name that was asked for.
#[derive(Debug, Clone)]
pub(super) struct S3Store {
    inner: AmazonS3,
    bucket: Arc<str>,
    /// Empty: the whole bucket.
    prefix: Path,
}

impl fmt::Display for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3({}/{})", self.bucket, self.prefix)
    }
}

impl S3Store {
    pub(super) fn new(inner: AmazonS3, bucket: String, prefix: Path) -> Self {
        Self { inner, bucket: bucket.into(), prefix }
    }

    fn outside(&self, location: &Path) -> Path {
        self.prefix.parts().chain(location.parts()).collect()
    }

    fn inside(&self, location: Path) -> Path {
        location.prefix_match(&self.prefix).map(Iterator::collect).unwrap_or(location)
    }

    fn inside_of(&self, meta: ObjectMeta) -> ObjectMeta {
        ObjectMeta { location: self.inside(meta.location), ..meta }
    }

    /// Where a listing begins.
    fn from(&self, prefix: Option<&Path>) -> Path {
        self.outside(prefix.unwrap_or(&Path::default()))
    }
}

/// Refusals are errors of their own kinds, wherever `object_store` saw them.
fn told(error: Error) -> Error {
    match Refusal::below(&error).cloned() {
        None => error,
        Some(refusal @ Refusal::Denied { .. }) => {
            let Refusal::Denied { bucket, key, .. } = &refusal else { return error };
            Error::PermissionDenied { path: format!("s3://{bucket}/{key}"), source: refusal.into() }
        }
        Some(refusal) => Error::Generic { store: "S3", source: refusal.into() },
    }
}

/// Landing records keep e-tags bare; in a header they stand in quotes (RFC 9110, 8.8.3).
fn quoted(e_tag: String) -> String {
    if e_tag.starts_with(['"', '*']) || e_tag.starts_with("W/") { e_tag } else { format!("\"{e_tag}\"") }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if let PutMode::Update(version) = &mut options.mode {
            version.e_tag = version.e_tag.take().map(quoted);
        }
        self.inner.put_opts(&self.outside(location), payload, options).await.map_err(told)
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(&self.outside(location), options).await.map_err(told)
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        options.if_match = options.if_match.map(quoted);
        options.if_none_match = options.if_none_match.map(quoted);
        let mut found = self.inner.get_opts(&self.outside(location), options).await.map_err(told)?;
        found.meta = self.inside_of(found.meta);
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(&self.outside(location), ranges).await.map_err(told)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (to, back) = (self.clone(), self.clone());
        let locations = locations.map_ok(move |location| to.outside(&location)).boxed();
        let deleted = self.inner.delete_stream(locations);
        deleted.map(move |location| location.map(|location| back.inside(location)).map_err(told)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let own = self.clone();
        self.inner.list(Some(&self.from(prefix))).map(move |meta| meta.map(|meta| own.inside_of(meta)).map_err(told)).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let own = self.clone();
        let listed = self.inner.list_with_offset(Some(&self.from(prefix)), &self.outside(offset));
        listed.map(move |meta| meta.map(|meta| own.inside_of(meta)).map_err(told)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(Some(&self.from(prefix))).await.map_err(told)?;
        Ok(ListResult {
            common_prefixes: listed.common_prefixes.into_iter().map(|prefix| self.inside(prefix)).collect(),
            objects: listed.objects.into_iter().map(|meta| self.inside_of(meta)).collect(),
        })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(&self.outside(from), &self.outside(to), options).await.map_err(told)
    }
}
