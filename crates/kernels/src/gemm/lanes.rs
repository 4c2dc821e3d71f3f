//! Vectors of `f32` that the product kernels are written in: one implementation for each instruction set.

/// A vector of [`Lanes::WIDTH`] numbers and what the kernels do with it. The functions may be called only where the processor has
/// the instruction set, and only from code compiled for it.
pub(super) trait Lanes {
    /// The register.
    type Vector: Copy;
    /// Numbers in a vector; divides [`super::PANEL`].
    const WIDTH: usize;
    /// Rows of the largest tile that stays in registers.
    const ROWS: usize;

    /// All zeros.
    unsafe fn zero() -> Self::Vector;
    /// Reads `WIDTH` numbers from `from` on.
    unsafe fn load(from: *const f32) -> Self::Vector;
    /// Writes `WIDTH` numbers from `to` on.
    unsafe fn store(to: *mut f32, vector: Self::Vector);
    /// One number in all lanes.
    unsafe fn splat(number: f32) -> Self::Vector;
    /// `a · b + c`, rounded once where the processor can.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a + b`.
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `max(a, 0)`, and 0 for NaN.
    unsafe fn positive(a: Self::Vector) -> Self::Vector;
    /// `a` where `gate` is positive, else 0.
    unsafe fn gated(a: Self::Vector, gate: Self::Vector) -> Self::Vector;
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _CMP_GT_OQ, _mm256_add_ps, _mm256_and_ps, _mm256_cmp_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
        _mm512_maskz_mov_ps, _mm512_max_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::Lanes;

    macro_rules! lanes {
        ($name:ident, $vector:ty, $width:literal, $rows:literal, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident, $max:ident, $gate:expr) => {
            impl Lanes for $name {
                type Vector = $vector;
                const WIDTH: usize = $width;
                const ROWS: usize = $rows;

                #[inline(always)]
                unsafe fn zero() -> $vector {
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> $vector {
                    // SAFETY: the caller promises the instruction set and the memory.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(to: *mut f32, vector: $vector) {
                    // SAFETY: the caller promises the instruction set and the memory.
                    unsafe { $store(to, vector) }
                }
                #[inline(always)]
                unsafe fn splat(number: f32) -> $vector {
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $splat(number) }
                }
                #[inline(always)]
                unsafe fn multiply_add(a: $vector, b: $vector, c: $vector) -> $vector {
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $fma(a, b, c) }
                }
                #[inline(always)]
                unsafe fn add(a: $vector, b: $vector) -> $vector {
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $add(a, b) }
                }
                #[inline(always)]
                unsafe fn positive(a: $vector) -> $vector {
                    // SAFETY: the caller promises the instruction set. The instruction gives its second operand for NaN.
                    unsafe { $max(a, $zero()) }
                }
                #[inline(always)]
                unsafe fn gated(a: $vector, gate: $vector) -> $vector {
                    // SAFETY: the caller promises the instruction set.
                    unsafe { $gate(a, gate) }
                }
            }
        };
    }

    /// AVX-512.
    pub(in super::super) struct Avx512;
    lanes!(
        Avx512,
        __m512,
        16,
        8,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        _mm512_max_ps,
        |a, gate| _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate, _mm512_setzero_ps()), a)
    );

    /// AVX2 with FMA.
    pub(in super::super) struct Avx2;
    lanes!(
        Avx2,
        __m256,
        8,
        6,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        _mm256_max_ps,
        |a, gate| _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(gate, _mm256_setzero_ps()), a)
    );
}

/// Plain arrays, which the compiler turns into what the build target has.
pub(super) struct Portable;

impl Lanes for Portable {
    type Vector = [f32; 4];
    const WIDTH: usize = 4;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: the caller promises the memory; arrays of floats need no more alignment than a float.
        unsafe { *from.cast() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, vector: [f32; 4]) {
        // SAFETY: as above.
        unsafe { *to.cast() = vector }
    }
    #[inline(always)]
    unsafe fn splat(number: f32) -> [f32; 4] {
        [number; 4]
    }
    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // A fused operation that the target lacks would be a call for each number.
        std::array::from_fn(|i| {
            if cfg!(target_feature = "fma") || cfg!(target_arch = "aarch64") { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] }
        })
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn positive(a: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| a[i].max(0.0))
    }
    #[inline(always)]
    unsafe fn gated(a: [f32; 4], gate: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| if gate[i] > 0.0 { a[i] } else { 0.0 })
    }
}
