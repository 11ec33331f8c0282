// Times whole models on the GPU, on synthetic weights of true shapes: decoding, the keystroke, cold
// prefill, several sequences at once. Each time is that of Backend::forward as the scheduler calls
// it, from tokens to tokens.
//
// usage: gpu_engine_bench [--models 7b-q4_k_m,...] [--only search|decode] [--json FILE]
//                         [--markdown FILE] [--commit ID]
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "engine/cuda/cuda.h"
#include "support/clock.h"
#include "support/log.h"
#include "tests/bench/search_bench.h"
#include "tests/bench/synthetic_models.h"
#include "tests/engine/all_tokens.h"

namespace fimd::bench {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "gpu_engine_bench: %s\n", message.c_str());
  std::exit(1);
}

void require(cudaError_t error, const char* doing) {
  if (error != cudaSuccess) fail(std::string(doing) + ": " + cudaGetErrorString(error));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

/// Bytes read and written per second by a large copy on the device.
double copy_bandwidth() {
  constexpr size_t kBytes = size_t{2} << 30;
  std::byte* memory = nullptr;
  require(cudaMalloc(reinterpret_cast<void**>(&memory), 2 * kBytes), "memory for a copy");
  require(cudaMemset(memory, 0x5A, 2 * kBytes), "filling memory");
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  require(cudaEventCreate(&begin), "an event");
  require(cudaEventCreate(&end), "an event");
  std::vector<double> ms;
  for (int i = 0; i < 12; ++i) {
    require(cudaEventRecord(begin), "timing");
    require(cudaMemcpyAsync(memory, memory + kBytes, kBytes, cudaMemcpyDeviceToDevice), "copying");
    require(cudaEventRecord(end), "timing");
    require(cudaEventSynchronize(end), "timing");
    float elapsed = 0;
    require(cudaEventElapsedTime(&elapsed, begin, end), "timing");
    ms.push_back(elapsed);
  }
  require(cudaEventDestroy(begin), "an event");
  require(cudaEventDestroy(end), "an event");
  require(cudaFree(memory), "freeing memory");
  return 2.0 * kBytes / (median(ms) * 1e-3);
}

/// One sequence on pages of its own.
class Sequence {
 public:
  Sequence(const KvGeometry& kv, int first_page, int max_tokens, int32_t slot = 0) : slot_(slot) {
    pages_.resize(static_cast<size_t>((max_tokens + kv.page_tokens - 1) / kv.page_tokens));
    std::iota(pages_.begin(), pages_.end(), first_page);
  }
  StepInput input(std::span<const TokenId> tokens, int first, bool sample,
                  bool goes_on = false) const {
    StepInput step;
    step.tokens = tokens;
    step.first = first;
    step.pages = pages_;
    step.slot = slot_;
    if (sample) step.samples = {&spec_, 1};
    step.goes_on = goes_on;
    return step;
  }
  int n_pages() const { return static_cast<int>(pages_.size()); }
  int32_t slot() const { return slot_; }

 private:
  int32_t slot_;
  std::vector<int32_t> pages_;
  SampleSpec spec_;
};

class ModelBench {
 public:
  ModelBench(const SyntheticModel& model, Backend& backend, double bandwidth)
      : model_(model), backend_(backend), bandwidth_(bandwidth) {
    tokens_.resize(kPrefix + kCompletion + 64);
    uint32_t x = 1;
    for (TokenId& token : tokens_) {
      x = x * 1664525 + 1013904223;
      token = static_cast<TokenId>((x >> 8) % static_cast<uint32_t>(model.spec().vocab));
    }
  }

  Json run(const std::string& only) {
    Json result;
    if (only == "search") {
      search(&result);
      return result;
    }
    const Sequence one(backend_.kv(), 0, kPrefix + 128);
    decode(one, &result);
    if (only == "decode") return result;
    prefill(one, &result);
    keystroke(one, &result);
    new_line(one, &result);
    if (recurrent()) restore(one, &result);
    together(&result);
    search(&result);
    return result;
  }

 private:
  static constexpr int kContext = 1024;
  static constexpr int kPrefix = 4096;
  static constexpr int kKeyTokens = 8;
  static constexpr int kCompletion = 16;
  static constexpr int kSuffix = 512;  // read again when a line is added before it
  static constexpr int kLine = 16;

  bool recurrent() const { return backend_.state().n_slots > 0; }

  std::span<const TokenId> tokens(int first, int n) const {
    return std::span(tokens_).subspan(static_cast<size_t>(first), static_cast<size_t>(n));
  }
  double pass_ms(std::span<const StepInput> batch) {
    size_t samples = 0;
    for (const StepInput& input : batch) samples += input.samples.size();
    std::vector<Sampled> sampled(samples);
    const Stopwatch watch;
    const Status status = backend_.forward(batch, sampled);
    const double ms = watch.elapsed_ms();
    if (!status.ok()) fail(status.error().message);
    for (const Sampled& s : sampled) {
      if (s.token < 0) fail("the model's output is not a number");
      sampled_ = s.token;
    }
    return ms;
  }
  double pass_ms(const StepInput& input) { return pass_ms({&input, 1}); }
  void read(const Sequence& sequence, int n) {
    for (int at = 0; at < n;) {
      const int chunk = std::min(n - at, backend_.max_batch_tokens());
      pass_ms(sequence.input(tokens(at, chunk), at, false));
      at += chunk;
    }
  }
  /// n tokens from position `first` on, the first of them the one sampled last: the times from
  /// one's result to the next's.
  std::vector<double> generate(const Sequence& sequence, int first, int n) {
    std::vector<double> ms;
    Stopwatch watch;
    for (int i = 0; i < n; ++i) {
      const TokenId token = sampled_;
      pass_ms(sequence.input({&token, 1}, first + i, true, i + 1 < n));
      ms.push_back(watch.restart());
    }
    return ms;
  }
  double step_ms(const Sequence& sequence, int first, int n) {
    return median(generate(sequence, first, n));
  }

  void decode(const Sequence& one, Json* result) {
    read(one, kContext);
    step_ms(one, kContext, 8);
    const double ms = step_ms(one, kContext, 64);
    const double bytes = static_cast<double>(model_.bytes_per_token()) +
                         static_cast<double>(model_.kv_bytes_per_position()) * kContext +
                         2.0 * static_cast<double>(model_.state_bytes());
    const double bound_ms = bytes / bandwidth_ * 1e3;
    (*result)["decode"] = {{"context", kContext},         {"ms", ms},
                           {"tokens_per_s", 1e3 / ms},    {"bytes", bytes},
                           {"bound_ms", bound_ms},        {"fraction", bound_ms / ms},
                           {"gb_per_s", bytes / ms / 1e6}};
    decode_ms_ = ms;
  }

  void prefill(const Sequence& one, Json* result) {
    read(one, kPrefix);
    std::vector<double> ms;
    for (int i = 0; i < 5; ++i) {
      const Stopwatch watch;
      read(one, kPrefix - 1);
      pass_ms(one.input(tokens(kPrefix - 1, 1), kPrefix - 1, true));
      ms.push_back(watch.elapsed_ms());
    }
    const SyntheticShape& shape = model_.shape();
    // Products with the weights, and of half the queries with keys and with values.
    const double attention =
        2.0 * kPrefix * kPrefix * model_.attention_layers() * shape.heads * shape.head_dim;
    // A recurrent layer multiplies each head's state by two vectors and adds a product of two.
    const double delta = 6.0 * kPrefix * static_cast<double>(model_.delta_elements());
    const double flops = 2.0 * model_.products_per_token() * kPrefix + attention + delta;
    const double t = median(ms);
    (*result)["prefill"] = {{"tokens", kPrefix},
                            {"ms", t},
                            {"tokens_per_s", kPrefix / t * 1e3},
                            {"tflops", flops / t / 1e9}};
    // In chunks as the scheduler cuts them.
    Json chunks = Json::array();
    for (const int chunk : {16, 32, 64, 128, 256, 512, 1024, 2048}) {
      if (chunk > backend_.max_batch_tokens()) continue;
      std::vector<double> each;
      for (int i = 0; i < 5; ++i) {
        each.push_back(pass_ms(one.input(tokens(kContext, chunk), kContext, false)));
      }
      chunks.push_back({{"tokens", chunk}, {"ms", median(each)}});
    }
    (*result)["prefill"]["chunks"] = chunks;
    read(one, kPrefix);
    if (recurrent()) backend_.save_state(one.slot(), 0);
  }

  /// The first `prefix` tokens are read (if the model is recurrent, in checkpoint 0) and some
  /// more come: taking the state back, and a pass that leaves a checkpoint before its end.
  double resume_ms(const Sequence& one, int prefix, int new_tokens, bool goes_on) {
    StepInput input = one.input(tokens(prefix, new_tokens), prefix, true, goes_on);
    const StateSave save = {new_tokens - 1, 1};
    const Stopwatch watch;
    if (recurrent()) {
      backend_.restore_state(0, one.slot());
      input.saves = {&save, 1};
    }
    pass_ms(input);
    return watch.elapsed_ms();
  }

  void keystroke(const Sequence& one, Json* result) {
    std::vector<double> first;
    std::vector<double> whole;
    for (int i = 0; i < 24; ++i) {
      const double ms = resume_ms(one, kPrefix, kKeyTokens, true);
      first.push_back(ms);
      const auto rest = generate(one, kPrefix + kKeyTokens, kCompletion - 1);
      whole.push_back(std::accumulate(rest.begin(), rest.end(), ms));
    }
    const double step = step_ms(one, kPrefix + kKeyTokens, 32);
    (*result)["keystroke"] = {{"prefix", kPrefix},
                              {"new_tokens", kKeyTokens},
                              {"first_token_ms", median(first)},
                              {"decode_step_ms", step},
                              {"decode_steps", median(first) / step},
                              {"completion_tokens", kCompletion},
                              {"completion_ms", median(whole)}};
  }

  /// A line is added before a suffix, which must be read again.
  void new_line(const Sequence& one, Json* result) {
    constexpr int kRead = kPrefix - kSuffix;
    constexpr int kNew = kSuffix + kLine;
    read(one, kRead);
    if (recurrent()) backend_.save_state(one.slot(), 0);
    std::vector<double> ms;
    for (int i = 0; i < 8; ++i) ms.push_back(resume_ms(one, kRead, kNew, false));
    (*result)["new_line"] = {{"prefix", kRead}, {"new_tokens", kNew}, {"ms", median(ms)}};
  }

  void restore(const Sequence& one, Json* result) {
    constexpr int kTimes = 20;
    std::vector<double> ms;
    for (int i = 0; i < 8; ++i) {
      require(cudaDeviceSynchronize(), "waiting");
      const Stopwatch watch;
      for (int k = 0; k < kTimes; ++k) backend_.restore_state(k % 2, one.slot());
      require(cudaDeviceSynchronize(), "waiting");
      ms.push_back(watch.elapsed_ms() / kTimes);
    }
    const double bytes = 2.0 * static_cast<double>(backend_.state().slot_bytes);
    (*result)["restore"] = {{"state_bytes", backend_.state().slot_bytes},
                            {"ms", median(ms)},
                            {"bound_ms", bytes / bandwidth_ * 1e3}};
  }

  void together(Json* result) {
    Json list = Json::array();
    for (const int n : {2, 4, 8, 16}) {
      std::vector<Sequence> all;
      const int max_tokens = kContext + 128;
      const int pages = Sequence(backend_.kv(), 0, max_tokens).n_pages();
      if (pages * n > backend_.kv().n_pages || (recurrent() && n > backend_.state().n_slots)) break;
      for (int i = 0; i < n; ++i) {
        all.emplace_back(backend_.kv(), i * pages, max_tokens, recurrent() ? i : 0);
        read(all.back(), kContext);
      }
      std::vector<double> ms;
      for (int i = 0; i < 40; ++i) {
        std::vector<StepInput> batch;
        for (const Sequence& sequence : all) {
          batch.push_back(sequence.input(tokens(kContext + i, 1), kContext + i, true));
        }
        ms.push_back(pass_ms(batch));
      }
      ms.erase(ms.begin(), ms.begin() + 4);
      const double t = median(ms);
      list.push_back({{"sequences", n},
                      {"ms", t},
                      {"tokens_per_s", n / t * 1e3},
                      {"times_one", n * decode_ms_ / t}});
    }
    (*result)["together"] = list;
  }

  /// A reply's time with branches, through the scheduler.
  void search(Json* result) {
    if (recurrent()) return;
    SearchBench bench(backend_, static_cast<int>(model_.spec().vocab));
    Json list = Json::array();
    for (const int width : {1, 2, 4, 8}) {
      const double ms = bench.median_ms(width, kPrefix, kKeyTokens, kCompletion);
      if (ms < 0) fail("a search failed");
      list.push_back({{"width", width}, {"completion_tokens", kCompletion}, {"ms", ms}});
    }
    (*result)["search"] = list;
  }

  const SyntheticModel& model_;
  Backend& backend_;
  const double bandwidth_;
  std::vector<TokenId> tokens_;
  TokenId sampled_ = 0;  // last
  double decode_ms_ = 0;
};

std::string number(double value, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string markdown(const Json& report) {
  std::ostringstream out;
  out << "# " << report["gpu"].get<std::string>() << ", " << report["date"].get<std::string>()
      << "\n\nCommit " << report["commit"].get<std::string>() << ", driver for CUDA "
      << report["driver"].get<std::string>() << ", "
      << number(report["copy_gb_per_s"].get<double>() / 1e3, 2)
      << " TB/s measured (copy, read + write). Synthetic weights of the true shapes; every time is "
         "of whole passes, from tokens to tokens.\n\n"
      << "| model | decode at 1k, tok/s | ms/token | bytes bound, ms | fraction | keystroke (8 new "
         "on 4,096), ms | in decode steps | 16 tokens after it, ms | new line (528 new), ms | "
         "state "
         "taken back, ms | prefill 4,096, ms | TFLOP/s | 8 at once, tok/s | times one |\n"
         "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
  for (const Json& model : report["models"]) {
    const Json& decode = model["decode"];
    const Json& key = model["keystroke"];
    std::string eight = "-";
    std::string times = "-";
    for (const Json& row : model["together"]) {
      if (row["sequences"] != 8) continue;
      eight = number(row["tokens_per_s"], 0);
      times = number(row["times_one"], 1) + "x";
    }
    out << "| " << model["model"].get<std::string>() << " | " << number(decode["tokens_per_s"], 0)
        << " | " << number(decode["ms"], 3) << " | " << number(decode["bound_ms"], 3) << " | "
        << number(100 * decode["fraction"].get<double>(), 0) << "% | "
        << number(key["first_token_ms"], 2) << " | " << number(key["decode_steps"], 2) << " | "
        << number(key["completion_ms"], 1) << " | " << number(model["new_line"]["ms"], 1) << " | "
        << (model.contains("restore") ? number(model["restore"]["ms"], 3) : "-") << " | "
        << number(model["prefill"]["ms"], 1) << " | " << number(model["prefill"]["tflops"], 0)
        << " | " << eight << " | " << times << " |\n";
  }
  return out.str();
}

int run(int argc, char** argv) {
  std::string models = "1.5b-bf16,1.5b-q4_k_m,7b-bf16,7b-q4_k_m,32b-q4_k_m,qwen3.6-27b-q4_k_m";
  std::string json_file;
  std::string markdown_file;
  std::string commit = "unknown";
  std::string only;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string key = argv[i];
    std::string* to = key == "--models"     ? &models
                      : key == "--json"     ? &json_file
                      : key == "--markdown" ? &markdown_file
                      : key == "--only"     ? &only
                      : key == "--commit"   ? &commit
                                            : nullptr;
    if (to == nullptr) fail("unknown argument " + key);
    *to = argv[i + 1];
  }
  if (!only.empty() && only != "search" && only != "decode") {
    fail("--only knows search and decode");
  }
  if (argc % 2 == 0) fail(std::string("what is ") + argv[argc - 1] + "?");
  static_cast<void>(log::set_up("warn", ""));
  const CudaProbe probe = probe_cuda();
  const CudaDevice* device = probe.best();
  if (device == nullptr) {
    std::fprintf(stderr, "skipped: %s\n", probe.problem.c_str());
    return 77;
  }
  require(cudaSetDevice(device->index), "choosing the device");
  const double bandwidth = copy_bandwidth();
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof date, "%Y-%m-%d", std::gmtime(&now));
  Json report = {
      {"gpu", device->name},
      {"compute_capability", std::to_string(device->major) + "." + std::to_string(device->minor)},
      {"driver", probe.driver},
      {"cublas", probe.cublas},
      {"commit", commit},
      {"date", date},
      {"copy_gb_per_s", bandwidth / 1e9},
      {"models", Json::array()}};
  std::istringstream names(models);
  for (std::string name; std::getline(names, name, ',');) {
    std::string quantization;
    const SyntheticShape* shape = find_synthetic(name, &quantization);
    if (shape == nullptr) fail("unknown model " + name);
    const SyntheticModel model(*shape, quantization);
    const Stopwatch watch;
    CudaOptions options;
    options.device = device->index;
    constexpr int kContext = 8192;
    options.context_length = kContext;
    constexpr int kSlots = 16;
    options.state_slots = kSlots;
    auto backend =
        make_cuda_backend(model.spec(), test::everything(shape->vocab), options, nullptr);
    if (!backend.ok()) {
      std::fprintf(stderr, "%s: left out: %s\n", name.c_str(), backend.error().message.c_str());
      continue;
    }
    const double load_ms = watch.elapsed_ms();
    Json result = {{"model", model.spec().name},
                   {"weight_bytes_per_token", model.bytes_per_token()},
                   {"load_ms", load_ms}};
    result.update(ModelBench(model, **backend, bandwidth).run(only));
    report["models"].push_back(result);
    std::fprintf(stderr, "%s\n", result.dump().c_str());
  }
  if (!only.empty()) return 0;
  const std::string table = markdown(report);
  std::fputs(table.c_str(), stdout);
  if (!json_file.empty()) std::ofstream(json_file) << report.dump(2) << "\n";
  if (!markdown_file.empty()) std::ofstream(markdown_file) << table;
  return 0;
}

}  // namespace
}  // namespace fimd::bench

int main(int argc, char** argv) { return fimd::bench::run(argc, argv); }
