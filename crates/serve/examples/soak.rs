//! A week of traffic in miniature: many requests by clients of all manners, while versions are swapped, and then the question whether the
//! server is as it was.
//!
//! `cargo run --release -p rankmill-serve --example soak -- RANKMILL MODEL ROWS REQUESTS`
//!
//! RANKMILL is the program, MODEL a model directory with at least two checkpoints, ROWS tab-separated rows of its eval data. The program
//! serves a folder in which the checkpoints follow one another as new versions. Most clients ask and wait; others leave in the middle of
//! a request or of an answer, send or read slowly, or send nonsense; two speak gRPC, of which one gives up its calls. Each minute the
//! server's memory is printed. It ends with an error if an answer has other bits than the first one of the same body and checkpoint, if a
//! good request fails, if a connection stays open, or if memory grew by more than a tenth between a quarter of the requests (and two minutes)
//! and the end.

mod http;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use http::{Failure, answer, connect, expect, post};
use rankmill_serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use rankmill_serve::grpc::inference::model_infer_request::InferInputTensor;
use rankmill_serve::grpc::inference::{InferTensorContents, ModelInferRequest};
use serde_json::{Value, json};

/// Bodies that are sent again and again.
const BODIES: usize = 40;
/// After how long the server gives up a client that stands still.
const IDLE: Duration = Duration::from_secs(5);
/// Time between versions.
const SWAP: Duration = Duration::from_secs(20);
/// After so many versions all buffers are as large as they will be.
const WARM: u64 = 6;
/// How long a client that gives nobody work waits until it is back: it must not take most of the requests.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Manner {
    /// Asks again and again over one connection.
    Asks,
    /// Leaves in the middle of its request.
    LeavesEarly,
    /// Leaves without its answer, or with the beginning of it.
    LeavesLate,
    /// Sends its request a few bytes at a time.
    SendsSlowly,
    /// Asks for much and reads it a few bytes at a time, or leaves in the middle, or does not read at all.
    ReadsSlowly,
    /// Sends a damaged body.
    Errs,
    /// Speaks gRPC.
    Calls,
    /// Speaks gRPC and gives up.
    GivesUp,
}

const MANNERS: [(Manner, usize); 8] = [
    (Manner::Asks, 3),
    (Manner::LeavesEarly, 1),
    (Manner::LeavesLate, 1),
    (Manner::SendsSlowly, 2),
    (Manner::ReadsSlowly, 3),
    (Manner::Errs, 1),
    (Manner::Calls, 1),
    (Manner::GivesUp, 1),
];

/// What all clients share.
struct Shared {
    address: SocketAddr,
    bodies: Vec<String>,
    large: String,
    calls: Vec<ModelInferRequest>,
    left: AtomicU64,
    ended: AtomicBool,
    done: Mutex<BTreeMap<Manner, u64>>,
    /// The first answer to each body by the checkpoint behind the version.
    answers: Mutex<BTreeMap<(usize, u64), Vec<u8>>>,
    checkpoints: u64,
}

impl Shared {
    /// Takes one of the requests that are left.
    fn next(&self, manner: Manner) -> bool {
        if self.ended.load(Ordering::Relaxed) {
            return false;
        }
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if taken {
            *self.done.lock().unwrap_or_else(PoisonError::into_inner).entry(manner).or_insert(0) += 1;
        }
        taken
    }

    /// Compares an answer with the first one of the same body and checkpoint.
    fn compare(&self, body: usize, version: u64, scores: Vec<u8>) -> Result<(), Failure> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let first = answers.entry((body, version % self.checkpoints)).or_insert_with(|| scores.clone());
        if *first == scores { Ok(()) } else { Err(format!("body {body} has other scores by version {version} than before").into()) }
    }
}

#[expect(clippy::print_stdout, reason = "a tool of its own")]
fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rankmill, model, rows, requests] = arguments.as_slice() else { return Err("usage: soak RANKMILL MODEL ROWS REQUESTS".into()) };
    let requests: u64 = requests.parse()?;
    let checkpoints = checkpoints(Path::new(model))?;
    let folder = std::env::temp_dir().join(format!("soak-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut version = 0;
    add_version(&folder, &checkpoints, version)?;
    let (mut server, address) = start(rankmill, &folder)?;
    let shared = shared(address, Path::new(rows), requests, checkpoints.len() as u64)?;
    println!("{requests} requests to {address}, {} bodies, {} checkpoints that take turns", BODIES, checkpoints.len());
    let started = Instant::now();
    let mut early = None;
    let outcome = std::thread::scope(|scope| -> Result<(), Failure> {
        let clients: Vec<_> = MANNERS
            .into_iter()
            .flat_map(|(manner, count)| (0..count).map(move |at| (manner, at)))
            .map(|(manner, at)| {
                let shared = &shared;
                scope.spawn(move || {
                    let result = behave(shared, manner, at as u64);
                    shared.ended.fetch_or(result.is_err(), Ordering::Relaxed);
                    result.map_err(|error| format!("{manner:?}: {error}"))
                })
            })
            .collect();
        let (mut next_minute, mut next_swap) = (Duration::ZERO, SWAP);
        while clients.iter().any(|client| !client.is_finished()) {
            sleep(Duration::from_millis(200));
            let done = requests - shared.left.load(Ordering::Relaxed);
            if started.elapsed() >= next_swap {
                next_swap += SWAP;
                version += 1;
                add_version(&folder, &checkpoints, version)?;
            }
            if early.is_none() && done * 4 >= requests && version >= WARM {
                early = Some(memory(&server)?);
            }
            if started.elapsed() >= next_minute {
                println!("{:4} s  {done:8} requests  {:6} KB resident  version {version}", next_minute.as_secs(), memory(&server)?);
                next_minute += Duration::from_secs(60);
            }
        }
        for client in clients {
            client.join().map_err(|_| "a client failed")??;
        }
        Ok(())
    });
    let elapsed = started.elapsed();
    let verdict = outcome.and_then(|()| afterwards(&server, address, early));
    for (manner, count) in &*shared.done.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{count:8} {manner:?}");
    }
    println!("{requests} requests in {:.0} s, {} versions", elapsed.as_secs_f64(), version + 1);
    let ended = end(&mut server);
    fs::remove_dir_all(&folder)?;
    verdict.and(ended)
}

/// Waits until all connections are closed, and compares memory.
#[expect(clippy::print_stdout, reason = "a tool of its own")]
fn afterwards(server: &Child, address: SocketAddr, early: Option<u64>) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let text = String::from_utf8_lossy(&get(address, "/metrics")?.1).into_owned();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let (connections, waiting) = (value("rankmill_connections "), value("rankmill_queue_length "));
        if (connections, waiting) == (Some(1), Some(0)) {
            println!("all connections closed {:.1} s after the last request, nothing waits", started.elapsed().as_secs_f64());
            break;
        }
        if started.elapsed() > Duration::from_secs(90) {
            return Err(format!("{connections:?} connections are open, {waiting:?} requests wait").into());
        }
        sleep(Duration::from_millis(200));
    }
    let late = memory(server)?;
    let Some(early) = early else {
        println!("resident: {late} KB at the end; the run was too short to tell whether memory grows");
        return Ok(());
    };
    println!("resident: {early} KB after a quarter of the requests, {late} KB at the end");
    if late > early + early / 10 { Err("memory grew".into()) } else { Ok(()) }
}

fn checkpoints(model: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = fs::read_dir(model.join("checkpoints"))?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    found.sort();
    if found.len() < 2 { Err("the model needs two checkpoints".into()) } else { Ok(found) }
}

/// Puts a copy of the version's checkpoint into place, and takes away what is older than the last.
fn add_version(folder: &Path, checkpoints: &[PathBuf], version: u64) -> Result<(), Failure> {
    let aside = folder.join("new");
    fs::create_dir_all(&aside)?;
    for entry in fs::read_dir(&checkpoints[version as usize % checkpoints.len()])? {
        let entry = entry?;
        fs::copy(entry.path(), aside.join(entry.file_name()))?;
    }
    // Numbers from the number of checkpoints on, so that the number tells the checkpoint and 0 is none.
    let number = version + checkpoints.len() as u64;
    fs::rename(aside, folder.join(number.to_string()))?;
    if version >= 2 {
        fs::remove_dir_all(folder.join((number - 2).to_string()))?;
    }
    Ok(())
}

fn start(rankmill: &str, folder: &Path) -> Result<(Child, SocketAddr), Failure> {
    let arguments = ["--json", "--log-level", "warn", "serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--idle-timeout"];
    let mut command = Command::new(rankmill);
    command.args(arguments).arg(IDLE.as_secs().to_string()).arg(format!("ctr={}", folder.display()));
    let mut server = command.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let report: Value = serde_json::from_str(&line)?;
    let address = report["addresses"][0].as_str().ok_or("no address")?.parse()?;
    Ok((server, address))
}

fn end(server: &mut Child) -> Result<(), Failure> {
    Command::new("kill").arg(server.id().to_string()).status()?;
    let status = server.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
}

/// Resident memory in KB.
fn memory(server: &Child) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{}/status", server.id()))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn shared(address: SocketAddr, rows: &Path, requests: u64, checkpoints: u64) -> Result<Shared, Failure> {
    const FIELDS: [&str; 11] = ["label", "user_id", "movie_id", "rating", "gender", "age", "job_id", "zip_id", "title", "genres", "year"];
    let text = fs::read_to_string(rows)?;
    let object = |line: &str| Value::from_iter(FIELDS.into_iter().zip(line.split('\t')).skip(1).map(|(name, text)| (name, json!(text))));
    let objects: Vec<Value> = text.lines().take(4000).map(object).collect();
    let body = |at: usize| json!({"rows": objects.iter().cycle().skip(at * 37).take(1 + at % 20).collect::<Vec<_>>()}).to_string();
    let large = json!({"rows": objects.iter().cycle().take(2000).collect::<Vec<_>>()}).to_string();
    let call = |at: usize| {
        let rows: Vec<&Value> = objects.iter().cycle().skip(at * 37).take(1 + at % 20).collect();
        let input = |name: &str| InferInputTensor {
            name: name.to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![rows.len() as i64],
            contents: Some(InferTensorContents {
                bytes_contents: rows.iter().map(|row| row[name].as_str().unwrap_or_default().as_bytes().to_vec()).collect(),
                ..InferTensorContents::default()
            }),
            ..InferInputTensor::default()
        };
        ModelInferRequest { model_name: "ctr".into(), inputs: FIELDS.into_iter().skip(1).map(input).collect(), ..Default::default() }
    };
    Ok(Shared {
        address,
        bodies: (0..BODIES).map(body).collect(),
        large,
        calls: (0..BODIES).map(call).collect(),
        left: AtomicU64::new(requests),
        ended: AtomicBool::new(false),
        done: Mutex::default(),
        answers: Mutex::default(),
        checkpoints,
    })
}

fn behave(shared: &Shared, manner: Manner, seed: u64) -> Result<(), Failure> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) << 20) ^ manner as u64);
    match manner {
        Manner::Asks => ask(shared, &mut random),
        Manner::Calls | Manner::GivesUp => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(call(shared, manner, &mut random))
        }
        manner => {
            while shared.next(manner) {
                misbehave(shared, manner, &mut random)?;
                // Every connection of these is a new one, and the ports of the system are few.
                sleep(PAUSE);
            }
            Ok(())
        }
    }
}

fn ask(shared: &Shared, random: &mut Random) -> Result<(), Failure> {
    let mut stream = BufReader::new(connect(shared.address)?);
    let mut on_this = 0;
    while shared.next(Manner::Asks) {
        let at = random.below(BODIES);
        stream.get_mut().write_all(&score(shared.bodies[at].as_bytes()))?;
        let (head, body) = expect(&mut stream, "HTTP/1.1 200")?;
        let version = head.lines().find_map(|line| line.strip_prefix("rankmill-model-version: ")).ok_or("no version")?.parse()?;
        let scores = body.iter().position(|byte| *byte == b'[').map(|start| body[start..].to_vec()).ok_or("no scores")?;
        shared.compare(at, version, scores)?;
        on_this += 1;
        if on_this == 1000 {
            (stream, on_this) = (BufReader::new(connect(shared.address)?), 0);
        }
    }
    Ok(())
}

fn misbehave(shared: &Shared, manner: Manner, random: &mut Random) -> Result<(), Failure> {
    let mut stream = connect(shared.address)?;
    let body = &shared.bodies[random.below(BODIES)];
    let whole = score(body.as_bytes());
    match manner {
        Manner::LeavesEarly => stream.write_all(&whole[..random.below(whole.len())])?,
        Manner::LeavesLate => {
            stream.write_all(&whole)?;
            let mut few = vec![0; random.below(64)];
            stream.read_exact(&mut few)?;
        }
        Manner::SendsSlowly => {
            for part in whole.chunks(1 + whole.len() / 20) {
                stream.write_all(part)?;
                sleep(Duration::from_millis(1 + random.below(10) as u64));
            }
            expect(&mut BufReader::new(stream), "HTTP/1.1 200")?;
        }
        Manner::ReadsSlowly => {
            stream.write_all(&score(shared.large.as_bytes()))?;
            if random.below(50) == 0 {
                // Never reads: the answers fill all buffers between the two, and the server must give up, perhaps before it has all of this.
                let _ = stream.write_all(&score(shared.large.as_bytes()).repeat(60));
                sleep(2 * IDLE);
                return Ok(());
            }
            let (stays, mut few) = (random.below(4) > 0, vec![0; 8 << 10]);
            // What is left is lost with the connection, or read to its end.
            for _ in 0..if stays { usize::MAX } else { random.below(10) } {
                sleep(Duration::from_millis(random.below(20) as u64));
                let count = stream.read(&mut few)?;
                if count == 0 || few[..count].ends_with(b"]}") {
                    break;
                }
            }
        }
        _ => {
            let mut bytes = body.clone().into_bytes();
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            stream.write_all(&score(&bytes))?;
            expect(&mut BufReader::new(stream), "HTTP/1.1 ")?;
        }
    }
    Ok(())
}

async fn call(shared: &Shared, manner: Manner, random: &mut Random) -> Result<(), Failure> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", shared.address))?;
    let mut client = GrpcInferenceServiceClient::new(endpoint.connect().await?);
    while shared.next(manner) {
        let at = random.below(BODIES);
        let answer = client.model_infer(shared.calls[at].clone());
        if manner == Manner::GivesUp {
            // Dropping the call resets its stream.
            let _ = tokio::time::timeout(Duration::from_micros(random.below(2000) as u64), answer).await;
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let answer = answer.await?.into_inner();
        let scores = answer.outputs.iter().filter_map(|output| output.contents.as_ref()).flat_map(|contents| &contents.fp32_contents);
        shared.compare(BODIES + at, answer.model_version.parse()?, scores.flat_map(|score| score.to_le_bytes()).collect())?;
    }
    Ok(())
}

fn score(body: &[u8]) -> Vec<u8> {
    post("/score", "application/json", body)
}

fn get(address: SocketAddr, path: &str) -> Result<(String, Vec<u8>), Failure> {
    let mut stream = BufReader::new(connect(address)?);
    stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: soak\r\n\r\n").as_bytes())?;
    answer(&mut stream)
}

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}
