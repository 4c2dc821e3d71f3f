//! Dynamic tables in training: against tables of a fixed size, over several threads, and over runs that stop and go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rankmill_config::{Edits, Pipeline};
use rankmill_data::synth::movielens::write_movielens;
use rankmill_data::{Column, FeatureBatch, FeatureSet, IdColumn};
use rankmill_kernels::gemm::Precision;
use rankmill_kernels::pool::Pool;
use rankmill_model::Predictor;
use rankmill_model::bundle::{checkpoints, read_integers};
use rankmill_train::run::{Event, Outcome, Profile, RunOptions, Start, train};
use rankmill_train::step::{IdleRows, Trainer, TrainerOptions};

const ROWS: u32 = 300;

/// Two tables, one of them shared by two features, and one of them in a second group as well.
fn config(optimizer: &str, ev_params: &str) -> String {
    let feature = |name: &str, more: &str| {
        format!(
            "feature_config {{ features {{ input_names: '{name}' feature_type: TagFeature num_buckets: {ROWS} {more} {ev_params} }} }}\n"
        )
    };
    let input = |name: &str, kind: &str| format!("data_config {{ input_fields {{ input_name: '{name}' input_type: {kind} }} }}\n");
    let shared = "embedding_dim: 21 embedding_name: 'both'";
    [
        input("label", "INT32"),
        ["a", "b", "c"].map(|name| input(name, "STRING")).concat(),
        "data_config { label_fields: 'label' batch_size: 8 input_type: CSVInput separator: ',' }\n".to_owned(),
        feature("a", shared) + &feature("b", shared) + &feature("c", "embedding_dim: 16 combiner: 'mean'"),
        format!("train_config {{ save_checkpoints_steps: 20 optimizer_config {{ {optimizer} }} }}\n"),
        "model_config {
           model_class: 'RankModel'
           feature_groups { group_name: 'all' wide_deep: DEEP feature_names: 'a' feature_names: 'b' feature_names: 'c' }
           feature_groups { group_name: 'more' wide_deep: DEEP feature_names: 'c' }
           backbone {
             blocks { name: 'mlp' inputs { feature_group_name: 'all' } keras_layer { class_name: 'MLP' mlp { hidden_units: [8] } } }
             blocks { name: 'more_mlp' inputs { feature_group_name: 'more' } keras_layer { class_name: 'MLP' mlp { hidden_units: [4] } } }
             concat_blocks: 'mlp' concat_blocks: 'more_mlp'
           }
           model_params { }
           embedding_regularization: 1e-3
         }"
        .to_owned(),
    ]
    .concat()
}

/// Lists of ids for each feature and row: some ids come often, some once in hundreds of steps, some never.
fn lists(step: u64) -> [Vec<Vec<u32>>; 3] {
    let mut state = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut next = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let unit = (state >> 40) as f64 / (1_u64 << 24) as f64;
        (f64::from(below) * unit.powi(3)) as u32
    };
    let mut feature = || (0..8).map(|_| (0..=next(3)).map(|_| next(ROWS)).collect()).collect();
    [feature(), feature(), feature()]
}

/// A batch of those lists, as rows of tables or as keys of dynamic ones.
fn batch(step: u64, lists: &[Vec<Vec<u32>>; 3], dynamic: bool) -> FeatureBatch {
    let mut batch = FeatureBatch {
        rows: 8,
        labels: vec![(0..8).map(|row| f32::from(u8::from((step + row).is_multiple_of(3)))).collect()],
        ..FeatureBatch::default()
    };
    for feature in lists {
        let ids = feature.concat();
        let mut offsets = vec![0];
        offsets.extend(feature.iter().scan(0, |end, ids| {
            *end += ids.len() as u32;
            Some(*end)
        }));
        let numbers = if dynamic { (0..ids.len() as u32).collect() } else { ids.clone() };
        batch.columns.push(Column::Ids(IdColumn { offsets, ids: numbers, weights: None }));
        if dynamic {
            batch.table_keys.push(ids.into_iter().map(u64::from).collect());
        }
    }
    batch
}

fn trainer(optimizer: &str, ev_params: &str, idle_rows: IdleRows, threads: usize) -> Trainer {
    let pipeline = Pipeline::parse("dynamic.config", &config(optimizer, ev_params), &Edits::default()).expect("a config");
    let features = FeatureSet::new(&pipeline).expect("features");
    let pool = Arc::new(Pool::new(threads).expect("threads"));
    Trainer::new(&pipeline, &features, pool, TrainerOptions { seed: 3, idle_rows, ..TrainerOptions::default() }).expect("a model")
}

type Bits = BTreeMap<String, Vec<Vec<u32>>>;

/// The bits of all variables and slots, row by row, and the ids that have rows in each set of dynamic tables.
fn state(trainer: &mut Trainer) -> (Bits, Vec<(String, Vec<i64>)>) {
    let (parameters, slots) = trainer.state();
    let keys = parameters.keys.iter().map(|keys| (keys.name().to_owned(), keys.keys())).collect();
    let bits = |shape: &[usize], values: &[f32]| {
        let width = shape.last().copied().unwrap_or(1).max(1);
        values.chunks(width).map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
    };
    let variables = parameters.entries.iter().map(|entry| (entry.name.clone(), bits(&entry.shape, &entry.values)));
    (variables.chain(slots.into_iter().map(|(name, shape, values)| (name, bits(&shape, values)))).collect(), keys)
}

const OPTIMIZERS: [&str; 4] = [
    "adam_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } }",
    "adagrad_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.1 } } initial_accumulator_value: 0.1 }",
    "ftrl_optimizer { learning_rate: { constant_learning_rate { learning_rate: 0.1 } } l1_reg: 1e-4 }",
    "adamw_optimizer { learning_rate { constant_learning_rate { learning_rate: 0.01 } } weight_decay: 0.01 }",
];

/// All rows of dynamic tables have the bits of the same ids' rows in tables of a fixed size, all else is equal, too.
#[track_caller]
fn same(optimizer: &str, (fixed, _): &(Bits, Vec<(String, Vec<i64>)>), (dynamic, keys): &(Bits, Vec<(String, Vec<i64>)>)) {
    assert!(fixed.keys().eq(dynamic.keys()));
    for (name, rows) in dynamic {
        let table = keys.iter().find(|(table, _)| name.contains(&format!("/{table}_embedding/")) || name.contains(&format!("/{table}/")));
        let Some((_, keys)) = table else {
            assert!(fixed[name] == *rows, "{name}, {optimizer}");
            continue;
        };
        assert_eq!(rows.len(), keys.len() + 1, "{name}");
        if name.ends_with("/embedding_weights") {
            assert!(rows[0].iter().all(|bits| *bits == 0), "{name}: row 0 stays zero with {optimizer}");
        }
        for (key, row) in keys.iter().zip(&rows[1..]) {
            assert!(fixed[name][*key as usize] == *row, "{name}, id {key}, {optimizer}");
        }
    }
}

#[test]
fn rows_are_those_of_a_table_of_all_ids() {
    for optimizer in OPTIMIZERS {
        let mut fixed = trainer(optimizer, "", IdleRows::EveryStep, 1);
        for step in 0..120 {
            fixed.step(&batch(step, &lists(step), false));
        }
        let fixed = state(&mut fixed);
        for (idle_rows, threads) in [(IdleRows::Automatic, 1), (IdleRows::EveryStep, 2), (IdleRows::Waiting, 3)] {
            let mut dynamic = trainer(optimizer, "ev_params { }", idle_rows, threads);
            for step in 0..120 {
                dynamic.step(&batch(step, &lists(step), true));
            }
            let found = state(&mut dynamic);
            assert_eq!(found.1.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c", "both"]);
            assert!(found.1.iter().all(|(_, keys)| keys.len() > 50), "many ids have come");
            same(optimizer, &fixed, &found);
        }
    }
}

#[test]
fn ids_that_came_seldom_are_as_if_they_were_not_there() {
    let frequency = 3;
    for optimizer in OPTIMIZERS {
        let mut dynamic = trainer(optimizer, &format!("ev_params {{ filter_freq: {frequency} }}"), IdleRows::Automatic, 2);
        let mut fixed = trainer(optimizer, "", IdleRows::EveryStep, 1);
        let mut counts: [BTreeMap<u32, usize>; 2] = Default::default();
        for step in 0..60 {
            let mut lists = lists(step);
            // Means count ids without a row, so each row has one id here.
            lists[2].iter_mut().for_each(|ids| ids.truncate(1));
            let tables = [0, 0, 1];
            for (feature, table) in lists.iter().zip(tables) {
                feature.iter().flatten().for_each(|id| *counts[table].entry(*id).or_default() += 1);
            }
            let loss = dynamic.step(&batch(step, &lists, true)).total;
            for (feature, table) in lists.iter_mut().zip(tables) {
                feature.iter_mut().for_each(|ids| ids.retain(|id| counts[table][id] >= frequency));
            }
            assert_eq!(loss.to_bits(), fixed.step(&batch(step, &lists, false)).total.to_bits(), "step {step}, {optimizer}");
        }
        let report = dynamic.dynamic_tables();
        assert!(report.iter().all(|table| table.rows > 10 && table.known > table.rows + 10 && table.refused == 0), "{report:?}");
        same(optimizer, &state(&mut fixed), &state(&mut dynamic));
    }
}

#[test]
fn a_full_table_takes_no_more_ids_and_tells_so_once() {
    let mut trainer = trainer(OPTIMIZERS[0], "ev_params { max_capacity: 40 }", IdleRows::Automatic, 2);
    let mut told = Vec::new();
    for step in 0..60 {
        trainer.step(&batch(step, &lists(step), true));
        told.extend(trainer.newly_full_tables().into_iter().map(|(name, capacity)| (name.to_owned(), capacity)));
    }
    told.sort();
    assert_eq!(told, [("both".to_owned(), 40), ("c".to_owned(), 40)]);
    for table in trainer.dynamic_tables() {
        assert_eq!((table.rows, table.known), (40, 40));
        assert!(table.refused > 40, "{table:?}");
    }
}

#[test]
fn forgotten_ids_start_anew() {
    // Ids are forgotten after steps 20, 40, …, those that have not come for more than 10 steps.
    let mut trainer = trainer(OPTIMIZERS[0], "ev_params { steps_to_live: 10 }", IdleRows::Automatic, 2);
    let only = |id: u32| [vec![vec![id]; 8], vec![vec![id]; 8], vec![vec![id]; 8]];
    let row = |trainer: &mut Trainer, id: u64| {
        let parameters = trainer.parameters();
        let row = parameters.keys_of("c").expect("keys").row(id) as usize;
        let table = parameters.entries.iter().find(|entry| entry.name == "input_layer/c_embedding/embedding_weights").expect("a table");
        (row > 0).then(|| table.values[row * 16..(row + 1) * 16].to_vec())
    };
    trainer.step(&batch(0, &only(7), true));
    trainer.step(&batch(1, &only(8), true));
    let trained = row(&mut trainer, 7).expect("it has a row");
    for step in 2..20 {
        trainer.step(&batch(step, &only(if step == 12 { 8 } else { 9 }), true));
    }
    assert_eq!((row(&mut trainer, 7), row(&mut trainer, 8).is_some()), (None, true), "7 came in step 0, 8 in step 12");
    assert_eq!(trainer.dynamic_tables().iter().map(|table| (table.rows, table.forgotten)).collect::<Vec<_>>(), [(2, 1), (2, 1)]);
    let survivor = row(&mut trainer, 8);
    trainer.backward(&batch(20, &only(7), true));
    assert_eq!(row(&mut trainer, 8), survivor, "others keep their values");
    let anew = row(&mut trainer, 7).expect("it has a row again");
    assert_ne!(anew, trained);
    let mut other = self::trainer(OPTIMIZERS[0], "ev_params { }", IdleRows::Automatic, 1);
    other.backward(&batch(0, &only(7), true));
    assert_eq!(row(&mut other, 7), Some(anew), "its first values are those that it had at first");
}

/// Trains on made-up rows and stops after some steps, if asked to.
fn run(folder: &Path, name: &str, threads: usize, start: Start, stop_after: Option<u64>) -> Outcome {
    let edits = [
        "feature_config.features[0].ev_params={ filter_freq: 2 steps_to_live: 6 }",
        "feature_config.features[1].ev_params={ steps_to_live: 3 }",
        "train_config.save_checkpoints_steps=5",
        "train_config.log_step_count_steps=1",
        "train_config.gradient_clipping_by_norm=0.01",
    ];
    let edits = Edits { set: edits.map(str::to_owned).to_vec(), json: None };
    let pipeline = Pipeline::parse("small.config", include_str!("data/small.config"), &edits).expect("the config is right");
    let input = |name: &str| vec![folder.join(name).display().to_string()];
    let options = RunOptions {
        model_dir: folder.join(name),
        train_inputs: input("movies_train_data"),
        eval_inputs: input("movies_test_data"),
        start,
        eval_every: None,
        seed: 7,
        precision: Precision::F32,
        profile: Profile::Off,
        rejected: None,
        cache: None,
    };
    let stop = AtomicBool::new(false);
    let pool = Arc::new(Pool::new(threads).expect("threads"));
    train(&pipeline, &options, &pool, &stop, &mut |event| {
        if let Event::Progress(progress) = event {
            stop.store(stop_after.is_some_and(|after| progress.step >= after), Ordering::Relaxed);
        }
    })
    .expect("the run works")
}

#[test]
fn runs_that_stop_and_go_on_end_with_the_same_bits() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_movielens(folder.path(), 3000, 5, &mut |_| {}).expect("rows are made");
    let whole = run(folder.path(), "whole", 1, Start::Fresh, None);
    assert!(whole.dynamic_tables.iter().all(|table| table.forgotten > 0 && table.rows > 0), "{:?}", whole.dynamic_tables);
    // One stop between checkpoints, one soon after ids were forgotten.
    assert!(run(folder.path(), "parts", 2, Start::Fresh, Some(8)).ending.is_some());
    assert!(run(folder.path(), "parts", 1, Start::Resume, Some(16)).ending.is_some());
    let parts = run(folder.path(), "parts", 2, Start::Resume, None);
    let metrics = |outcome: &Outcome| outcome.evaluation.as_ref().map(|evaluation| evaluation.metrics.clone());
    assert_eq!(metrics(&whole), metrics(&parts));
    let newest = |name: &str| checkpoints(&folder.path().join(name)).expect("checkpoints").pop().expect("one").1;
    let (whole, parts) = (newest("whole"), newest("parts"));
    for file in ["variables.safetensors", "optimizer.safetensors", "keys.safetensors", "admission.safetensors"] {
        assert!(fs::read(whole.join(file)).expect("a file") == fs::read(parts.join(file)).expect("a file"), "{file}");
    }
    let keys = read_integers(&whole.join("keys.safetensors")).expect("keys");
    assert_eq!(keys.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["movie_id-keys", "user_id-keys"]);
    // Loading checks that the golden rows score as they did; so does the packed file.
    let pool = Arc::new(Pool::new(1).expect("threads"));
    Predictor::load(&whole, Arc::clone(&pool)).expect("the model can be loaded");
    let packed = folder.path().join("packed");
    rankmill_model::pack(&whole, &packed).expect("it can be packed");
    Predictor::load(&packed, Arc::clone(&pool)).expect("the packed model can be loaded");
    fs::write(whole.join("keys.safetensors"), fs::read(parts.join("admission.safetensors")).expect("a file")).expect("written");
    let damaged = Predictor::load(&whole, pool).err().expect("other keys").to_string();
    assert!(damaged.contains("keys.safetensors: its content is not what was written"), "{damaged}");
}
