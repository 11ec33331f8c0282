// Quantised matmul: one panel of 16 rows against one tile of T tokens. Included by kernels_<isa>.cc
// after a Simd type, inside an anonymous namespace.
//
// Per block of 32 columns: decode the panel's codes to 8 vectors, kept in registers for all T
// tokens; per token 8 dot instructions whose other operand is 4 broadcast activations; then
// y += float(dot) * (row scale * token scale). The code offset (w = code - 8 ...) starts the
// integer accumulator at -8 * sum(x), which the activations carry; minima of K-quants are one more
// FMA.

constexpr int kParts = kPanelRows / Simd::kLanes;
constexpr int kPartBytes = 4 * Simd::kLanes;

struct BlockScales {
  Simd::F d;   // of the block, or of its first 16 columns
  Simd::F d2;  // of its last 16 columns, where they differ
  Simd::F m;   // minus the minimum, where there is one
};

// `part` selects the panel's rows [part * kLanes, +kLanes).
inline void decode_nibbles(const uint8_t* codes, Simd::B* w) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Simd::B b = Simd::bload(codes + 64 * i);
    w[i] = Simd::low_nibbles(b);
    w[4 + i] = Simd::high_nibbles(b);
  }
}

inline const uint16_t* halves(const uint8_t* p) { return reinterpret_cast<const uint16_t*>(p); }

struct FormatQ4_0 {
  static constexpr int kMaxCode = 15, kCodeBytes = 256, kOffsetShift = 0;
  static constexpr bool kHasMin = false, kTwoScales = false;
  static void decode(const uint8_t* codes, Simd::B* w) { decode_nibbles(codes, w); }
  static BlockScales scales(const uint8_t* s, int64_t block, int part) {
    return {Simd::load_half(halves(s + 32 * block) + part * Simd::kLanes), Simd::zero(),
            Simd::zero()};
  }
};

struct FormatQ8_0 {
  static constexpr int kMaxCode = 255, kCodeBytes = 512;
  static constexpr int kOffsetShift = Simd::kOffsetBytes ? 4 : -1;  // 128 = 8 << 4
  static constexpr bool kHasMin = false, kTwoScales = false;
  static void decode(const uint8_t* codes, Simd::B* w) {
#pragma GCC unroll 8
    for (int g = 0; g < 8; ++g) w[g] = Simd::bload(codes + 64 * g);
  }
  static BlockScales scales(const uint8_t* s, int64_t block, int part) {
    return FormatQ4_0::scales(s, block, part);
  }
};

struct FormatQ4K {
  static constexpr int kMaxCode = 15, kCodeBytes = 256, kOffsetShift = -1;
  static constexpr bool kHasMin = true, kTwoScales = false;
  static void decode(const uint8_t* codes, Simd::B* w) { decode_nibbles(codes, w); }
  static BlockScales scales(const uint8_t* s, int64_t block, int part) {
    const uint8_t* super = s + 320 * (block / kSuperBlocks);
    const uint8_t* own = super + 64 + 32 * (block % kSuperBlocks) + part * Simd::kLanes;
    const Simd::F d = Simd::load_half(halves(super) + part * Simd::kLanes);
    const Simd::F dmin = Simd::load_half(halves(super + 32) + part * Simd::kLanes);
    const Simd::F min = Simd::mul(dmin, Simd::load_u8(own + 16));
    return {Simd::mul(d, Simd::load_u8(own)), Simd::zero(), Simd::sub(Simd::zero(), min)};
  }
};

struct FormatQ5K : FormatQ4K {
  static constexpr int kMaxCode = 31, kCodeBytes = 320;
  static void decode(const uint8_t* codes, Simd::B* w) {
    decode_nibbles(codes, w);
    const Simd::B h = Simd::bload(codes + 256);
    w[0] = Simd::merge_high<0, 0x10>(w[0], h);
    w[1] = Simd::merge_high<1, 0x10>(w[1], h);
    w[2] = Simd::merge_high<2, 0x10>(w[2], h);
    w[3] = Simd::merge_high<3, 0x10>(w[3], h);
    w[4] = Simd::merge_high<4, 0x10>(w[4], h);
    w[5] = Simd::merge_high<5, 0x10>(w[5], h);
    w[6] = Simd::merge_high<6, 0x10>(w[6], h);
    w[7] = Simd::merge_high<7, 0x10>(w[7], h);
  }
};

struct FormatQ5_0 : FormatQ5K {
  static constexpr int kOffsetShift = 1;  // 16 = 8 << 1
  static constexpr bool kHasMin = false;
  static BlockScales scales(const uint8_t* s, int64_t block, int part) {
    return FormatQ4_0::scales(s, block, part);
  }
};

struct FormatQ6K {
  static constexpr int kMaxCode = 63, kCodeBytes = 384, kOffsetShift = 2;  // 32 = 8 << 2
  static constexpr bool kHasMin = false, kTwoScales = true;
  static void decode(const uint8_t* codes, Simd::B* w) {
    decode_nibbles(codes, w);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const Simd::B h = Simd::bload(codes + 256 + 64 * i);
      w[4 * i] = Simd::merge_high<0, 0x30>(w[4 * i], h);
      w[4 * i + 1] = Simd::merge_high<2, 0x30>(w[4 * i + 1], h);
      w[4 * i + 2] = Simd::merge_high<4, 0x30>(w[4 * i + 2], h);
      w[4 * i + 3] = Simd::merge_high<6, 0x30>(w[4 * i + 3], h);
    }
  }
  static BlockScales scales(const uint8_t* s, int64_t block, int part) {
    const uint8_t* super = s + 288 * (block / kSuperBlocks);
    const uint8_t* own = super + 32 + 32 * (block % kSuperBlocks) + part * Simd::kLanes;
    const Simd::F d = Simd::load_half(halves(super) + part * Simd::kLanes);
    return {Simd::mul(d, Simd::load_i8(own)), Simd::mul(d, Simd::load_i8(own + 16)), Simd::zero()};
  }
};

template <int kShift>
inline Simd::I start(int32_t minus_8_sum) {
  if constexpr (kShift < 0) return Simd::iset1(0);
  if constexpr (kShift == 0) return Simd::iset1(minus_8_sum);
  if constexpr (kShift > 0) return Simd::shl<kShift>(Simd::iset1(minus_8_sum));
}

/// y += one block of one part of the panel times T tokens.
template <class Format, int T>
__attribute__((always_inline)) inline void quant_block(const QuantTile& a, int64_t block, int part,
                                                       Simd::F* y) {
  using F = Simd::F;
  Simd::B w[8];
  Format::decode(a.codes + block * Format::kCodeBytes + part * kPartBytes, w);
  const BlockScales s = Format::scales(a.scales, block, part);
  const int8_t* x = a.x + block * T * kBlockCols;
  const float* dx = static_cast<const float*>(a.aux) + block * T * kAuxWords;
  const int32_t* sums = static_cast<const int32_t*>(a.aux) + block * T * kAuxWords + 2 * T;
#pragma GCC unroll 16
  for (int t = 0; t < T; ++t) {
    const int8_t* xt = x + t * kBlockCols;
    const F d = Simd::set1(dx[t]);
    if constexpr (Format::kTwoScales) {
      const auto lo =
          Simd::dot<Format::kMaxCode, 0, 4>(w, xt, start<Format::kOffsetShift>(sums[T + t]));
      const auto hi =
          Simd::dot<Format::kMaxCode, 4, 4>(w, xt, start<Format::kOffsetShift>(sums[2 * T + t]));
      y[t] = Simd::fma(Simd::to_float(lo), Simd::mul(s.d, d), y[t]);
      y[t] = Simd::fma(Simd::to_float(hi), Simd::mul(s.d2, d), y[t]);
    } else {
      const auto all =
          Simd::dot<Format::kMaxCode, 0, 8>(w, xt, start<Format::kOffsetShift>(sums[t]));
      y[t] = Simd::fma(Simd::to_float(all), Simd::mul(s.d, d), y[t]);
    }
    if constexpr (Format::kHasMin) y[t] = Simd::fma(s.m, Simd::set1(dx[T + t]), y[t]);
  }
}

/// Where a vector is narrower than the panel, few tokens take all its parts in one pass over the
/// weights; many tokens take one part at a time, as their sums fill the registers.
template <class Format, int T>
void quant_tile(const QuantTile& a) {
  using F = Simd::F;
  constexpr int kTogether = kParts * T <= 8 ? kParts : 1;
  for (int first = 0; first < kParts; first += kTogether) {
    F y[kTogether][T];
#pragma GCC unroll 4
    for (int p = 0; p < kTogether; ++p) {
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) y[p][t] = Simd::zero();
    }
    for (int64_t block = 0; block < a.blocks; ++block) {
      const uint8_t* ahead = a.codes + block * Format::kCodeBytes + kFetchAhead;
      if (ahead < a.fetch_end && first == 0) {
#pragma GCC unroll 8
        for (int i = 0; i < Format::kCodeBytes; i += 64) __builtin_prefetch(ahead + i);
        __builtin_prefetch(a.scales + block * 32 + kFetchAhead);
      }
#pragma GCC unroll 4
      for (int p = 0; p < kTogether; ++p) quant_block<Format, T>(a, block, first + p, y[p]);
    }
#pragma GCC unroll 4
    for (int p = 0; p < kTogether; ++p) {
      const int row = (first + p) * Simd::kLanes;
      const int n = a.n_rows - row < Simd::kLanes ? a.n_rows - row : Simd::kLanes;
      if (n <= 0) return;
      const F bias = a.bias ? Simd::load_n(a.bias + row, n) : Simd::zero();
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        if (t < a.n_tokens) Simd::store_n(a.y + t * a.y_stride + row, Simd::add(y[p][t], bias), n);
      }
    }
  }
}

template <class Format>
void fill_quant(void (**slots)(const QuantTile&)) {
  slots[0] = quant_tile<Format, kTileSizes[0]>;
  slots[1] = quant_tile<Format, kTileSizes[1]>;
  slots[2] = quant_tile<Format, kTileSizes[2]>;
  slots[3] = quant_tile<Format, kTileSizes[3]>;
  slots[4] = quant_tile<Format, kTileSizes[4]>;
  slots[5] = quant_tile<Format, kTileSizes[5]>;
  slots[6] = quant_tile<Format, kTileSizes[6]>;
  slots[7] = quant_tile<Format, kTileSizes[7]>;
}

// One token into its place in a tile of `tile`: codes (blocks, tile, 32), aux as kernel_table.h
// says. Codes are round(x * 127 / max|x|) of each block.
void quantize_token(const float* x, int64_t blocks, int tile, int8_t* codes, void* aux) {
  constexpr int kVectors = kBlockCols / Simd::kLanes;
  for (int64_t block = 0; block < blocks; ++block) {
    Simd::F v[kVectors];
    Simd::F largest = Simd::zero();
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      v[i] = Simd::load(x + block * kBlockCols + i * Simd::kLanes);
      largest = Simd::max(Simd::abs(v[i]), largest);
    }
    const float max = Simd::hmax(largest);
    const float d = max * (1.0f / 127.0f);
    const Simd::F inverse = Simd::set1(max > 1e-30f ? 127.0f / max : 0.0f);
    int8_t* out = codes + block * tile * kBlockCols;
    Simd::I halves_sum[2] = {Simd::iset1(0), Simd::iset1(0)};
#pragma GCC unroll 8
    for (int i = 0; i < kVectors; ++i) {
      const Simd::I q = Simd::to_int(Simd::mul(v[i], inverse));
      Simd::store_i8(out + i * Simd::kLanes, q);
      Simd::I& half = halves_sum[2 * i / kVectors];
      half = Simd::iadd(half, q);
    }
    const int32_t lo = Simd::isum(halves_sum[0]);
    const int32_t hi = Simd::isum(halves_sum[1]);
    float* floats = static_cast<float*>(aux) + block * tile * kAuxWords;
    int32_t* ints = static_cast<int32_t*>(aux) + block * tile * kAuxWords;
    floats[0] = d;
    floats[tile] = d * static_cast<float>(lo + hi);
    ints[2 * tile] = -8 * (lo + hi);
    ints[3 * tile] = -8 * lo;
    ints[4 * tile] = -8 * hi;
  }
}
