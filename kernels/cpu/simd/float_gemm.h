// Small float GEMM used by float weights and by attention. Included by kernels_<isa>.cc after a
// Simd type, inside an anonymous namespace.
//
// C (m, n) = or += A (m, k) . B (k, n), all row-major; vectors run along n, A's elements are
// broadcast. Elem says how B is stored.

struct ElemF32 {
  using T = float;
  static constexpr int kAhead = 0;  // elements to prefetch ahead of their use
  static Simd::F load(const T* p) { return Simd::load(p); }
};
struct ElemF16 {
  using T = uint16_t;
  static constexpr int kAhead = 0;
  static Simd::F load(const T* p) { return Simd::load_half(p); }
};
struct ElemBF16 {
  using T = uint16_t;
  static constexpr int kAhead = 0;
  static Simd::F load(const T* p) { return Simd::load_bf16(p); }
};

/// The same as weights, which are read once from memory.
template <class Elem>
struct Streamed : Elem {
  static constexpr int kAhead = kFetchAhead / sizeof(typename Elem::T);
};

/// A register tile: kRows x (kVectors * kLanes), C started from `c` if kAccumulate.
template <class Elem, int kRows, int kVectors, bool kAccumulate>
inline void gemm_registers(const float* a, int64_t lda, const typename Elem::T* b, int64_t ldb,
                           int64_t k, float* c, int64_t ldc, Simd::F (&acc)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = kAccumulate ? Simd::load(c + r * ldc + v * Simd::kLanes) : Simd::zero();
    }
  }
  for (int64_t i = 0; i < k; ++i) {
    if constexpr (Elem::kAhead > 0) __builtin_prefetch(b + i * ldb + Elem::kAhead);
    Simd::F bv[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) bv[v] = Elem::load(b + i * ldb + v * Simd::kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Simd::F x = Simd::set1(a[r * lda + i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[r][v] = Simd::fma(x, bv[v], acc[r][v]);
    }
  }
}

/// `m` <= kRows rows of the columns of kVectors vectors.
template <class Elem, int kRows, int kVectors, bool kAccumulate>
void gemm_rows(int m, const float* a, int64_t lda, const typename Elem::T* b, int64_t ldb,
               int64_t k, float* c, int64_t ldc) {
  if constexpr (kRows > 1) {
    if (m < kRows) {
      gemm_rows<Elem, kRows - 1, kVectors, kAccumulate>(m, a, lda, b, ldb, k, c, ldc);
      return;
    }
  }
  Simd::F acc[kRows][kVectors];
  gemm_registers<Elem, kRows, kVectors, kAccumulate>(a, lda, b, ldb, k, c, ldc, acc);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) Simd::store(c + r * ldc + v * Simd::kLanes, acc[r][v]);
  }
}

template <class Elem, int kVectors, bool kAccumulate>
void gemm_columns(int m, const float* a, int64_t lda, const typename Elem::T* b, int64_t ldb,
                  int64_t k, float* c, int64_t ldc) {
  constexpr int kRows = Simd::gemm_rows(kVectors);
  for (int row = 0; row < m; row += kRows) {
    const int rows = m - row < kRows ? m - row : kRows;
    gemm_rows<Elem, kRows, kVectors, kAccumulate>(rows, a + row * lda, lda, b, ldb, k,
                                                  c + row * ldc, ldc);
  }
}

/// n is a multiple of kLanes.
template <class Elem, bool kAccumulate>
void gemm(int m, int n, int64_t k, const float* a, int64_t lda, const typename Elem::T* b,
          int64_t ldb, float* c, int64_t ldc) {
  int col = 0;
  constexpr int kWide = Simd::kGemmVectors * Simd::kLanes;
  for (; col + kWide <= n; col += kWide) {
    gemm_columns<Elem, Simd::kGemmVectors, kAccumulate>(m, a, lda, b + col, ldb, k, c + col, ldc);
  }
  constexpr int kTwo = 2 * Simd::kLanes;
  if constexpr (Simd::kGemmVectors > 2) {
    for (; col + kTwo <= n; col += kTwo) {
      gemm_columns<Elem, 2, kAccumulate>(m, a, lda, b + col, ldb, k, c + col, ldc);
    }
  }
  for (; col < n; col += Simd::kLanes) {
    gemm_columns<Elem, 1, kAccumulate>(m, a, lda, b + col, ldb, k, c + col, ldc);
  }
}

/// One panel of 16 float rows against up to 16 tokens.
template <class Elem>
void float_tile(const FloatTile& a) {
  const auto* weights = static_cast<const typename Elem::T*>(a.weights);
  float c[kMaxTile * kPanelRows];
  gemm<Streamed<Elem>, false>(a.n_tokens, kPanelRows, a.cols, a.x, a.x_stride, weights, kPanelRows,
                              c, kPanelRows);
  for (int t = 0; t < a.n_tokens; ++t) {
    for (int r = 0; r < a.n_rows; ++r) {
      a.y[t * a.y_stride + r] = c[t * kPanelRows + r] + (a.bias ? a.bias[r] : 0.0f);
    }
  }
}
