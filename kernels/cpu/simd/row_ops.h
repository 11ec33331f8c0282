// Norms, rotary embedding and elementwise operations. Included by kernels_<isa>.cc after a Simd
// type, inside an anonymous namespace.

/// 2^x to about 2 ulp; x below -126 gives 2^-126, x above 127 gives 2^127, NaN stays NaN.
inline Simd::F exp2(Simd::F x) {
  using F = Simd::F;
  x = Simd::min(Simd::set1(127.0f), Simd::max(Simd::set1(-126.0f), x));
  const F n = Simd::round(x);
  const F f = Simd::sub(x, n);  // in [-1/2, 1/2]: the Taylor series of 2^f, degree 6
  F p = Simd::set1(1.5403530e-4f);
  p = Simd::fma(p, f, Simd::set1(1.3333558e-3f));
  p = Simd::fma(p, f, Simd::set1(9.6181291e-3f));
  p = Simd::fma(p, f, Simd::set1(5.5504109e-2f));
  p = Simd::fma(p, f, Simd::set1(2.4022651e-1f));
  p = Simd::fma(p, f, Simd::set1(6.9314718e-1f));
  p = Simd::fma(p, f, Simd::set1(1.0f));
  return Simd::mul(p, Simd::pow2(n));
}

inline float exp2_one(float x) {
  float lanes[Simd::kLanes];
  Simd::store(lanes, exp2(Simd::set1(x)));
  return lanes[0];
}

void rms_norm_row(const float* x, const float* weight, float eps, int64_t dim, float* y) {
  using F = Simd::F;
  constexpr int kLanes = Simd::kLanes;
  F squares[4] = {Simd::zero(), Simd::zero(), Simd::zero(), Simd::zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const F v = Simd::load(x + i + j * kLanes);
      squares[j] = Simd::fma(v, v, squares[j]);
    }
  }
  for (; i < dim; i += kLanes) {
    const int n = dim - i < kLanes ? static_cast<int>(dim - i) : kLanes;
    const F v = Simd::load_n(x + i, n);
    squares[0] = Simd::fma(v, v, squares[0]);
  }
  const float sum =
      Simd::sum(Simd::add(Simd::add(squares[0], squares[1]), Simd::add(squares[2], squares[3])));
  const float mean = sum / static_cast<float>(dim);
  const F scale = Simd::set1(1.0f / __builtin_sqrtf(mean + eps));
  for (i = 0; i + kLanes <= dim; i += kLanes) {
    Simd::store(y + i, Simd::mul(Simd::mul(Simd::load(x + i), scale), Simd::load(weight + i)));
  }
  if (i < dim) {
    const int n = static_cast<int>(dim - i);
    const F v = Simd::mul(Simd::mul(Simd::load_n(x + i, n), scale), Simd::load_n(weight + i, n));
    Simd::store_n(y + i, v, n);
  }
}

// Cody-Waite reduction by pi/2 in two parts, each step one FMA; the rounding error of position *
// inv_freq is carried along, so that the angle is good to an ulp of the reduced argument for any
// position below 2^24.
void rope_angles(int32_t position, const float* inv_freq, int n, float* cos, float* sin) {
  using F = Simd::F;
  if constexpr (!Simd::kExactFma) {
    for (int i = 0; i < n; ++i) {
      const double angle = double(position) * double(inv_freq[i]);
      cos[i] = static_cast<float>(__builtin_cos(angle));
      sin[i] = static_cast<float>(__builtin_sin(angle));
    }
    return;
  }
  const F pos = Simd::set1(static_cast<float>(position));
  for (int i = 0; i < n; i += Simd::kLanes) {
    const int m = n - i < Simd::kLanes ? n - i : Simd::kLanes;
    const F freq = Simd::load_n(inv_freq + i, m);
    const F angle = Simd::mul(pos, freq);
    const F error = Simd::sub(Simd::zero(), Simd::fnma(pos, freq, angle));  // exact with an FMA
    const F j = Simd::round(Simd::mul(angle, Simd::set1(0.636619772f)));
    F r = Simd::fnma(j, Simd::set1(1.57079637e0f), angle);
    r = Simd::fnma(j, Simd::set1(-4.37113883e-8f), r);
    r = Simd::add(r, error);
    const F r2 = Simd::mul(r, r);
    F s = Simd::set1(2.7183114e-6f);
    s = Simd::fma(s, r2, Simd::set1(-1.9839335e-4f));
    s = Simd::fma(s, r2, Simd::set1(8.3333293e-3f));
    s = Simd::fma(s, r2, Simd::set1(-1.6666667e-1f));
    s = Simd::fma(Simd::mul(s, r2), r, r);
    F c = Simd::set1(2.4390449e-5f);
    c = Simd::fma(c, r2, Simd::set1(-1.3886763e-3f));
    c = Simd::fma(c, r2, Simd::set1(4.1666646e-2f));
    c = Simd::fma(c, r2, Simd::set1(-0.5f));
    c = Simd::fma(c, r2, Simd::set1(1.0f));
    const auto quadrant = Simd::to_int(j);
    const auto next = Simd::iadd(quadrant, Simd::iset1(1));
    Simd::store_n(sin + i, Simd::negate_if_bit1(quadrant, Simd::select_odd(quadrant, c, s)), m);
    Simd::store_n(cos + i, Simd::negate_if_bit1(next, Simd::select_odd(quadrant, s, c)), m);
  }
}

/// One head: pairs (i, i + half).
void rope_neox(float* x, const float* cos, const float* sin, int half) {
  using F = Simd::F;
  for (int i = 0; i < half; i += Simd::kLanes) {
    const int n = half - i < Simd::kLanes ? half - i : Simd::kLanes;
    const F c = Simd::load_n(cos + i, n), s = Simd::load_n(sin + i, n);
    const F a = Simd::load_n(x + i, n), b = Simd::load_n(x + half + i, n);
    Simd::store_n(x + i, Simd::fnma(b, s, Simd::mul(a, c)), n);
    Simd::store_n(x + half + i, Simd::fma(a, s, Simd::mul(b, c)), n);
  }
}

void silu_mul_range(float* gate, const float* up, int64_t n) {
  using F = Simd::F;
  const F minus_log2e = Simd::set1(-1.44269504f);
  for (int64_t i = 0; i < n; i += Simd::kLanes) {
    const int m = n - i < Simd::kLanes ? static_cast<int>(n - i) : Simd::kLanes;
    const F g = Simd::load_n(gate + i, m);
    const F e = exp2(Simd::mul(g, minus_log2e));
    const F silu = Simd::div(g, Simd::add(Simd::set1(1.0f), e));
    Simd::store_n(gate + i, Simd::mul(silu, Simd::load_n(up + i, m)), m);
  }
}

void add_range(float* x, const float* y, int64_t n) {
  for (int64_t i = 0; i < n; i += Simd::kLanes) {
    const int m = n - i < Simd::kLanes ? static_cast<int>(n - i) : Simd::kLanes;
    Simd::store_n(x + i, Simd::add(Simd::load_n(x + i, m), Simd::load_n(y + i, m)), m);
  }
}

/// The largest element that is a number; minus infinity if there is none.
float max_of_range(const float* x, int64_t n) {
  using F = Simd::F;
  constexpr int kLanes = Simd::kLanes;
  const float lowest = -__builtin_inff();
  F best[2] = {Simd::set1(lowest), Simd::set1(lowest)};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {  // max() gives its second argument for a NaN
    best[0] = Simd::max(Simd::load(x + i), best[0]);
    best[1] = Simd::max(Simd::load(x + i + kLanes), best[1]);
  }
  float lanes[kLanes];
  Simd::store(lanes, Simd::max(best[0], best[1]));
  float top = lowest;
  for (const float lane : lanes) top = lane > top ? lane : top;
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  return top;
}

/// The sum of e^(x - top), for x <= top; elements that are not numbers count nothing.
double sum_exp_range(const float* x, int64_t n, float top) {
  using F = Simd::F;
  constexpr int kLanes = Simd::kLanes;
  constexpr int64_t kBlock = 512;  // as many as float32 may add up
  const F shift = Simd::set1(top);
  const F log2e = Simd::set1(1.44269504f);
  const F lowest = Simd::set1(-126.0f);
  double sum = 0;
  int64_t i = 0;
  while (i + kLanes <= n) {
    const int64_t end = n - i < kBlock ? n : i + kBlock;
    F block = Simd::zero();
    for (; i + kLanes <= end; i += kLanes) {
      const F power = Simd::mul(Simd::sub(Simd::load(x + i), shift), log2e);
      block = Simd::add(block, exp2(Simd::max(power, lowest)));
    }
    sum += double(Simd::sum(block));
  }
  for (; i < n; ++i) {
    const float power = (x[i] - top) * 1.44269504f;
    sum += double(exp2_one(power > -126.0f ? power : -126.0f));
  }
  return sum;
}

void to_half(const float* x, uint16_t* y, int64_t n) {
  int64_t i = 0;
  for (; i + Simd::kLanes <= n; i += Simd::kLanes) Simd::store_half(y + i, Simd::load(x + i));
  for (; i < n; ++i) y[i] = float_to_half(x[i]);
}
