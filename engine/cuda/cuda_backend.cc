#include "engine/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "engine/cuda/weight_loader.h"
#include "support/log.h"

namespace fimd {

namespace {

constexpr size_t kMostGraphs = 256;

static_assert(cuda::kMaxMatmulRows <= cuda::kMaxSampleRows);

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
    spdlog::warn("the GPU was lost in this process before; starting it again");
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
      spdlog::warn("{}", cublas.error().message);
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
  FIMD_ASSIGN_OR_RETURN(inputs_, cuda::PinnedBuffer::make(scratch_.input_bytes, "a pass"));
  FIMD_ASSIGN_OR_RETURN(ids_,
                        cuda::PinnedBuffer::make(scratch_.id_capacity * sizeof(int32_t), "a pass"));
  const size_t result_bytes = static_cast<size_t>(plan_.limits.rows) * sizeof(cuda::SampleResult);
  FIMD_ASSIGN_OR_RETURN(results_, cuda::PinnedBuffer::make(result_bytes, "a pass"));
  FIMD_ASSIGN_OR_RETURN(best_results_,
                        cuda::PinnedBuffer::make(result_bytes * cuda::kMaxBest, "a pass"));
  spdlog::info("GPU memory: {} of {} MiB that were free", plan_.text(), free >> 20);
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
      PassLauncher::Host{inputs_.data(), results_.as<cuda::SampleResult>()}, geometry_.page_tokens);
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

bool CudaBackend::sane_states(const StepInput& input) const {
  if (states_.bytes() == 0) return input.saves.empty();
  if (input.slot < 0 || input.slot >= state_geometry_.n_slots) return false;
  int after = 0;
  for (const StateSave& save : input.saves) {
    if (save.after <= after || save.after > static_cast<int>(input.tokens.size()) ||
        save.checkpoint < 0 || save.checkpoint >= state_geometry_.n_checkpoints) {
      return false;
    }
    after = save.after;
  }
  return true;
}

Status CudaBackend::check_batch(std::span<const StepInput> batch) const {
  size_t rows = 0;
  for (const StepInput& input : batch) {
    const auto n = static_cast<int>(input.tokens.size());
    rows += input.tokens.size();
    const bool sane = n >= 1 && rows <= static_cast<size_t>(plan_.limits.rows) &&
                      input.first >= 0 && input.samples.size() <= input.tokens.size() &&
                      sane_states(input);
    const auto n_pages =
        static_cast<size_t>((input.first + n + geometry_.page_tokens - 1) / geometry_.page_tokens);
    if (!sane || n_pages > input.pages.size() ||
        n_pages > static_cast<size_t>(plan_.limits.max_pages)) {
      return Error{ErrorCode::kInternal, "a forward pass was given an impossible batch"};
    }
    for (const int32_t page : input.pages.first(n_pages)) {
      if (page < 0 || page >= geometry_.n_pages) {
        return Error{ErrorCode::kInternal, "a forward pass was given an impossible page"};
      }
    }
    for (const SampleSpec& spec : input.samples) {
      if (spec.scored >= model_.vocab || spec.n_best > cuda::kMaxBest) {
        return Error{ErrorCode::kInternal, "a forward pass was given an impossible sample"};
      }
    }
    for (const TokenId token : input.tokens) {
      if (token < 0 || token >= model_.vocab) {
        return Error{ErrorCode::kInternal,
                     "token " + std::to_string(token) + " is not in the model's vocabulary"};
      }
    }
  }
  return {};
}

Status CudaBackend::forward(std::span<const StepInput> batch, std::span<Sampled> outputs) {
  if (lost_) {
    return Error{ErrorCode::kUnavailable, "the GPU stopped working; the model must be reloaded"};
  }
  FIMD_RETURN_IF_ERROR(check_batch(batch));
  n_host_logits_ = 0;
  best_.clear();
  size_t first_sample = 0;
  while (!batch.empty()) {
    const auto part = batch.first(std::min<size_t>(batch.size(), kMaxPassSequences));
    FIMD_RETURN_IF_ERROR(run_pass(part, outputs, first_sample));
    for (const StepInput& input : part) first_sample += input.samples.size();
    batch = batch.subspan(part.size());
  }
  return {};
}

Status CudaBackend::run_pass(std::span<const StepInput> batch, std::span<Sampled> outputs,
                             size_t first_sample) {
  FIMD_RETURN_IF_ERROR(cuda::check(cudaSetDevice(options_.device), "choosing the device"));
  const PassShape shape = shape_of(batch, plan_.limits.matmul_rows);
  const InputLayout layout(shape, geometry_.page_tokens, plan_.limits.max_pages);
  IdLists ids{.room = {ids_.as<int32_t>(), scratch_.id_capacity}};
  write_inputs(batch, shape, layout, geometry_.page_tokens, inputs_.data(), &ids);
  FIMD_RETURN_IF_ERROR(send_ids({ids_.as<int32_t>(), ids.used}));
  const Samples samples = samples_of(batch, first_sample, shape, layout, ids);
  const auto vocab = static_cast<size_t>(model_.vocab);
  if (options_.keep_logits) {
    n_host_logits_ = first_sample + samples.specs.size();
    if (host_logits_.size() < n_host_logits_ * vocab) host_logits_.resize(n_host_logits_ * vocab);
  }
  FIMD_RETURN_IF_ERROR(
      finish(launch(shape, [&](int first, int n) { return choose(samples, first, n); })));
  return take_results(samples, outputs);
}

/// What restricts the samples of a pass. Mostly a few tokens that end a text, the same in each pass
/// of it: these are there already.
Status CudaBackend::send_ids(std::span<const int32_t> ids) {
  constexpr size_t kFew = 1024;
  if (ids.size() <= sent_ids_.size() && std::equal(ids.begin(), ids.end(), sent_ids_.begin())) {
    return {};
  }
  sent_ids_.clear();
  FIMD_RETURN_IF_ERROR(
      finish(cuda::check(cudaMemcpyAsync(scratch_.ids, ids.data(), ids.size_bytes(),
                                         cudaMemcpyHostToDevice, stream_.get()),
                         "sending token ids")));
  if (ids.size() <= kFew) sent_ids_.assign(ids.begin(), ids.end());
  return {};
}

CudaBackend::Samples CudaBackend::samples_of(std::span<const StepInput> batch, size_t first,
                                             const PassShape& shape, const InputLayout& layout,
                                             const IdLists& ids) const {
  Samples samples;
  samples.first = first;
  samples.rows = reinterpret_cast<const cuda::SampleRow*>(scratch_.inputs + layout.samples);
  // What the device leaves undecided is fetched afterwards, if it is still there then.
  const bool logits_stay = shape.samples <= plan_.limits.small_rows;
  for (const StepInput& input : batch) {
    for (const SampleSpec& spec : input.samples) {
      const bool drawn = is_drawn(spec);
      const bool listed = !spec.allowed.empty() || !spec.extra.empty();
      samples.specs.push_back(&spec);
      samples.on_host.push_back((drawn && !logits_stay) || (ids.overflow && listed));
      samples.any_drawn = samples.any_drawn || drawn;
      samples.any_best = samples.any_best || spec.n_best > 0;
    }
  }
  return samples;
}

/// Enqueues what only some samples of [first, first + n) need, behind their logits and the greedy
/// choice. Graphs have it not in them: those of greedy passes serve all.
Status CudaBackend::choose(const Samples& samples, int first, int n) {
  const cuda::SampleRow* rows = samples.rows + first;
  cudaStream_t stream = stream_.get();
  if (samples.any_drawn) {
    cuda::sample_drawn(scratch_.logits, n, model_.vocab, scratch_.mask, rows, scratch_.ids,
                       results_.as<cuda::SampleResult>() + first, scratch_.sample_workspace,
                       stream);
  }
  if (samples.any_best) {
    cuda::sample_best(scratch_.logits, n, model_.vocab, scratch_.mask, rows, scratch_.ids,
                      best_results_.as<cuda::SampleResult>() + first * cuda::kMaxBest,
                      scratch_.sample_workspace, stream);
  }
  const size_t end = std::min(samples.specs.size(), static_cast<size_t>(first + n));
  for (auto i = static_cast<size_t>(first); i < end; ++i) {
    if (!options_.keep_logits && !samples.on_host[i]) continue;
    FIMD_RETURN_IF_ERROR(fetch_logits(samples.first + i, i - static_cast<size_t>(first)));
  }
  return cuda::check_launch("choosing tokens");
}

/// Enqueues a copy of row `from` of the device's logits.
Status CudaBackend::fetch_logits(size_t row, size_t from) {
  const auto vocab = static_cast<size_t>(model_.vocab);
  if (host_logits_.size() < (row + 1) * vocab) {
    // Copies of other rows may be under way to where they are now.
    FIMD_RETURN_IF_ERROR(stream_.synchronize());
    host_logits_.resize((row + 1) * vocab);
  }
  return cuda::check(
      cudaMemcpyAsync(host_logits_.data() + row * vocab, scratch_.logits + from * vocab,
                      vocab * sizeof(float), cudaMemcpyDeviceToHost, stream_.get()),
      "fetching logits");
}

/// After the pass.
Status CudaBackend::take_results(const Samples& samples, std::span<Sampled> outputs) {
  const auto* results = results_.as<cuda::SampleResult>();
  const auto vocab = static_cast<size_t>(model_.vocab);
  if (samples.any_best) best_.resize(samples.first + samples.specs.size());
  for (size_t i = 0; i < samples.specs.size(); ++i) {
    const SampleSpec& spec = *samples.specs[i];
    const size_t row = samples.first + i;
    const bool undecided = results[i].token == cuda::kUndecided && !samples.on_host[i];
    if (undecided) FIMD_RETURN_IF_ERROR(finish(fetch_logits(row, i)));
    const bool on_host = undecided || samples.on_host[i];
    const auto logits = [&] { return std::span(host_logits_).subspan(row * vocab, vocab); };
    if (spec.n_best == 0) {
      outputs[row] =
          on_host ? sampler_.sample(logits(), spec) : Sampled{results[i].token, results[i].logprob};
      continue;
    }
    std::vector<Sampled>& best = best_[row];
    if (on_host) {
      best = sampler_.likeliest(logits(), spec);
    } else {
      const auto* found = best_results_.as<cuda::SampleResult>() + i * cuda::kMaxBest;
      for (int k = 0; k < spec.n_best && found[k].token >= 0; ++k) {
        best.push_back({found[k].token, found[k].logprob});
      }
    }
    outputs[row] = best.empty() ? Sampled() : best.front();
  }
  return {};
}

/// A shape's first pass is launched piece by piece; while it runs, its graph is made.
Status CudaBackend::launch(const PassShape& shape, const PassLauncher::AfterLogits& after_logits) {
  const bool graphs = options_.use_graphs && graphs_ok_ && shape.small;
  if (!graphs) return launcher_->enqueue(shape, stream_.get(), after_logits);
  if (cudaGraphExec_t graph = graphs_.find(shape)) {
    FIMD_RETURN_IF_ERROR(
        cuda::check(cudaGraphLaunch(graph, stream_.get()), "starting a pass's graph"));
    return shape.samples > 0 ? after_logits(0, shape.samples) : Status();
  }
  FIMD_RETURN_IF_ERROR(launcher_->enqueue(shape, stream_.get(), after_logits));
  make_graph(shape);
  return {};
}

/// Makes the graph of a shape; nothing runs.
void CudaBackend::make_graph(const PassShape& shape) {
  const Status captured = graphs_.capture(shape, capture_stream_.get(), [&] {
    return launcher_->enqueue(shape, capture_stream_.get(), {});
  });
  if (captured.ok()) return;
  graphs_ok_ = false;
  spdlog::warn("passes are launched piece by piece, which is slower: {}", captured.error().message);
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
      make_graph(shape_of({&input, 1}, plan_.limits.matmul_rows));
    }
    if (states_.bytes() > 0) continue;  // no branches
    input.tokens = std::span(tokens).first(1);
    for (size_t n = 2; n <= kMostBranches && graphs_ok_; ++n) {
      make_graph(shape_of(std::vector<StepInput>(n, input), plan_.limits.matmul_rows));
    }
  }
}

Status CudaBackend::finish(Status launched) {
  const Status ran = stream_.synchronize();
  if (launched.ok() && ran.ok()) return {};
  static_cast<void>(cudaGetLastError());
  // An error that stays is one of the context.
  lost_ = !stream_.synchronize().ok() || cudaGetLastError() != cudaSuccess;
  const std::string message = (launched.ok() ? ran : launched).error().message;
  spdlog::error("a pass failed on {}{}: {}", name_, lost_ ? ", and the device is lost" : "",
                message);
  if (lost_) let_go();
  return Error{ErrorCode::kUnavailable,
               lost_ ? "the GPU stopped working; the model must be reloaded (" + message + ")"
                     : "a pass failed on the GPU: " + message};
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
