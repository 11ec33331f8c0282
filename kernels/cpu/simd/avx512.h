// The vector type of the 512-bit kernels. Included by kernels_avx512*.cc inside an anonymous
// namespace, so that nothing compiled for this instruction set has external linkage.
// portable.h explains the operations.

struct Simd {
  using F = __m512;
  using I = __m512i;
  using B = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kGemmVectors = 4;
  static constexpr int gemm_rows(int vectors) { return vectors == 4 ? 6 : vectors == 2 ? 12 : 16; }
  static constexpr bool kExactFma = true;
#if defined(__AVX512VNNI__)
  static constexpr bool kOffsetBytes = true;
#else
  static constexpr bool kOffsetBytes = false;
#endif

  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store_n(float* p, F v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }
  static F load_half(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_bf16(const uint16_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static void store_half(uint16_t* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static F load_u8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static F load_i8(const uint8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static F round(F a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F pow2(F integral) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), integral); }
  static float sum(F a) { return _mm512_reduce_add_ps(a); }
  static float hmax(F a) { return _mm512_reduce_max_ps(a); }

  static I iset1(int32_t x) { return _mm512_set1_epi32(x); }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm512_cvtps_epi32(a); }
  template <int kBits>
  static I shl(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  static int32_t isum(I a) { return _mm512_reduce_add_epi32(a); }
  static I iadd(I a, I b) { return _mm512_add_epi32(a, b); }
  static void store_i8(int8_t* p, I a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a));
  }
  static F select_odd(I j, F odd, F even) {
    return _mm512_mask_blend_ps(_mm512_test_epi32_mask(j, _mm512_set1_epi32(1)), even, odd);
  }
  static F negate_if_bit1(I j, F v) {
    const I sign = _mm512_slli_epi32(_mm512_and_si512(j, _mm512_set1_epi32(2)), 30);
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(v), sign));
  }

  static B bload(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static B low_nibbles(B b) { return _mm512_and_si512(b, _mm512_set1_epi8(15)); }
  static B high_nibbles(B b) {
    return _mm512_and_si512(_mm512_srli_epi16(b, 4), _mm512_set1_epi8(15));
  }
  // w | ((h shifted so that `bits` at position kFrom come to position 4) & mask).
  template <int kFrom, int kMask>
  static B merge_high(B w, B h) {
    B shifted = h;
    if constexpr (kFrom < 4) shifted = _mm512_slli_epi16(h, 4 - kFrom);
    if constexpr (kFrom > 4) shifted = _mm512_srli_epi16(h, kFrom - 4);
    return _mm512_or_si512(w, _mm512_and_si512(shifted, _mm512_set1_epi8(kMask)));
  }

  template <int kMaxCode, int kFirst, int kCount>
  static I dot(const B* w, const int8_t* x, I acc) {
#if defined(__AVX512VNNI__)
#pragma GCC unroll 8
    for (int g = kFirst; g < kFirst + kCount; ++g) {
      int32_t four;
      __builtin_memcpy(&four, x + 4 * g, 4);
      acc = _mm512_dpbusd_epi32(acc, w[g], _mm512_set1_epi32(four));
    }
    return acc;
#else
    const B ones = _mm512_set1_epi16(1);
    // As many 16-bit sums of two products as cannot overflow.
    constexpr int kChunk = kMaxCode == 255 ? 1 : 32767 / (kMaxCode * 127 * 2);
    constexpr int kStep = kChunk < kCount ? kChunk : kCount;
#pragma GCC unroll 8
    for (int g0 = kFirst; g0 < kFirst + kCount; g0 += kStep) {
      B pairs = _mm512_setzero_si512();
#pragma GCC unroll 8
      for (int g = g0; g < g0 + kStep; ++g) {
        int32_t four;
        __builtin_memcpy(&four, x + 4 * g, 4);
        B xs = _mm512_set1_epi32(four);
        B ws = w[g];
        if constexpr (kMaxCode == 255) {  // |w| * (x with w's sign)
          ws = _mm512_xor_si512(ws, _mm512_set1_epi8(-128));
          xs = _mm512_mask_sub_epi8(xs, _mm512_movepi8_mask(ws), _mm512_setzero_si512(), xs);
          ws = _mm512_abs_epi8(ws);
        }
        pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16(ws, xs));
      }
      acc = _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, ones));
    }
    return acc;
#endif
  }
};
