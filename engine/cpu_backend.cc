#include "engine/cpu_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>
#include <mutex>

#include "kernels/cpu/isa.h"

namespace fimd {

namespace {

std::vector<float> to_floats(const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.cols));
  if (weight) dequantize(weight.type, weight.data, weight.cols, values.data());
  return values;
}

const float* or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

cpu::RopeStyle style_of(const Rope& rope) {
  return rope.pairs == RopePairs::kNeox ? cpu::RopeStyle::kNeox : cpu::RopeStyle::kAdjacent;
}

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

std::string megabytes(int64_t bytes) { return std::to_string((bytes + 524288) >> 20) + " MiB"; }

}  // namespace

CpuBackend::Arena::~Arena() {
  if (data_ != nullptr) ::munmap(data_, bytes_);
}

bool CpuBackend::Arena::reserve(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  data_ = static_cast<std::byte*>(memory);
  bytes_ = bytes;
  return true;
}

CpuBackend::CpuBackend(const ModelSpec& spec, TokenMask mask, const CpuBackendOptions& options)
    : spec_(spec),
      sampler_(std::move(mask)),
      pool_(options.threads),
      max_batch_tokens_(std::max(options.max_batch_tokens, 1)) {}

CpuBackend::~CpuBackend() = default;

Result<std::unique_ptr<CpuBackend>> CpuBackend::make(const ModelSpec& spec, TokenMask mask,
                                                     const CpuBackendOptions& options,
                                                     const std::function<void(double)>& progress) {
  std::unique_ptr<CpuBackend> backend(new CpuBackend(spec, std::move(mask), options));
  FIMD_RETURN_IF_ERROR(backend->load_weights(progress));
  FIMD_RETURN_IF_ERROR(backend->reserve_kv(options));
  backend->reserve_scratch();
  return backend;
}

Status CpuBackend::load_weights(const std::function<void(double)>& progress) {
  struct Job {
    const Weight* from;
    cpu::Matrix* to;
  };
  std::vector<Job> jobs = {{&spec_.output, &output_}};
  output_norm_ = to_floats(spec_.output_norm.weight);
  layers_.resize(spec_.blocks.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Block& block = spec_.blocks[i];
    const auto& attention = std::get<Attention>(block.mixer);
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    Layer& layer = layers_[i];
    layer.mixer_norm = to_floats(block.mixer_norm.weight);
    layer.mlp_norm = to_floats(block.mlp_norm.weight);
    layer.attention.q_bias = to_floats(attention.q_bias);
    layer.attention.k_bias = to_floats(attention.k_bias);
    layer.attention.v_bias = to_floats(attention.v_bias);
    layer.attention.o_bias = to_floats(attention.o_bias);
    layer.attention.q_norm = to_floats(attention.q_norm);
    layer.attention.k_norm = to_floats(attention.k_norm);
    jobs.insert(jobs.end(), {{&attention.q, &layer.attention.q},
                             {&attention.k, &layer.attention.k},
                             {&attention.v, &layer.attention.v},
                             {&attention.o, &layer.attention.o},
                             {&mlp.gate, &layer.gate},
                             {&mlp.up, &layer.up},
                             {&mlp.down, &layer.down}});
  }
  embedding_row_bytes_ = spec_.embedding.bytes / static_cast<size_t>(spec_.vocab);
  size_t total = 0;
  for (const Job& job : jobs) total += job.from->bytes;

  std::atomic<size_t> next = 0;
  std::atomic<size_t> done = 0;
  std::mutex mutex;  // guards failed
  Status failed;
  pool_.run([&](int thread, int) {
    for (size_t i = next++; i < jobs.size(); i = next++) {
      const Weight& from = *jobs[i].from;
      auto matrix = cpu::Matrix::make(from.type, from.data, from.rows, from.cols);
      if (!matrix.ok()) {
        const std::lock_guard lock(mutex);
        failed =
            Error{matrix.error().code, "tensor '" + from.name + "': " + matrix.error().message};
        return;
      }
      *jobs[i].to = std::move(*matrix);
      done += from.bytes;
      if (thread == 0 && progress) {  // the thread that asked for the load
        progress(static_cast<double>(done) / static_cast<double>(total));
      }
    }
  });
  return failed;
}

Status CpuBackend::reserve_kv(const CpuBackendOptions& options) {
  geometry_.page_tokens = std::max(options.page_tokens, 1);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const auto& attention = std::get<Attention>(spec_.blocks[i].mixer);
    cpu::PagedKv& kv = layers_[i].attention.kv;
    kv.page_tokens = geometry_.page_tokens;
    kv.n_kv_heads = attention.n_kv_heads;
    kv.head_dim = attention.head_dim;
    geometry_.page_bytes += static_cast<int64_t>(2 * kv.page_elements() * sizeof(uint16_t));
  }
  constexpr int64_t kMaxPages = int64_t{1} << 24;
  const int64_t pages = std::min(kMaxPages, options.kv_bytes / geometry_.page_bytes);
  if (pages < 2) {
    return Error{ErrorCode::kResourceExhausted,
                 "the KV cache budget of " + megabytes(options.kv_bytes) + " holds less than " +
                     std::to_string(2 * geometry_.page_tokens) + " tokens of this model (" +
                     std::to_string(geometry_.page_bytes / geometry_.page_tokens) +
                     " bytes each); raise it"};
  }
  geometry_.n_pages = static_cast<int>(pages);
  constexpr size_t kAlign = 64;
  size_t bytes = 0;
  for (const Layer& layer : layers_) {
    bytes += 2 * round_up(layer.attention.kv.page_elements() * sizeof(uint16_t) *
                              static_cast<size_t>(pages),
                          kAlign);
  }
  if (!kv_memory_.reserve(bytes)) {
    return Error{ErrorCode::kResourceExhausted, "cannot reserve " +
                                                    megabytes(static_cast<int64_t>(bytes)) +
                                                    " for the KV cache; lower its budget"};
  }
  std::byte* at = kv_memory_.data();
  for (Layer& layer : layers_) {
    cpu::PagedKv& kv = layer.attention.kv;
    const size_t half =
        round_up(kv.page_elements() * sizeof(uint16_t) * static_cast<size_t>(pages), kAlign);
    kv.k = reinterpret_cast<uint16_t*>(at);
    kv.v = reinterpret_cast<uint16_t*>(at + half);
    at += 2 * half;
  }
  return {};
}

void CpuBackend::reserve_scratch() {
  const auto rows = static_cast<size_t>(max_batch_tokens_);
  size_t q_dim = 0;
  size_t kv_dim = 0;
  size_t ff = 0;
  for (const Block& block : spec_.blocks) {
    const auto& attention = std::get<Attention>(block.mixer);
    q_dim = std::max(q_dim, static_cast<size_t>(attention.q_dim()));
    kv_dim = std::max(kv_dim, static_cast<size_t>(attention.kv_dim()));
    ff = std::max(ff, static_cast<size_t>(std::get<SwiGlu>(block.mlp).ff));
  }
  positions_.resize(rows);
  x_.resize(rows * static_cast<size_t>(spec_.hidden));
  h_.resize(rows * static_cast<size_t>(spec_.hidden));
  q_.resize(rows * q_dim);
  att_.resize(rows * q_dim);
  k_.resize(rows * kv_dim);
  v_.resize(rows * kv_dim);
  gate_.resize(rows * ff);
  up_.resize(rows * ff);
}

std::string CpuBackend::name() const {
  return std::string("cpu ") + cpu::isa_name(cpu::current_isa()) + ", " +
         std::to_string(pool_.size()) + (pool_.size() == 1 ? " thread" : " threads");
}

std::span<const float> CpuBackend::logits(size_t i) const {
  const auto vocab = static_cast<size_t>(spec_.vocab);
  if (i >= static_cast<size_t>(n_rows_) || logits_.size() < (i + 1) * vocab) return {};
  return {logits_.data() + i * vocab, vocab};
}

void CpuBackend::copy_page(int32_t from, int32_t to, int /*n_tokens*/) {
  // Whole pages: keys are transposed within one, so its first tokens are not contiguous.
  for (Layer& layer : layers_) {
    const cpu::PagedKv& kv = layer.attention.kv;
    const size_t n = kv.page_elements();
    std::memcpy(kv.k + static_cast<size_t>(to) * n, kv.k + static_cast<size_t>(from) * n,
                n * sizeof(uint16_t));
    std::memcpy(kv.v + static_cast<size_t>(to) * n, kv.v + static_cast<size_t>(from) * n,
                n * sizeof(uint16_t));
  }
}

/// Lays the batch out in rows and looks the embeddings up.
Status CpuBackend::gather_batch(std::span<const StepInput> batch) {
  n_rows_ = 0;
  rows_.clear();
  const auto hidden = static_cast<size_t>(spec_.hidden);
  for (const StepInput& input : batch) {
    const auto n = static_cast<int>(input.tokens.size());
    const auto last_page = static_cast<size_t>((input.first + n - 1) / geometry_.page_tokens);
    if (n < 1 || n_rows_ + n > max_batch_tokens_ || input.first < 0 ||
        last_page >= input.pages.size() || input.samples.size() > input.tokens.size()) {
      return Error{ErrorCode::kInternal, "a forward pass was given an impossible batch"};
    }
    rows_.push_back({n_rows_, n, input.first});
    for (int i = 0; i < n; ++i, ++n_rows_) {
      const TokenId token = input.tokens[static_cast<size_t>(i)];
      if (token < 0 || token >= spec_.vocab) {
        return Error{ErrorCode::kInternal,
                     "token " + std::to_string(token) + " is not in the model's vocabulary"};
      }
      positions_[static_cast<size_t>(n_rows_)] = input.first + i;
      // Straight from the file: only the rows of words in use are ever read.
      dequantize(spec_.embedding.type,
                 spec_.embedding.data + static_cast<size_t>(token) * embedding_row_bytes_,
                 spec_.hidden, x_.data() + static_cast<size_t>(n_rows_) * hidden);
    }
  }
  return {};
}

/// x += o(attention(norm(x)))
void CpuBackend::attention_block(size_t index, std::span<const StepInput> batch) {
  Layer& layer = layers_[index];
  AttentionLayer& weights = layer.attention;
  const auto& spec = std::get<Attention>(spec_.blocks[index].mixer);
  const auto q_dim = static_cast<size_t>(spec.q_dim());
  const auto kv_dim = static_cast<size_t>(spec.kv_dim());

  cpu::rms_norm(pool_, x_.data(), layer.mixer_norm.data(), spec_.blocks[index].mixer_norm.eps,
                n_rows_, spec_.hidden, h_.data());
  quantized_.assign(pool_, h_.data(), n_rows_, spec_.hidden);
  const cpu::MatmulTask qkv[] = {{&weights.q, or_null(weights.q_bias), q_.data()},
                                 {&weights.k, or_null(weights.k_bias), k_.data()},
                                 {&weights.v, or_null(weights.v_bias), v_.data()}};
  cpu::matmul(pool_, qkv, quantized_);

  if (!weights.q_norm.empty()) {
    cpu::rms_norm(pool_, q_.data(), weights.q_norm.data(), spec.qk_norm_eps,
                  static_cast<int64_t>(n_rows_) * spec.n_heads, spec.head_dim, q_.data());
    cpu::rms_norm(pool_, k_.data(), weights.k_norm.data(), spec.qk_norm_eps,
                  static_cast<int64_t>(n_rows_) * spec.n_kv_heads, spec.head_dim, k_.data());
  }
  const std::span<const int32_t> positions(positions_.data(), static_cast<size_t>(n_rows_));
  cpu::rope(pool_, q_.data(), positions, spec.n_heads, spec.head_dim, spec.rope.rotary_dim,
            spec.rope.inv_freq.data(), style_of(spec.rope));
  cpu::rope(pool_, k_.data(), positions, spec.n_kv_heads, spec.head_dim, spec.rope.rotary_dim,
            spec.rope.inv_freq.data(), style_of(spec.rope));

  for (size_t i = 0; i < batch.size(); ++i) {
    const auto row = static_cast<size_t>(rows_[i].begin);
    cpu::kv_append(weights.kv, batch[i].pages, rows_[i].first, rows_[i].count,
                   k_.data() + row * kv_dim, v_.data() + row * kv_dim);
  }
  // After the last layer's keys and values only the rows to sample from matter.
  if (index + 1 == layers_.size()) keep_sampled_rows(batch);
  if (n_rows_ == 0) return;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (rows_[i].count == 0) continue;
    const auto row = static_cast<size_t>(rows_[i].begin);
    cpu::attention(pool_, q_.data() + row * q_dim, weights.kv, batch[i].pages, rows_[i].first,
                   rows_[i].count, spec.n_heads, spec.scale, spec.window,
                   att_.data() + row * q_dim);
  }
  quantized_.assign(pool_, att_.data(), n_rows_, static_cast<int64_t>(q_dim));
  cpu::matmul(pool_, weights.o, quantized_, or_null(weights.o_bias), h_.data());
  cpu::add(pool_, x_.data(), h_.data(), static_cast<int64_t>(n_rows_) * spec_.hidden);
}

/// Drops every row that nobody samples from.
void CpuBackend::keep_sampled_rows(std::span<const StepInput> batch) {
  const auto hidden = static_cast<size_t>(spec_.hidden);
  const auto q_dim = static_cast<size_t>(std::get<Attention>(spec_.blocks.back().mixer).q_dim());
  int kept = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    const auto n = static_cast<int>(batch[i].samples.size());
    const int skipped = rows_[i].count - n;
    const auto from = static_cast<size_t>(rows_[i].begin + skipped);
    const auto to = static_cast<size_t>(kept);
    if (from != to) {  // rows move towards the front, so a forward copy is right
      std::copy_n(x_.data() + from * hidden, static_cast<size_t>(n) * hidden,
                  x_.data() + to * hidden);
      std::copy_n(q_.data() + from * q_dim, static_cast<size_t>(n) * q_dim, q_.data() + to * q_dim);
    }
    rows_[i] = {kept, n, rows_[i].first + skipped};
    kept += n;
  }
  n_rows_ = kept;
}

/// x += down(silu(gate(norm(x))) * up(norm(x)))
void CpuBackend::mlp_block(size_t index) {
  Layer& layer = layers_[index];
  const auto& spec = std::get<SwiGlu>(spec_.blocks[index].mlp);
  cpu::rms_norm(pool_, x_.data(), layer.mlp_norm.data(), spec_.blocks[index].mlp_norm.eps, n_rows_,
                spec_.hidden, h_.data());
  quantized_.assign(pool_, h_.data(), n_rows_, spec_.hidden);
  const cpu::MatmulTask gate_up[] = {{&layer.gate, nullptr, gate_.data()},
                                     {&layer.up, nullptr, up_.data()}};
  cpu::matmul(pool_, gate_up, quantized_);
  cpu::silu_mul(pool_, gate_.data(), up_.data(), static_cast<int64_t>(n_rows_) * spec.ff);
  quantized_.assign(pool_, gate_.data(), n_rows_, spec.ff);
  cpu::matmul(pool_, layer.down, quantized_, nullptr, h_.data());
  cpu::add(pool_, x_.data(), h_.data(), static_cast<int64_t>(n_rows_) * spec_.hidden);
}

Status CpuBackend::forward(std::span<const StepInput> batch, std::span<Sampled> outputs) {
  FIMD_RETURN_IF_ERROR(gather_batch(batch));
  for (size_t i = 0; i < layers_.size(); ++i) {
    attention_block(i, batch);
    if (n_rows_ == 0) return {};  // nobody samples
    mlp_block(i);
  }
  cpu::rms_norm(pool_, x_.data(), output_norm_.data(), spec_.output_norm.eps, n_rows_, spec_.hidden,
                x_.data());
  quantized_.assign(pool_, x_.data(), n_rows_, spec_.hidden);
  const size_t needed = static_cast<size_t>(n_rows_) * static_cast<size_t>(spec_.vocab);
  if (logits_.size() < needed) logits_.resize(needed);
  cpu::matmul(pool_, output_, quantized_, nullptr, logits_.data());
  assert(outputs.size() >= static_cast<size_t>(n_rows_));
  size_t row = 0;
  for (const StepInput& input : batch) {
    for (const SampleSpec& spec : input.samples) {
      outputs[row] = sampler_.sample(logits(row), spec);
      ++row;
    }
  }
  return {};
}

}  // namespace fimd
