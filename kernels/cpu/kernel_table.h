// The inner loops that exist once per instruction set, as a table of function pointers.
//
// kernels_<isa>.cc fill one table each from the same templates (simd/*.h) over a small vector type.
// ops.cc splits the work, hands each piece here, and owns all memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fimd::cpu {

/// Tokens a matmul tile can hold, ascending. A tile of n tokens takes the first size >= n.
constexpr int kTileSizes[] = {1, 2, 3, 4, 6, 8, 12, 16};
constexpr int kTileVariants = 8;
constexpr int kMaxTile = 16;

/// Words of a block of quantised activations other than its codes, for T tokens each:
/// float d[T]; float d * sum[T]; int32 -8 * sum over all 32, the first 16 and the last 16 codes.
constexpr int kAuxWords = 5;

/// The hardware's prefetchers stop at every 4 KiB page and the arithmetic leaves few loads in
/// flight, so weights are asked for this many bytes ahead (measured for one token on Zen 5: 4 KiB
/// ahead is worth 1.6x, 12 KiB 2x, 32 KiB no more).
constexpr int kFetchAhead = 12288;

enum QuantKind { kKindQ4_0, kKindQ5_0, kKindQ8_0, kKindQ4K, kKindQ5K, kKindQ6K, kQuantKinds };
enum FloatKind { kKindF32, kKindF16, kKindBF16, kFloatKinds };

/// One panel of 16 rows against one tile of T tokens.
struct QuantTile {
  const uint8_t* codes;   // pack.h
  const uint8_t* scales;  // pack.h
  int64_t blocks;         // of 32 columns
  const int8_t* x;        // (blocks, T, 32)
  const void* aux;        // (blocks, kAuxWords, T)
  float* y;               // row of the first token, first row of the panel
  int64_t y_stride;
  int n_tokens;       // <= T; the rest is padding and not stored
  int n_rows;         // <= 16
  const float* bias;  // for these rows, or null
  // Null, or the end of the weights this thread reads next to these, which are probably not in the
  // cache: they are fetched kFetchAhead bytes before their use.
  const uint8_t* fetch_end;
};

struct FloatTile {
  const void* weights;  // (cols, 16)
  int64_t cols;
  const float* x;  // row of the first token
  int64_t x_stride;
  float* y;
  int64_t y_stride;
  int n_tokens;  // <= kMaxTile
  int n_rows;    // <= 16
  const float* bias;
};

/// Queries of tokens [token, token + n_tokens) for the heads that share one key/value head.
struct AttentionTile {
  const float* q;        // first head of the group, first token of the tile
  float* out;            // likewise
  int64_t token_stride;  // floats between tokens of q and out
  int group;             // query heads per key/value head
  int head_dim;
  int n_tokens;
  int position;  // of the first token
  int window;    // 0: unlimited
  float scale;
  const uint16_t* k;  // of this key/value head in page 0
  const uint16_t* v;
  size_t page_stride;  // halves between pages
  int page_tokens;
  const int32_t* pages;
  int key_begin;  // the part of the keys to look at, from a multiple of kKeyRange on
  int key_end;
  std::byte* scratch;  // attention_scratch_bytes()
  // Null, or where to leave (ranges, rows, partial_floats()) of its keys instead of `out`.
  float* partial;
};

/// Channels [0, n) of one token of a causal convolution.
struct ConvTile {
  const float* const* taps;  // kernel rows of input, oldest first
  const float* weights;      // (kernel, weight_stride)
  int64_t weight_stride;
  int kernel;
  int64_t n;
  float* y;
};

/// Columns of one value head's state that are a unit of work of the delta rule.
constexpr int kDeltaColumns = 64;

/// The delta rule over n_tokens for some columns of one value head.
struct DeltaTile {
  const float* q;  // (k_dim) of the first token
  const float* k;  // likewise
  const float* v;  // (columns) likewise
  int64_t stride;  // floats between tokens of q, k and v
  const float* decay;
  const float* beta;
  int64_t gate_stride;
  int n_tokens;  // at least 1
  int k_dim;
  int64_t columns;
  float* state;  // (k_dim, columns), rows state_stride apart
  int64_t state_stride;
  float* out;  // (columns) of the first token
  int64_t out_stride;
};

/// Keys handled between two updates of the running maximum.
constexpr int kKeyBlock = 64;
/// Keys whose sums are made apart, and then added up in order: what threads can share of one query.
constexpr int kKeyRange = 512;
/// head_dim rounded up to whole vectors of any instruction set.
constexpr int padded_dim(int head_dim) { return (head_dim + 15) / 16 * 16; }
/// Of one row and one range of keys: o[padded_dim], m and l.
constexpr int partial_floats(int head_dim) { return padded_dim(head_dim) + 2; }

struct Kernels {
  void (*quant_gemm[kQuantKinds][kTileVariants])(const QuantTile&);
  void (*float_gemm[kFloatKinds])(const FloatTile&);
  /// Quantises one token's `blocks` x 32 floats into a tile of `tile` tokens.
  void (*quantize_token)(const float* x, int64_t blocks, int tile, int8_t* codes, void* aux);
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t dim, float* y);
  /// cos and sin of position * inv_freq[i].
  void (*rope_angles)(int32_t position, const float* inv_freq, int n, float* cos, float* sin);
  void (*rope_neox)(float* x, const float* cos, const float* sin, int half);
  void (*silu_mul)(float* gate, const float* up, int64_t n);
  void (*add)(float* x, const float* y, int64_t n);
  void (*to_half)(const float* x, uint16_t* y, int64_t n);
  void (*attention)(const AttentionTile&);
  /// One row's output from what tiles left of it for each of `ranges` ranges, `stride` floats
  /// apart.
  void (*attention_join)(const float* partials, int64_t stride, int ranges, int head_dim,
                         std::byte* scratch, float* out);
  void (*conv_token)(const ConvTile&);
  /// x *= scale / sqrt(sum(x^2) + eps)
  void (*unit_length)(float* x, float eps, float scale, int64_t n);
  void (*sigmoid_mul)(float* x, const float* gate, int64_t n);
  void (*delta_rule)(const DeltaTile&);
  float (*max_of)(const float* x, int64_t n);
  double (*sum_exp)(const float* x, int64_t n, float top);
};

/// What an attention tile of so many rows needs; attention_join() needs that of one row.
size_t attention_scratch_bytes(int rows, int head_dim);

const Kernels& kernels_portable();
#if defined(FIMD_X86_KERNELS)
const Kernels& kernels_avx2();
const Kernels& kernels_avxvnni();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512vnni();
#endif

/// The table of current_isa().
const Kernels& kernels();

}  // namespace fimd::cpu
