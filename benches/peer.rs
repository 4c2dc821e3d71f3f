//! What the Rust programs of the comparison share: their options, and the way in which they measure and answer.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rankmill_kernels::gemm::Precision;

/// The two sizes that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// MovieLens: 7 fields, 1024 rows a step.
    Small,
    /// Like Criteo: 39 fields, 4096 rows a step.
    Large,
}

impl Size {
    /// Rows of a step.
    pub(crate) fn rows(self) -> usize {
        if self == Size::Small { 1024 } else { 4096 }
    }
}

/// The models that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    MaskNet,
    DeepFm,
    Dcn,
    Dlrm,
    FiBiNet,
    Din,
    Mmoe,
}

impl Network {
    const ALL: [(&str, Network, &str); 7] = [
        ("masknet", Network::MaskNet, include_str!("networks/masknet.config")),
        ("deepfm", Network::DeepFm, include_str!("networks/deepfm.config")),
        ("dcn", Network::Dcn, include_str!("networks/dcn.config")),
        ("dlrm", Network::Dlrm, include_str!("networks/dlrm.config")),
        ("fibinet", Network::FiBiNet, include_str!("networks/fibinet.config")),
        ("din", Network::Din, include_str!("networks/din.config")),
        ("mmoe", Network::Mmoe, include_str!("networks/mmoe.config")),
    ];

    fn named(name: &str) -> Option<Network> {
        Network::ALL.iter().find(|(known, ..)| *known == name).map(|(_, network, _)| *network)
    }

    /// Its `model_config`, with `FEATURES` where the features of a group belong.
    pub(crate) fn text(self) -> &'static str {
        Network::ALL.iter().find(|(_, network, _)| *network == self).map_or("", |(.., text)| text)
    }
}

/// The command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) size: Size,
    pub(crate) network: Network,
    pub(crate) threads: usize,
    /// How the factors of products are represented.
    pub(crate) precision: Precision,
    /// Length of a window, in seconds.
    pub(crate) seconds: f64,
    /// Number of windows.
    pub(crate) windows: usize,
    /// Take the lengths of windows from standard input, one a line, instead.
    pub(crate) follow: bool,
    /// Write initial weights and batches to this file and stop.
    pub(crate) dump: Option<PathBuf>,
    /// Rows of a batch that is scored.
    pub(crate) batch: usize,
    /// Score lines of text and not batches of ids.
    pub(crate) raw: bool,
    /// Compute the matrix products of a step alone.
    pub(crate) products: bool,
    /// Show what each operation takes, and stop.
    pub(crate) profile: bool,
}

const USAGE: &str = "options: --size small|large  --network NAME  --threads N  --precision f32|bf16  --seconds S  --windows N  --follow  --dump FILE\n\
    of train_speed: --products  --profile\n\
    of score_speed: --batch ROWS  --raw";

/// Reads the options, runs `program`, and turns its error into a message and an exit code.
pub(crate) fn main(program: impl FnOnce(&Options) -> Result<(), Box<dyn std::error::Error>>) -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        write_line(&mut std::io::stderr(), USAGE);
        return ExitCode::from(2);
    };
    match program(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_line(&mut std::io::stderr(), &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        size: Size::Small,
        network: Network::MaskNet,
        threads: 1,
        precision: Precision::F32,
        seconds: 1.0,
        windows: 10,
        follow: false,
        dump: None,
        batch: 200,
        raw: false,
        products: false,
        profile: false,
    };
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--follow" => {
                options.follow = true;
                continue;
            }
            "--raw" => {
                options.raw = true;
                continue;
            }
            "--profile" => {
                options.profile = true;
                continue;
            }
            "--products" => {
                options.products = true;
                continue;
            }
            _ => {}
        }
        let value = arguments.next()?;
        match name.as_str() {
            "--size" => {
                options.size = match value.as_str() {
                    "small" => Size::Small,
                    "large" => Size::Large,
                    _ => return None,
                }
            }
            "--network" => options.network = Network::named(&value)?,
            "--threads" => options.threads = value.parse().ok().filter(|threads| *threads > 0)?,
            "--precision" => {
                options.precision = match value.as_str() {
                    "f32" => Precision::F32,
                    "bf16" => Some(Precision::Bf16).filter(|precision| precision.is_supported())?,
                    _ => return None,
                }
            }
            "--batch" => options.batch = value.parse().ok().filter(|rows| *rows > 0)?,
            "--seconds" => options.seconds = value.parse().ok().filter(|seconds| *seconds > 0.0)?,
            "--windows" => options.windows = value.parse().ok().filter(|windows| *windows > 0)?,
            "--dump" => options.dump = Some(value.into()),
            _ => return None,
        }
    }
    Some(options)
}

/// Measures windows of `step`s and answers in JSON.
///
/// Alone: one line with median and best of the windows. With `--follow`: a line at the start, then for each line of input, a number
/// of seconds, the samples per second of a window of about this length, so that programs can take turns.
pub(crate) fn measure(options: &Options, losses: &[f32], mut step: impl FnMut()) {
    let mut out = std::io::stdout();
    let rows = options.size.rows() as f64;
    let mut window = |seconds: f64| {
        let start = Instant::now();
        let mut steps = 0;
        while start.elapsed() < Duration::from_secs_f64(seconds) {
            step();
            steps += 1;
        }
        f64::from(steps) * rows / start.elapsed().as_secs_f64()
    };
    if options.follow {
        write_line(&mut out, &format!("{{\"losses\": {losses:?}}}"));
        for line in std::io::stdin().lock().lines() {
            let Some(seconds) = line.ok().and_then(|line| line.trim().parse().ok()) else { return };
            let speed = window(seconds);
            write_line(&mut out, &format!("{{\"samples_per_second\": {speed:.0}}}"));
        }
        return;
    }
    window(options.seconds);
    let mut speeds: Vec<f64> = (0..options.windows).map(|_| window(options.seconds)).collect();
    speeds.sort_by(f64::total_cmp);
    let (median, best) = (speeds[speeds.len() / 2], speeds[speeds.len() - 1]);
    let threads = options.threads;
    write_line(
        &mut out,
        &format!(
            "{{\"size\": \"{:?}\", \"threads\": {threads}, \"median\": {median:.0}, \"best\": {best:.0}, \"losses\": {losses:?}}}",
            options.size
        ),
    );
}

/// Writes a line; nobody is left to tell if that fails.
pub(crate) fn write_line(to: &mut impl Write, line: &str) {
    let _ = writeln!(to, "{line}").and_then(|()| to.flush());
}
