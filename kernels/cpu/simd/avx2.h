// The vector type of the 256-bit kernels. Included by kernels_avx2.cc and kernels_avxvnni.cc inside
// an anonymous namespace, so that nothing compiled for these has external linkage. portable.h
// explains the operations.

struct Simd {
  using F = __m256;
  using I = __m256i;
  using B = __m256i;
  static constexpr int kLanes = 8;
  static constexpr int kGemmVectors = 2;
  static constexpr int gemm_rows(int vectors) { return vectors == 2 ? 6 : 12; }
  static constexpr bool kExactFma = true;
#if defined(__AVXVNNI__)
  static constexpr bool kOffsetBytes = true;
#else
  static constexpr bool kOffsetBytes = false;
#endif

  static __m256i first(int n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lanes);
  }

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load_n(const float* p, int n) { return _mm256_maskload_ps(p, first(n)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store_n(float* p, F v, int n) { _mm256_maskstore_ps(p, first(n), v); }
  static F load_half(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F load_bf16(const uint16_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static void store_half(uint16_t* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  static F load_u8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static F load_i8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F pow2(F integral) {
    const I biased = _mm256_add_epi32(_mm256_cvtps_epi32(integral), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
  static float sum(F a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float hmax(F a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
  }

  static I iset1(int32_t x) { return _mm256_set1_epi32(x); }
  static F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm256_cvtps_epi32(a); }
  template <int kBits>
  static I shl(I a) {
    return _mm256_slli_epi32(a, kBits);
  }
  static int32_t isum(I a) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
  }
  static I iadd(I a, I b) { return _mm256_add_epi32(a, b); }
  static void store_i8(int8_t* p, I a) {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
  }
  static F select_odd(I j, F odd, F even) {
    return _mm256_blendv_ps(even, odd, _mm256_castsi256_ps(_mm256_slli_epi32(j, 31)));
  }
  static F negate_if_bit1(I j, F v) {
    const I sign = _mm256_slli_epi32(_mm256_and_si256(j, _mm256_set1_epi32(2)), 30);
    return _mm256_castsi256_ps(_mm256_xor_si256(_mm256_castps_si256(v), sign));
  }

  static B bload(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static B low_nibbles(B b) { return _mm256_and_si256(b, _mm256_set1_epi8(15)); }
  static B high_nibbles(B b) {
    return _mm256_and_si256(_mm256_srli_epi16(b, 4), _mm256_set1_epi8(15));
  }
  template <int kFrom, int kMask>
  static B merge_high(B w, B h) {
    B shifted = h;
    if constexpr (kFrom < 4) shifted = _mm256_slli_epi16(h, 4 - kFrom);
    if constexpr (kFrom > 4) shifted = _mm256_srli_epi16(h, kFrom - 4);
    return _mm256_or_si256(w, _mm256_and_si256(shifted, _mm256_set1_epi8(kMask)));
  }

  template <int kMaxCode, int kFirst, int kCount>
  static I dot(const B* w, const int8_t* x, I acc) {
#if defined(__AVXVNNI__)
#pragma GCC unroll 8
    for (int g = kFirst; g < kFirst + kCount; ++g) {
      int32_t four;
      __builtin_memcpy(&four, x + 4 * g, 4);
      acc = _mm256_dpbusd_avx_epi32(acc, w[g], _mm256_set1_epi32(four));
    }
    return acc;
#else
    const B ones = _mm256_set1_epi16(1);
    // As many 16-bit sums of two products as cannot overflow.
    constexpr int kChunk = kMaxCode == 255 ? 1 : 32767 / (kMaxCode * 127 * 2);
    constexpr int kStep = kChunk < kCount ? kChunk : kCount;
#pragma GCC unroll 8
    for (int g0 = kFirst; g0 < kFirst + kCount; g0 += kStep) {
      B pairs = _mm256_setzero_si256();
#pragma GCC unroll 8
      for (int g = g0; g < g0 + kStep; ++g) {
        int32_t four;
        __builtin_memcpy(&four, x + 4 * g, 4);
        B xs = _mm256_set1_epi32(four);
        B ws = w[g];
        if constexpr (kMaxCode == 255) {  // |w| * (x with w's sign)
          ws = _mm256_xor_si256(ws, _mm256_set1_epi8(-128));
          xs = _mm256_sign_epi8(xs, ws);
          ws = _mm256_abs_epi8(ws);
        }
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(ws, xs));
      }
      acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
    }
    return acc;
#endif
  }
};
