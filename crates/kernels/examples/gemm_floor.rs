//! The matrix products of one MaskNet training step and nothing else: the speed that a step could reach if all the rest were free.
//!
//! As the executor does it: the weights are packed once, tiles of rows run through all forward products and all input gradients, then
//! the threads share the weight gradients, cut into blocks of their columns. The products form the network's chains (each reads what
//! the previous one wrote), without biases, norms and activations in between.

#[path = "../../../benches/peer.rs"]
mod peer;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use peer::{Options, Size};
use rankmill_kernels::gemm::Orientation::{Plain, Transposed};
use rankmill_kernels::gemm::{Epilogue, Orientation, PANEL, Packed, PackedShape, Precision, pack, product, weight_gradient};
use rankmill_kernels::view::{MatMut, MatRef};

const BLOCKS: usize = 3;
const AGGREGATION: usize = 512;
const BLOCK_OUTPUT: usize = 256;
const HIDDEN: [usize; 2] = [512, 256];

/// Elements of a block of a weight gradient, columns up to which an operand is gone through often, and rows of a tile; the executor's
/// numbers.
const BLOCK_ELEMENTS: usize = 1 << 14;
const NARROW: usize = 4 * PANEL;
const TILE_ROWS: usize = 128;

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
    /// The weights as the forward product and the input gradient read them.
    packed: [RwLock<Panels>; 2],
}

/// A packed matrix.
struct Panels {
    shape: PackedShape,
    data: Vec<f32>,
}

impl Panels {
    fn new(k: usize, n: usize, precision: Precision) -> RwLock<Panels> {
        let shape = PackedShape { k, n, precision };
        RwLock::new(Panels { shape, data: vec![0.0; shape.panels() * shape.panel_elements()] })
    }

    fn pack(&mut self, weights: MatRef<'_>, orientation: Orientation) {
        let (panels, elements) = (self.shape.panels(), self.shape.panel_elements());
        pack(MatMut::new(&mut self.data, panels, elements), 0, self.shape, weights, orientation);
    }

    fn view(&self) -> Packed<'_> {
        Packed::new(MatRef::new(&self.data, self.shape.panels(), self.shape.panel_elements()), self.shape)
    }
}

/// The network: widths of its tensors and its products, in forward order.
struct Network {
    widths: Vec<usize>,
    products: Vec<Product>,
    precision: Precision,
}

impl Network {
    fn masknet(input: usize, precision: Precision) -> Network {
        let mut network = Network { widths: vec![input, BLOCKS * BLOCK_OUTPUT], products: Vec::new(), precision };
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
        let packed = [Panels::new(k, n, self.precision), Panels::new(n, k, self.precision)];
        self.products.push(Product { x, y, dy: (y, 0), k, n, weights, packed });
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

    /// Forward products and input gradients, tile by tile.
    fn run(&mut self, network: &Network) {
        for first in (0..self.rows).step_by(TILE_ROWS) {
            self.tile(network, first, TILE_ROWS.min(self.rows - first));
        }
    }

    fn tile(&mut self, network: &Network, first: usize, rows: usize) {
        for layer in &network.products {
            let mut y = std::mem::take(&mut self.values[layer.y]);
            let x = MatRef::new(&self.values[layer.x], self.rows, layer.k).rows_range(first, rows);
            let mut all = MatMut::new(&mut y, self.rows, layer.n);
            product(all.rows_range(first, rows), x, read(&layer.packed[0]).view(), Epilogue::NONE);
            self.values[layer.y] = y;
        }
        let mut written = vec![false; network.widths.len()];
        for layer in network.products.iter().rev() {
            let epilogue = Epilogue { accumulate: written[layer.x], ..Epilogue::NONE };
            written[layer.x] = true;
            let mut dx = std::mem::take(&mut self.gradients[layer.x]);
            let mut all = MatMut::new(&mut dx, self.rows, layer.k);
            let dy = self.dy(network, layer).rows_range(first, rows);
            product(all.rows_range(first, rows), dy, read(&layer.packed[1]).view(), epilogue);
            self.gradients[layer.x] = dx;
        }
    }

    fn dy(&self, network: &Network, product: &Product) -> MatRef<'_> {
        let (tensor, column) = product.dy;
        MatRef::new(&self.gradients[tensor], self.rows, network.widths[tensor]).cols_range(column, product.n)
    }
}

/// Some rows or columns of a weight gradient.
struct Block {
    product: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    values: Mutex<Vec<f32>>,
}

fn blocks(network: &Network) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (i, product) in network.products.iter().enumerate() {
        let (k, n) = (product.k, product.n);
        let by_rows = n <= NARROW;
        let (extent, least) = if by_rows { (k, PANEL) } else { (n, if k <= NARROW { PANEL } else { NARROW }) };
        let count = (k * n / BLOCK_ELEMENTS).clamp(1, extent.div_ceil(least));
        for block in 0..count {
            let at = |block: usize| (extent.div_ceil(PANEL) * block / count * PANEL).min(extent);
            let part = at(block)..at(block + 1);
            let (rows, columns) = if by_rows { (part, 0..n) } else { (0..k, part) };
            blocks.push(Block { product: i, values: Mutex::new(vec![0.0; rows.len() * columns.len()]), rows, columns });
        }
    }
    blocks
}

impl Block {
    /// The gradient from every thread's rows; the last one stays.
    fn run(&self, network: &Network, shares: &[RwLock<Share>]) {
        let product = &network.products[self.product];
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for share in shares {
            let share = read(share);
            let x = MatRef::new(&share.values[product.x], share.rows, product.k).cols_range(self.rows.start, self.rows.len());
            let dy = share.dy(network, product).cols_range(self.columns.start, self.columns.len());
            weight_gradient(MatMut::new(&mut values, self.rows.len(), self.columns.len()), x, dy, network.precision);
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// A meeting point of all threads within a step, where they wait awake.
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
        while self.arrived.load(Ordering::Acquire) < everybody {
            std::hint::spin_loop();
        }
    }
}

/// What the threads share.
struct Floor {
    network: Network,
    shares: Vec<RwLock<Share>>,
    blocks: Vec<Block>,
    next_pack: AtomicUsize,
    next_block: AtomicUsize,
    barrier: Barrier,
}

impl Floor {
    /// One thread's part of a step; all threads leave it together.
    fn step(&self, thread: usize) {
        while let Some(product) = self.network.products.get(self.next_pack.fetch_add(1, Ordering::Relaxed)) {
            let weights = MatRef::new(&product.weights, product.k, product.n);
            for (panels, orientation) in product.packed.iter().zip([Plain, Transposed]) {
                panels.write().unwrap_or_else(PoisonError::into_inner).pack(weights, orientation);
            }
        }
        self.barrier.wait();
        self.shares[thread].write().unwrap_or_else(PoisonError::into_inner).run(&self.network);
        self.next_block.store(0, Ordering::Relaxed);
        self.barrier.wait();
        while let Some(block) = self.blocks.get(self.next_block.fetch_add(1, Ordering::Relaxed)) {
            block.run(&self.network, &self.shares);
        }
        self.next_pack.store(0, Ordering::Relaxed);
        self.barrier.wait();
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let network = Network::masknet(if options.size == Size::Small { 112 } else { 624 }, options.precision);
    let (rows, threads) = (options.size.rows(), options.threads);
    let share = |thread| Share::new(&network, rows * (thread + 1) / threads - rows * thread / threads);
    let shares = (0..threads).map(share).map(RwLock::new).collect();
    let blocks = blocks(&network);
    let floor =
        Floor { network, shares, blocks, next_pack: AtomicUsize::new(0), next_block: AtomicUsize::new(0), barrier: Barrier::new(threads) };
    let stop = AtomicBool::new(false);
    // Between windows the helpers sleep, so as not to disturb the other programs.
    let start = std::sync::Barrier::new(threads);
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
