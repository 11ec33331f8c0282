// The CUDA operations: what a forward pass on a GPU is made of.
//
// Raw device pointers, shapes and a stream; no engine types, no allocation, no synchronisation, so
// that every call can be captured in a CUDA graph. A call only enqueues; the last error after it
// (cudaGetLastError) says whether the launch was accepted. What changes from step to step (tokens,
// positions, pages) is read from device memory; what is passed by value is baked into a graph.
//
// Names: n_rows is the number of tokens of all sequences of the pass, one after another ("rows").
// Activations between operations are float32 (n_rows, dim), row-major, unless said otherwise.
// kernels/cpu/ops.h has the same operations for the CPU and is the reference in tests/gpu.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cuda/kv_row.h"
#include "kernels/formats/dtype.h"

namespace fimd::cuda {

// --- matrices (pack.cu, matmul.cu, dequantize.cu) ------------------------------------------------

/// A weight matrix (rows, cols) on the device. BF16 is plain row-major (F16 and F32 files become
/// BF16 when loaded); quantised formats are in the tile order of pack.h.
struct Matrix {
  DType type = DType::kBF16;
  const void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
};

/// Bytes that pack() writes for a matrix of a file's `type`; 0 if there is no kernel for it. cols
/// is a multiple of the format's block, rows is any number (tiles are padded with zeros).
size_t packed_bytes(DType type, int64_t rows, int64_t cols);
/// The type a packed matrix has: F16 and F32 become BF16.
DType packed_type(DType type);

/// Turns rows [row_begin, row_begin + n_rows) of a file's matrix, in `raw` on the device in GGUF's
/// order, into packed form at `packed`. row_begin is a multiple of 16, so is n_rows unless the
/// matrix ends there: a big matrix is sent in pieces.
void pack(DType type, const void* raw, int64_t row_begin, int64_t n_rows, int64_t rows,
          int64_t cols, void* packed, cudaStream_t stream);

/// dst (rows, cols) bf16 row-major = w: what cuBLAS reads in a large prefill.
void dequantize(const Matrix& w, __nv_bfloat16* dst, cudaStream_t stream);

/// Activations as the matrix products read them; the quantize operations write those whose pointers
/// are set. What one n_rows wrote is read with the same n_rows. cols is a multiple of 32.
struct Activations {
  int64_t cols = 0;
  void* q8 = nullptr;              // for matmul() by quantised weights: q8_bytes(), see pack.h
  void* bf16 = nullptr;            // for matmul() by BF16 weights: bf16_bytes(), see pack.h
  __nv_bfloat16* plain = nullptr;  // (n_rows, cols) row-major, for a GEMM by cuBLAS
};
/// Bytes of q8 and bf16 for up to n_rows <= kMaxMatmulRows rows; aligned to 16 bytes.
size_t q8_bytes(int n_rows, int64_t cols);
size_t bf16_bytes(int n_rows, int64_t cols);

/// One product of a group that shares its activations (q, k, v; gate, up).
struct MatmulTask {
  Matrix w;
  const float* bias = nullptr;  // (w.rows) or null
  float* y = nullptr;           // (n_rows, y_stride): y = x . w^T + bias, or y += if accumulate
  int64_t y_stride = 0;         // at least w.rows
  bool accumulate = false;      // adds to y (the residual stream)
};

inline constexpr int kMaxMatmulTasks = 4;
/// The most rows that matmul() takes; beyond, dequantize() and a GEMM are quicker.
inline constexpr int kMaxMatmulRows = 64;

/// All tasks in one launch (two if BF16 and quantised weights are mixed); every weight is read
/// once, whatever n_rows (1..kMaxMatmulRows) is. All w.cols are x.cols. The result of a row is the
/// same to the bit whichever rows are beside it, as long as they are up to 8, or more.
void matmul(std::span<const MatmulTask> tasks, const Activations& x, int n_rows,
            cudaStream_t stream);

/// x (n_rows, cols) that a product quantises itself, after an RMS norm if `norm` (cols) is set: a
/// kernel less, results that differ by rounding if there is a norm. For few rows: every block does
/// it again.
struct FloatInput {
  const float* x = nullptr;
  int64_t cols = 0;
  const float* norm = nullptr;
  float eps = 0;
};
inline constexpr int kMaxFloatRows = 2;
void matmul(std::span<const MatmulTask> tasks, const FloatInput& x, int n_rows,
            cudaStream_t stream);

/// One product of a chain. Its input is `floats` if they are set, else x.
struct MatmulStep {
  MatmulTask tasks[kMaxMatmulTasks] = {};  // up to one without weights
  FloatInput floats = {};
  Activations x = {};  // with floats: room for them, quantised, in the form that the weights need
  /// Two tasks, gate and up (out.cols, x.cols): silu(gate) * up goes to `out`, quantised. Their y
  /// are scratch memory of one stride, which is only used if the two are of different kinds.
  bool swiglu = false;
  Activations out = {};
};
inline constexpr int kMaxMatmulSteps = 4;
/// What chains leave each other on the device: of one stream, zeroed once.
struct ChainWorkspace {
  void* data = nullptr;  // aligned to 16 bytes
  size_t bytes = 0;      // at least 128
};
/// For chains of one launch whose steps write up to `cols` columns, and SwiGLU up to `ff`.
size_t chain_workspace_bytes(int64_t cols, int64_t ff);
/// All steps in order, each reading what the ones before wrote. Up to 8 rows on sm_90 and newer:
/// one launch for as many steps as are of one kind (BF16 or quantised), at most kMaxMatmulSteps.
/// Steps of a row for which the workspace is too small are a launch each. A row's result is as
/// independent of the others as that of matmul(), from which it differs by the rounding of sums.
/// `next`: the steps of the chain behind it, of which only the weights are looked at. Some of them
/// are asked for before this chain has ended; results are the same.
void matmul_chain(std::span<const MatmulStep> steps, int n_rows, const ChainWorkspace& workspace,
                  cudaStream_t stream, std::span<const MatmulStep> next = {});

// --- elementwise (norm.cu, elementwise.cu) -------------------------------------------------------

/// out = x * rsqrt(mean(x^2) + eps) * weight, x (n_rows, out.cols). q8 and bf16 of out need
/// n_rows <= kMaxMatmulRows, plain takes any number.
void rms_norm_quantize(const float* x, const float* weight, float eps, int n_rows,
                       const Activations& out, cudaStream_t stream);
/// out = x.
void quantize(const float* x, int n_rows, const Activations& out, cudaStream_t stream);
/// out = silu(gate) * up, both (n_rows, out.cols) with rows `stride` apart.
void silu_mul_quantize(const float* gate, const float* up, int64_t stride, int n_rows,
                       const Activations& out, cudaStream_t stream);
/// y[r][c] += bias[c], y (n_rows, cols) with rows y_stride apart: after a GEMM by cuBLAS.
void add_bias(const float* bias, int n_rows, int64_t cols, float* y, int64_t y_stride,
              cudaStream_t stream);
/// out = x * sigmoid(gate), x (n_rows, out.cols): what a layer with an output gate attends to. The
/// gate of head h lies behind its q, at gates[row * stride + (2 h + 1) * head_dim ..].
void sigmoid_mul_quantize(const float* x, const float* gates, int64_t stride, int head_dim,
                          int n_rows, const Activations& out, cudaStream_t stream);
/// out = rms_norm of each head of x * weight (head_dim) * silu(z), x (n_rows, out.cols), rows of z
/// z_stride apart. head_dim is a multiple of 4 that divides out.cols.
void gated_norm_quantize(const float* x, const float* z, int64_t z_stride, const float* weight,
                         int head_dim, float eps, int n_rows, const Activations& out,
                         cudaStream_t stream);
/// Copies `bytes`, a multiple of 16, of page-locked host memory that no kernel writes. A kernel of
/// a few blocks: in a graph it begins and ends sooner than a copy does.
void copy_from_host(const void* host, void* device, size_t bytes, cudaStream_t stream);
/// x[r] = the embedding row of tokens[r], decoded. A token below 0 stands for *taken (null: none
/// is). The embedding is a packed matrix (its rows need not be in the tile order of a matmul: see
/// pack.h).
void embed(const Matrix& embedding, const int32_t* tokens, const int32_t* taken, int n_rows,
           float* x, cudaStream_t stream);
/// y[i] = x[rows[i]], rows on the device: keeps the rows to sample from.
void gather_rows(const float* x, const int32_t* rows, int n, int64_t cols, float* y,
                 cudaStream_t stream);

// --- attention (rope.cu, attention_*.cu, kv_decode.cu) -------------------------------------------

/// One layer's KV pages, half precision: k and v are (n_pages, n_kv_heads, page_tokens, head_dim).
/// Or, where k_codes and v_codes are set, 8-bit codes (kv_codes.cuh), (n_pages, n_kv_heads,
/// page_tokens * kv_row_bytes(head_dim)); k and v are then room of the shape above, which layers
/// may share: attention() decodes pages into it.
struct KvPages {
  __half* k = nullptr;
  __half* v = nullptr;
  int page_tokens = 32;
  int n_kv_heads = 0;
  int head_dim = 0;  // 64, 80, 96, 128 or 256
  uint8_t* k_codes = nullptr;
  uint8_t* v_codes = nullptr;

  bool coded() const { return k_codes != nullptr; }
  /// Where the tokens are kept, and how many bytes of keys (or values) a page has.
  void* stored_k() const { return coded() ? static_cast<void*>(k_codes) : k; }
  void* stored_v() const { return coded() ? static_cast<void*>(v_codes) : v; }
  int64_t page_bytes() const {
    const int row_bytes = coded() ? kv_row_bytes(head_dim) : 2 * head_dim;
    return int64_t{n_kv_heads} * page_tokens * row_bytes;
  }
};

/// One sequence of the pass; an array of these is on the device, and an equal one on the host where
/// a launch must know the shapes.
struct Sequence {
  int32_t row_begin = 0;  // its rows are [row_begin, row_begin + n_rows)
  int32_t n_rows = 0;
  int32_t first = 0;       // position of its first row
  int32_t page_begin = 0;  // pages[page_begin + p / page_tokens] holds position p
};

struct RopeParams {
  bool adjacent = false;  // pairs (2i, 2i + 1) instead of (i, i + rotary_dim / 2)
  int rotary_dim = 0;
  const float* inv_freq = nullptr;  // (rotary_dim / 2)
  const float* q_norm = nullptr;    // (head_dim) RMS norm of each head before the rotation, or null
  const float* k_norm = nullptr;
  float norm_eps = 0;
  /// q has for each head head_dim columns of the query and then as many of a gate, which stay.
  bool q_gates = false;
};

/// attention() weighs keys by exp2(q . k): the usual scale 1 / sqrt(head_dim) times this is the
/// q_scale to give to rope_append().
inline constexpr float kLog2E = 1.44269504F;

/// Normalises (if asked) and rotates q and k, writes q as half to q_out (n_rows, n_heads, head_dim)
/// multiplied by q_scale, and appends k and v to the pages. qkv: (n_rows, (n_heads + 2 n_kv_heads)
/// * head_dim), q then k then v (with q_gates 2 n_heads). Values beyond half's range are clamped.
/// Rows that no sequence has are skipped: a graph may have more rows than a step, and sequences
/// without rows.
void rope_append(const float* qkv, int n_rows, int n_heads, const RopeParams& rope, float q_scale,
                 const KvPages& kv, const Sequence* sequences, int n_sequences,
                 const int32_t* pages, __half* q_out, cudaStream_t stream);

/// Causal grouped-query attention of every row against all keys of its sequence (already appended).
/// q as rope_append wrote it; page_tokens a power of two, at least 16. out: float32 (n_rows,
/// n_heads, head_dim). window 0: unlimited, else key j is visible to query i iff i - window < j <=
/// i.
struct AttentionParams {
  const __half* q = nullptr;
  KvPages kv;
  const Sequence* sequences = nullptr;  // device, (n_sequences)
  int n_sequences = 0;
  const int32_t* pages = nullptr;  // device
  int n_rows = 0;
  int n_heads = 0;
  int window = 0;
  int max_rows = 0;      // of one sequence: n_rows of the largest
  int max_keys = 0;      // at least first + n_rows of every sequence; a graph is good up to this
  float* out = nullptr;  // or null, if activations are enough
  /// What the next product reads, as quantize(out) would write it; head_dim a multiple of 32.
  Activations activations;
  /// The kernel in front is rope_append() with the same `sequences`: keys before their first rows
  /// are fetched while it still runs. Not for sequences that begin at later rows than it appended.
  bool overlaps_append = false;
  void* workspace = nullptr;  // attention_workspace_bytes(...), zeroed once, of one stream
};
/// Chooses between split-K flash decoding (few rows) and flash prefill by max_rows. The split
/// depends on max_keys only through powers of two, so that a graph serves a range of lengths. Rows
/// that no sequence has are left as they are. A row's result does not depend on what other
/// sequences hold (its rounding does on the shapes above, which decide the split).
void attention(const AttentionParams& params, cudaStream_t stream);
/// rope_append() and attention() of the same rows and sequences: one launch for few rows (up to 8
/// of a sequence and 64 of a KV head) where the GPU has thread-block clusters, which leaves q_out
/// (n_rows, n_heads, head_dim) alone. params.q and params.overlaps_append are ignored. Sequences,
/// pages and older keys are read before the kernel in front has finished: it must not write them.
void rope_attention(const float* qkv, const RopeParams& rope, float q_scale, __half* q_out,
                    const AttentionParams& params, cudaStream_t stream);
size_t attention_workspace_bytes(int max_rows_total, int n_heads, int head_dim);

/// Copies page `from` to `to` of one layer.
void copy_page(const KvPages& kv, int32_t from, int32_t to, cudaStream_t stream);

// --- recurrent layers (causal_conv1d.cu, gated_delta.cu, delta_step.cu) --------------------------

/// Sizes of a Gated DeltaNet layer. Value head h reads key head h % n_k_heads, or if they are
/// grouped h / (n_v_heads / n_k_heads).
struct DeltaShape {
  int n_k_heads = 0;
  int n_v_heads = 0;
  int k_dim = 0;
  int v_dim = 0;
  bool grouped = false;
  __host__ __device__ int key_head(int h) const {
    return grouped ? h / (n_v_heads / n_k_heads) : h % n_k_heads;
  }
  __host__ __device__ int64_t keys() const { return int64_t{n_k_heads} * k_dim; }
  __host__ __device__ int64_t values() const { return int64_t{n_v_heads} * v_dim; }
  __host__ __device__ int64_t channels() const { return 2 * keys() + values(); }
};
/// k_dim 16, 32, 64, 128 or 256, and v_dim a multiple of 4 up to 1024.
bool delta_supported(const DeltaShape& shape);

/// Where one layer's states lie: slot i at slots + i * stride floats, checkpoint i likewise.
/// 16-byte aligned, so stride is a multiple of 4.
struct RecurrentState {
  float* slots = nullptr;
  float* checkpoints = nullptr;
  int64_t stride = 0;
};
/// Which state a Sequence uses, and which copies to leave: saves[save_begin .. + n_saves),
/// ascending in `after` (1 .. n_rows). Arrays of these lie on the device beside the Sequences.
struct SequenceState {
  int32_t slot = 0;
  int32_t save_begin = 0;
  int32_t n_saves = 0;
};
struct StateSaveAt {
  int32_t after = 0;  // rows of the sequence in this pass
  int32_t checkpoint = 0;
};

/// u[t] = silu(causal depthwise convolution of qkv), both (n_rows, channels) of q | k | v, with
/// each head of q and k then scaled to length 1 (eps is added to the sum of squares) and q by
/// k_dim^-1/2. w (kernel, channels); tails (kernel - 1, channels): the rows before, then updated.
/// k_dim and v_dim are at most 1024.
void causal_conv1d(const DeltaShape& shape, const float* qkv, const float* w, int kernel, float eps,
                   const RecurrentState& tails, const Sequence* sequences,
                   const SequenceState* states, const StateSaveAt* saves, int n_sequences,
                   int n_rows, float* u, cudaStream_t stream);

/// The gated delta rule (engine/model_spec.h) over every sequence's rows: u as causal_conv1d wrote
/// it; alpha, beta: the raw projections, rows gate_stride apart; state (n_v_heads, k_dim, v_dim) is
/// read, updated and saved where asked. out (n_rows, values). max_rows: n_rows of the largest
/// sequence, or more; a graph is good up to this.
void gated_delta(const DeltaShape& shape, const float* u, const float* alpha, const float* beta,
                 int64_t gate_stride, const float* decay, const float* dt_bias,
                 const RecurrentState& state, const Sequence* sequences,
                 const SequenceState* states, const StateSaveAt* saves, int n_sequences,
                 int max_rows, float* out, cudaStream_t stream);

/// What causal_conv1d(), gated_delta() and gated_norm_quantize() do to a layer's rows, in one
/// launch. Rows of z, alpha and beta are gate_stride (a multiple of 4) apart; norm (v_dim).
struct DeltaStep {
  DeltaShape shape;
  const float* qkv = nullptr;   // (n_rows, channels)
  const float* conv = nullptr;  // (kernel, channels)
  float eps = 0;                // added to the sums of squares of q and k
  const float* z = nullptr;
  const float* alpha = nullptr;
  const float* beta = nullptr;
  int64_t gate_stride = 0;
  /// Or what they are made of, if x is set (see delta_step_projects()): x normalised, times two
  /// BF16 matrices (n_v_heads, input.cols).
  FloatInput input;
  const void* alpha_weights = nullptr;
  const void* beta_weights = nullptr;
  const float* decay = nullptr;    // (n_v_heads)
  const float* dt_bias = nullptr;  // (n_v_heads)
  const float* norm = nullptr;
  float norm_eps = 0;
  RecurrentState state;
  RecurrentState tails;
  const Sequence* sequences = nullptr;
  const SequenceState* states = nullptr;
  const StateSaveAt* saves = nullptr;
  float* out = nullptr;  // (n_rows, values), or null:
  /// What the output product reads of a pass of n_rows rows; `plain` stays null.
  Activations activations;
  int n_rows = 0;
};
/// The most rows of one sequence.
inline constexpr int kMaxStepRows = 8;
/// Whether delta_step() can: heads of 128 x 128, at most four to a key head, a convolution of 4, no
/// sequence of more than max_rows rows, and a GPU with thread-block clusters (sm_90).
bool delta_step_supported(const DeltaShape& shape, int kernel, int max_rows);
/// Whether it can make alpha and beta as well: of BF16 matrices, with at most three value heads to
/// a key head and 2048 columns for each of them.
bool delta_step_projects(const DeltaShape& shape, const Matrix& alpha, const Matrix& beta);
void delta_step(const DeltaStep& step, int n_sequences, cudaStream_t stream);

// --- sampling (sample.cu) ------------------------------------------------------------------------

/// How to choose a token from one row of logits, on the device.
struct SampleRow {
  int32_t n_allowed = 0;  // > 0: only allowed[allowed_begin ..] may be chosen (token healing)
  int32_t allowed_begin = 0;
  int32_t n_extra = 0;  // control tokens permitted besides the mask's
  int32_t extra_begin = 0;
  int32_t scored = -1;  // >= 0: the result is this token, with its log-probability
  int32_t n_best = 0;   // what sample_best() finds, at most kMaxBest
  // For sample_drawn(), as in engine/sampler.h.
  float temperature = 0;  // 0: greedy
  int32_t top_k = 0;      // 0: all
  float top_p = 1;
  float min_p = 0;
  double uniform = 0;  // in [0, 1)
};
inline constexpr int kMaxBest = 32;
/// What sample_drawn() and sample_best() take at once.
inline constexpr int kMaxSampleRows = 64;
/// A row whose draw or cut lies below the best 2048 tokens (nearly flat logits): sample it on the
/// host.
inline constexpr int32_t kUndecided = -2;
/// Written in one piece, as the host may be looking at it.
struct alignas(8) SampleResult {
  int32_t token = -1;  // -1: nothing is permitted, or the logits are not numbers; or kUndecided
  float logprob = 0;   // natural log, among the permitted tokens at temperature 1
};
/// Greedy choice of each row of logits (n, vocab). mask: one bit a token, 1 = permitted (32 to a
/// word). ids: the lists that `rows` point into. All on the device but for `results`, which are
/// only written and may be page-locked host memory, as those of the two below; `rows` are not what
/// the kernel in front writes. workspace: zeroed once, of one stream.
void sample_greedy(const float* logits, int n, int64_t vocab, const uint32_t* mask,
                   const SampleRow* rows, const int32_t* ids, SampleResult* results,
                   void* workspace, cudaStream_t stream);
/// Where the last sample_greedy() has left the token of its first row: for embed().
const int32_t* sampled_token(const void* workspace);
/// Behind sample_greedy() of the same rows and workspace: replaces the results of rows with a
/// temperature. Given the same uniform number, the token that engine/sampler.cc draws, up to the
/// rounding of sums. One block a row: some 180 us.
void sample_drawn(const float* logits, int n, int64_t vocab, const uint32_t* mask,
                  const SampleRow* rows, const int32_t* ids, SampleResult* results, void* workspace,
                  cudaStream_t stream);
/// Behind sample_greedy() of the same rows and workspace: best (n, kMaxBest), of each row with
/// n_best its likeliest tokens, best first, of equal logits the lowest id first. Where there are
/// fewer, token is -1.
void sample_best(const float* logits, int n, int64_t vocab, const uint32_t* mask,
                 const SampleRow* rows, const int32_t* ids, SampleResult* best, void* workspace,
                 cudaStream_t stream);
size_t sample_workspace_bytes(int n);

}  // namespace fimd::cuda
