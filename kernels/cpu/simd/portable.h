// The vector type of the portable kernels, and what every Simd must offer. Included by
// kernels_portable.cc inside an anonymous namespace.
//
// F: kLanes floats. I: kLanes int32. B: 4 kLanes bytes. A panel's 64-byte code vector is
// 16 / kLanes of B. Four lanes of GCC's vector extension suit SSE2 and NEON alike.

struct Simd {
  typedef float F __attribute__((vector_size(16)));
  typedef int32_t I __attribute__((vector_size(16)));
  struct B {
    uint8_t byte[16];
  };
  static constexpr int kLanes = 4;
  /// Accumulators of the float GEMM: vectors x rows, as many as fit the registers.
  static constexpr int kGemmVectors = 4;
  static constexpr int gemm_rows(int vectors) { return vectors == 4 ? 3 : 6; }
  /// Whether dot() of 8-bit codes multiplies code (unsigned) rather than code - 128 (signed).
  static constexpr bool kOffsetBytes = true;
  /// Whether fma() rounds once.
  static constexpr bool kExactFma = false;

  static F zero() { return F{}; }
  static F set1(float x) { return F{x, x, x, x}; }
  static F load(const float* p) {
    F v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static F load_n(const float* p, int n) {  // the first n lanes; the rest zero
    F v{};
    for (int i = 0; i < n; ++i) v[i] = p[i];
    return v;
  }
  static void store(float* p, F v) { __builtin_memcpy(p, &v, sizeof v); }
  static void store_n(float* p, F v, int n) {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
  static F load_half(const uint16_t* p) {
    return F{half_to_float(p[0]), half_to_float(p[1]), half_to_float(p[2]), half_to_float(p[3])};
  }
  static F load_bf16(const uint16_t* p) {
    const I bits = I{p[0], p[1], p[2], p[3]} << 16;
    F v;
    __builtin_memcpy(&v, &bits, sizeof v);
    return v;
  }
  static void store_half(uint16_t* p, F v) {
    for (int i = 0; i < kLanes; ++i) p[i] = float_to_half(v[i]);
  }
  static F load_u8(const uint8_t* p) { return to_float(I{p[0], p[1], p[2], p[3]}); }
  static F load_i8(const uint8_t* p) {
    const auto* s = reinterpret_cast<const int8_t*>(p);
    return to_float(I{s[0], s[1], s[2], s[3]});
  }

  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return a * b + c; }
  static F fnma(F a, F b, F c) { return c - a * b; }
  static F max(F a, F b) { return a > b ? a : b; }  // b where either is NaN, as on x86
  static F min(F a, F b) { return a < b ? a : b; }
  static F abs(F a) { return a < 0.0f ? -a : a; }
  static F round(F a) {  // to nearest even, for |a| < 2^22
    const F magic = set1(12582912.0f);
    return (a + magic) - magic;
  }
  static F pow2(F integral) {  // 2^n, -126 <= n <= 127
    const I bits = (to_int(integral) + 127) << 23;
    F v;
    __builtin_memcpy(&v, &bits, sizeof v);
    return v;
  }
  static float sum(F a) { return (a[0] + a[2]) + (a[1] + a[3]); }
  static float hmax(F a) {
    float m = a[0];
    for (int i = 1; i < kLanes; ++i) m = a[i] > m ? a[i] : m;
    return m;
  }

  static I iset1(int32_t x) { return I{x, x, x, x}; }
  static F to_float(I a) { return __builtin_convertvector(a, F); }
  static I to_int(F a) {  // to nearest; a NaN or an overflow becomes some number
    const F r = round(a);
    const F low = set1(-2e9f), high = set1(2e9f);
    return __builtin_convertvector(min(high, max(r, low)), I);
  }
  template <int kBits>
  static I shl(I a) {
    return a * (1 << kBits);
  }
  static int32_t isum(I a) { return a[0] + a[1] + a[2] + a[3]; }
  static I iadd(I a, I b) { return a + b; }
  static void store_i8(int8_t* p, I a) {  // saturating
    for (int i = 0; i < kLanes; ++i) {
      p[i] = static_cast<int8_t>(a[i] < -128 ? -128 : a[i] > 127 ? 127 : a[i]);
    }
  }
  static F select_odd(I j, F odd, F even) { return (j & 1) != 0 ? odd : even; }
  static F negate_if_bit1(I j, F v) { return (j & 2) != 0 ? -v : v; }

  static B bload(const uint8_t* p) {
    B b;
    __builtin_memcpy(&b, p, sizeof b);
    return b;
  }
  static B low_nibbles(B b) {
    for (uint8_t& x : b.byte) x &= 15;
    return b;
  }
  static B high_nibbles(B b) {
    for (uint8_t& x : b.byte) x >>= 4;
    return b;
  }
  /// w | (h's field kMask >> 4 at bit kFrom, moved to bit 4).
  template <int kFrom, int kMask>
  static B merge_high(B w, B h) {
    for (int i = 0; i < 16; ++i) {
      w.byte[i] = static_cast<uint8_t>(w.byte[i] | (((h.byte[i] >> kFrom) << 4) & kMask));
    }
    return w;
  }

  /// acc + sum over groups g in [kFirst, kFirst + kCount), columns j of w[g][4 lane + j] *
  /// x[4 g + j], exactly. Codes are at most kMaxCode.
  template <int kMaxCode, int kFirst, int kCount>
  static I dot(const B* w, const int8_t* x, I acc) {
    for (int g = kFirst; g < kFirst + kCount; ++g) {
      for (int j = 0; j < 4; ++j) {
        const int32_t xj = x[4 * g + j];
        for (int lane = 0; lane < kLanes; ++lane) acc[lane] += w[g].byte[4 * lane + j] * xj;
      }
    }
    return acc;
  }
};
