// Times the engine alone: cold prefill, decoding, and typing a line key by key.
//
//   engine_bench MODEL.gguf SOURCE-FILE [threads] [prompt tokens]
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>

#include "engine/load.h"
#include "support/log.h"

namespace {

using namespace fimd;  // NOLINT: a program of one file

class WaitingSink final : public GenerationSink {
 public:
  Flow on_text(std::string_view /*piece*/, float /*logprob*/) override { return Flow::kContinue; }
  void on_done(Result<GenerationStats> stats) override {
    const std::lock_guard lock(mutex_);
    result_ = std::move(stats);
    done_.notify_all();
  }
  Result<GenerationStats> wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return result_.has_value(); });
    return *result_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::optional<Result<GenerationStats>> result_;
};

GenerationStats run(Generator& generator, const Prompt& prompt, int max_tokens) {
  const auto sink = std::make_shared<WaitingSink>();
  GenerationRequest request;
  request.prompt = prompt;
  request.params.max_tokens = max_tokens;
  request.sink = sink;
  generator.submit(request);
  auto result = sink->wait();
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::exit(1);
  }
  return *result;
}

struct Series {
  std::vector<double> values;
  void add(double value) { values.push_back(value); }
  double at(double fraction) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(fraction * static_cast<double>(values.size() - 1))];
  }
};

/// The beginning of `text` that takes about `tokens` tokens, to the end of a line.
std::string take_tokens(const Generator& generator, const std::string& text, size_t tokens) {
  std::string taken;
  size_t at = 0;
  while (at < text.size() && generator.count_tokens(taken) < tokens) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    taken += text.substr(at, end - at);
    at = end;
  }
  return taken;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: engine_bench MODEL.gguf SOURCE-FILE [threads] [prompt tokens]\n");
    return 2;
  }
  (void)log::set_up("warn", "");
  EngineOptions options;
  options.model_path = argv[1];
  options.threads = argc > 3 ? std::atoi(argv[3]) : 0;
  const size_t prompt_tokens = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : 1500;
  auto loaded = load_generator(options, nullptr);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", loaded.error().message.c_str());
    return 1;
  }
  Generator& generator = **loaded;
  std::ifstream file(argv[2]);
  const std::string source((std::istreambuf_iterator<char>(file)), {});
  const std::string prefix = take_tokens(generator, source, prompt_tokens * 3 / 4);
  const std::string suffix =
      take_tokens(generator, source.substr(prefix.size()), prompt_tokens / 4);
  std::printf("%s on %s\n", generator.info().name.c_str(), generator.info().backend.c_str());
  const auto prompt = [&](const std::string& typed) {
    return Prompt{control_segment("<|fim_prefix|>"), text_segment(prefix),
                  control_segment("<|fim_suffix|>"), text_segment(suffix),
                  control_segment("<|fim_middle|>"), text_segment(typed)};
  };

  const GenerationStats cold = run(generator, prompt("    "), 64);
  std::printf("cold: %d prompt tokens, prefill %.1f ms (%.0f tokens/s), first text %.1f ms\n",
              cold.prompt_tokens, cold.prefill_ms, 1000 * cold.prefilled_tokens / cold.prefill_ms,
              cold.first_text_ms);
  std::printf("decode: %.1f tokens/s over %d tokens\n", generator.status().decode_tokens_per_second,
              cold.decoded_tokens);

  const std::string line = "    result = self.compute_total(first_value, second_value)";
  Series computed;
  Series first_text;
  Series total;
  constexpr int kTokens = 12;  // of a single-line reply
  for (size_t typed = 4; typed <= line.size(); ++typed) {
    const GenerationStats key = run(generator, prompt(line.substr(0, typed)), kTokens);
    computed.add(key.prefilled_tokens);
    if (key.first_text_ms > 0) first_text.add(key.first_text_ms);
    total.add(key.total_ms);
  }
  std::printf("keys: computed tokens median %.0f worst %.0f\n", computed.at(0.5), computed.at(1));
  std::printf("keys: first text ms median %.1f p95 %.1f\n", first_text.at(0.5),
              first_text.at(0.95));
  std::printf("keys: reply of %d tokens ms median %.1f p95 %.1f\n", kTokens, total.at(0.5),
              total.at(0.95));
  return 0;
}
