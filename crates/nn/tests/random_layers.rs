//! Components that draw random numbers: no reference has the same ones, so what is checked is that each element is one of those it may be.

use rankmill_config::prost_types::value::Kind;
use rankmill_config::prost_types::{Struct, Value as ProtoValue};
use rankmill_config::proto::KerasLayer;
use rankmill_config::proto::keras_layer::Params;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::{Executor, Feed, Length, Value, Weights};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_nn::layers::scope::{Builder, Mode};
use rankmill_nn::layers::{self, Tensors};

const ROWS: usize = 96;
const POSITIONS: usize = 5;
const WIDTH: usize = 3;

fn layer(class_name: &str, settings: &[(&str, f64)]) -> KerasLayer {
    let value = |number: f64| ProtoValue { kind: Some(Kind::NumberValue(number)) };
    let fields = settings.iter().map(|(name, number)| ((*name).to_owned(), value(*number))).collect();
    KerasLayer { class_name: Some(class_name.to_owned()), params: Some(Params::StParams(Struct { fields })) }
}

/// The values of `outputs` for these inputs, with all variables at `weight`.
fn run(builder: Builder, outputs: &[Value], dense: &[MatRef<'_>], weight: f32) -> Vec<Vec<f32>> {
    let slots = builder.graph.parameters().to_vec();
    let sizes: Vec<(usize, usize)> = slots.iter().map(|slot| slot.shape.as_matrix()).collect();
    let weights: Vec<Vec<f32>> = sizes.iter().map(|(rows, columns)| vec![weight; rows * columns]).collect();
    let views: Vec<MatRef<'_>> = weights.iter().zip(&sizes).map(|(values, (rows, columns))| MatRef::new(values, *rows, *columns)).collect();
    let mut executor = Executor::new(builder.graph, outputs, ROWS, Precision::F32);
    let feed = Feed { rows: ROWS, lengths: &[], dense, ids: &[], seed: 7 };
    executor.run(&views, Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    outputs.iter().map(|output| executor.value(*output).to_vec()).collect()
}

fn dropped(mode: Mode) -> Vec<f32> {
    let mut builder = Builder::new(mode);
    let x = builder.scope("").add(DenseInput { slot: 0, width: 10, axis: None }, &[]).expect("an input");
    let output = layers::build(&mut builder.scope("layer"), &layer("Dropout", &[("rate", 0.25)]), &Tensors::One(x));
    let output = output.expect("a layer").as_one().expect("a tensor");
    let values = vec![3.0; ROWS * 10];
    run(builder, &[output], &[MatRef::new(&values, ROWS, 10)], 0.0).remove(0)
}

#[test]
fn dropout_drops_its_share_and_scales_the_rest() {
    let found = dropped(Mode::Training);
    assert!(found.iter().all(|value| *value == 0.0 || *value == 4.0), "3 is dropped, or divided by the share that is kept");
    let share = found.iter().filter(|value| **value == 0.0).count() as f64 / found.len() as f64;
    // Five standard deviations of 960 draws.
    assert!((share - 0.25).abs() < 0.07, "{share}");
    assert!(dropped(Mode::Inference).iter().all(|value| *value == 3.0));
}

/// What a position holds, by row and position; all are different.
fn held(row: usize, position: usize) -> [f32; WIDTH] {
    [row as f32 + 1.0, position as f32, 0.5]
}

const MASK: [f32; WIDTH] = [-1.0; WIDTH];

/// What happened to a row of so many positions: its name, if the numbers are those of one of the three augmentations. Half of a sequence is
/// cropped or masked, and all of it may be reordered.
fn augmentation(row: usize, length: usize, found: &[&[f32]], left: usize) -> &'static str {
    let is = |at: usize, position: usize| *found[at] == held(row, position);
    let empty = |from: usize| found[from..].iter().all(|values| *values == [0.0; WIDTH]);
    let half = length / 2;
    if left == half.max(1) && empty(left) && (0..=length - left).any(|first| (0..left).all(|j| is(j, first + j))) {
        return "cropped";
    }
    assert!(left == length && empty(length), "row {row}: {found:?}");
    let masked = (0..length).filter(|at| *found[*at] == MASK).count();
    if masked == half && (0..length).all(|at| *found[at] == MASK || is(at, at)) && half > 0 {
        return "masked";
    }
    let mut places: Vec<usize> = (0..length).filter_map(|at| (0..length).find(|position| is(at, *position))).collect();
    places.sort_unstable();
    assert_eq!(places, (0..length).collect::<Vec<_>>(), "row {row}: {found:?}");
    "reordered"
}

#[track_caller]
fn augments(class_name: &str) {
    let mut builder = Builder::new(Mode::Training);
    let axis = builder.graph.axis(Length::Fixed(POSITIONS));
    let x = builder.scope("").add(DenseInput { slot: 0, width: WIDTH, axis: Some(axis) }, &[]).expect("an input");
    let lengths = builder.scope("").add(DenseInput { slot: 1, width: 1, axis: None }, &[]).expect("an input");
    let settings = [("crop_rate", 0.5), ("mask_rate", 0.5), ("reorder_rate", 1.0)];
    let output = layers::build(&mut builder.scope("layer"), &layer(class_name, &settings), &Tensors::list([x, lengths]));
    let outputs = output.expect("a layer").values();
    let of_row = |row: usize| 2 + row % (POSITIONS - 1);
    let position = |row: usize, at: usize| if at < of_row(row) { held(row, at) } else { [0.0; WIDTH] };
    let values: Vec<f32> = (0..ROWS).flat_map(|row| (0..POSITIONS).flat_map(move |at| position(row, at))).collect();
    let counts: Vec<f32> = (0..ROWS).map(|row| of_row(row) as f32).collect();
    let inputs = [MatRef::new(&values, ROWS * POSITIONS, WIDTH), MatRef::new(&counts, ROWS, 1)];
    let found = run(builder, &outputs, &inputs, MASK[0]);
    let mut seen = std::collections::BTreeSet::new();
    for row in 0..ROWS {
        let positions: Vec<&[f32]> = found[0][row * POSITIONS * WIDTH..][..POSITIONS * WIDTH].chunks(WIDTH).collect();
        seen.insert(augmentation(row, of_row(row), &positions, found[1][row] as usize));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["cropped", "masked", "reordered"], "{class_name}");
}

#[test]
fn sequences_are_cropped_masked_or_reordered() {
    augments("SeqAugment");
    augments("SeqAugmentOps");
}
