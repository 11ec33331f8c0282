#include "engine/load.h"

#include <algorithm>

#include "engine/backend_choice.h"
#include "engine/generators/local.h"
#include "support/log.h"

namespace fimd {

namespace {

/// The shares of loading that the progress shows.
constexpr double kOpened = 0.05;
constexpr double kTokenizer = 0.15;
constexpr double kWeights = 0.95;

Status check_options(const EngineOptions& options) {
  const auto bad = [](const std::string& what) { return Error{ErrorCode::kInvalidArgument, what}; };
  if (!is_backend(options.backend)) {
    return bad("backend '" + options.backend + "' is not one of " + backend_names());
  }
  constexpr int kMaxThreads = 1024;
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return bad("the number of threads must be 0 (automatic) to 1024");
  }
  if (options.context_length < 0) return bad("the context length cannot be negative");
  constexpr int kMaxChunk = 1 << 16;
  if (options.prefill_chunk < 0 || options.prefill_chunk > kMaxChunk) {
    return bad("the prefill chunk must be 0 (automatic) to 65536 tokens");
  }
  if (options.kv_cache_bytes < 0) return bad("the KV cache's budget cannot be negative");
  if (options.kv_type != "f16" && options.kv_type != "q8") {
    return bad("the KV cache's type '" + options.kv_type + "' is not one of f16, q8");
  }
  if (options.state_cache_bytes < 0) return bad("the budget of states cannot be negative");
  return {};
}

/// Touches every weight once, so that the first keystroke does not wait for the disk, and measures
/// how long reading a token of a prompt takes. Returns milliseconds.
Result<double> warm_up(Backend& backend, const Tokenizer& tokenizer, int n_tokens) {
  const KvGeometry kv = backend.kv();
  const int most = std::min({n_tokens, backend.max_batch_tokens(), kv.n_pages * kv.page_tokens});
  const std::vector<TokenId> tokens(static_cast<size_t>(most), tokenizer.bos().value_or(0));
  std::vector<int32_t> pages;  // nobody uses any yet
  for (int32_t page = 0; page * kv.page_tokens < most; ++page) pages.push_back(page);
  const SampleSpec sample;
  StepInput input;
  input.pages = pages;
  input.samples = {&sample, 1};
  double ms_per_token = 0;
  // The first pass of a kind may take longer.
  for (const int n : {1, most, most}) {
    input.tokens = std::span(tokens).first(static_cast<size_t>(n));
    Sampled sampled;
    const Stopwatch watch;
    FIMD_RETURN_IF_ERROR(backend.forward({&input, 1}, {&sampled, 1}));
    ms_per_token = watch.elapsed_ms() / n;
    if (sampled.token < 0) {
      return Error{ErrorCode::kCorrupt,
                   "the model's output is not a number; its file may be damaged"};
    }
  }
  return ms_per_token;
}

}  // namespace

Result<std::unique_ptr<Generator>> load_generator(const EngineOptions& options,
                                                  const LoadProgress& progress) {
  const auto report = [&](double fraction, const std::string& what) {
    if (progress) progress(fraction, what);
  };
  FIMD_RETURN_IF_ERROR(check_options(options));
  const Stopwatch watch;
  report(0, "opening the model");
  LocalGenerator::Parts parts;
  FIMD_ASSIGN_OR_RETURN(parts.source, open_model_source(options.model_path));
  parts.source->will_need();
  FIMD_ASSIGN_OR_RETURN(ModelSpec spec, read_model_spec(*parts.source));
  parts.spec = std::make_unique<ModelSpec>(std::move(spec));

  report(kOpened, "reading the vocabulary");
  FIMD_ASSIGN_OR_RETURN(parts.tokenizer, parts.source->tokenizer());
  if (parts.tokenizer->vocab_size() > parts.spec->vocab) {
    return Error{ErrorCode::kCorrupt, "'" + options.model_path + "': the tokenizer has " +
                                          std::to_string(parts.tokenizer->vocab_size()) +
                                          " entries, the model only " +
                                          std::to_string(parts.spec->vocab)};
  }

  report(kTokenizer, "loading the weights");
  FIMD_ASSIGN_OR_RETURN(
      ChosenBackend chosen,
      choose_backend(options, *parts.spec, TokenMask(*parts.tokenizer, parts.spec->vocab),
                     [&](double done) {
                       report(kTokenizer + (kWeights - kTokenizer) * done, "loading the weights");
                     }));
  parts.backend = std::move(chosen.backend);

  // All weights were copied into the order that the kernels like: from here on the file may be
  // replaced, shortened or removed.
  parts.source->wont_need();
  report(kWeights, "warming up");
  SchedulerOptions scheduler = chosen.scheduler;
  FIMD_ASSIGN_OR_RETURN(scheduler.ms_per_token,
                        warm_up(*parts.backend, *parts.tokenizer, chosen.warm_up_tokens));
  const int own = parts.spec->context_length;
  scheduler.context_length =
      options.context_length > 0 ? std::min(options.context_length, own) : own;
  const int wanted = scheduler.context_length;
  auto generator = std::make_unique<LocalGenerator>(std::move(parts), scheduler);
  const ModelInfo& info = generator->info();
  if (info.context_length < wanted) {
    log::warn("the KV cache of {} MiB limits the context to {} of {} tokens",
              generator->status().kv_bytes_budget >> 20, info.context_length, wanted);
  }
  log::info("loaded {} ({}, {}, {} M parameters, {} MiB, context {}) on {} in {:.0f} ms", info.name,
            info.architecture, info.quantization, info.parameters / 1000000,
            info.weight_bytes >> 20, info.context_length, info.backend, watch.elapsed_ms());
  report(1, "ready");
  return std::unique_ptr<Generator>(std::move(generator));
}

}  // namespace fimd
