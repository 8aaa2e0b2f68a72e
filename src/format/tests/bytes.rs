use std::io::Write;

use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::*;
use crate::domain::units::ByteSize;
use crate::format::options::{Compression, Limits};
use ReasonCode::*;

const TEXT: &[u8] = b"id,name,at\n1,a,2024-01-01\n2,b,2024-01-02\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn all_members_and_frames_are_read() {
    let (first, second) = TEXT.split_at(20);
    let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
    for (name, bytes, compression, events) in [
        ("plain", TEXT.to_vec(), Compression::None, &[][..]),
        ("gzip", gzip(TEXT), Compression::Gzip, &[]),
        ("two members", [gzip(first), gzip(second)].concat(), Compression::Gzip, &[]),
        ("an empty member", [gzip(TEXT), gzip(b"")].concat(), Compression::Gzip, &[]),
        ("zero padding", [gzip(TEXT), vec![0; 500]].concat(), Compression::Gzip, &[]),
        ("trailing bytes", [gzip(TEXT), b"more".to_vec()].concat(), Compression::Gzip, &[CompressionMismatch]),
        ("zstd", zstd(TEXT), Compression::Zstd, &[]),
        ("two frames", [zstd(first), zstd(second)].concat(), Compression::Zstd, &[]),
        ("skippable frames", [skippable.to_vec(), zstd(TEXT), skippable.to_vec()].concat(), Compression::Zstd, &[]),
    ] {
        let read = read(&bytes, &SourceOptions::default(), &visits()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(read.rows.len(), 2, "{name}");
        assert_eq!(read.resolved.compression, compression, "{name}");
        assert_eq!(read.events, events, "{name}");
        assert_eq!(read.totals.stored_bytes, bytes.len() as u64, "{name}");
        assert_eq!(read.totals.decompressed_bytes, TEXT.len() as u64, "{name}");
        assert_eq!(read.totals.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)), "{name}");
    }
}

#[test]
fn broken_compression_refuses_the_file_also_after_rows_came_out() {
    let mut long = b"id,name,at\n".to_vec();
    for i in 0..200_000 {
        long.extend_from_slice(format!("{i},n{},2024-01-01\n", i * 7919 % 1000).as_bytes());
    }
    let (gz, zs) = (gzip(&long), zstd(&long));
    let mut bad_sum = gz.clone();
    let at = bad_sum.len() - 6;
    bad_sum[at] ^= 1;
    let mut bad_length = gz.clone();
    let at = bad_length.len() - 2;
    bad_length[at] ^= 1;
    let mut bad_frame = zs.clone();
    let at = bad_frame.len() - 2;
    bad_frame[at] ^= 1;
    for (name, bytes, reason) in [
        ("cut gzip", gz[..gz.len() - 1000].to_vec(), TruncatedCompression),
        ("cut trailer", gz[..gz.len() - 3].to_vec(), TruncatedCompression),
        ("cut gzip header", gz[..5].to_vec(), TruncatedCompression),
        ("wrong sum", bad_sum, CorruptCompression),
        ("wrong length", bad_length, CorruptCompression),
        ("cut zstd", zs[..zs.len() - 1000].to_vec(), TruncatedCompression),
        ("wrong zstd sum", bad_frame, CorruptCompression),
        ("rubbish after a frame", [zs.clone(), b"rubbish".to_vec()].concat(), CorruptCompression),
        ("zip", b"PK\x03\x04rest of it".to_vec(), UnsupportedCompression),
        ("bzip2", b"BZh91AY&SYrest".to_vec(), UnsupportedCompression),
        ("gzip in gzip", gzip(&gzip(TEXT)), NestedCompression),
        ("zip in gzip", gzip(b"PK\x03\x04rest of it"), NestedCompression),
        ("nothing in gzip", gzip(b""), EmptyFile),
    ] {
        assert_eq!(read(&bytes, &SourceOptions::default(), &visits()).map(|r| r.rows.len()), Err(reason), "{name}");
    }
}

#[test]
fn bombs_are_stopped_and_honest_repetition_passes() {
    let row = b"1,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,2024-01-01\n";
    let text = [b"id,name,at\n".to_vec(), row.repeat(40_000)].concat();
    let with = |limits: Limits| read(&gzip(&text), &SourceOptions { limits, ..SourceOptions::default() }, &visits()).map(|r| r.rows.len());
    assert_eq!(with(Limits::default()), Ok(40_000));
    assert_eq!(with(Limits { decompressed_bytes: ByteSize::mib(1), ..Limits::default() }), Err(DecompressionBomb));
    let tight = Limits { compression_ratio: 20, ratio_applies_above: ByteSize::mib(1), ..Limits::default() };
    assert_eq!(with(tight.clone()), Err(DecompressionBomb));
    assert_eq!(with(Limits { ratio_applies_above: ByteSize::mib(32), ..tight }), Ok(40_000));
    let limits = Limits { decompressed_bytes: ByteSize(10), ..Limits::default() };
    let plain = read(&text, &SourceOptions { limits, ..SourceOptions::default() }, &visits()).map(|r| r.rows.len());
    assert_eq!(plain, Ok(40_000), "the limit is for compressed input only");
}

#[test]
fn suffixes_only_produce_events() {
    for (suffix, bytes, events) in [
        (".csv", TEXT.to_vec(), &[][..]),
        (".csv.gz", gzip(TEXT), &[]),
        (".csv.gz", TEXT.to_vec(), &[CompressionMismatch]),
        (".csv", gzip(TEXT), &[CompressionMismatch]),
        (".csv.zst", gzip(TEXT), &[CompressionMismatch]),
    ] {
        let hint = Hint { suffix: Some(suffix.to_owned()), ..visits() };
        let read = read(&bytes, &SourceOptions::default(), &hint).unwrap();
        assert_eq!((read.rows.len(), read.events.as_slice()), (2, events), "{suffix}");
    }
}

#[test]
fn an_input_that_fails_says_nothing_about_the_file() {
    struct Broken(Vec<u8>);
    impl Read for Broken {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(std::io::Error::other("gone"));
            }
            let n = self.0.len().min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }
    for bytes in [Vec::new(), TEXT.to_vec(), gzip(TEXT)] {
        let result = open(Broken(bytes), &SourceOptions::default(), &visits());
        assert!(matches!(result.map(|_| ()), Err(ReadError::Input(e)) if e.to_string() == "gone"));
    }
}

#[test]
fn a_long_tail_of_padding_is_no_record() {
    for (text, formats) in [(TEXT, Format::Csv), (&b"{\"a\":1}\n{\"a\":2}\n"[..], Format::JsonLines)] {
        for tail in [2 << 20, 6 << 20] {
            let bytes = [text.to_vec(), vec![0; tail]].concat();
            let read = read(&bytes, &only(&[formats]), &Hint::default()).unwrap();
            assert_eq!((read.rows.len(), read.bad.len(), read.events.as_slice()), (2, 0, &[NulByte][..]), "{formats:?} {tail}");
        }
    }
}
