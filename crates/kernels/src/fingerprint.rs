//! FarmHash `Fingerprint64` and the bucket rule of `tf.strings.to_hash_bucket_fast` (EasyRec behaviour 6).
//!
//! `bucket = Fingerprint64(bytes) mod buckets`, unsigned. Integers are hashed as their decimal text.
//! The function is FarmHash's `farmhashna::Hash64`, which Google froze under the name `Fingerprint64`; the letters below are
//! those of that source. Sums and products wrap modulo 2^64.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

/// The 64-bit FarmHash fingerprint of `bytes`, the same on every machine.
#[inline]
#[must_use]
pub fn fingerprint64(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0..=16 => up_to_16(bytes),
        17..=32 => from_17_to_32(bytes),
        33..=64 => from_33_to_64(bytes),
        _ => over_64(bytes),
    }
}

/// The bucket of `bytes` among `buckets`, as `tf.strings.to_hash_bucket_fast` picks it.
///
/// # Panics
/// If `buckets` is 0.
#[inline]
#[must_use]
pub fn hash_bucket(bytes: &[u8], buckets: u64) -> u64 {
    fingerprint64(bytes) % buckets
}

/// FarmHash's `FingerprintCat64`: the fingerprint of a sequence whose last element `element` follows one with the fingerprint
/// `prefix` (EasyRec behaviour 15).
#[inline]
#[must_use]
pub fn fingerprint_cat64(prefix: u64, element: u64) -> u64 {
    const MUL: u64 = 0xc6a4_a793_5bd1_e995;
    let mut result = prefix ^ MUL;
    result ^= shift_mix(element.wrapping_mul(MUL)).wrapping_mul(MUL);
    result = result.wrapping_mul(MUL);
    result = shift_mix(result).wrapping_mul(MUL);
    shift_mix(result)
}

/// An integer's decimal text, kept on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    text: [u8; 20],
    start: usize,
}

impl Decimal {
    /// Writes `value` as `tf.strings.as_string` does: no sign for positives, no leading zeros.
    #[inline]
    #[must_use]
    pub fn new(value: i64) -> Decimal {
        let mut text = [0u8; 20];
        let mut start = text.len();
        let mut rest = value.unsigned_abs();
        loop {
            start -= 1;
            text[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            start -= 1;
            text[start] = b'-';
        }
        Decimal { text, start }
    }

    /// The text.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[inline]
fn fetch64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice has 8 bytes"))
}

#[inline]
fn fetch32(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice has 4 bytes")))
}

#[inline]
fn shift_mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

#[inline]
fn mix_pair(u: u64, v: u64, mul: u64) -> u64 {
    let a = shift_mix((u ^ v).wrapping_mul(mul));
    shift_mix((v ^ a).wrapping_mul(mul)).wrapping_mul(mul)
}

#[inline]
fn up_to_16(s: &[u8]) -> u64 {
    let len = s.len();
    if len >= 8 {
        let mul = K2.wrapping_add(len as u64 * 2);
        let a = fetch64(s, 0).wrapping_add(K2);
        let b = fetch64(s, len - 8);
        let c = b.rotate_right(37).wrapping_mul(mul).wrapping_add(a);
        let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(mul);
        return mix_pair(c, d, mul);
    }
    if len >= 4 {
        let mul = K2.wrapping_add(len as u64 * 2);
        return mix_pair((len as u64).wrapping_add(fetch32(s, 0) << 3), fetch32(s, len - 4), mul);
    }
    if len > 0 {
        let y = u64::from(s[0]) + (u64::from(s[len >> 1]) << 8);
        let z = len as u64 + (u64::from(s[len - 1]) << 2);
        return shift_mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2);
    }
    K2
}

fn from_17_to_32(s: &[u8]) -> u64 {
    let len = s.len();
    let mul = K2.wrapping_add(len as u64 * 2);
    let a = fetch64(s, 0).wrapping_mul(K1);
    let b = fetch64(s, 8);
    let c = fetch64(s, len - 8).wrapping_mul(mul);
    let d = fetch64(s, len - 16).wrapping_mul(K2);
    mix_pair(
        a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d),
        a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c),
        mul,
    )
}

fn from_33_to_64(s: &[u8]) -> u64 {
    let len = s.len();
    let mul = K2.wrapping_add(len as u64 * 2);
    let a = fetch64(s, 0).wrapping_mul(K2);
    let b = fetch64(s, 8);
    let c = fetch64(s, len - 8).wrapping_mul(mul);
    let d = fetch64(s, len - 16).wrapping_mul(K2);
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = mix_pair(y, a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c), mul);
    let e = fetch64(s, 16).wrapping_mul(mul);
    let f = fetch64(s, 24);
    let g = y.wrapping_add(fetch64(s, len - 32)).wrapping_mul(mul);
    let h = z.wrapping_add(fetch64(s, len - 24)).wrapping_mul(mul);
    mix_pair(
        e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h),
        e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g),
        mul,
    )
}

/// FarmHash's `WeakHashLen32WithSeeds` over the 32 bytes from `at`.
#[inline]
fn weak_32(s: &[u8], at: usize, a: u64, b: u64) -> (u64, u64) {
    let z = fetch64(s, at + 24);
    let a = a.wrapping_add(fetch64(s, at));
    let b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let c = a;
    let a = a.wrapping_add(fetch64(s, at + 8)).wrapping_add(fetch64(s, at + 16));
    let b = b.wrapping_add(a.rotate_right(44));
    (a.wrapping_add(z), b.wrapping_add(c))
}

/// The running state of the long-key hash.
struct Long {
    x: u64,
    y: u64,
    z: u64,
    v: (u64, u64),
    w: (u64, u64),
}

impl Long {
    /// Mixes the 64 bytes from `at`. The last block uses another multiplier and scales two terms by 9.
    #[inline]
    fn mix(&mut self, s: &[u8], at: usize, mul: u64, scale: u64) {
        self.x = self.x.wrapping_add(self.y).wrapping_add(self.v.0).wrapping_add(fetch64(s, at + 8)).rotate_right(37).wrapping_mul(mul);
        self.y = self.y.wrapping_add(self.v.1).wrapping_add(fetch64(s, at + 48)).rotate_right(42).wrapping_mul(mul);
        self.x ^= self.w.1.wrapping_mul(scale);
        self.y = self.y.wrapping_add(self.v.0.wrapping_mul(scale)).wrapping_add(fetch64(s, at + 40));
        self.z = self.z.wrapping_add(self.w.0).rotate_right(33).wrapping_mul(mul);
        self.v = weak_32(s, at, self.v.1.wrapping_mul(mul), self.x.wrapping_add(self.w.0));
        self.w = weak_32(s, at + 32, self.z.wrapping_add(self.w.1), self.y.wrapping_add(fetch64(s, at + 16)));
        std::mem::swap(&mut self.z, &mut self.x);
    }
}

fn over_64(s: &[u8]) -> u64 {
    const SEED: u64 = 81;
    let len = s.len();
    let y = SEED.wrapping_mul(K1).wrapping_add(113);
    let z = shift_mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
    let x = SEED.wrapping_mul(K2).wrapping_add(fetch64(s, 0));
    let mut state = Long { x, y, z, v: (0, 0), w: (0, 0) };
    // Whole blocks of 64, always leaving 1 to 64 bytes: the final block ends at the key's end and may overlap the one before.
    for block in 0..(len - 1) / 64 {
        state.mix(s, block * 64, K1, 1);
    }
    let mul = K1.wrapping_add((state.z & 0xff) << 1);
    state.w.0 = state.w.0.wrapping_add(((len - 1) & 63) as u64);
    state.v.0 = state.v.0.wrapping_add(state.w.0);
    state.w.0 = state.w.0.wrapping_add(state.v.0);
    state.mix(s, len - 64, mul, 9);
    mix_pair(
        mix_pair(state.v.0, state.w.0, mul).wrapping_add(shift_mix(state.y).wrapping_mul(K0)).wrapping_add(state.z),
        mix_pair(state.v.1, state.w.1, mul).wrapping_add(state.x),
        mul,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of TensorFlow 2.12; the full table, every length to 139 and more, is tested in the data crate.
    #[test]
    fn known_fingerprints() {
        assert_eq!(fingerprint64(b""), 11160318154034397263);
        assert_eq!(fingerprint64(b"a"), 12917804110809363939);
        assert_eq!(fingerprint64(b"abc"), 2640714258260161385);
        assert_eq!(fingerprint64(b"hello world"), 6381520714923946011);
        assert_eq!(fingerprint64(&[b'q'; 32]), 11164373249901463617);
        assert_eq!(fingerprint64(&[b'w'; 33]), 10288982810780904042);
        assert_eq!(fingerprint64(&[b't'; 65]), 14038938803707132464);
        assert_eq!(hash_bucket(b"12", 100), 88);
        assert_eq!(hash_bucket(Decimal::new(-1).as_bytes(), 37), 27);
    }

    #[test]
    fn integers_are_written_in_decimal() {
        for value in [0, 7, -7, 10, 99, 100, i64::from(i32::MAX), i64::MAX, i64::MIN, -1_000_000] {
            assert_eq!(Decimal::new(value).as_bytes(), value.to_string().as_bytes());
        }
    }
}
