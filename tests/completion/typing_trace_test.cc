#include "completion/typing_trace.h"

#include <doctest/doctest.h>

#include "engine/load.h"
#include "support/log.h"

namespace fimd {
namespace {

std::shared_ptr<Generator> tiny_model() {
  log::set_level(log::Level::kOff);
  EngineOptions options;
  options.model_path = "tests/fixtures/qwen2-tiny.gguf";
  options.threads = 1;
  options.kv_cache_bytes = int64_t{32} << 20;
  auto generator = load_generator(options, nullptr);
  REQUIRE(generator.ok());
  return std::move(generator).value();
}

TEST_CASE("quantiles are nearest ranks of what is there") {
  CHECK(quantiles({}).median == 0);
  CHECK(quantiles({-1, -1}).p95 == 0);
  CHECK(quantiles({3, 1, 2, -1}).median == 2);
  CHECK(quantiles({1, 2, 3, 4}).median == 2);
  std::vector<double> many;
  for (int i = 1; i <= 100; ++i) many.push_back(i);
  CHECK(quantiles(many).median == 50);
  CHECK(quantiles(many).p95 == 95);
}

TEST_CASE("a trace types the file's lines and counts what requests cost") {
  const auto generator = tiny_model();
  std::string text;
  for (int i = 0; i < 24; ++i) {
    text += "def f" + std::to_string(i) + "(a):\n    return a + " + std::to_string(i) + "\n\n";
  }
  TypingTraceOptions options;
  options.lines = 3;
  options.new_tokens = 4;
  size_t seen = 0;
  const auto report = run_typing_trace(generator, "/project/a.py", "python", text, options,
                                       [&](const TypingSample&) { ++seen; });
  REQUIRE(report.ok());
  CHECK(report->new_lines.requests == 2);  // the first one is the cold one
  CHECK(report->keys.requests >= 6);
  CHECK(seen == report->samples.size() + 1);
  CHECK(report->cold.new_line);
  CHECK(report->cold.computed_tokens + report->cold.cached_tokens == report->cold.prompt_tokens);
  for (const TypingSample& sample : report->samples) {
    CHECK(sample.source == "model");
    CHECK(sample.decoded_tokens <= 16);  // a search may repeat what healing took back byte by byte
    CHECK(sample.reply_ms > 0);
    if (sample.new_line) continue;
    // Typing on a line computes only what was typed and what healing takes back.
    CHECK(sample.computed_tokens <= 16);
    CHECK(sample.cached_tokens + sample.computed_tokens == sample.prompt_tokens);
    CHECK(sample.cached_tokens > sample.computed_tokens);
  }
}

TEST_CASE("nothing to type") {
  const auto generator = tiny_model();
  CHECK_FALSE(run_typing_trace(generator, "/a.py", "python", "", {}).ok());
  CHECK_FALSE(run_typing_trace(generator, "/a.py", "python", "x\n\n\n\n", {}).ok());
  CHECK_FALSE(run_typing_trace(nullptr, "/a.py", "python", "x", {}).ok());
  TypingTraceOptions start;
  start.place = 0;
  CHECK(run_typing_trace(generator, "/a.py", "python", "ab", start).ok());
}

}  // namespace
}  // namespace fimd
