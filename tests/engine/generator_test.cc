// The whole engine: a file, its tokenizer, the CPU backend and the engine thread.
#include <doctest/doctest.h>

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "engine/generators/local.h"
#include "engine/load.h"
#include "tests/engine/fakes.h"

namespace fimd {
namespace {

constexpr const char* kModel = "tests/fixtures/qwen2-tiny.gguf";

/// Waits for one generation.
class WaitingSink final : public GenerationSink {
 public:
  Flow on_text(std::string_view piece, float logprob) override {
    const std::lock_guard lock(mutex_);
    text_ += piece;
    CHECK(logprob <= 0.0F);
    return Flow::kContinue;
  }
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
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::string text_;
  std::optional<Result<GenerationStats>> result_;
};

std::unique_ptr<Generator> load(EngineOptions options = {}) {
  if (options.model_path.empty()) options.model_path = kModel;
  if (options.threads == 0) options.threads = 2;
  double last = -1;
  auto generator = load_generator(options, [&](double fraction, const std::string& what) {
    CHECK(fraction >= last);
    CHECK(fraction <= 1.0);
    CHECK_FALSE(what.empty());
    last = fraction;
  });
  REQUIRE_MESSAGE(generator.ok(), generator.error().message);
  CHECK(last == 1.0);
  return std::move(*generator);
}

GenerationRequest request(std::string text, int max_tokens, std::shared_ptr<WaitingSink> sink) {
  GenerationRequest r;
  r.prompt = {control_segment("<|fim_prefix|>"), text_segment("def main(args):\n"),
              control_segment("<|fim_suffix|>"), text_segment("\n    return 0\n"),
              control_segment("<|fim_middle|>"), text_segment(std::move(text))};
  r.params.max_tokens = max_tokens;
  r.sink = std::move(sink);
  return r;
}

TEST_CASE("a model file that is overwritten in place does no harm to a loaded model") {
  const std::string path = std::filesystem::temp_directory_path() /
                           ("fimd-overwritten-" + std::to_string(::getpid()) + ".gguf");
  std::filesystem::copy_file(kModel, path, std::filesystem::copy_options::overwrite_existing);
  EngineOptions options;
  options.model_path = path;
  const auto generator = load(options);
  const auto generate = [&](const std::string& text) {
    const auto sink = std::make_shared<WaitingSink>();
    generator->submit(request(text, 16, sink));
    REQUIRE(sink->wait().ok());
    return sink->text();
  };
  const std::string before = generate("    for name in");
  // Shorter than before: pages of the mapping are gone, and touching them is fatal.
  std::ofstream(path, std::ios::binary | std::ios::trunc) << "no model";
  CHECK(generate("    for name in") == before);
  CHECK_FALSE(generate("\x7f\x01 every \xc3\xa9 other ~ token !").empty());
  CHECK_FALSE(load_generator(options, nullptr).ok());
  std::filesystem::remove(path);
}

TEST_CASE("a model is loaded, described and generates") {
  const auto generator = load();
  const ModelInfo& info = generator->info();
  CHECK(info.architecture == "qwen2");
  CHECK(info.path == kModel);
  CHECK(info.quantization == "F16");
  CHECK(info.parameters > 10000);
  CHECK(info.context_length > 0);
  CHECK(std::find(info.control_tokens.begin(), info.control_tokens.end(), "<|fim_middle|>") !=
        info.control_tokens.end());
  CHECK(generator->count_tokens("def main") > 0);

  const auto sink = std::make_shared<WaitingSink>();
  generator->submit(request("    for na", 20, sink));
  const auto cold = sink->wait();
  REQUIRE_MESSAGE(cold.ok(), cold.error().message);
  CHECK(cold->cached_tokens == 0);
  CHECK(cold->prefilled_tokens == cold->prompt_tokens);
  CHECK(cold->total_ms > 0);

  // The same again reads one token; without healing the text is a function of the prompt.
  const auto again = std::make_shared<WaitingSink>();
  generator->submit(request("    for na", 20, again));
  const auto warm = again->wait();
  REQUIRE(warm.ok());
  CHECK(warm->prefilled_tokens == 1);
  CHECK(warm->cached_tokens == warm->prompt_tokens - 1);
  CHECK(again->text() == sink->text());
  const EngineStatus status = generator->status();
  CHECK(status.prompt_tokens == 2 * cold->prompt_tokens);
  CHECK(status.kv_bytes_used > 0);
}

TEST_CASE("unfinished requests are cancelled when the generator goes") {
  const auto sink = std::make_shared<WaitingSink>();
  const auto queued = std::make_shared<WaitingSink>();
  {
    const auto generator = load({.prefill_chunk = 1});
    generator->submit(request("x", 1000000, sink));
    GenerationRequest background = request("y", 1000000, queued);
    background.priority = Priority::kBackground;
    generator->submit(background);
  }
  // A random model may end its text at once; it must have ended, either way.
  const auto first = sink->wait();
  const auto second = queued->wait();
  if (!first.ok()) CHECK(first.error().code == ErrorCode::kCancelled);
  if (!second.ok()) CHECK(second.error().code == ErrorCode::kCancelled);
}

TEST_CASE("requests from several threads") {
  const auto generator = load();
  std::vector<std::shared_ptr<WaitingSink>> sinks;
  for (int i = 0; i < 24; ++i) sinks.push_back(std::make_shared<WaitingSink>());
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < sinks.size(); i += 3) {
        GenerationRequest r = request("  line " + std::to_string(i % 4), 10, sinks[i]);
        if (i % 5 == 0) r.lane = "lane";
        const GenerationId id = generator->submit(r);
        if (i % 7 == 0) generator->cancel(id);
        generator->count_tokens("some text " + std::to_string(i));
        (void)generator->status();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& sink : sinks) {
    const auto result = sink->wait();
    if (!result.ok()) CHECK(result.error().code == ErrorCode::kCancelled);
  }
  CHECK(generator->status().active_requests == 0);
}

TEST_CASE("options are checked, and a small KV budget shortens the context") {
  const auto error = [](EngineOptions options) {
    if (options.model_path.empty()) options.model_path = kModel;
    const auto generator = load_generator(options, nullptr);
    return generator.ok() ? ErrorCode::kInternal : generator.error().code;
  };
  CHECK(error({.model_path = "/nonexistent"}) == ErrorCode::kNotFound);
  CHECK(error({.model_path = "CMakeLists.txt"}) == ErrorCode::kCorrupt);
  CHECK(error({.backend = "tpu"}) == ErrorCode::kInvalidArgument);
  CHECK(error({.threads = -1}) == ErrorCode::kInvalidArgument);
  CHECK(error({.prefill_chunk = -1}) == ErrorCode::kInvalidArgument);
  CHECK(error({.kv_cache_bytes = 1000}) == ErrorCode::kResourceExhausted);
  const auto own = load()->info().context_length;
  CHECK(load({.kv_cache_bytes = 60000})->info().context_length < own);
  CHECK(load({.context_length = 64})->info().context_length == 64);
  CHECK(load({.context_length = 1 << 30})->info().context_length == own);
}

/// A device that dies in its second pass.
class DyingBackend final : public Backend {
 public:
  std::string name() const override { return "dying"; }
  KvGeometry kv() const override { return {.page_tokens = 16, .n_pages = 100, .page_bytes = 1}; }
  int max_batch_tokens() const override { return 64; }
  Status forward(std::span<const StepInput>, std::span<Sampled> outputs) override {
    if (++passes_ > 1) return Error{ErrorCode::kUnavailable, "the device is gone"};
    for (Sampled& sampled : outputs) sampled.token = 65;
    return {};
  }
  void copy_page(int32_t, int32_t, int) override {}
  bool lost() const override { return passes_ > 1; }
  std::span<const float> logits(size_t) const override { return {}; }

 private:
  int passes_ = 0;
};

TEST_CASE("a lost device is told once, and every request has its answer") {
  LocalGenerator::Parts parts;
  auto source = open_model_source(kModel);
  REQUIRE(source.ok());
  parts.source = std::move(*source);
  auto spec = read_model_spec(*parts.source);
  REQUIRE(spec.ok());
  parts.spec = std::make_unique<ModelSpec>(std::move(*spec));
  auto tokenizer = parts.source->tokenizer();
  REQUIRE(tokenizer.ok());
  parts.tokenizer = std::move(*tokenizer);
  parts.backend = std::make_unique<DyingBackend>();
  LocalGenerator generator(std::move(parts), {.context_length = 200});
  std::atomic<int> told = 0;
  generator.when_lost([&] { ++told; });
  for (int i = 0; i < 3; ++i) {
    const auto sink = std::make_shared<WaitingSink>();
    GenerationRequest asked = request("    x", 50, sink);
    asked.params.heal = false;  // the device does not look what it is allowed to say
    generator.submit(std::move(asked));
    const auto result = sink->wait();
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == ErrorCode::kUnavailable);
  }
  // The first answer comes before the callback, the third after it.
  CHECK(told == 1);
}

}  // namespace
}  // namespace fimd
