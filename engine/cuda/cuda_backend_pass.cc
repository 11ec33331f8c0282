// The CUDA backend's passes: from a batch to its samples (see cuda_backend.h).
#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine/cuda/cuda_backend.h"
#include "support/log.h"

namespace fimd {

namespace {

/// Stands where a result is to come.
constexpr int32_t kPending = -3;
static_assert(kPending != cuda::kUndecided);

static_assert(cuda::kMaxMatmulRows <= cuda::kMaxSampleRows);

}  // namespace

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
  PassShape shape = shape_of(batch, plan_.limits.matmul_rows);
  const InputLayout layout(shape, geometry_.page_tokens, plan_.limits.max_pages);
  IdLists ids;
  const auto write = [&](int host) {
    ids = {.room = {ids_.as<int32_t>(), scratch_.id_capacity}};
    write_inputs(batch, shape, layout, geometry_.page_tokens, inputs(host), &ids);
    return std::span<const int32_t>(ids_.as<int32_t>(), ids.used);
  };
  bool runs = false;
  if (ahead_) {
    shape.host = 1 - ahead_->host;  // the other's inputs may not have been read yet
    runs = ids_are_there(write(shape.host)) && begun(shape, layout);
    shape.host = runs ? ahead_->host : 0;
    ahead_.reset();
    if (!runs) FIMD_RETURN_IF_ERROR(finish({}));  // for nothing
  }
  Status launched;
  if (runs) {
    ++passes_ahead_;
  } else {
    launched = send_ids(write(shape.host));
  }
  const Samples samples = samples_of(batch, first_sample, shape, layout, ids);
  const auto vocab = static_cast<size_t>(model_.vocab);
  if (options_.keep_logits) {
    n_host_logits_ = first_sample + samples.specs.size();
    if (host_logits_.size() < n_host_logits_ * vocab) host_logits_.resize(n_host_logits_ * vocab);
  }
  if (!runs && launched.ok()) {
    running_.restart();
    if (!samples.specs.empty()) results(shape.host)->token = kPending;
    launched = launch(shape, [&](int first, int n) { return choose(samples, first, n); });
  }
  const bool watched =
      launched.ok() && batch.size() == 1 && may_begin_next(batch.front(), shape, samples);
  FIMD_RETURN_IF_ERROR(watched ? watch(batch.front(), shape) : finish(launched));
  return take_results(samples, results(shape.host), outputs);
}

/// Whether the pass that was begun reads the inputs written for `shape`, whose first token, if it
/// is the one that pass took, is called so there as well.
bool CudaBackend::begun(const PassShape& shape, const InputLayout& layout) {
  PassShape same = *ahead_;
  same.host = shape.host;
  auto* token = reinterpret_cast<int32_t*>(inputs(shape.host) + layout.tokens);
  if (same != shape || *token != results(shape.host)->token) return false;
  *token = kTakenToken;
  return std::memcmp(inputs(0), inputs(1), layout.bytes) == 0;
}

/// Whether what follows is known but for its token, and leaves nothing behind that would have to be
/// undone.
bool CudaBackend::may_begin_next(const StepInput& input, const PassShape& shape,
                                 const Samples& samples) const {
  return input.goes_on && shape.small && options_.use_graphs && graphs_ok_ &&
         !options_.keep_logits && states_.bytes() == 0 && samples.specs.size() == 1 &&
         !samples.any_drawn && !samples.any_best && !samples.on_host.front() &&
         samples.specs.front()->allowed.empty();
}

/// The pass that follows that of `input`, all but begun. None: its page is not known yet.
std::optional<PassShape> CudaBackend::prepare_next(const StepInput& input, const PassShape& shape) {
  const TokenId taken[] = {kTakenToken};
  StepInput next = input;
  next.first += static_cast<int>(input.tokens.size());
  next.tokens = taken;
  const auto page = static_cast<size_t>(next.first / geometry_.page_tokens);
  if (page >= std::min(next.pages.size(), static_cast<size_t>(plan_.limits.max_pages))) return {};
  PassShape next_shape = shape_of({&next, 1}, plan_.limits.matmul_rows);
  next_shape.host = 1 - shape.host;
  if (graphs_.find(next_shape) == nullptr) make_graph(next_shape);
  if (!graphs_ok_) return {};
  std::vector<int32_t> extra(next.samples.front().extra.size());  // is on the device already
  IdLists ids{.room = extra};
  write_inputs({&next, 1}, next_shape,
               InputLayout(next_shape, geometry_.page_tokens, plan_.limits.max_pages),
               geometry_.page_tokens, inputs(next_shape.host), &ids);
  return next_shape;
}

Status CudaBackend::begin(const PassShape& shape) {
  results(shape.host)->token = kPending;
  FIMD_RETURN_IF_ERROR(cuda::check(cudaGraphLaunch(graphs_.find(shape)->exec, stream_.get()),
                                   "starting a pass's graph"));
  ahead_ = shape;
  return {};
}

/// Waits for the one result of a pass, and begins the next one shortly before it is due.
Status CudaBackend::watch(const StepInput& input, const PassShape& shape) {
  constexpr double kLeadMs = 0.15;  // several times what a launch takes
  constexpr unsigned kLooksBetweenErrors = 4096;
  std::optional<PassShape> next = prepare_next(input, shape);
  PassGraph* graph = graphs_.find(shape);
  if (graph == nullptr || graph->run_ms == 0) next.reset();
  const double begin_ms = graph != nullptr ? graph->run_ms - kLeadMs : 0;
  const std::atomic_ref<int32_t> token(results(shape.host)->token);
  const auto arrived = [&] { return token.load(std::memory_order_acquire) != kPending; };
  unsigned looks = 0;
  for (; !arrived(); ++looks) {
    if (next && running_.elapsed_ms() >= begin_ms) {
      if (Status launched = begin(*next); !launched.ok()) return finish(launched);
      next.reset();
    }
    if (looks % kLooksBetweenErrors != kLooksBetweenErrors - 1) continue;
    const cudaError_t state = cudaStreamQuery(stream_.get());
    static_cast<void>(cudaGetLastError());
    if (state == cudaErrorNotReady || arrived()) continue;
    return finish(state == cudaSuccess
                      ? Status(Error{ErrorCode::kInternal, "a pass ended without its result"})
                      : cuda::check(state, "waiting"));
  }
  const double ms = running_.restart();
  if (looks > 0 && graph != nullptr) graph->run_ms = ms;  // else it had ended before
  return {};
}

bool CudaBackend::ids_are_there(std::span<const int32_t> ids) const {
  return ids.size() <= sent_ids_.size() && std::equal(ids.begin(), ids.end(), sent_ids_.begin());
}

/// What restricts the samples of a pass. Mostly a few tokens that end a text, the same in each pass
/// of it: these are there already.
Status CudaBackend::send_ids(std::span<const int32_t> ids) {
  constexpr size_t kFew = 1024;
  if (ids_are_there(ids)) return {};
  sent_ids_.clear();
  if (ids.size() <= kFew) sent_ids_.assign(ids.begin(), ids.end());
  return cuda::check(cudaMemcpyAsync(scratch_.ids, ids.data(), ids.size_bytes(),
                                     cudaMemcpyHostToDevice, stream_.get()),
                     "sending token ids");
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
                       results(0) + first, scratch_.sample_workspace, stream);
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
Status CudaBackend::take_results(const Samples& samples, const cuda::SampleResult* results,
                                 std::span<Sampled> outputs) {
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
  if (const PassGraph* graph = graphs_.find(shape)) {
    FIMD_RETURN_IF_ERROR(
        cuda::check(cudaGraphLaunch(graph->exec, stream_.get()), "starting a pass's graph"));
    return shape.samples > 0 ? after_logits(0, shape.samples) : Status();
  }
  FIMD_RETURN_IF_ERROR(launcher_->enqueue(shape, stream_.get(), after_logits));
  make_graph(shape);
  return {};
}

Status CudaBackend::finish(Status launched) {
  const Status ran = stream_.synchronize();
  if (launched.ok() && ran.ok()) return {};
  ahead_.reset();
  sent_ids_.clear();
  static_cast<void>(cudaGetLastError());
  // An error that stays is one of the context.
  lost_ = !stream_.synchronize().ok() || cudaGetLastError() != cudaSuccess;
  const std::string message = (launched.ok() ? ran : launched).error().message;
  log::error("a pass failed on {}{}: {}", name_, lost_ ? ", and the device is lost" : "", message);
  if (lost_) let_go();
  return Error{ErrorCode::kUnavailable,
               lost_ ? "the GPU stopped working; the model must be reloaded (" + message + ")"
                     : "a pass failed on the GPU: " + message};
}

}  // namespace fimd
