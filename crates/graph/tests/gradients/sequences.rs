//! Operations along sequences and across the batch that layers are made of: gradients against central differences, values by hand.

use crate::harness::{Harness, check, numbers};
use rankmill_graph::ops::additive_attention::AdditiveAttention;
use rankmill_graph::ops::augment::{Augment, Augmentation, AugmentedLengths};
use rankmill_graph::ops::axis::{FromAxis, ToAxis};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::broadcast::{RepeatRow, Scaling};
use rankmill_graph::ops::concat::Concat;
use rankmill_graph::ops::contrast::Contrast;
use rankmill_graph::ops::dice::Dice;
use rankmill_graph::ops::fill::Fill;
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::reduce::OverRows;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::ops::windows::{MaxOfWindows, Windows};
use rankmill_graph::{Executor, Feed, Graph, GraphError, Length, Shape, Value, Weights, differentiate};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;

/// Three positions of width 4 for each row, along an axis of four.
fn along(h: &mut Harness) -> Result<Value, GraphError> {
    let x = h.rows(12)?;
    let axis = h.graph.axis(Length::Fed(0));
    h.graph.add(ToAxis { axis, width: 4 }, &[x])
}

fn flat(h: &mut Harness, x: Value, positions: usize) -> Result<Value, GraphError> {
    let dims = vec![positions * h.graph.shape(x).elements()];
    h.graph.add(FromAxis { dims }, &[x])
}

#[test]
fn windows_and_their_maxima() {
    for size in [1, 2, 3, 6] {
        check(&format!("windows of {size}"), |h| {
            let x = along(h)?;
            let axis = h.graph.axis(Length::Fed(0));
            let windows = h.graph.add(Windows { axis, size }, &[x])?;
            flat(h, windows, 4)
        });
    }
    for size in [2, 4, 9] {
        check(&format!("maximum of windows of {size}"), |h| {
            let x = along(h)?;
            let axis = h.graph.axis(Length::Fed(0));
            // Distances of sixteenths between elements stay when they are bent, but for equal ones, which share.
            let x = h.graph.add(Unary::Sigmoid, &[x])?;
            let shift = h.parameter(&[4])?;
            let x = h.graph.add(Binary::Add, &[x, shift])?;
            h.graph.add(MaxOfWindows { axis, size }, &[x])
        });
    }
}

#[test]
fn dice() {
    check("dice", |h| {
        let (x, z, alpha) = (h.rows(5)?, h.rows(5)?, h.parameter(&[5])?);
        let p = h.graph.add(Unary::Sigmoid, &[z])?;
        h.graph.add(Dice, &[x, p, alpha])
    });
    check("dice along an axis", |h| {
        let (x, z, alpha) = (along(h)?, along(h)?, h.parameter(&[4])?);
        let p = h.graph.add(Unary::Sigmoid, &[z])?;
        let y = h.graph.add(Dice, &[x, p, alpha])?;
        flat(h, y, 3)
    });
    let mut graph = Graph::new();
    let x = graph.add(DenseInput { slot: 0, width: 4, axis: None }, &[]).expect("an input");
    let slopes = graph.add(Fill { shape: Shape::fixed(&[3]), value: 0.5 }, &[]).expect("slopes");
    for inputs in [vec![x, x, slopes], vec![x, slopes, x], vec![x, x]] {
        assert!(graph.add(Dice, &inputs).is_err());
    }
}

#[test]
fn additive_attention() {
    for causal in [false, true] {
        check(&format!("additive attention, causal {causal}"), |h| {
            let (q, k, v) = (along(h)?, along(h)?, along(h)?);
            let axis = Some(h.graph.axis(Length::Fed(0)));
            let factor = h.parameter(&[])?;
            let y = h.graph.add(AdditiveAttention { queries: axis, keys: axis, causal }, &[q, k, v, factor])?;
            flat(h, y, 4)
        });
    }
    check("additive attention of one query", |h| {
        let (q, k, v) = (h.rows(4)?, along(h)?, along(h)?);
        let keys = Some(h.graph.axis(Length::Fed(0)));
        let factor = h.parameter(&[])?;
        h.graph.add(AdditiveAttention { queries: None, keys, causal: false }, &[q, k, v, factor])
    });
}

#[test]
fn augmentations() {
    check("augmentation", |h| {
        let x = along(h)?;
        let axis = h.graph.axis(Length::Fed(0));
        let mask = h.parameter(&[1, 4])?;
        let held = h.graph.add(Fill { shape: Shape::fixed(&[1]), value: 3.0 }, &[])?;
        let held = h.graph.add(RepeatRow { scaling: Scaling::One, axis: None }, &[held])?;
        let augmentation = Augmentation { axis, crop: 0.7, mask: 0.4, reorder: 1.0, salt: 3 };
        let y = h.graph.add(Augment(augmentation), &[x, held, mask])?;
        let lengths = h.graph.add(AugmentedLengths(augmentation), &[held])?;
        let y = flat(h, y, 4)?;
        h.graph.add(Concat, &[y, lengths])
    });
}

/// With these rates each of the three leaves a sequence as it is.
#[test]
fn augmentations_can_be_the_identity() -> Result<(), GraphError> {
    let mut graph = Graph::new();
    let axis = graph.axis(Length::Fed(0));
    let x = graph.add(DenseInput { slot: 0, width: 2, axis: Some(axis) }, &[])?;
    let lengths = graph.add(DenseInput { slot: 1, width: 1, axis: None }, &[])?;
    let mask = graph.add(Fill { shape: Shape::fixed(&[2]), value: 9.0 }, &[])?;
    let augmentation = Augmentation { axis, crop: 1.0, mask: 0.0, reorder: 0.0, salt: 3 };
    let y = graph.add(Augment(augmentation), &[x, lengths, mask])?;
    let held = graph.add(AugmentedLengths(augmentation), &[lengths])?;
    let rows = 50;
    let mut numbers = numbers(rows * 3 * 2, 1);
    let lengths: Vec<f32> = (0..rows).map(|i| (i % 4) as f32).collect();
    // Behind their ends rows hold zeros.
    for (i, held) in lengths.iter().enumerate() {
        numbers[i * 6 + 2 * *held as usize..(i + 1) * 6].fill(0.0);
    }
    let mut executor = Executor::new(graph, &[y, held], rows, Precision::F32);
    for seed in 0..3 {
        let dense = [MatRef::new(&numbers, rows * 3, 2), MatRef::new(&lengths, rows, 1)];
        executor.run(&[], Weights::Changed, &Feed { rows, lengths: &[3], dense: &dense, ids: &[], seed }, &Pool::new(2).expect("threads"));
        assert_eq!(executor.value(y).to_vec(), numbers);
        assert_eq!(executor.value(held).to_vec(), lengths);
    }
    Ok(())
}

#[test]
fn contrasts() {
    for with_own in [false, true] {
        check(&format!("contrast, with own rows {with_own}"), |h| {
            let (x, y) = (h.rows(5)?, h.rows(5)?);
            let (x, y) = (h.graph.add(Unary::Tanh, &[x])?, h.graph.add(Unary::Tanh, &[y])?);
            h.graph.add(Contrast { with_own }, &[x, y, x])
        });
    }
}

/// Against the formula in double precision, and the same bits for any number of threads.
#[test]
fn contrast_by_hand() -> Result<(), GraphError> {
    for rows in [1, 2, 70, 200] {
        let mut graph = Graph::new();
        let scale = graph.declare("s", Shape::fixed(&[3]), true)?;
        let scale = graph.add(Parameter { index: scale, shape: Shape::fixed(&[3]) }, &[])?;
        let [x, y] = [0, 1].map(|slot| graph.add(DenseInput { slot, width: 3, axis: None }, &[]));
        let x = graph.add(Binary::Multiply, &[x?, scale])?;
        let z = graph.add(Contrast { with_own: true }, &[x, y?, x])?;
        let loss = graph.add(OverRows::Mean, &[z])?;
        let gradient = differentiate(&mut graph, loss)?.dense[0].1;
        let (a, b) = (numbers(rows * 3, 1), numbers(rows * 3, 2));
        let feed = Feed { rows, lengths: &[], dense: &[MatRef::new(&a, rows, 3), MatRef::new(&b, rows, 3)], ids: &[], seed: 0 };
        let runs = [1, 3].map(|threads| {
            let mut executor = Executor::new(graph.clone(), &[z, gradient], rows, Precision::F32);
            executor.run(&[MatRef::new(&[1.0; 3], 1, 3)], Weights::Changed, &feed, &Pool::new(threads).expect("threads"));
            (executor.value(z).to_vec(), executor.value(gradient).to_vec())
        });
        assert_eq!(runs[0], runs[1], "{rows} rows");
        let score = |u: &[f32], v: &[f32]| u.iter().zip(v).map(|(u, v)| f64::from(*u) * f64::from(*v)).sum::<f64>().exp();
        for i in 0..rows {
            let own = &a[i * 3..i * 3 + 3];
            let others = b.chunks(3).map(|v| score(own, v)).sum::<f64>();
            let same: f64 = a.chunks(3).enumerate().filter(|(j, _)| *j != i).map(|(_, v)| score(own, v)).sum();
            let expected = (others + same).ln();
            // Hundreds of terms in single precision.
            assert!((f64::from(runs[0].0[i]) - expected).abs() < 1e-4, "{rows} rows, row {i}");
        }
    }
    Ok(())
}
