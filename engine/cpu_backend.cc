#include "engine/cpu_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "kernels/cpu/isa.h"

namespace fimd {

namespace {

std::vector<float> to_floats(const Weight& weight) {
  std::vector<float> values(static_cast<size_t>(weight.rows * weight.cols));
  if (weight) dequantize(weight.type, weight.data, weight.rows * weight.cols, values.data());
  return values;
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
  FIMD_RETURN_IF_ERROR(backend->reserve_states(options));
  backend->reserve_scratch();
  return backend;
}

CpuBackend::AttentionLayer CpuBackend::make_layer(const Attention& spec) {
  AttentionLayer layer;
  layer.spec = &spec;
  layer.q_bias = to_floats(spec.q_bias);
  layer.k_bias = to_floats(spec.k_bias);
  layer.v_bias = to_floats(spec.v_bias);
  layer.o_bias = to_floats(spec.o_bias);
  layer.q_norm = to_floats(spec.q_norm);
  layer.k_norm = to_floats(spec.k_norm);
  return layer;
}

CpuBackend::DeltaLayer CpuBackend::make_layer(const GatedDeltaNet& spec) {
  DeltaLayer layer;
  layer.spec = &spec;
  layer.decay = to_floats(spec.decay);
  layer.dt_bias = to_floats(spec.dt_bias);
  layer.norm = to_floats(spec.norm);
  // Transposed: vectors run along the channels.
  const std::vector<float> conv = to_floats(spec.conv);
  const auto channels = static_cast<size_t>(spec.channels());
  const auto kernel = static_cast<size_t>(spec.conv_kernel);
  layer.conv.resize(conv.size());
  for (size_t c = 0; c < channels; ++c) {
    for (size_t j = 0; j < kernel; ++j) layer.conv[j * channels + c] = conv[c * kernel + j];
  }
  return layer;
}

void CpuBackend::list_matrices(AttentionLayer& layer, std::vector<Job>& jobs) {
  const Attention& spec = *layer.spec;
  jobs.insert(jobs.end(),
              {{&spec.q, &layer.q}, {&spec.k, &layer.k}, {&spec.v, &layer.v}, {&spec.o, &layer.o}});
}

void CpuBackend::list_matrices(DeltaLayer& layer, std::vector<Job>& jobs) {
  const GatedDeltaNet& spec = *layer.spec;
  jobs.insert(jobs.end(), {{&spec.qkv, &layer.qkv},
                           {&spec.z, &layer.z},
                           {&spec.alpha, &layer.alpha},
                           {&spec.beta, &layer.beta},
                           {&spec.out, &layer.out}});
}

Status CpuBackend::load_weights(const std::function<void(double)>& progress) {
  std::vector<Job> jobs = {{&spec_.output, &output_}};
  output_norm_ = to_floats(spec_.output_norm.weight);
  layers_.resize(spec_.blocks.size());
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Block& block = spec_.blocks[i];
    const auto& mlp = std::get<SwiGlu>(block.mlp);
    Layer& layer = layers_[i];
    layer.mixer_norm = to_floats(block.mixer_norm.weight);
    layer.mlp_norm = to_floats(block.mlp_norm.weight);
    std::visit([&](const auto& mixer) { layer.mixer = make_layer(mixer); }, block.mixer);
    std::visit([&](auto& mixer) { list_matrices(mixer, jobs); }, layer.mixer);
    jobs.insert(jobs.end(),
                {{&mlp.gate, &layer.gate}, {&mlp.up, &layer.up}, {&mlp.down, &layer.down}});
  }
  // A copy: reading the mapping later would kill the process if somebody shortened the file.
  embedding_.assign(spec_.embedding.data, spec_.embedding.data + spec_.embedding.bytes);
  embedding_row_bytes_ = spec_.embedding.bytes / static_cast<size_t>(spec_.vocab);
  return prepare_matrices(jobs, progress);
}

Status CpuBackend::prepare_matrices(std::span<const Job> jobs,
                                    const std::function<void(double)>& progress) {
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
  std::vector<cpu::PagedKv*> caches;  // of the layers that have one
  for (Layer& layer : layers_) {
    auto* attention = std::get_if<AttentionLayer>(&layer.mixer);
    if (attention == nullptr) continue;
    cpu::PagedKv& kv = attention->kv;
    kv.page_tokens = geometry_.page_tokens;
    kv.n_kv_heads = attention->spec->n_kv_heads;
    kv.head_dim = attention->spec->head_dim;
    geometry_.page_bytes += static_cast<int64_t>(2 * kv.page_elements() * sizeof(uint16_t));
    caches.push_back(&kv);
  }
  constexpr int64_t kMaxPages = int64_t{1} << 24;
  // A model without attention keeps nothing in its pages.
  const int64_t pages =
      std::min(kMaxPages, options.kv_bytes / std::max<int64_t>(geometry_.page_bytes, 1));
  if (pages < 2) {
    return Error{ErrorCode::kResourceExhausted,
                 "the KV cache budget of " + megabytes(options.kv_bytes) + " holds less than " +
                     std::to_string(2 * geometry_.page_tokens) + " tokens of this model (" +
                     std::to_string(geometry_.page_bytes / geometry_.page_tokens) +
                     " bytes each); raise it"};
  }
  geometry_.n_pages = static_cast<int>(pages);
  constexpr size_t kAlign = 64;
  const auto half = [&](const cpu::PagedKv& kv) {
    return round_up(kv.page_elements() * sizeof(uint16_t) * static_cast<size_t>(pages), kAlign);
  };
  size_t bytes = 0;
  for (const cpu::PagedKv* kv : caches) bytes += 2 * half(*kv);
  if (bytes > 0 && !kv_memory_.reserve(bytes)) {
    return Error{ErrorCode::kResourceExhausted, "cannot reserve " +
                                                    megabytes(static_cast<int64_t>(bytes)) +
                                                    " for the KV cache; lower its budget"};
  }
  std::byte* at = kv_memory_.data();
  for (cpu::PagedKv* kv : caches) {
    kv->k = reinterpret_cast<uint16_t*>(at);
    kv->v = reinterpret_cast<uint16_t*>(at + half(*kv));
    at += 2 * half(*kv);
  }
  return {};
}

Status CpuBackend::reserve_states(const CpuBackendOptions& options) {
  constexpr size_t kAlign = 16;  // floats of a cache line
  for (Layer& layer : layers_) {
    auto* delta = std::get_if<DeltaLayer>(&layer.mixer);
    if (delta == nullptr) continue;
    delta->state_offset = state_floats_;
    delta->tail_offset = round_up(static_cast<size_t>(delta->spec->delta_elements()), kAlign);
    delta->state_floats =
        delta->tail_offset + round_up(static_cast<size_t>(delta->spec->conv_elements()), kAlign);
    state_floats_ += delta->state_floats;
  }
  if (state_floats_ == 0) return {};
  const auto bytes = static_cast<int64_t>(state_floats_ * sizeof(float));
  constexpr int64_t kMaxCheckpoints = 1 << 16;
  const int64_t checkpoints =
      std::clamp<int64_t>(options.checkpoint_bytes / bytes, 2, kMaxCheckpoints);
  state_geometry_.n_slots = std::max(options.state_slots, 1);
  state_geometry_.n_checkpoints = static_cast<int>(checkpoints);
  state_geometry_.slot_bytes = bytes;
  state_geometry_.checkpoint_bytes = bytes;
  const int64_t total = bytes * (state_geometry_.n_slots + checkpoints);
  if (!state_memory_.reserve(static_cast<size_t>(total))) {
    return Error{ErrorCode::kResourceExhausted,
                 "cannot reserve " + megabytes(total) +
                     " for the model's recurrent state; lower the budget of its checkpoints"};
  }
  return {};
}

float* CpuBackend::slot_state(int32_t slot) const {
  return reinterpret_cast<float*>(state_memory_.data()) + static_cast<size_t>(slot) * state_floats_;
}

float* CpuBackend::checkpoint_state(int32_t checkpoint) const {
  return slot_state(state_geometry_.n_slots + checkpoint);
}

void CpuBackend::clear_state(int32_t slot) { std::fill_n(slot_state(slot), state_floats_, 0.0F); }

void CpuBackend::restore_state(int32_t checkpoint, int32_t slot) {
  std::copy_n(checkpoint_state(checkpoint), state_floats_, slot_state(slot));
}

void CpuBackend::save_state(int32_t slot, int32_t checkpoint) {
  std::copy_n(slot_state(slot), state_floats_, checkpoint_state(checkpoint));
}

void CpuBackend::reserve_scratch() {
  const auto rows = static_cast<size_t>(max_batch_tokens_);
  const auto grow = [&](std::vector<float>& buffer, int64_t width) {
    buffer.resize(std::max(buffer.size(), rows * static_cast<size_t>(width)));
  };
  positions_.resize(rows);
  grow(x_, spec_.hidden);
  grow(h_, spec_.hidden);
  for (const Block& block : spec_.blocks) {
    if (const auto* attention = std::get_if<Attention>(&block.mixer)) {
      grow(q_, attention->q_dim());
      grow(att_, attention->q_dim());
      grow(k_, attention->kv_dim());
      grow(v_, attention->kv_dim());
      if (attention->output_gate) {
        grow(q_gate_, attention->q_rows());
        grow(att_gate_, attention->q_dim());
      }
    } else {
      const auto& delta = std::get<GatedDeltaNet>(block.mixer);
      grow(qkv_, delta.channels());
      grow(conv_, delta.channels());
      grow(z_, delta.values());
      grow(delta_, delta.values());
      grow(alpha_, delta.n_v_heads);
      grow(beta_, delta.n_v_heads);
    }
    grow(gate_, std::get<SwiGlu>(block.mlp).ff);
    grow(up_, std::get<SwiGlu>(block.mlp).ff);
  }
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

std::span<const Sampled> CpuBackend::likeliest(size_t i) const {
  if (i >= best_.size()) return {};
  return best_[i];
}

void CpuBackend::copy_page(int32_t from, int32_t to, int /*n_tokens*/) {
  // Whole pages: keys are transposed within one, so its first tokens are not contiguous.
  for (Layer& layer : layers_) {
    const auto* attention = std::get_if<AttentionLayer>(&layer.mixer);
    if (attention == nullptr) continue;
    const cpu::PagedKv& kv = attention->kv;
    const size_t n = kv.page_elements();
    std::memcpy(kv.k + static_cast<size_t>(to) * n, kv.k + static_cast<size_t>(from) * n,
                n * sizeof(uint16_t));
    std::memcpy(kv.v + static_cast<size_t>(to) * n, kv.v + static_cast<size_t>(from) * n,
                n * sizeof(uint16_t));
  }
}

}  // namespace fimd
