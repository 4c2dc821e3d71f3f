use std::fs;
use std::path::Path;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;

use super::*;

/// Offsets and bytes of some texts.
fn text(rows: &[&[u8]]) -> (Vec<u32>, Vec<u8>) {
    let mut offsets = vec![0];
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend_from_slice(row);
        offsets.push(bytes.len() as u32);
    }
    (offsets, bytes)
}

fn columns() -> Vec<SinkColumn> {
    vec![SinkColumn::text("title"), SinkColumn::float("probs")]
}

/// Writes two chunks of (title, probs).
fn write(path: &Path, titles: &[&[u8]], probs: &[f32], cut: usize) -> SinkSummary {
    let mut sink = PredictionSink::create(path, columns()).unwrap();
    for (titles, probs) in [(&titles[..cut], &probs[..cut]), (&titles[cut..], &probs[cut..])] {
        let (offsets, bytes) = text(titles);
        sink.write(&[SinkValues::Text { offsets: &offsets, bytes: &bytes }, SinkValues::Float(probs)]).unwrap();
    }
    assert!(!path.exists(), "the file must not be seen before it is complete");
    sink.finish().unwrap()
}

const TITLES: [&[u8]; 5] = [b"Toy Story ", b"a,b", b"say \"hi\"\n", b"", "Pok\u{e9}mon\t".as_bytes()];
const PROBS: [f32; 5] = [0.1, 1.0, 1e-20, f32::NAN, 0.333_333_34];

#[test]
fn csv_quotes_what_needs_it_and_floats_round_trip() {
    let dir = tempfile::tempdir().unwrap();
    for cut in 0..=TITLES.len() {
        let path = dir.path().join(format!("{cut}.csv"));
        let summary = write(&path, &TITLES, &PROBS, cut);
        let found = fs::read_to_string(&path).unwrap();
        let expected = "title,probs\nToy Story ,0.1\n\"a,b\",1.0\n\"say \"\"hi\"\"\n\",1e-20\n,NaN\nPok\u{e9}mon\t,0.33333334\n";
        assert_eq!(found, expected);
        assert_eq!(summary, SinkSummary { rows: 5, bytes: expected.len() as u64, replaced_texts: 0 });
    }
}

#[test]
fn tsv_separates_by_tabs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.TSV");
    write(&path, &TITLES, &PROBS, 2);
    let found = fs::read_to_string(&path).unwrap();
    assert!(found.starts_with("title\tprobs\nToy Story \t0.1\na,b\t1.0\n"), "{found}");
    assert!(found.ends_with("\"Pok\u{e9}mon\t\"\t0.33333334\n"), "{found}");
}

#[test]
fn parquet_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.parquet");
    let mut titles = TITLES.to_vec();
    titles[2] = b"\xff bad";
    let summary = write(&path, &titles, &PROBS, 3);
    assert_eq!((summary.rows, summary.replaced_texts), (5, 1));
    assert_eq!(summary.bytes, fs::metadata(&path).unwrap().len());
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap().build().unwrap();
    let (mut found_titles, mut found_probs) = (Vec::new(), Vec::new());
    for batch in reader {
        let batch = batch.unwrap();
        assert_eq!(batch.schema().field(0).name(), "title");
        assert_eq!(batch.schema().field(1).name(), "probs");
        found_titles.extend(batch.column(0).as_string::<i32>().iter().map(|text| text.unwrap().to_owned()));
        found_probs.extend(batch.column(1).as_primitive::<Float32Type>().values().iter().map(|value| value.to_bits()));
    }
    assert_eq!(found_titles, ["Toy Story ", "a,b", "\u{fffd} bad", "", "Pok\u{e9}mon\t"]);
    assert_eq!(found_probs, PROBS.map(f32::to_bits));
}

#[test]
fn no_rows_make_a_file_with_a_header() {
    let dir = tempfile::tempdir().unwrap();
    for (name, least) in [("a.csv", 12), ("a.parquet", 100)] {
        let path = dir.path().join(name);
        let summary = PredictionSink::create(&path, columns()).unwrap().finish().unwrap();
        assert_eq!(summary.rows, 0);
        assert!(summary.bytes >= least && fs::metadata(&path).unwrap().len() == summary.bytes);
    }
}

#[track_caller]
fn refused(result: Result<PredictionSink, SinkError>, expected: &str) {
    let message = result.expect_err("must be refused").to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn bad_outputs_name_the_path() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["out", "out.txt", "out.csv.gz"] {
        refused(PredictionSink::create(&dir.path().join(name), columns()), "expected .csv, .tsv or .parquet");
    }
    for name in ["none/out.csv", "none/out.parquet"] {
        refused(PredictionSink::create(&dir.path().join(name), columns()), &format!("{name}: cannot be written: No such file"));
    }
    let twice = vec![SinkColumn::float("probs"), SinkColumn::float("probs")];
    refused(PredictionSink::create(&dir.path().join("out.csv"), twice), "two columns are named `probs`");
}

#[test]
fn chunks_must_fit() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = PredictionSink::create(&dir.path().join("out.csv"), columns()).unwrap();
    let title = |offsets| SinkValues::Text { offsets, bytes: b"abc" };
    let mut check = |chunk: &[SinkValues<'_>], expected: &str| {
        let message = sink.write(chunk).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(&[], "0 columns instead of 2");
    check(&[SinkValues::Float(&[1.0]), SinkValues::Float(&[1.0])], "column `title` is Float, not Text");
    check(&[title(&[0, 3]), SinkValues::Float(&[1.0, 2.0])], "column `probs` has 2 rows instead of 1");
    for offsets in [&[][..], &[0, 4], &[2, 1, 3]] {
        check(&[title(offsets), SinkValues::Float(&[1.0])], "offsets that do not fit");
    }
}

/// `/dev/full` refuses every write as a full disk does; it cannot be renamed over, so the writers are fed it directly.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let error = fs::OpenOptions::new().write(true).open("/dev/full").and_then(|mut full| {
        use std::io::Write;
        full.write_all(b"x")
    });
    let message = SinkError::io(Path::new("out.csv"), error.unwrap_err()).to_string();
    assert_eq!(message, "out.csv: cannot be written: No space left on device (os error 28)");
}
