//! The matrix products of one MaskNet training step and nothing else: the speed that a step could reach if all the rest were free.
//!
//! As the executor does it: every thread computes forward products and input gradients for its own rows, then the threads share the
//! weight gradients, cut into blocks of their rows. The products form the network's chains (each reads what the previous one wrote),
//! without biases, norms and activations in between.

#[path = "../../../benches/peer.rs"]
mod peer;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use peer::{Options, Size};
use rankmill_kernels::gemm::Orientation::{Plain, Transposed};
use rankmill_kernels::gemm::{Output, gemm};
use rankmill_kernels::view::{MatMut, MatRef};

const BLOCKS: usize = 3;
const AGGREGATION: usize = 512;
const BLOCK_OUTPUT: usize = 256;
const HIDDEN: [usize; 2] = [512, 256];

/// Elements of a block of a weight gradient; the executor's number.
const BLOCK_ELEMENTS: usize = 1 << 16;

/// `y = x·W` with its two gradients.
struct Product {
    /// The tensor that is read, and whose gradient `dy·Wᵀ` is written.
    x: usize,
    /// The tensor that is written.
    y: usize,
    /// The tensor whose gradient, from the given column on, is the gradient of `y`.
    dy: (usize, usize),
    /// Rows and columns of `W`.
    k: usize,
    n: usize,
    weights: Vec<f32>,
}

/// The network: widths of its tensors and its products, in forward order.
struct Network {
    widths: Vec<usize>,
    products: Vec<Product>,
}

impl Network {
    fn masknet(input: usize) -> Network {
        let mut network = Network { widths: vec![input, BLOCKS * BLOCK_OUTPUT], products: Vec::new() };
        let joined = 1;
        for block in 0..BLOCKS {
            let aggregated = network.product(0, AGGREGATION);
            let mask = network.product(aggregated, input);
            network.product(mask, BLOCK_OUTPUT);
            let last = network.products.len() - 1;
            network.products[last].dy = (joined, block * BLOCK_OUTPUT);
        }
        let hidden = HIDDEN.iter().fold(joined, |x, units| network.product(x, *units));
        network.product(hidden, 1);
        network
    }

    /// Adds a product and gives its output.
    fn product(&mut self, x: usize, n: usize) -> usize {
        let (k, y) = (self.widths[x], self.widths.len());
        self.widths.push(n);
        let scale = (12.0 / k as f32).sqrt();
        let weights = numbers(k * n, y as u32).into_iter().map(|value| value * scale).collect();
        self.products.push(Product { x, y, dy: (y, 0), k, n, weights });
        y
    }
}

/// Numbers evenly spread over -0.5 to 0.5.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// All tensors and their gradients for one thread's rows.
struct Share {
    rows: usize,
    values: Vec<Vec<f32>>,
    gradients: Vec<Vec<f32>>,
}

impl Share {
    fn new(network: &Network, rows: usize) -> Share {
        let fill = || network.widths.iter().enumerate().map(|(i, width)| numbers(rows * width, i as u32)).collect();
        Share { rows, values: fill(), gradients: fill() }
    }

    /// Forward products and input gradients.
    fn run(&mut self, network: &Network) {
        let rows = self.rows;
        for product in &network.products {
            let mut y = std::mem::take(&mut self.values[product.y]);
            let x = MatRef::new(&self.values[product.x], rows, product.k);
            let weights = MatRef::new(&product.weights, product.k, product.n);
            gemm(MatMut::new(&mut y, rows, product.n), Output::Overwrite, x, Plain, weights, Plain);
            self.values[product.y] = y;
        }
        let mut written = vec![false; network.widths.len()];
        for product in network.products.iter().rev() {
            let mode = if written[product.x] { Output::Accumulate } else { Output::Overwrite };
            written[product.x] = true;
            let mut dx = std::mem::take(&mut self.gradients[product.x]);
            let weights = MatRef::new(&product.weights, product.k, product.n);
            gemm(MatMut::new(&mut dx, rows, product.k), mode, self.dy(network, product), Plain, weights, Transposed);
            self.gradients[product.x] = dx;
        }
    }

    fn dy(&self, network: &Network, product: &Product) -> MatRef<'_> {
        let (tensor, column) = product.dy;
        MatRef::new(&self.gradients[tensor], self.rows, network.widths[tensor]).cols_range(column, product.n)
    }
}

/// Some rows of a weight gradient.
struct Block {
    product: usize,
    rows: Range<usize>,
    values: Mutex<Vec<f32>>,
}

fn blocks(network: &Network) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (i, product) in network.products.iter().enumerate() {
        let count = (product.k * product.n / BLOCK_ELEMENTS).clamp(1, 8);
        for block in 0..count {
            let rows = product.k * block / count..product.k * (block + 1) / count;
            blocks.push(Block { product: i, values: Mutex::new(vec![0.0; rows.len() * product.n]), rows });
        }
    }
    blocks
}

impl Block {
    fn run(&self, network: &Network, shares: &[RwLock<Share>]) {
        let product = &network.products[self.product];
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for (i, share) in shares.iter().enumerate() {
            let share = share.read().unwrap_or_else(PoisonError::into_inner);
            let mode = if i == 0 { Output::Overwrite } else { Output::Accumulate };
            let x = MatRef::new(&share.values[product.x], share.rows, product.k).cols_range(self.rows.start, self.rows.len());
            gemm(MatMut::new(&mut values, self.rows.len(), product.n), mode, x, Transposed, share.dy(network, product), Plain);
        }
    }
}

/// A meeting point of all threads: they wait awake, and asleep when it takes long, as it does between windows.
struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
}

impl Barrier {
    fn new(threads: usize) -> Barrier {
        Barrier { threads, arrived: AtomicUsize::new(0) }
    }

    /// Waits for the others.
    fn wait(&self) {
        let number = self.arrived.fetch_add(1, Ordering::AcqRel);
        let everybody = (number / self.threads + 1) * self.threads;
        let mut turns = 0_u32;
        while self.arrived.load(Ordering::Acquire) < everybody {
            if turns < 1 << 16 {
                turns += 1;
                std::hint::spin_loop();
            } else {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
}

/// What the threads share.
struct Floor {
    network: Network,
    shares: Vec<RwLock<Share>>,
    blocks: Vec<Block>,
    next_block: AtomicUsize,
    barrier: Barrier,
}

impl Floor {
    /// One thread's part of a step; all threads leave it together.
    fn step(&self, thread: usize) {
        self.shares[thread].write().unwrap_or_else(PoisonError::into_inner).run(&self.network);
        self.next_block.store(0, Ordering::Relaxed);
        self.barrier.wait();
        while let Some(block) = self.blocks.get(self.next_block.fetch_add(1, Ordering::Relaxed)) {
            block.run(&self.network, &self.shares);
        }
        self.barrier.wait();
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let network = Network::masknet(if options.size == Size::Small { 112 } else { 624 });
    let (rows, threads) = (options.size.rows(), options.threads);
    let share = |thread| Share::new(&network, rows * (thread + 1) / threads - rows * thread / threads);
    let shares = (0..threads).map(share).map(RwLock::new).collect();
    let blocks = blocks(&network);
    let floor = Floor { network, shares, blocks, next_block: AtomicUsize::new(0), barrier: Barrier::new(threads) };
    let stop = AtomicBool::new(false);
    let start = Barrier::new(threads);
    let helper = &|thread| {
        loop {
            start.wait();
            if stop.load(Ordering::Acquire) {
                return;
            }
            floor.step(thread);
        }
    };
    std::thread::scope(|scope| {
        for thread in 1..threads {
            scope.spawn(move || helper(thread));
        }
        peer::measure(options, &[], || {
            start.wait();
            floor.step(0);
        });
        stop.store(true, Ordering::Release);
        start.wait();
    });
    Ok(())
}

fn main() -> ExitCode {
    peer::main(run)
}
