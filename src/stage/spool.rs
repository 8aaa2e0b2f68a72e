//! Output that may grow: in memory while small, in a temporary file beyond.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3;

use crate::stage::{Payload, Spool};

/// Bytes of one output kept in memory.
const MEMORY_BYTES_MAX: usize = 32 << 20;

static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A sink that counts and digests what it is given.
pub struct Sink {
    body: Body,
    digest: Xxh3,
    bytes: u64,
}

enum Body {
    Memory(Vec<u8>),
    File { writer: BufWriter<File>, path: PathBuf },
}

/// A finished output.
#[derive(Debug, Clone)]
pub struct Written {
    pub payload: Payload,
    /// xxh3-128 of the content, hex.
    pub digest: String,
    pub bytes: u64,
}

/// A new temporary file, to be written and read again; whoever has it removes it.
///
/// # Errors
/// Those of the file system.
pub fn temporary() -> io::Result<(File, PathBuf)> {
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("lakegate-{}-{serial}.spool", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    Ok((file, path))
}

impl Default for Sink {
    fn default() -> Self {
        Self { body: Body::Memory(Vec::new()), digest: Xxh3::new(), bytes: 0 }
    }
}

impl Sink {
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn finish(mut self) -> io::Result<Written> {
        let digest = format!("{:032x}", self.digest.digest128());
        let body = std::mem::replace(&mut self.body, Body::Memory(Vec::new()));
        let payload = match body {
            Body::Memory(bytes) => Payload::Bytes(bytes.into()),
            Body::File { mut writer, path } => {
                writer.flush()?;
                Payload::Spool(Arc::new(Spool { path, bytes: self.bytes }))
            }
        };
        Ok(Written { payload, digest, bytes: self.bytes })
    }
}

impl Write for Sink {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if let Body::Memory(held) = &mut self.body
            && held.len() + buf.len() > MEMORY_BYTES_MAX
        {
            let (file, path) = temporary()?;
            let mut writer = BufWriter::with_capacity(1 << 20, file);
            writer.write_all(held)?;
            self.body = Body::File { writer, path };
        }
        match &mut self.body {
            Body::Memory(held) => held.extend_from_slice(buf),
            Body::File { writer, .. } => writer.write_all(buf)?,
        }
        self.digest.update(buf);
        self.bytes += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Sink {
    /// An output that was never finished leaves no file behind.
    fn drop(&mut self) {
        if let Body::File { path, .. } = &self.body {
            drop(std::fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_output_moves_to_a_file_that_goes_with_its_last_user() {
        let mut small = Sink::default();
        small.write_all(b"abc").unwrap();
        let small = small.finish().unwrap();
        assert!(matches!(small.payload, Payload::Bytes(ref b) if b.as_ref() == b"abc"));
        let mut large = Sink::default();
        let chunk = vec![1u8; 20 << 20];
        large.write_all(&chunk).unwrap();
        large.write_all(&chunk).unwrap();
        let written = large.finish().unwrap();
        let Payload::Spool(spool) = written.payload else { panic!("over the limit") };
        let path = spool.path.clone();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 40 << 20);
        drop(spool);
        assert!(!path.exists());
    }
}
