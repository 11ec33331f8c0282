// The recurrent layers' inner loops: causal convolution and the gated delta rule. Included by
// kernels_<isa>.cc after row_ops.h, inside an anonymous namespace.

inline Simd::F silu(Simd::F x) {
  const Simd::F e = exp2(Simd::mul(x, Simd::set1(-1.44269504f)));
  return Simd::div(x, Simd::add(Simd::set1(1.0f), e));
}

/// One token: y[c] = silu(sum of w[j][c] * taps[j][c]), taps oldest first.
void conv_token(const ConvTile& tile) {
  for (int64_t c = 0; c < tile.n; c += Simd::kLanes) {
    const int m = tile.n - c < Simd::kLanes ? static_cast<int>(tile.n - c) : Simd::kLanes;
    Simd::F sum = Simd::zero();
    for (int j = 0; j < tile.kernel; ++j) {
      const Simd::F w = Simd::load_n(tile.weights + j * tile.weight_stride + c, m);
      sum = Simd::fma(w, Simd::load_n(tile.taps[j] + c, m), sum);
    }
    Simd::store_n(tile.y + c, silu(sum), m);
  }
}

/// x *= scale / sqrt(sum(x^2) + eps)
void unit_length(float* x, float eps, float scale, int64_t n) {
  Simd::F squares = Simd::zero();
  for (int64_t i = 0; i < n; i += Simd::kLanes) {
    const int m = n - i < Simd::kLanes ? static_cast<int>(n - i) : Simd::kLanes;
    const Simd::F v = Simd::load_n(x + i, m);
    squares = Simd::fma(v, v, squares);
  }
  const Simd::F factor = Simd::set1(scale / __builtin_sqrtf(Simd::sum(squares) + eps));
  for (int64_t i = 0; i < n; i += Simd::kLanes) {
    const int m = n - i < Simd::kLanes ? static_cast<int>(n - i) : Simd::kLanes;
    Simd::store_n(x + i, Simd::mul(factor, Simd::load_n(x + i, m)), m);
  }
}

void sigmoid_mul_range(float* x, const float* gate, int64_t n) {
  for (int64_t i = 0; i < n; i += Simd::kLanes) {
    const int m = n - i < Simd::kLanes ? static_cast<int>(n - i) : Simd::kLanes;
    const Simd::F e = exp2(Simd::mul(Simd::load_n(gate + i, m), Simd::set1(-1.44269504f)));
    const Simd::F v = Simd::div(Simd::load_n(x + i, m), Simd::add(Simd::set1(1.0f), e));
    Simd::store_n(x + i, v, m);
  }
}

/// kVectors vectors of columns, of which the last has `last` lanes (kFull: all). The columns of S
/// do not know of each other, so a tile goes through all tokens while it is in the L1 cache; and
/// since the pass that updates S for one token also gathers S^T k for the next, each token reads
/// and writes it once.
template <int kVectors, bool kFull>
void delta_columns(const DeltaTile& tile, int64_t column, int last) {
  using F = Simd::F;
  const auto load = [&](const float* p, int v) {
    if constexpr (kFull) return Simd::load(p + v * Simd::kLanes);
    return Simd::load_n(p + v * Simd::kLanes, v + 1 < kVectors ? Simd::kLanes : last);
  };
  const auto store = [&](float* p, int v, F x) {
    if constexpr (kFull) return Simd::store(p + v * Simd::kLanes, x);
    Simd::store_n(p + v * Simd::kLanes, x, v + 1 < kVectors ? Simd::kLanes : last);
  };
  float* const state = tile.state + column;
  F memory[kVectors];  // S^T k
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) memory[v] = Simd::zero();
  for (int i = 0; i < tile.k_dim; ++i) {
    const F k = Simd::set1(tile.k[i]);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      memory[v] = Simd::fma(k, load(state + i * tile.state_stride, v), memory[v]);
    }
  }
  for (int t = 0; t < tile.n_tokens; ++t) {
    const float* const q = tile.q + t * tile.stride;
    const float* const k = tile.k + t * tile.stride;
    const float* const next = t + 1 < tile.n_tokens ? k + tile.stride : k;
    const F decay = Simd::set1(tile.decay[t * tile.gate_stride]);
    const F beta = Simd::set1(tile.beta[t * tile.gate_stride]);
    F delta[kVectors];
    F out[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const F value = load(tile.v + t * tile.stride + column, v);
      delta[v] = Simd::mul(beta, Simd::fnma(decay, memory[v], value));
      memory[v] = Simd::zero();
      out[v] = Simd::zero();
    }
    for (int i = 0; i < tile.k_dim; ++i) {
      float* const row = state + i * tile.state_stride;
      const F ki = Simd::set1(k[i]), qi = Simd::set1(q[i]), ni = Simd::set1(next[i]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const F s = Simd::fma(ki, delta[v], Simd::mul(decay, load(row, v)));
        store(row, v, s);
        out[v] = Simd::fma(qi, s, out[v]);
        memory[v] = Simd::fma(ni, s, memory[v]);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(tile.out + t * tile.out_stride + column, v, out[v]);
  }
}

void delta_tile(const DeltaTile& tile) {
  constexpr int kVectors = kDeltaColumns / Simd::kLanes < 4 ? kDeltaColumns / Simd::kLanes : 4;
  int64_t column = 0;
  for (; column + kVectors * Simd::kLanes <= tile.columns; column += kVectors * Simd::kLanes) {
    delta_columns<kVectors, true>(tile, column, 0);
  }
  for (; column < tile.columns; column += Simd::kLanes) {
    const auto left = static_cast<int>(tile.columns - column);
    delta_columns<1, false>(tile, column, left < Simd::kLanes ? left : Simd::kLanes);
  }
}
