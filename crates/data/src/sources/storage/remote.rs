//! Files of object stores and web servers: `s3://BUCKET/KEY`, `http://HOST/PATH`, `https://HOST/PATH`.
//!
//! Files are read by range requests: text and records in large blocks, of which the next one is under way while one is read; Parquet in
//! smaller ones, some of which are kept, since its columns stand side by side. Where a connection breaks off, it is taken up again at the
//! byte that is missing, and what a server refuses for the moment is asked for again after a growing pause. All requests name the version
//! of the file (its ETag) that was there when it was opened, so one that is replaced meanwhile is an error, and no mixture of two.
//!
//! S3 is set up by the usual environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL` for other stores of that kind, `AWS_ALLOW_HTTP=true` where it has no TLS, `AWS_SKIP_SIGNATURE=true` for public data.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use glob::Pattern;
use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Bytes of a request of a stream.
const STREAM_BLOCK: u64 = 4 * 1024 * 1024;
/// Bytes of a block that is kept.
const KEPT_BLOCK: u64 = 1024 * 1024;
/// Blocks that are kept of a file.
const MOST_KEPT: usize = 64;
/// Requests in vain before a file is given up, beyond what the client repeats by itself.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// An open file.
#[derive(Clone)]
pub(crate) struct RemoteFile {
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    kept: Arc<Mutex<Kept>>,
}

/// Blocks by their number, each with the time of its last use.
#[derive(Default)]
struct Kept {
    blocks: BTreeMap<u64, (u64, Bytes)>,
    time: u64,
}

/// A place in a store.
struct Place {
    store: Arc<dyn ObjectStore>,
    /// The URL up to the path.
    base: String,
    /// The path as it is written.
    key: String,
}

impl RemoteFile {
    pub(super) fn open(url: &str) -> io::Result<RemoteFile> {
        let Place { store, key, .. } = place(url)?;
        RemoteFile::of_store(store, &key)
    }

    fn of_store(store: Arc<dyn ObjectStore>, key: &str) -> io::Result<RemoteFile> {
        let path = Path::parse(key).map_err(io::Error::other)?;
        let meta = wait(async { store.head(&path).await }).map_err(readable)?;
        Ok(RemoteFile { store, meta, kept: Arc::default() })
    }

    pub(super) fn size(&self) -> u64 {
        self.meta.size
    }

    pub(super) fn version(&self) -> String {
        format!("{} {:?}", self.meta.last_modified, self.meta.e_tag)
    }

    pub(super) fn bytes(&self, range: Range<u64>) -> io::Result<Bytes> {
        wait(get(self.clone(), range))
    }

    pub(super) fn stream(self) -> Stream {
        Stream { file: self, requested: 0, block: Bytes::new(), next: None }
    }

    /// The bytes from `start` on, by blocks that are kept.
    pub(super) fn blocks_from(&self, start: u64) -> Blocks {
        Blocks { file: self.clone(), at: start }
    }

    /// Some bytes, by blocks that are kept.
    pub(super) fn blocks_of(&self, range: Range<u64>) -> io::Result<Bytes> {
        let first = self.rest_of_block(range.start)?;
        let length = (range.end - range.start) as usize;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut bytes = Vec::with_capacity(length);
        self.blocks_from(range.start).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.into()) }
    }

    /// The bytes from `at` to the end of its block; none at the end of the file.
    fn rest_of_block(&self, at: u64) -> io::Result<Bytes> {
        if at >= self.size() {
            return Ok(Bytes::new());
        }
        let number = at / KEPT_BLOCK;
        let start = number * KEPT_BLOCK;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { blocks, time } = &mut *kept;
        *time += 1;
        if let Some((used, block)) = blocks.get_mut(&number) {
            *used = *time;
            return Ok(block.slice((at - start) as usize..));
        }
        let block = self.bytes(start..(start + KEPT_BLOCK).min(self.size()))?;
        if blocks.len() == MOST_KEPT
            && let Some(oldest) = blocks.iter().min_by_key(|(_, (used, _))| *used).map(|(number, _)| *number)
        {
            blocks.remove(&oldest);
        }
        blocks.insert(number, (*time, block.clone()));
        Ok(block.slice((at - start) as usize..))
    }
}

/// All bytes of a file in order.
pub(super) struct Stream {
    file: RemoteFile,
    /// Where the next request starts.
    requested: u64,
    block: Bytes,
    /// The block behind `block`.
    next: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Stream {
    fn request(&mut self) -> Option<JoinHandle<io::Result<Bytes>>> {
        let range = self.requested..(self.requested + STREAM_BLOCK).min(self.file.size());
        self.requested = range.end;
        (!range.is_empty()).then(|| runtime().spawn(get(self.file.clone(), range)))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.block.is_empty() && !buffer.is_empty() {
            let Some(task) = self.next.take().or_else(|| self.request()) else { return Ok(0) };
            self.next = self.request();
            self.block = wait(task).map_err(io::Error::other)??;
        }
        let count = buffer.len().min(self.block.len());
        buffer[..count].copy_from_slice(&self.block.split_to(count));
        Ok(count)
    }
}

/// The bytes of a file from somewhere on, by blocks that are kept.
pub(super) struct Blocks {
    file: RemoteFile,
    at: u64,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let block = self.file.rest_of_block(self.at)?;
        let count = buffer.len().min(block.len());
        buffer[..count].copy_from_slice(&block[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

/// Some bytes of a file. What is missing when a connection breaks off, or is refused for the moment, is asked for again.
async fn get(file: RemoteFile, range: Range<u64>) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    let mut in_vain = 0;
    while range.start + (bytes.len() as u64) < range.end {
        let before = bytes.len();
        let Err(error) = read_on(&file, &range, &mut bytes).await else { break };
        in_vain = if bytes.len() > before { 0 } else { in_vain + 1 };
        if in_vain == ATTEMPTS || !matches!(error, Error::Generic { .. }) {
            return Err(readable(error));
        }
        tokio::time::sleep(FIRST_PAUSE * 2_u32.pow(in_vain)).await;
    }
    Ok(bytes.into())
}

/// Asks for what is missing of a range, and adds what comes of it.
async fn read_on(file: &RemoteFile, range: &Range<u64>, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let rest = range.start + bytes.len() as u64..range.end;
    // A weak ETag names no bytes, so there can't be a match.
    let if_match = file.meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
    let options = GetOptions { if_match, range: Some(GetRange::Bounded(rest)), ..GetOptions::default() };
    let mut parts = file.store.get_opts(&file.meta.location, options).await?.into_stream();
    while let Some(part) = poll_fn(|context| parts.as_mut().poll_next(context)).await {
        bytes.extend_from_slice(&part?);
    }
    if (bytes.len() as u64) < range.end - range.start {
        return Err(Error::Generic { store: "remote", source: Box::new(io::Error::from(io::ErrorKind::UnexpectedEof)) });
    }
    Ok(())
}

/// The URLs of the files that a URL names: itself; with `*`, `?` or `[..]` those that match, part by part; or the files of a folder, but
/// those that start with `.` or `_`. Web servers list no files.
pub(crate) fn expand(url: &str) -> io::Result<Vec<String>> {
    files_of(place(url)?)
}

fn files_of(Place { store, base, key }: Place) -> io::Result<Vec<String>> {
    let mut keys = Vec::new();
    if base.starts_with("http") || !key.contains(['*', '?', '[']) {
        let path = Path::parse(&key).map_err(io::Error::other)?;
        match wait(async { store.head(&path).await }) {
            Ok(_) => return Ok(vec![format!("{base}/{key}")]),
            Err(Error::NotFound { .. }) if !base.starts_with("http") => {}
            Err(error) => return Err(readable(error)),
        }
        let listing = wait(async { store.list_with_delimiter(Some(&path)).await }).map_err(readable)?;
        let visible = |path: &Path| path.filename().is_some_and(|name| !name.starts_with(['.', '_']));
        keys.extend(listing.objects.into_iter().map(|object| object.location).filter(visible));
    } else {
        let parts: Vec<&str> = key.split('/').collect();
        let literal = parts.iter().take_while(|part| !part.contains(['*', '?', '['])).count();
        let patterns = parts[literal..].iter().map(|part| Pattern::new(part).map_err(io::Error::other)).collect::<io::Result<Vec<_>>>()?;
        matching(&*store, Path::parse(parts[..literal].join("/")).map_err(io::Error::other)?, &patterns, &mut keys)?;
    }
    keys.sort();
    Ok(keys.into_iter().map(|key| format!("{base}/{key}")).collect())
}

/// Adds the files below a folder whose parts match.
fn matching(store: &dyn ObjectStore, folder: Path, patterns: &[Pattern], keys: &mut Vec<Path>) -> io::Result<()> {
    let Some((pattern, rest)) = patterns.split_first() else { return Ok(()) };
    let listing = wait(async { store.list_with_delimiter(Some(&folder)).await }).map_err(readable)?;
    let fits = |path: &Path| path.filename().is_some_and(|name| pattern.matches(name));
    if rest.is_empty() {
        keys.extend(listing.objects.into_iter().map(|object| object.location).filter(fits));
        return Ok(());
    }
    listing.common_prefixes.into_iter().filter(fits).try_for_each(|folder| matching(store, folder, rest, keys))
}

/// The store of a URL, which is the same for all files of a bucket or server.
fn place(url: &str) -> io::Result<Place> {
    static STORES: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>> = Mutex::new(BTreeMap::new());
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
    let base = format!("{scheme}://{host}");
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let store = match stores.get(&base) {
        Some(store) => Arc::clone(store),
        None => {
            let store = connect(scheme, host, &base)?;
            stores.insert(base.clone(), Arc::clone(&store));
            store
        }
    };
    Ok(Place { store, base, key: key.to_owned() })
}

fn connect(scheme: &str, host: &str, base: &str) -> io::Result<Arc<dyn ObjectStore>> {
    match scheme {
        "s3" | "s3a" => Ok(Arc::new(AmazonS3Builder::from_env().with_bucket_name(host).build().map_err(readable)?)),
        "http" | "https" => {
            let options = ClientOptions::new().with_allow_http(true);
            Ok(Arc::new(HttpBuilder::new().with_url(base).with_client_options(options).build().map_err(readable)?))
        }
        _ => {
            let message = format!("`{scheme}://` is not known; expected s3://, http:// or https://, or copy the files to disk");
            Err(io::Error::new(io::ErrorKind::Unsupported, message))
        }
    }
}

fn readable(error: Error) -> io::Error {
    match error {
        Error::NotFound { path, .. } => io::Error::new(io::ErrorKind::NotFound, format!("there is no `{path}`")),
        Error::Precondition { .. } => io::Error::other("the file was replaced while it was read"),
        error => io::Error::other(error),
    }
}

/// Where requests run. Readers of files are ordinary threads and wait for them.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("object-store").enable_all();
        builder.build().expect("the system has threads for requests")
    })
}

fn wait<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn content(length: usize) -> Vec<u8> {
        (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn put(store: &Arc<dyn ObjectStore>, key: &str, bytes: Vec<u8>) {
        wait(async { store.put(&Path::from(key), bytes.into()).await }).expect("in memory");
    }

    #[test]
    fn streams_and_blocks_have_the_bytes_of_the_file() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for length in [0, 1, KEPT_BLOCK as usize, 2 * STREAM_BLOCK as usize + 17] {
            let expected = content(length);
            put(&store, "rows", expected.clone());
            let file = RemoteFile::of_store(Arc::clone(&store), "rows").expect("there");
            assert_eq!(file.size(), length as u64);
            let mut bytes = Vec::new();
            file.clone().stream().read_to_end(&mut bytes).expect("readable");
            assert!(bytes == expected, "{length}");
            for start in [0, 1, length / 2, length.saturating_sub(5), length] {
                for count in [0, 1, 5, 2_000_000] {
                    let end = (start + count).min(length);
                    let range = start.min(end) as u64..end as u64;
                    assert!(file.blocks_of(range.clone()).expect("readable") == expected[start.min(end)..end], "{range:?} of {length}");
                }
            }
            assert!(file.blocks_of(0..length as u64 + 1).is_err());
        }
    }

    #[test]
    fn the_blocks_that_are_kept_are_those_used_last() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        put(&store, "rows", content((MOST_KEPT + 2) * KEPT_BLOCK as usize));
        let file = RemoteFile::of_store(store, "rows").expect("there");
        for number in (0..MOST_KEPT as u64).chain([0, MOST_KEPT as u64, MOST_KEPT as u64 + 1]) {
            file.blocks_of(number * KEPT_BLOCK..number * KEPT_BLOCK + 1).expect("readable");
        }
        let kept = file.kept.lock().expect("no panic");
        let numbers: Vec<u64> = kept.blocks.keys().copied().collect();
        assert_eq!(numbers, [0].into_iter().chain(3..MOST_KEPT as u64 + 2).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_is_replaced_is_an_error() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        put(&store, "rows", content(100));
        let file = RemoteFile::of_store(Arc::clone(&store), "rows").expect("there");
        let before = file.version();
        put(&store, "rows", content(200));
        assert!(file.bytes(0..50).expect_err("another file").to_string().contains("replaced"));
        assert_ne!(RemoteFile::of_store(store, "rows").expect("there").version(), before);
    }

    #[test]
    fn patterns_and_folders() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for key in ["day=2/part-0", "day=1/part-1", "day=1/part-0", "day=1/_SUCCESS", "day=1/.crc", "day=1/deeper/part-0", "other/part-0"] {
            put(&store, key, vec![1]);
        }
        let files = |key: &str| {
            let found = files_of(Place { store: Arc::clone(&store), base: "s3://b".into(), key: key.into() });
            found.map(|files| files.join(" ").replace("s3://b/", "")).map_err(|error| error.to_string())
        };
        assert_eq!(files("day=1/part-1"), Ok("day=1/part-1".into()));
        assert_eq!(files("day=1"), Ok("day=1/part-0 day=1/part-1".into()));
        assert_eq!(files("day=1/part-*"), Ok("day=1/part-0 day=1/part-1".into()));
        assert_eq!(files("day=*/part-[0]"), Ok("day=1/part-0 day=2/part-0".into()));
        assert_eq!(files("*/part-1"), Ok("day=1/part-1".into()));
        assert_eq!(files("day=3"), Ok(String::new()));
        assert_eq!(files("day=3/*"), Ok(String::new()));
        assert!(files("a[").is_err());
        assert!(expand("ftp://host/rows").expect_err("unknown").to_string().contains("expected s3://"));
    }
}
