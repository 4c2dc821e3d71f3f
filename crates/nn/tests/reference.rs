//! Components that no trace of EasyRec in this repository has, against numbers that `reference/layers.py` wrote with PyTorch in double precision.

use std::collections::BTreeMap;

use rankmill_config::prost_types::value::Kind;
use rankmill_config::prost_types::{ListValue, Struct, Value as ProtoValue};
use rankmill_config::proto::KerasLayer;
use rankmill_config::proto::keras_layer::Params;
use rankmill_graph::ops::binary::Binary;
use rankmill_graph::ops::leaf::DenseInput;
use rankmill_graph::ops::matmul::MatMul;
use rankmill_graph::ops::reduce::{OverRows, SumColumns};
use rankmill_graph::{Executor, Feed, Value, Weights, differentiate};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_kernels::view::MatRef;
use rankmill_nn::layers::scope::{Builder, Mode};
use rankmill_nn::layers::{self, Tensors};
use serde_json::Value as Json;

fn numbers(json: &Json) -> Vec<f32> {
    json.as_array().expect("an array").iter().map(|value| value.as_f64().expect("a number") as f32).collect()
}

fn kind(json: &Json) -> Kind {
    match json {
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.clone(), ProtoValue { kind: Some(kind(value)) })).collect();
            Kind::StructValue(Struct { fields })
        }
        Json::Array(values) => {
            let values = values.iter().map(|value| ProtoValue { kind: Some(kind(value)) }).collect();
            Kind::ListValue(ListValue { values })
        }
        number => Kind::NumberValue(number.as_f64().expect("a number")),
    }
}

fn layer(case: &Json) -> KerasLayer {
    let fields = case["settings"].as_object().expect("settings").iter();
    let fields = fields.map(|(name, value)| (name.clone(), ProtoValue { kind: Some(kind(value)) })).collect();
    KerasLayer { class_name: case["component"].as_str().map(str::to_owned), params: Some(Params::StParams(Struct { fields })) }
}

/// Within 1e-5 of the largest magnitude, as far as single precision goes in a few layers.
#[track_caller]
fn assert_near(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    if largest < 1e-9 {
        // What is 0 by the formula, as the gradient of a bias of keys, which moves all scores alike, is rounding here.
        assert!(found.iter().all(|x| x.abs() < 1e-5), "{what}: {found:?} not 0");
        return;
    }
    assert!(largest > 1e-3, "{what}: zeros prove nothing");
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        assert!((x - y).abs() <= 1e-5 * largest, "{what}[{i}]: {x} not {y}");
    }
}

/// A tensor of the case: its numbers and, where it has one, its gradient.
fn dims(json: &Json) -> Vec<usize> {
    json["dims"].as_array().expect("dims").iter().map(|size| size.as_u64().expect("a size") as usize).collect()
}

/// Inputs are rows of the identity times a parameter, so that they have gradients like parameters; those without gradient are fed as they are.
fn check(case: &Json) {
    let name = case["name"].as_str().expect("a name");
    let inputs = case["inputs"].as_array().expect("inputs");
    let rows = numbers(&inputs[0]["values"]).len() / dims(&inputs[0]).iter().product::<usize>();
    let mut builder = Builder::new(Mode::Training);
    let mut s = builder.scope("");
    let identity = s.add(DenseInput { slot: 0, width: rows, axis: None }, &[]).expect("an input");
    let mut expected: BTreeMap<String, &Json> = BTreeMap::new();
    let mut values = Vec::new();
    let mut fed = Vec::new();
    for (i, input) in inputs.iter().enumerate() {
        let dims = dims(input);
        let width = dims.iter().product::<usize>();
        let value = if input["gradient"].is_array() {
            let zeros = rankmill_nn::init::Initializer::Constant(0.0);
            let parameter = s.parameter(&format!("input_{i}"), &[rows, width], zeros).expect("a parameter");
            expected.insert(format!("input_{i}"), input);
            s.add(MatMul::PLAIN, &[identity, parameter]).expect("the rows")
        } else {
            fed.push((numbers(&input["values"]), width));
            s.add(DenseInput { slot: 1 + fed.len(), width, axis: None }, &[]).expect("an input")
        };
        values.push(s.reshape(value, &dims).expect("as many elements"));
    }
    let tensors = if values.len() == 1 { Tensors::One(values[0]) } else { Tensors::list(values) };
    let output = match layers::build(&mut builder.scope("layer"), &layer(case), &tensors) {
        Ok(Tensors::One(output)) => output,
        other => panic!("{name}: {other:?}"),
    };
    for (key, parameter) in case["parameters"].as_object().expect("parameters") {
        expected.insert(format!("layer/{key}"), parameter);
    }
    let slots = builder.graph.parameters().to_vec();
    let names: Vec<&String> = slots.iter().map(|slot| &slot.name).collect();
    assert!(names.len() == expected.len() && names.iter().all(|name| expected.contains_key(*name)), "{name}: the variables are {names:?}");
    let output = builder.scope("").flat(output).expect("rows");
    let width = builder.graph.shape(output).elements();
    let weighted = weighted_sum(&mut builder, output, width);
    let gradients = differentiate(&mut builder.graph, weighted).expect("gradients");
    let weights: Vec<Vec<f32>> = slots.iter().map(|slot| numbers(&expected[&slot.name]["values"])).collect();
    let views: Vec<MatRef<'_>> =
        weights.iter().zip(&slots).map(|(values, slot)| MatRef::new(values, slot.shape.as_matrix().0, slot.shape.as_matrix().1)).collect();
    let mut outputs = vec![output];
    outputs.extend(gradients.dense.iter().map(|(_, value)| *value));
    let mut unit = vec![0.0; rows * rows];
    (0..rows).for_each(|i| unit[i * rows + i] = 1.0);
    let upstream = numbers(&case["upstream"]);
    let mut dense = vec![MatRef::new(&unit, rows, rows), MatRef::new(&upstream, rows, width)];
    dense.extend(fed.iter().map(|(values, width)| MatRef::new(values, rows, *width)));
    let feed = Feed { rows, lengths: &[], dense: &dense, ids: &[], seed: 0 };
    let mut executor = Executor::new(builder.graph, &outputs, rows, Precision::F32);
    executor.run(&views, Weights::Changed, &feed, &Pool::new(1).expect("a thread"));
    assert_near(name, &executor.value(output).to_vec(), &numbers(&case["output"]["values"]));
    let learnt = slots.iter().filter(|slot| slot.trainable).count();
    assert_eq!(gradients.dense.len(), learnt, "{name}: every variable has a gradient");
    for (index, gradient) in gradients.dense {
        let slot = &slots[index].name;
        assert_near(&format!("{name}: {slot}"), &executor.value(gradient).to_vec(), &numbers(&expected[slot]["gradient"]));
    }
}

fn weighted_sum(builder: &mut Builder, output: Value, width: usize) -> Value {
    let mut s = builder.scope("");
    let upstream = s.add(DenseInput { slot: 1, width, axis: None }, &[]).expect("an input");
    let product = s.add(Binary::Multiply, &[output, upstream]).expect("a product");
    let columns = s.add(SumColumns, &[product]).expect("a column");
    s.add(OverRows::Sum, &[columns]).expect("a scalar")
}

#[test]
fn outputs_and_gradients_are_pytorchs() {
    let json: Json = serde_json::from_str(include_str!("data/layers.json")).expect("JSON");
    let cases = json["cases"].as_array().expect("cases");
    assert!(cases.len() >= 60);
    cases.iter().for_each(check);
}
