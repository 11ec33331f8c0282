// Attention of one tile of queries: the heads that share a key/value head times a few tokens, so
// that each key and value read serves all of them. Included by kernels_<isa>.cc after a Simd type,
// inside an anonymous namespace.
//
// Keys are handled in blocks of 64: S = Q . K^T (K is stored transposed, so this is a plain GEMM),
// then the online softmax (running maximum m and sum l per row; older output is rescaled when m
// grows), then O += P . V. Scores are in units of log2, so that exp is exp2.
//
// A row's result is the same to the bit whatever tile it is in and whoever computes it: blocks
// begin at multiples of 64 from the text's first key, what a row may not see adds nothing, and
// every kKeyRange keys make sums of their own, which are added up in order.

constexpr int kTileRowsConvert = 12;  // more rows than this: convert K and V to float once

struct AttentionState {
  int rows;
  int64_t ld;    // head_dim rounded up to 16
  float* q;      // (rows, ld), times scale * log2 e
  float* o;      // (rows, ld), of one range of keys
  float* s;      // (rows, kKeyBlock)
  float* m;      // (rows)
  float* l;      // (rows)
  float* all;    // (rows, ld): o of all ranges so far
  float* all_m;  // (rows)
  float* all_l;  // (rows)
  float* kf;     // (head_dim, kKeyBlock)
  float* vf;     // (kKeyBlock, ld)
};

inline AttentionState carve_scratch(const AttentionTile& a) {
  AttentionState st;
  st.rows = a.group * a.n_tokens;
  st.ld = padded_dim(a.head_dim);
  float* p = reinterpret_cast<float*>(a.scratch);
  st.q = p;
  st.o = st.q + st.rows * st.ld;
  st.s = st.o + st.rows * st.ld;
  st.kf = st.s + st.rows * kKeyBlock;
  st.vf = st.kf + st.ld * kKeyBlock;
  st.m = st.vf + kKeyBlock * st.ld;
  st.l = st.m + st.rows;
  st.all_m = st.l + st.rows;
  st.all_l = st.all_m + st.rows;
  st.all = st.all_l + st.rows;
  return st;
}

/// run(k, v, done, count) for each page that holds some of the keys [key, key + n): the keys
/// [key + done, + count) are columns of `k` (rows page_tokens apart) and rows of `v`.
template <class Run>
inline void for_each_page(const AttentionTile& a, int key, int n, const Run& run) {
  for (int done = 0; done < n;) {
    const int slot = (key + done) % a.page_tokens;
    const int left = a.page_tokens - slot;
    const int count = n - done < left ? n - done : left;
    const size_t page = static_cast<size_t>(a.pages[(key + done) / a.page_tokens]) * a.page_stride;
    run(a.k + page + slot, a.v + page + static_cast<int64_t>(slot) * a.head_dim, done, count);
    done += count;
  }
}

/// Copies keys and values [key, key + n) to float, padded with zero keys to a multiple of 16.
inline void convert_block(const AttentionTile& a, const AttentionState& st, int key, int n) {
  const auto convert = [&](const uint16_t* k, const uint16_t* v, int done, int count) {
    for (int d = 0; d < a.head_dim; ++d) {
      float* dst = st.kf + d * kKeyBlock + done;
      const uint16_t* src = k + static_cast<int64_t>(d) * a.page_tokens;
      int i = 0;
      for (; i + Simd::kLanes <= count; i += Simd::kLanes) {
        Simd::store(dst + i, Simd::load_half(src + i));
      }
      for (; i < count; ++i) dst[i] = half_to_float(src[i]);
    }
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
  };
  for_each_page(a, key, n, convert);
  const int padded = (n + 15) / 16 * 16;
  for (int d = 0; d < a.head_dim; ++d) {
    for (int i = n; i < padded; ++i) st.kf[d * kKeyBlock + i] = 0;
  }
}

/// Asks for the keys and values [key, key + n): pages are scattered, so the hardware cannot foresee
/// them.
inline void prefetch_block(const AttentionTile& a, int key, int n) {
  constexpr int kLine = 32;  // halves
  for_each_page(a, key, n, [&](const uint16_t* k, const uint16_t* v, int, int count) {
    for (int d = 0; d < a.head_dim; ++d) {
      for (int i = 0; i < count; i += kLine) {
        __builtin_prefetch(k + static_cast<int64_t>(d) * a.page_tokens + i);
      }
    }
    for (int i = 0; i < count * a.head_dim; i += kLine) __builtin_prefetch(v + i);
  });
}

/// Turns a block's scores into probabilities relative to the running maximum. Score column i is key
/// first_key + i; of `n` columns those that the row does not see become 0.
inline void softmax_block(const AttentionTile& a, const AttentionState& st, int first_key, int n) {
  const int padded = (n + 15) / 16 * 16;
  for (int r = 0; r < st.rows; ++r) {
    const int position = a.position + r / a.group;
    float* s = st.s + r * kKeyBlock;
    int from = a.window > 0 ? position - a.window + 1 - first_key : 0;
    int to = position + 1 - first_key;
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
    st.l[r] += Simd::sum(sum);  // at least 1 by now: the 2^-126 of what is not seen are lost in it
    for (int i = 0; i < from; ++i) s[i] = 0;
    for (int i = to; i < padded; ++i) s[i] = 0;
  }
}

/// Adds keys [first, first + n), at most a block, to the sums of their range.
inline void attend_block(const AttentionTile& a, const AttentionState& st, int first, int n,
                         bool direct) {
  if (!direct) {
    const int padded = (n + 15) / 16 * 16;
    convert_block(a, st, first, n);
    gemm<ElemF32, false>(st.rows, padded, a.head_dim, st.q, st.ld, st.kf, kKeyBlock, st.s,
                         kKeyBlock);
    softmax_block(a, st, first, n);
    gemm<ElemF32, true>(st.rows, static_cast<int>(st.ld), n, st.s, kKeyBlock, st.vf, st.ld, st.o,
                        st.ld);
    return;
  }
  for_each_page(a, first, n, [&](const uint16_t* k, const uint16_t*, int done, int count) {
    gemm<ElemF16, false>(st.rows, (count + 15) / 16 * 16, a.head_dim, st.q, st.ld, k, a.page_tokens,
                         st.s + done, kKeyBlock);
  });
  softmax_block(a, st, first, n);
  for_each_page(a, first, n, [&](const uint16_t*, const uint16_t* v, int done, int count) {
    gemm<ElemF16, true>(st.rows, a.head_dim, count, st.s + done, kKeyBlock, v, a.head_dim, st.o,
                        st.ld);
  });
}

/// Of one row in each lane: what its sums so far and those of one more range are to be multiplied
/// by when they are added up.
struct RangeFactors {
  Simd::F before, added;
};

/// Adds the maxima and sums (m, l) of one range to those of the ranges before it, which begin as
/// -1e30 and 0.
inline RangeFactors join_range(Simd::F m, Simd::F l, Simd::F* all_m, Simd::F* all_l) {
  const Simd::F top = Simd::max(*all_m, m);
  const RangeFactors by{exp2(Simd::sub(*all_m, top)), exp2(Simd::sub(m, top))};
  *all_m = top;
  *all_l = Simd::fma(l, by.added, Simd::mul(*all_l, by.before));
  return by;
}

/// all = all * before + o * added, `n` floats with room for whole vectors.
inline void join_outputs(RangeFactors by, const float* o, int64_t n, float* all) {
  for (int64_t d = 0; d < n; d += Simd::kLanes) {
    const Simd::F before = Simd::mul(Simd::load(all + d), by.before);
    Simd::store(all + d, Simd::fma(Simd::load(o + d), by.added, before));
  }
}

/// Adds the sums of one range to those of all; leaves nothing useful in m and l.
inline void join_rows(const AttentionState& st) {
  for (int r = 0; r < st.rows; r += Simd::kLanes) {
    const int n = st.rows - r < Simd::kLanes ? st.rows - r : Simd::kLanes;
    Simd::F all_m = Simd::load_n(st.all_m + r, n);
    Simd::F all_l = Simd::load_n(st.all_l + r, n);
    const Simd::F m = Simd::load_n(st.m + r, n);
    const RangeFactors by = join_range(m, Simd::load_n(st.l + r, n), &all_m, &all_l);
    Simd::store_n(st.all_m + r, all_m, n);
    Simd::store_n(st.all_l + r, all_l, n);
    Simd::store_n(st.m + r, by.before, n);
    Simd::store_n(st.l + r, by.added, n);
  }
  for (int r = 0; r < st.rows; ++r) {
    join_outputs({Simd::set1(st.m[r]), Simd::set1(st.l[r])}, st.o + r * st.ld, st.ld,
                 st.all + r * st.ld);
  }
}

inline void finish_row(const float* all, float all_l, int head_dim, float* out) {
  const Simd::F inverse = Simd::set1(all_l > 0 ? 1.0f / all_l : 0.0f);
  for (int d = 0; d < head_dim; d += Simd::kLanes) {
    const int n = head_dim - d < Simd::kLanes ? head_dim - d : Simd::kLanes;
    Simd::store_n(out + d, Simd::mul(Simd::load(all + d), inverse), n);
  }
}

void attention_join(const float* partials, int64_t stride, int ranges, int head_dim,
                    std::byte* scratch, float* out) {
  const int64_t ld = padded_dim(head_dim);
  auto* all = reinterpret_cast<float*>(scratch);
  for (int64_t d = 0; d < ld; d += Simd::kLanes) Simd::store(all + d, Simd::zero());
  Simd::F all_m = Simd::set1(-1e30f);
  Simd::F all_l = Simd::zero();
  for (int i = 0; i < ranges; ++i) {
    const float* part = partials + i * stride;
    const RangeFactors by =
        join_range(Simd::set1(part[ld]), Simd::set1(part[ld + 1]), &all_m, &all_l);
    join_outputs(by, part, ld, all);
  }
  finish_row(all, Simd::hmax(all_l), head_dim, out);
}

/// Takes the queries into the scratch memory, scaled.
inline void load_queries(const AttentionTile& a, const AttentionState& st) {
  const Simd::F scale = Simd::set1(a.scale * 1.44269504f);
  for (int r = 0; r < st.rows; ++r) {
    const float* src =
        a.q + (r / a.group) * a.token_stride + static_cast<int64_t>(r % a.group) * a.head_dim;
    for (int d = 0; d < st.ld; d += Simd::kLanes) {
      const int n = a.head_dim - d;
      const Simd::F v =
          n >= Simd::kLanes ? Simd::load(src + d) : Simd::load_n(src + d, n > 0 ? n : 0);
      Simd::store(st.q + r * st.ld + d, Simd::mul(v, scale));
    }
  }
}

inline void clear_sums(int64_t n_rows, int64_t ld, float* m, float* l, float* o) {
  for (int64_t r = 0; r < n_rows; ++r) {
    m[r] = -1e30f;
    l[r] = 0;
  }
  for (int64_t i = 0; i < n_rows * ld; i += Simd::kLanes) Simd::store(o + i, Simd::zero());
}

/// Writes the sums of one range, partial_floats() of each row; returns where the next one's go.
inline float* leave_partial(const AttentionState& st, float* partial) {
  for (int r = 0; r < st.rows; ++r, partial += st.ld + 2) {
    for (int64_t d = 0; d < st.ld; d += Simd::kLanes) {
      Simd::store(partial + d, Simd::load(st.o + r * st.ld + d));
    }
    partial[st.ld] = st.m[r];
    partial[st.ld + 1] = st.l[r];
  }
  return partial;
}

void attention_tile(const AttentionTile& a) {
  const AttentionState st = carve_scratch(a);
  load_queries(a, st);
  clear_sums(st.rows, st.ld, st.all_m, st.all_l, st.all);

  const int lowest_visible = a.window > 0 ? a.position - a.window + 1 : 0;
  const int begin = lowest_visible > 0 ? lowest_visible / kKeyBlock * kKeyBlock : 0;
  const int last = a.position + a.n_tokens;
  const int end = last < a.key_end ? last : a.key_end;
  const bool direct =
      a.page_tokens % 16 == 0 && a.head_dim % 16 == 0 && st.rows <= kTileRowsConvert;
  // Who leaves partial sums leaves them of every range, also of one that nobody sees.
  const int from = a.partial ? a.key_begin : begin / kKeyRange * kKeyRange;
  const int to = a.partial ? a.key_end : end;
  float* partial = a.partial;
  for (int range = from; range < to; range += kKeyRange) {
    clear_sums(st.rows, st.ld, st.m, st.l, st.o);
    const int stop = range + kKeyRange < end ? range + kKeyRange : end;
    for (int key = range > begin ? range : begin; key < stop; key += kKeyBlock) {
      const int ahead = key + 2 * kKeyBlock;
      if (direct && ahead < end) {  // many rows take longer with a block than it takes to come
        prefetch_block(a, ahead, end - ahead < kKeyBlock ? end - ahead : kKeyBlock);
      }
      attend_block(a, st, key, stop - key < kKeyBlock ? stop - key : kKeyBlock, direct);
    }
    if (partial) {
      partial = leave_partial(st, partial);
    } else {
      join_rows(st);
    }
  }
  if (a.partial) return;
  for (int r = 0; r < st.rows; ++r) {
    finish_row(
        st.all + r * st.ld, st.all_l[r], a.head_dim,
        a.out + (r / a.group) * a.token_stride + static_cast<int64_t>(r % a.group) * a.head_dim);
  }
}
