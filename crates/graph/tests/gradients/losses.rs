//! Gradients of losses, and of what losses are composed with, against central differences.

use crate::harness::{Harness, check};
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::choose::{Choose, Condition};
use rankmill_graph::ops::concat::Columns;
use rankmill_graph::ops::focal::FocalFactor;
use rankmill_graph::ops::hard_rows::{HardRows, HardShares};
use rankmill_graph::ops::leaf::{DenseInput, Parameter};
use rankmill_graph::ops::log_normal::{LogNormalLoss, LogNormalScale};
use rankmill_graph::ops::loss::SoftmaxCrossEntropy;
use rankmill_graph::ops::pairs::{HardPairs, Margin, PairLosses, PairRule};
use rankmill_graph::ops::penalty::KernelPenalty;
use rankmill_graph::ops::probability_loss::ProbabilityLoss;
use rankmill_graph::ops::reduce::{OverRows, SumColumns};
use rankmill_graph::ops::sessions::SessionLogSumExp;
use rankmill_graph::ops::unary::Unary;
use rankmill_graph::{GraphError, Shape, Value};

/// A column of 0 and 1, from the random upstream column.
fn labels(h: &mut Harness) -> Result<Value, GraphError> {
    let column = h.graph.add(DenseInput { slot: 1, width: 1, axis: None }, &[])?;
    h.graph.add(Choose::indicator(Condition::Above(0.25)), &[column])
}

/// A probability away from 0 and 1.
fn probability(h: &mut Harness) -> Result<Value, GraphError> {
    let x = h.rows(1)?;
    h.graph.add(Unary::Sigmoid, &[x])
}

#[test]
fn functions_of_probabilities() {
    for op in [Unary::Log(0.01), Unary::LogOdds] {
        check(&format!("{op:?}"), |h| {
            let p = probability(h)?;
            h.graph.add(op, &[p])
        });
    }
    check("a quotient", |h| {
        let (a, b) = (h.rows(1)?, probability(h)?);
        h.graph.add(Binary::DivideOrZero, &[a, b])
    });
    check("the penalty of a kernel", |h| {
        let w = h.parameter(&[5, 7])?;
        h.graph.add(KernelPenalty, &[w])
    });
    check("a parameter that is declared twice", |h| {
        let x = h.rows(4)?;
        let index = h.graph.declare("p0", Shape::fixed(&[6, 4]), true)?;
        let again = h.graph.add(Parameter { index, shape: Shape::fixed(&[6, 4]) }, &[])?;
        let half = h.graph.add(KernelPenalty, &[again])?;
        let scaled = h.graph.add(Unary::Scale(0.1), &[half])?;
        h.graph.add(Binary::Add, &[x, scaled])
    });
}

#[test]
fn losses_of_rows() {
    check("softmax cross entropy", |h| {
        let (z, y) = (h.rows(3)?, labels(h)?);
        h.graph.add(SoftmaxCrossEntropy, &[z, y])
    });
    for alpha in [None, Some(0.3)] {
        check("focal factor", |h| {
            let (z, y) = (h.rows(1)?, labels(h)?);
            h.graph.add(FocalFactor { gamma: 1.5, alpha }, &[z, y])
        });
    }
    check("lognormal", |h| {
        let z = h.rows(3)?;
        let y = h.graph.add(DenseInput { slot: 1, width: 1, axis: None }, &[])?;
        // Of the first output there is no gradient, the third one is clipped in some rows.
        let losses = h.graph.add(LogNormalLoss(LogNormalScale { max_sigma: 0.9 }), &[z, y])?;
        h.graph.add(Unary::Scale(0.2), &[losses])
    });
    for op in [ProbabilityLoss::LogLoss, ProbabilityLoss::ClippedLogLoss, ProbabilityLoss::Divergence] {
        check(&format!("{op:?}"), |h| {
            let p = probability(h)?;
            let y = h.graph.add(DenseInput { slot: 1, width: 1, axis: None }, &[])?;
            let y = h.graph.add(Unary::Sigmoid, &[y])?;
            h.graph.add(op, &[p, y])
        });
    }
}

/// Sessions of a few rows each.
fn sessions(h: &mut Harness) -> Result<Value, GraphError> {
    h.graph.add(DenseInput { slot: 1, width: 1, axis: None }, &[])
}

#[test]
fn losses_over_pairs() {
    let focal = |below| PairRule::Focal { factor: FocalFactor { gamma: 2.0, alpha: Some(0.4) }, below };
    let rules = [
        PairRule::Logistic(Margin::Fixed(0.3)),
        PairRule::Logistic(Margin::OfLabels),
        // Margins and labels that keep differences of scores away from the bend.
        PairRule::Hinge(Margin::Fixed(0.31)),
        focal(f32::INFINITY),
        focal(0.79),
    ];
    for rule in rules {
        for ratio in [1.0, 0.6] {
            check(&format!("{rule:?}, {ratio} of the pairs"), |h| {
                let input = h.graph.add(DenseInput { slot: 0, width: 6, axis: None }, &[])?;
                let column = |h: &mut Harness, first| h.graph.add(Columns { first, width: 1 }, &[input]);
                // Scores that differ in all rows: where two pairs tie at the threshold, the loss bends.
                let z = h.rows(5)?;
                let z = h.graph.add(Unary::Sigmoid, &[z])?;
                let z = h.graph.add(SumColumns, &[z])?;
                let (y, sessions, weights) = (column(h, 1)?, column(h, 2)?, column(h, 3)?);
                let weights = h.graph.add(Choose { condition: Condition::Above(0.6), yes: 0.5, no: 1.5 }, &[weights])?;
                let columns = [z, y, sessions, weights];
                let mut inputs = [columns, columns].concat();
                if ratio < 1.0 {
                    inputs.push(h.graph.add(HardPairs { rule, ratio }, &columns)?);
                }
                let rows = h.graph.add(PairLosses(rule), &inputs)?;
                let losses = h.graph.add(Columns { first: 0, width: 1 }, &[rows])?;
                // Which pairs are the hardest changes with the parameters; their sum is continuous, and a row's is not.
                if ratio < 1.0 { h.graph.add(OverRows::Sum, &[losses]) } else { Ok(losses) }
            });
        }
    }
}

#[test]
fn losses_of_hard_rows() {
    // As above, the sum over the hardest rows is continuous.
    check("the hardest rows", |h| {
        let z = h.rows(5)?;
        let z = h.graph.add(Unary::Sigmoid, &[z])?;
        let losses = h.graph.add(SumColumns, &[z])?;
        let hard = h.graph.add(HardRows { ratio: 0.4 }, &[losses])?;
        let shares = h.graph.add(HardShares, &[losses, hard])?;
        let chosen = h.graph.add(Binary::Multiply, &[losses, shares])?;
        h.graph.add(OverRows::Sum, &[chosen])
    });
}

#[test]
fn sums_over_sessions() {
    for marked in [false, true] {
        check("log-sum-exp", |h| {
            let (x, sessions) = (h.rows(1)?, sessions(h)?);
            let input = h.graph.add(DenseInput { slot: 0, width: 6, axis: None }, &[])?;
            let marks = h.graph.add(Columns { first: 4, width: 1 }, &[input])?;
            let above = if marked { 0.1 } else { 9.0 };
            let marks = h.graph.add(Choose::indicator(Condition::Above(above)), &[marks])?;
            h.graph.add(SessionLogSumExp, &[x, sessions, marks, x, sessions, marks])
        });
    }
}
