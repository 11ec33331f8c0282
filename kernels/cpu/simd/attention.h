// Attention of one tile of queries: the heads that share a key/value head times a few tokens, so
// that each key and value read serves all of them. Included by kernels_<isa>.cc after a Simd type,
// inside an anonymous namespace.
//
// Keys are handled in blocks of up to 64: S = Q . K^T (K is stored transposed, so this is a plain
// GEMM), then the online softmax (running maximum m and sum l per row; older output is rescaled
// when m grows), then O += P . V. Scores are in units of log2, so that exp is exp2.

constexpr int kTileRowsConvert = 12;  // more rows than this: convert K and V to float once

struct AttentionState {
  int rows;
  int64_t ld;  // head_dim rounded up to 16
  float* q;    // (rows, ld), times scale * log2 e
  float* o;    // (rows, ld)
  float* s;    // (rows, kKeyBlock)
  float* m;    // (rows)
  float* l;    // (rows)
  float* kf;   // (head_dim, kKeyBlock)
  float* vf;   // (kKeyBlock, ld)
};

inline AttentionState carve_scratch(const AttentionTile& a) {
  AttentionState st;
  st.rows = a.group * a.n_tokens;
  st.ld = (a.head_dim + 15) / 16 * 16;
  float* p = reinterpret_cast<float*>(a.scratch);
  st.q = p;
  st.o = st.q + st.rows * st.ld;
  st.s = st.o + st.rows * st.ld;
  st.kf = st.s + st.rows * kKeyBlock;
  st.vf = st.kf + st.ld * kKeyBlock;
  st.m = st.vf + kKeyBlock * st.ld;
  st.l = st.m + st.rows;
  return st;
}

/// Copies keys and values [key, key + n) to float, padded with zero keys to a multiple of 16.
inline void convert_block(const AttentionTile& a, const AttentionState& st, int key, int n) {
  const int padded = (n + 15) / 16 * 16;
  for (int done = 0; done < n;) {
    const int slot = (key + done) % a.page_tokens;
    const int left = a.page_tokens - slot;
    const int count = n - done < left ? n - done : left;
    const size_t page = static_cast<size_t>(a.pages[(key + done) / a.page_tokens]) * a.page_stride;
    const uint16_t* k = a.k + page + slot;
    for (int d = 0; d < a.head_dim; ++d) {
      float* dst = st.kf + d * kKeyBlock + done;
      const uint16_t* src = k + static_cast<int64_t>(d) * a.page_tokens;
      int i = 0;
      for (; i + Simd::kLanes <= count; i += Simd::kLanes) {
        Simd::store(dst + i, Simd::load_half(src + i));
      }
      for (; i < count; ++i) dst[i] = half_to_float(src[i]);
    }
    const uint16_t* v = a.v + page + static_cast<int64_t>(slot) * a.head_dim;
    for (int i = 0; i < count; ++i) {
      float* dst = st.vf + (done + i) * st.ld;
      const uint16_t* src = v + static_cast<int64_t>(i) * a.head_dim;
      int d = 0;
      for (; d + Simd::kLanes <= a.head_dim; d += Simd::kLanes) {
        Simd::store(dst + d, Simd::load_half(src + d));
      }
      for (; d < a.head_dim; ++d) dst[d] = half_to_float(src[d]);
      for (; d < st.ld; ++d) dst[d] = 0;
    }
    done += count;
  }
  for (int d = 0; d < a.head_dim; ++d) {
    for (int i = n; i < padded; ++i) st.kf[d * kKeyBlock + i] = 0;
  }
}

/// Asks for the keys and values of the block that starts at `key`: pages are scattered, so the
/// hardware cannot foresee them.
inline void prefetch_block(const AttentionTile& a, int key) {
  constexpr int kLine = 32;  // halves
  const int slot = key % a.page_tokens;
  const int left = a.page_tokens - slot;
  const int n = left < kKeyBlock ? left : kKeyBlock;
  const size_t page = static_cast<size_t>(a.pages[key / a.page_tokens]) * a.page_stride;
  for (int d = 0; d < a.head_dim; ++d) {
    const uint16_t* k = a.k + page + static_cast<int64_t>(d) * a.page_tokens + slot;
    for (int i = 0; i < n; i += kLine) __builtin_prefetch(k + i);
  }
  const uint16_t* v = a.v + page + static_cast<int64_t>(slot) * a.head_dim;
  for (int i = 0; i < n * a.head_dim; i += kLine) __builtin_prefetch(v + i);
}

/// Turns a block's scores into probabilities relative to the running maximum. Score column i is key
/// first_key + i; of `n` columns those outside the row's visible range (or key_end) are dropped.
inline void softmax_block(const AttentionTile& a, const AttentionState& st, int first_key, int n,
                          int padded, int lowest, int end) {
  for (int r = 0; r < st.rows; ++r) {
    const int position = a.position + r / a.group;
    float* s = st.s + r * kKeyBlock;
    int from = a.window > 0 ? position - a.window + 1 : 0;
    from = (from > lowest ? from : lowest) - first_key;
    int to = (position + 1 < end ? position + 1 : end) - first_key;
    if (from < 0) from = 0;
    if (to > n) to = n;
    if (from >= to) {
      for (int i = 0; i < padded; ++i) s[i] = 0;
      continue;
    }
    for (int i = 0; i < from; ++i) s[i] = -1e30f;
    for (int i = to; i < padded; ++i) s[i] = -1e30f;

    Simd::F largest = Simd::load(s);
    for (int i = Simd::kLanes; i < padded; i += Simd::kLanes) {
      largest = Simd::max(largest, Simd::load(s + i));
    }
    const float block_max = Simd::hmax(largest);
    const float old_max = st.m[r];
    if (block_max > old_max) {
      const float shrink = old_max > -1e29f ? exp2_one(old_max - block_max) : 0.0f;
      st.m[r] = block_max;
      st.l[r] *= shrink;
      const Simd::F factor = Simd::set1(shrink);
      float* o = st.o + r * st.ld;
      for (int d = 0; d < st.ld; d += Simd::kLanes) {
        Simd::store(o + d, Simd::mul(Simd::load(o + d), factor));
      }
    }
    const Simd::F max = Simd::set1(st.m[r]);
    Simd::F sum = Simd::zero();
    for (int i = 0; i < padded; i += Simd::kLanes) {
      const Simd::F p = exp2(Simd::sub(Simd::load(s + i), max));
      Simd::store(s + i, p);
      sum = Simd::add(sum, p);
    }
    st.l[r] += Simd::sum(sum);
  }
}

void attention_tile(const AttentionTile& a) {
  const AttentionState st = carve_scratch(a);
  const Simd::F scale = Simd::set1(a.scale * 1.44269504f);
  for (int r = 0; r < st.rows; ++r) {
    const float* src =
        a.q + (r / a.group) * a.token_stride + static_cast<int64_t>(r % a.group) * a.head_dim;
    for (int d = 0; d < st.ld; d += Simd::kLanes) {
      const int n = a.head_dim - d;
      const Simd::F v =
          n >= Simd::kLanes ? Simd::load(src + d) : Simd::load_n(src + d, n > 0 ? n : 0);
      Simd::store(st.q + r * st.ld + d, Simd::mul(v, scale));
      Simd::store(st.o + r * st.ld + d, Simd::zero());
    }
    st.m[r] = -1e30f;
    st.l[r] = 0;
  }

  const int lowest_visible = a.window > 0 ? a.position - a.window + 1 : 0;
  const int begin = lowest_visible > a.key_begin ? lowest_visible : a.key_begin;
  const int last = a.position + a.n_tokens;
  const int end = last < a.key_end ? last : a.key_end;
  const bool direct =
      a.page_tokens % 16 == 0 && a.head_dim % 16 == 0 && st.rows <= kTileRowsConvert;
  for (int key = begin; key < end;) {
    int first, n;
    if (direct) {
      const int slot = key % a.page_tokens / 16 * 16;
      first = key / a.page_tokens * a.page_tokens + slot;
      n = a.page_tokens - slot < kKeyBlock ? a.page_tokens - slot : kKeyBlock;
    } else {
      first = key;
      n = kKeyBlock;
    }
    if (n > end - first) n = end - first;
    const int padded = (n + 15) / 16 * 16;
    if (first + 2 * n < end) prefetch_block(a, first + 2 * n);
    if (direct) {
      const size_t page = static_cast<size_t>(a.pages[first / a.page_tokens]) * a.page_stride;
      const int slot = first % a.page_tokens;
      gemm<ElemF16, false>(st.rows, padded, a.head_dim, st.q, st.ld, a.k + page + slot,
                           a.page_tokens, st.s, kKeyBlock);
      softmax_block(a, st, first, n, padded, begin, end);
      gemm<ElemF16, true>(st.rows, a.head_dim, n, st.s, kKeyBlock,
                          a.v + page + static_cast<int64_t>(slot) * a.head_dim, a.head_dim, st.o,
                          st.ld);
    } else {
      convert_block(a, st, first, n);
      gemm<ElemF32, false>(st.rows, padded, a.head_dim, st.q, st.ld, st.kf, kKeyBlock, st.s,
                           kKeyBlock);
      softmax_block(a, st, first, n, padded, begin, end);
      gemm<ElemF32, true>(st.rows, static_cast<int>(st.ld), n, st.s, kKeyBlock, st.vf, st.ld, st.o,
                          st.ld);
    }
    key = first + n;
  }

  for (int r = 0; r < st.rows; ++r) {
    const float* o = st.o + r * st.ld;
    if (a.partial) {
      float* dst = a.partial + static_cast<int64_t>(r) * (a.head_dim + 2);
      dst[0] = st.m[r];
      dst[1] = st.l[r];
      for (int d = 0; d < a.head_dim; ++d) dst[2 + d] = o[d];
      continue;
    }
    float* dst =
        a.out + (r / a.group) * a.token_stride + static_cast<int64_t>(r % a.group) * a.head_dim;
    const Simd::F inverse = Simd::set1(st.l[r] > 0 ? 1.0f / st.l[r] : 0.0f);
    for (int d = 0; d < a.head_dim; d += Simd::kLanes) {
      const int n = a.head_dim - d;
      Simd::store_n(dst + d, Simd::mul(Simd::load(o + d), inverse),
                    n < Simd::kLanes ? n : Simd::kLanes);
    }
  }
}
