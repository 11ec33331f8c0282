#include "engine/cuda/cuda_backend.h"

#include <algorithm>

#include "engine/cuda/weight_loader.h"
#include "support/log.h"

namespace fimd {

namespace {

constexpr size_t kMostGraphs = 256;

}  // namespace

CudaBackend::CudaBackend(const ModelSpec& /*spec*/, TokenMask mask, const CudaOptions& options)
    : options_(options), mask_(mask), sampler_(std::move(mask)), graphs_(kMostGraphs) {}

CudaBackend::~CudaBackend() {
  static_cast<void>(cudaSetDevice(options_.device));
  if (stream_.get() != nullptr) static_cast<void>(stream_.synchronize());
}

Result<std::unique_ptr<CudaBackend>> CudaBackend::make(
    const ModelSpec& spec, TokenMask mask, const CudaOptions& options,
    const std::function<void(double)>& progress) {
  FIMD_RETURN_IF_ERROR(check_cuda_support(spec));
  if (options.page_tokens < 16 || (options.page_tokens & (options.page_tokens - 1)) != 0) {
    return Error{ErrorCode::kInvalidArgument,
                 "pages on the GPU hold a power of two of tokens, at least 16"};
  }
  std::unique_ptr<CudaBackend> backend(new CudaBackend(spec, std::move(mask), options));
  FIMD_RETURN_IF_ERROR(backend->open_device());
  FIMD_RETURN_IF_ERROR(backend->take_memory(spec));
  FIMD_RETURN_IF_ERROR(backend->fill_memory(progress));
  backend->make_common_graphs();
  return backend;
}

Status CudaBackend::open_device() {
  FIMD_RETURN_IF_ERROR(cuda::check(cudaSetDevice(options_.device), "choosing the device"));
  if (cuda::is_sticky(cudaFree(nullptr))) {
    log::warn("the GPU was lost in this process before; starting it again");
    FIMD_RETURN_IF_ERROR(reset_cuda(options_.device));
  }
  cudaDeviceProp properties = {};
  FIMD_RETURN_IF_ERROR(cuda::check(cudaGetDeviceProperties(&properties, options_.device),
                                   "asking for the device's properties"));
  name_ = std::string("cuda ") + properties.name;
  FIMD_ASSIGN_OR_RETURN(stream_, cuda::Stream::make());
  FIMD_ASSIGN_OR_RETURN(capture_stream_, cuda::Stream::make());
  if (options_.use_cublas) {
    auto cublas = Cublas::open();
    if (cublas.ok()) {
      cublas_ = std::move(*cublas);
    } else {
      log::warn("{}", cublas.error().message);
    }
  }
  return {};
}

Status CudaBackend::take_memory(const ModelSpec& spec) {
  size_t free = 0;
  size_t total = 0;
  FIMD_RETURN_IF_ERROR(cuda::check(cudaMemGetInfo(&free, &total), "asking for free memory"));
  FIMD_ASSIGN_OR_RETURN(plan_,
                        plan_memory(spec, options_, free, cublas_ != nullptr, name_.substr(5)));
  geometry_ = {.page_tokens = options_.page_tokens,
               .n_pages = plan_.n_pages,
               .page_bytes = kv_page_bytes(spec, options_.page_tokens, options_.kv_coded)};
  const int64_t one_state = state_bytes(spec);
  state_geometry_ = {.n_slots = plan_.n_slots,
                     .n_checkpoints = plan_.n_checkpoints,
                     .slot_bytes = one_state,
                     .checkpoint_bytes = one_state};
  FIMD_ASSIGN_OR_RETURN(weights_, cuda::DeviceBuffer::make(plan_.weight_bytes, "the weights"));
  FIMD_ASSIGN_OR_RETURN(kv_, cuda::DeviceBuffer::make(plan_.kv_bytes, "the KV cache"));
  FIMD_ASSIGN_OR_RETURN(states_,
                        cuda::DeviceBuffer::make(plan_.state_bytes, "the recurrent states"));
  FIMD_ASSIGN_OR_RETURN(scratch_memory_,
                        cuda::DeviceBuffer::make(plan_.scratch_bytes, "scratch memory"));
  Bump weights(weights_.data());
  lay_out_weights(spec, &weights, &model_, &jobs_);
  Bump kv(kv_.data());
  lay_out_kv(plan_.n_pages, geometry_.page_tokens, options_.kv_coded, &kv, &model_);
  Bump states(states_.data());
  lay_out_states(plan_.n_slots, plan_.n_checkpoints, &states, &model_);
  Bump scratch(scratch_memory_.data());
  lay_out_scratch(model_, plan_.limits, &scratch, &scratch_);
  constexpr size_t kHosts = std::tuple_size_v<PassLauncher::Hosts>;
  FIMD_ASSIGN_OR_RETURN(inputs_, cuda::PinnedBuffer::make(kHosts * scratch_.input_bytes, "a pass"));
  FIMD_ASSIGN_OR_RETURN(ids_,
                        cuda::PinnedBuffer::make(scratch_.id_capacity * sizeof(int32_t), "a pass"));
  const size_t result_bytes = static_cast<size_t>(plan_.limits.rows) * sizeof(cuda::SampleResult);
  FIMD_ASSIGN_OR_RETURN(results_, cuda::PinnedBuffer::make(kHosts * result_bytes, "a pass"));
  FIMD_ASSIGN_OR_RETURN(best_results_,
                        cuda::PinnedBuffer::make(result_bytes * cuda::kMaxBest, "a pass"));
  log::info("GPU memory: {} of {} MiB that were free", plan_.text(), free >> 20);
  return {};
}

Status CudaBackend::fill_memory(const std::function<void(double)>& progress) {
  FIMD_RETURN_IF_ERROR(load_weights(jobs_, options_.device, progress));
  jobs_ = {};
  // Padding computes with whatever is there, which should be numbers.
  for (const cuda::DeviceBuffer* buffer : {&kv_, &states_, &scratch_memory_}) {
    if (buffer->bytes() == 0) continue;
    FIMD_RETURN_IF_ERROR(
        cuda::check(cudaMemset(buffer->data(), 0, buffer->bytes()), "clearing GPU memory"));
  }
  std::vector<uint32_t> mask(static_cast<size_t>((model_.vocab + 31) / 32));
  for (int64_t id = 0; id < std::min(mask_.rows(), model_.vocab); ++id) {
    if (mask_.permitted(static_cast<TokenId>(id))) {
      mask[static_cast<size_t>(id / 32)] |= uint32_t{1} << (id % 32);
    }
  }
  FIMD_RETURN_IF_ERROR(
      cuda::check(cudaMemcpy(scratch_.mask, mask.data(), mask.size() * sizeof(uint32_t),
                             cudaMemcpyHostToDevice),
                  "sending the vocabulary's mask"));
  if (cublas_ != nullptr) {
    FIMD_RETURN_IF_ERROR(cublas_->set_stream(stream_.get(), scratch_.cublas_workspace));
  }
  launcher_ = std::make_unique<PassLauncher>(
      model_, scratch_, plan_.limits, cublas_.get(),
      PassLauncher::Hosts{{{inputs(0), results(0)}, {inputs(1), results(1)}}},
      geometry_.page_tokens);
  // Weights were packed on other streams, the memory cleared on the default one.
  return cuda::check(cudaDeviceSynchronize(), "loading");
}

size_t CudaBackend::weight_bytes_per_pass() const {
  const auto bytes = [](const cuda::Matrix& w) {
    return cuda::packed_bytes(w.type, w.rows, w.cols);
  };
  size_t sum = bytes(model_.output);
  for (const DeviceLayer& layer : model_.layers) {
    if (const DeviceAttention* a = layer.attention()) {
      sum += bytes(a->q) + bytes(a->k) + bytes(a->v) + bytes(a->o);
    } else if (const DeviceDelta* d = layer.delta()) {
      sum += bytes(d->qkv) + bytes(d->z) + bytes(d->alpha) + bytes(d->beta) + bytes(d->out);
    }
    sum += bytes(layer.gate) + bytes(layer.up) + bytes(layer.down);
  }
  return sum;
}

std::span<const float> CudaBackend::logits(size_t i) const {
  const auto vocab = static_cast<size_t>(model_.vocab);
  if (!options_.keep_logits || i >= n_host_logits_) return {};
  return {host_logits_.data() + i * vocab, vocab};
}

std::span<const Sampled> CudaBackend::likeliest(size_t i) const {
  if (i >= best_.size()) return {};
  return best_[i];
}

void CudaBackend::copy_page(int32_t from, int32_t to, int /*n_tokens*/) {
  if (lost_) return;
  static_cast<void>(cudaSetDevice(options_.device));
  std::vector<const cuda::KvPages*> caches;
  for (const DeviceLayer& layer : model_.layers) {
    if (const DeviceAttention* attention = layer.attention()) caches.push_back(&attention->kv);
  }
  if (caches.empty()) return;
  // Keys and values of all layers lie at equal distances if all layers are alike.
  const cuda::KvPages& first = *caches.front();
  auto* begin = static_cast<std::byte*>(first.stored_k());
  const auto page_bytes = static_cast<size_t>(first.page_bytes());
  const auto pitch = static_cast<size_t>(static_cast<std::byte*>(first.stored_v()) - begin);
  constexpr size_t kMostPitch = (size_t{1} << 31) - 1;
  const bool alike = pitch <= kMostPitch &&
                     caches.back()->stored_v() == begin + pitch * (2 * caches.size() - 1) &&
                     std::all_of(caches.begin(), caches.end(), [&](const cuda::KvPages* kv) {
                       return kv->n_kv_heads == first.n_kv_heads && kv->head_dim == first.head_dim;
                     });
  if (alike) {
    static_cast<void>(cudaMemcpy2DAsync(begin + static_cast<size_t>(to) * page_bytes, pitch,
                                        begin + static_cast<size_t>(from) * page_bytes, pitch,
                                        page_bytes, 2 * caches.size(), cudaMemcpyDeviceToDevice,
                                        stream_.get()));
    return;  // an error shows in the next pass
  }
  for (const cuda::KvPages* kv : caches) cuda::copy_page(*kv, from, to, stream_.get());
}

void CudaBackend::clear_state(int32_t slot) {
  if (lost_ || states_.bytes() == 0) return;
  static_cast<void>(cudaSetDevice(options_.device));
  const auto bytes = static_cast<size_t>(state_geometry_.slot_bytes);
  static_cast<void>(cudaMemsetAsync(state_at(slot), 0, bytes, stream_.get()));
}

void CudaBackend::copy_state(int32_t from, int32_t to) {
  if (lost_ || states_.bytes() == 0) return;
  static_cast<void>(cudaSetDevice(options_.device));
  // An error shows in the next pass.
  static_cast<void>(cudaMemcpyAsync(state_at(to), state_at(from),
                                    static_cast<size_t>(state_geometry_.slot_bytes),
                                    cudaMemcpyDeviceToDevice, stream_.get()));
}

void CudaBackend::restore_state(int32_t checkpoint, int32_t slot) {
  copy_state(state_geometry_.n_slots + checkpoint, slot);
}

void CudaBackend::save_state(int32_t slot, int32_t checkpoint) {
  copy_state(slot, state_geometry_.n_slots + checkpoint);
}

/// Makes the graph of a shape; nothing runs.
void CudaBackend::make_graph(const PassShape& shape) {
  const Status captured = graphs_.capture(shape, capture_stream_.get(), [&] {
    return launcher_->enqueue(shape, capture_stream_.get(), {});
  });
  if (captured.ok()) return;
  graphs_ok_ = false;
  log::warn("passes are launched piece by piece, which is slower: {}", captured.error().message);
}

/// What one editor asks for: a token after another, or those of a search's branches, and the few
/// tokens of a keystroke before.
void CudaBackend::make_common_graphs() {
  constexpr int kMostKeys = 8192;
  constexpr int kMostRows = 8;
  constexpr size_t kMostBranches = 4;
  std::vector<int32_t> pages(static_cast<size_t>(plan_.limits.max_pages));
  const std::vector<TokenId> tokens(kMostRows);
  const SampleSpec sample;
  for (int keys = 512; keys <= kMostKeys && graphs_ok_ && options_.use_graphs; keys *= 2) {
    if (keys / 2 > plan_.limits.max_pages * geometry_.page_tokens) break;
    StepInput input;
    input.first = keys / 2;
    input.pages = pages;
    for (int rows = 1; rows <= kMostRows && graphs_ok_; ++rows) {
      input.tokens = std::span(tokens).first(static_cast<size_t>(rows));
      input.samples = {};
      make_graph(shape_of({&input, 1}, plan_.limits.matmul_rows));
      input.samples = {&sample, 1};
      PassShape shape = shape_of({&input, 1}, plan_.limits.matmul_rows);
      make_graph(shape);
      if (rows > 1 || states_.bytes() > 0) continue;
      shape.host = 1;  // is begun ahead
      make_graph(shape);
    }
    if (states_.bytes() > 0) continue;  // no branches
    input.tokens = std::span(tokens).first(1);
    for (size_t n = 2; n <= kMostBranches && graphs_ok_; ++n) {
      make_graph(shape_of(std::vector<StepInput>(n, input), plan_.limits.matmul_rows));
    }
  }
}

/// Frees everything now, though nothing of it exists any more: once the device is started again,
/// the same addresses may be another's.
void CudaBackend::let_go() {
  graphs_.clear();
  launcher_.reset();
  static_cast<void>(cublas_.release());  // its destructor would wait for the device
  for (cuda::DeviceBuffer* buffer : {&weights_, &kv_, &states_, &scratch_memory_}) {
    const cuda::DeviceBuffer gone = std::move(*buffer);
  }
  for (cuda::PinnedBuffer* buffer : {&inputs_, &ids_, &results_, &best_results_}) {
    const cuda::PinnedBuffer gone = std::move(*buffer);
  }
  for (cuda::Stream* stream : {&stream_, &capture_stream_}) {
    const cuda::Stream gone = std::move(*stream);
  }
  static_cast<void>(cudaGetLastError());
}

Result<std::unique_ptr<Backend>> make_cuda_backend(const ModelSpec& spec, TokenMask mask,
                                                   const CudaOptions& options,
                                                   const std::function<void(double)>& progress) {
  FIMD_ASSIGN_OR_RETURN(auto backend, CudaBackend::make(spec, std::move(mask), options, progress));
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace fimd
