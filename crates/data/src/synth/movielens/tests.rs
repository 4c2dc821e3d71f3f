use std::fs;

use super::*;
use crate::synth::{TEST_FILE, TRAIN_FILE};

fn make(rows: u64, seed: u64) -> (SynthSummary, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("new/folder");
    let mut told = Vec::new();
    let summary = write_movielens(&folder, rows, seed, &mut |rows| told.push(rows)).unwrap();
    assert_eq!(told.last(), Some(&rows));
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing else is left behind");
    (summary, read(TRAIN_FILE), read(TEST_FILE))
}

#[test]
fn the_bytes_are_pinned() {
    let (_, train, test) = make(20, 1);
    let rows = [
        "0\t4410\t3752\t2\t1\t2\t20\t33131\tQueen \tComedy|Drama\t1996",
        "1\t3686\t1229\t5\t1\t3\t7\t25009\tTeacher, The \tComedy\t1966",
        "1\t3132\t2341\t4\t1\t2\t1\t48056\tTwisted Piano \tHorror|Thriller\t1993",
        "0\t1581\t1430\t1\t1\t1\t6\t96562\tOcean of the Lighthouse \tFantasy\t1984",
    ];
    assert!(train.lines().take(rows.len()).eq(rows), "{train}");
    assert_eq!(
        test,
        "1\t4069\t3170\t5\t1\t3\t3\t54420\tSchool, The \tComedy\t1974\n1\t5176\t1238\t4\t1\t2\t1\t80385\tFirst Forest \tCrime|Romance\t1983\n"
    );
}

#[test]
fn same_seed_same_bytes_and_more_rows_only_append() {
    let made @ (_, train, test) = &make(3000, 7);
    assert_eq!(made, &make(3000, 7));
    let (_, longer_train, longer_test) = make(4000, 7);
    assert!(longer_train.starts_with(train) && longer_test.starts_with(test));
    assert_ne!(train, &make(3000, 8).1);
}

#[test]
fn any_number_of_rows() {
    for (rows, train_rows, test_rows) in [(0, 0, 0), (1, 1, 0), (9, 9, 0), (10, 9, 1), (11, 10, 1), (100, 90, 10)] {
        let (summary, train, test) = make(rows, 3);
        assert_eq!((summary.train_rows, summary.test_rows), (train_rows, test_rows));
        assert_eq!((train.lines().count() as u64, test.lines().count() as u64), (train_rows, test_rows));
        assert_eq!(summary.click_rate.is_some(), rows > 0);
        assert!(rows > 10 || summary.best_auc.is_none());
    }
}

#[test]
fn the_layout_is_easyrecs() {
    let (summary, train, test) = make(20_000, 11);
    let mut clicks = 0;
    for line in train.lines().chain(test.lines()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [label, user, film, rating, gender, age, job, zip, title, genres, year] = fields[..] else {
            panic!("{line}");
        };
        let number = |text: &str| text.parse::<u32>().unwrap();
        clicks += u64::from(number(label));
        assert_eq!(label, if ["4", "5"].contains(&rating) { "1" } else { "0" });
        assert!(["1", "2", "4", "5"].contains(&rating));
        assert!((1..=6040).contains(&number(user)) && (1..=3952).contains(&number(film)));
        assert!(number(gender) < 2 && number(age) < 7 && number(job) < 21);
        assert!(zip.len() == 5 && zip.bytes().all(|byte| byte.is_ascii_digit()), "{zip}");
        assert!(title.len() > 2 && title.ends_with(' ') && !title.ends_with("  ") && !title.contains('"'), "{title}");
        assert!(title.split(' ').count() <= 14);
        let genres: Vec<&str> = genres.split('|').collect();
        assert!((1..=3).contains(&genres.len()) && genres.iter().all(|genre| !genre.is_empty()));
        assert!(genres.is_sorted() && genres.windows(2).all(|pair| pair[0] != pair[1]));
        assert!((1919..=2000).contains(&number(year)), "{year}");
    }
    assert_eq!(summary.click_rate, Some(clicks as f64 / 20_000.0));
}

#[test]
fn users_and_films_are_skewed() {
    let (_, train, _) = make(50_000, 2);
    for (field, least, most) in [(1, 0.18, 0.45), (2, 0.30, 0.60)] {
        let mut counts = std::collections::BTreeMap::new();
        train.lines().for_each(|line| *counts.entry(line.split('\t').nth(field).unwrap()).or_insert(0_u32) += 1);
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top = counts[..400].iter().sum::<u32>();
        let share = f64::from(top) / 45_000.0;
        assert!((least..most).contains(&share), "field {field}: the first 400 have {share}");
    }
}

#[test]
fn click_rate_and_best_auc_are_in_bounds() {
    for seed in [1, 2, 3, 2024] {
        let (summary, ..) = make(200_000, seed);
        let (click_rate, best_auc) = (summary.click_rate.unwrap(), summary.best_auc.unwrap());
        assert!((0.6..0.8).contains(&click_rate), "seed {seed}: click rate {click_rate}");
        assert!((0.87..0.90).contains(&best_auc), "seed {seed}: best AUC {best_auc}");
    }
}

#[test]
fn auc_of_a_histogram() {
    let auc = |rows: &[[u64; 2]]| exact_auc(rows);
    assert_eq!(auc(&[[1, 0], [0, 1]]), Some(1.0));
    assert_eq!(auc(&[[0, 1], [1, 0]]), Some(0.0));
    assert_eq!(auc(&[[3, 5]]), Some(0.5));
    // Pairs: 2 × 3. Ordered: the click of step 2 beats both, the two clicks of step 1 tie with one and beat one.
    assert_eq!(auc(&[[1, 0], [1, 2], [0, 1]]), Some((2.0 + 2.0 * 1.5) / 6.0));
    assert_eq!(auc(&[[4, 0], [2, 0]]), None);
    assert_eq!(auc(&[]), None);
}

/// Main effects learnt from one pass over the ids must come near the best AUC: else a model has nothing to find.
#[test]
fn one_pass_over_the_ids_learns_most_of_it() {
    let (summary, train, test) = make(200_000, 1);
    // Logistic regression on one-hot user, film, age, gender and genre × (age, gender), trained by AdaGrad.
    let keys = |line: &str| -> (Vec<String>, bool) {
        let fields: Vec<&str> = line.split('\t').collect();
        let kind = format!("{}/{}", fields[4], fields[5]);
        let mut keys = vec![format!("u{}", fields[1]), format!("f{}", fields[2]), "bias".to_owned()];
        keys.extend(fields[9].split('|').map(|genre| format!("{genre}{kind}")));
        (keys, fields[0] == "1")
    };
    let mut weights = std::collections::BTreeMap::<String, (f64, f64)>::new();
    let score = |weights: &std::collections::BTreeMap<String, (f64, f64)>, keys: &[String]| {
        1.0 / (1.0 + (-keys.iter().filter_map(|key| weights.get(key)).map(|weight| weight.0).sum::<f64>()).exp())
    };
    for line in train.lines() {
        let (keys, clicked) = keys(line);
        let gradient = score(&weights, &keys) - f64::from(u8::from(clicked));
        for key in keys {
            let (weight, squares) = weights.entry(key).or_insert((0.0, 0.1));
            *squares += gradient * gradient;
            *weight -= 0.3 * gradient / squares.sqrt();
        }
    }
    let mut histogram = vec![[0; 2]; PROBABILITY_STEPS];
    for line in test.lines() {
        let (keys, clicked) = keys(line);
        let step = (score(&weights, &keys) * (PROBABILITY_STEPS - 1) as f64) as usize;
        histogram[step][usize::from(clicked)] += 1;
    }
    let (auc, best) = (exact_auc(&histogram).unwrap(), summary.best_auc.unwrap());
    assert!(auc < best, "{auc} cannot beat {best}");
    assert!(auc > best - 0.05, "logistic regression reaches {auc} of {best}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let message = write_movielens(&file, 1, 1, &mut |_| ()).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}: cannot be written", file.display())), "{message}");
}
