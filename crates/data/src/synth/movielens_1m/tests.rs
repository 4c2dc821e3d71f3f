use std::fs;
use std::io::Write;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::synth::{TEST_FILE, TRAIN_FILE};

const USERS: &[u8] = b"1::F::1::10::48067\n2::M::56::16::98107-2117\r\n3::M::25::0::01002";
const FILMS: &[u8] = b"1::Toy Story (1995)::Animation|Children's|Comedy\n\
    2::Pok\xe9mon (The) Movie (2000) (1998)::Drama\n\
    7::Sabrina \"(1995)\" (1919)::Film-Noir\n";
const RATINGS: &[u8] = b"1::1::5::978300760\n1::2::3::0\n2::7::2::0\n3::2::4::0\n3::1::1::9\n";

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, bytes)| fs::write(dir.path().join(name), bytes).unwrap());
    dir
}

/// The summary, and all rows sorted.
fn convert(from: &Path) -> (ConversionSummary, Vec<String>) {
    let to = tempfile::tempdir().unwrap();
    let summary = convert_movielens_1m(from, to.path()).unwrap();
    let read = |name| fs::read_to_string(to.path().join(name)).unwrap();
    let (train, test) = (read(TRAIN_FILE), read(TEST_FILE));
    assert_eq!(train.lines().count() as u64, summary.train_rows);
    assert_eq!(test.lines().count() as u64, summary.test_rows);
    let mut rows: Vec<String> = train.lines().chain(test.lines()).map(str::to_owned).collect();
    rows.sort();
    (summary, rows)
}

fn expected() -> (ConversionSummary, Vec<String>) {
    let rows = [
        "0\t2\t7\t2\t1\t6\t16\t98107-2117\t\"Sabrina \"\"(1995)\"\" \"\tFilm-Noir\t1919",
        "0\t3\t1\t1\t1\t2\t0\t01002\tToy Story \tAnimation|Children's|Comedy\t1995",
        "1\t1\t1\t5\t0\t0\t10\t48067\tToy Story \tAnimation|Children's|Comedy\t1995",
        "1\t3\t2\t4\t1\t2\t0\t01002\tPok\u{e9}mon (The) Movie (2000) \tDrama\t1998",
    ];
    let summary = ConversionSummary { train_rows: 3, test_rows: 1, dropped_rows: 1, click_rate: Some(0.5) };
    (summary, rows.map(str::to_owned).to_vec())
}

#[test]
fn a_folder() {
    let from = folder(&[("users.dat", USERS), ("movies.dat", FILMS), ("ratings.dat", RATINGS)]);
    assert_eq!(convert(from.path()), expected());
}

#[test]
fn a_folder_of_compressed_files() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(USERS).unwrap();
    let zstandard = ruzstd::encoding::compress_to_vec(RATINGS, ruzstd::encoding::CompressionLevel::Fastest);
    // The content decides, not the name.
    let users = gzip.finish().unwrap();
    let from = folder(&[("users.dat", users.as_slice()), ("movies.dat.gz", FILMS), ("ratings.dat.zst", &zstandard)]);
    assert_eq!(convert(from.path()), expected());
}

fn archive(files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ml-1m.zip");
    let mut writer = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, bytes) in files {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
    (dir, path)
}

#[test]
fn an_archive() {
    let files = [("ml-1m/README", &b"x"[..]), ("ml-1m/users.dat", USERS), ("ml-1m/movies.dat", FILMS), ("ml-1m/ratings.dat", RATINGS)];
    let (_dir, path) = archive(&files);
    assert_eq!(convert(&path), expected());
}

#[test]
fn the_shuffle_is_fixed_and_nine_tenths_train() {
    let ratings: String = (0..739).map(|index| format!("1::1::{}::0\n", 1 + index % 5)).collect();
    let from = folder(&[("users.dat", USERS), ("movies.dat", FILMS), ("ratings.dat", ratings.as_bytes())]);
    let read = || {
        let to = tempfile::tempdir().unwrap();
        let summary = convert_movielens_1m(from.path(), to.path()).unwrap();
        (summary.train_rows, summary.test_rows, fs::read_to_string(to.path().join(TRAIN_FILE)).unwrap())
    };
    let (train_rows, test_rows, train) = read();
    // 148 of the 739 ratings are a 3.
    assert_eq!((train_rows, test_rows), (531, 60));
    assert_eq!(train, read().2);
    let labels: String = train.lines().map(|line| &line[..1]).collect();
    assert!(!labels.starts_with("0011001100"), "not shuffled");
}

#[track_caller]
fn check_error(files: &[(&str, &[u8])], expected: &str) {
    let from = folder(files);
    let to = tempfile::tempdir().unwrap();
    let message = convert_movielens_1m(from.path(), to.path()).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}\nexpected: {expected}");
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn errors_name_the_file_the_line_and_the_rule() {
    let users = |bytes: &'static [u8], expected| {
        check_error(&[("users.dat", bytes), ("movies.dat", FILMS), ("ratings.dat", RATINGS)], expected);
    };
    users(
        b"1::F::1::10::48067\n2::M::56",
        "users.dat:2: 3 fields; expected 5: UserID::Gender::Age::Occupation::Zip-code; the line is \"2::M::56\"",
    );
    users(b"1::X::1::10::4", "users.dat:1: Gender is \"X\"; expected F or M");
    users(b"1::F::2::10::4", "users.dat:1: Age is 2; expected one of [1, 18, 25");
    users(b"1::F::1::21::4", "users.dat:1: Occupation is 21; expected 0 to 20");
    users(b"-1::F::1::2::4", "users.dat:1: UserID is \"-1\"; expected a number");
    users(b"1::F::1::2::4\n1::F::1::2::4", "users.dat:2: user 1 occurs twice");
    users(b"1::F::1::10::48067\n\n", "users.dat:2: 1 fields");
    let films = |bytes: &'static [u8], expected| {
        check_error(&[("users.dat", USERS), ("movies.dat", bytes), ("ratings.dat", RATINGS)], expected);
    };
    films(b"1::Toy Story::Comedy", "movies.dat:1: the title does not end in a year such as (1995)");
    films(b"1::Toy Story (95)::Comedy", "movies.dat:1: the title does not end in a year");
    films(b"1::Toy Story (+995)::Comedy", "movies.dat:1: the title does not end in a year");
    let ratings = |bytes: &'static [u8], expected| {
        check_error(&[("users.dat", USERS), ("movies.dat", FILMS), ("ratings.dat", bytes)], expected);
    };
    ratings(b"1::1::6::0", "ratings.dat:1: Rating is 6; expected 1 to 5");
    ratings(b"1::1::5::0\n9::1::5::0", "ratings.dat:2: UserID 9 is not in users.dat");
    ratings(b"1::9::5::0", "ratings.dat:1: MovieID 9 is not in movies.dat");
    ratings(b"1,1,5,0", "ratings.dat:1: 1 fields; expected 4");
}

#[test]
fn missing_files_are_named() {
    check_error(&[("users.dat", USERS), ("movies.dat", FILMS)], "holds no `ratings.dat` (nor `ratings.dat.zst` or `ratings.dat.gz`)");
    let (_dir, path) = archive(&[("ml-1m/users.dat", USERS)]);
    let message = convert_movielens_1m(&path, path.parent().unwrap()).unwrap_err().to_string();
    assert!(message.contains("ml-1m.zip: holds no `movies.dat`"), "{message}");
    let dir = folder(&[("plain", b"no archive")]);
    let message = convert_movielens_1m(&dir.path().join("plain"), dir.path()).unwrap_err().to_string();
    assert!(message.contains("plain: neither a folder nor a ZIP archive"), "{message}");
    let message = convert_movielens_1m(&dir.path().join("nothing"), dir.path()).unwrap_err().to_string();
    assert!(message.contains("nothing: cannot be read: No such file"), "{message}");
}
