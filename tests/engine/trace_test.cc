// Random editing sessions on real (tiny) models: whatever the cache reuses, every logit that a
// token is chosen from equals that of a cold run over the same tokens.
#include <doctest/doctest.h>

#include "engine/cpu_backend.h"
#include "engine/gguf_vocab.h"
#include "engine/scheduler.h"
#include "tests/engine/traces.h"

namespace fimd {
namespace {

using namespace test;  // NOLINT: what this file is made of

Session run_traces(const std::string& name, int64_t kv_bytes,
                   int64_t checkpoint_bytes = int64_t{8} << 20) {
  auto file = GgufFile::open("tests/fixtures/" + name + ".gguf");
  REQUIRE(file.ok());
  const auto spec = read_model_spec(**file);
  REQUIRE(spec.ok());
  const auto tokenizer = load_gguf_tokenizer(**file);
  REQUIRE(tokenizer.ok());
  const TokenMask mask(**tokenizer, spec->vocab);
  const auto warm = CpuBackend::make(*spec, mask,
                                     {.threads = 2,
                                      .kv_bytes = kv_bytes,
                                      .page_tokens = 8,
                                      .max_batch_tokens = 60,
                                      .state_slots = 3,
                                      .checkpoint_bytes = checkpoint_bytes},
                                     nullptr);
  const auto cold =
      CpuBackend::make(*spec, mask, {.kv_bytes = 4 << 20, .max_batch_tokens = 500}, nullptr);
  REQUIRE(warm.ok());
  REQUIRE(cold.ok());
  const Session session = run_session(**warm, **cold, **tokenizer, 40, 120);
  CHECK(session.worst < 0.02);  // of logits of about 1; the KV cache is in half precision
  CHECK(session.samples > 100);
  return session;
}

TEST_CASE("random editing sessions: logits after reuse equal those of a cold run") {
  for (const char* name :
       {"qwen2-tiny", "qwen3-tiny", "llama-tiny", "qwen35-tiny", "qwen35-plain-tiny"}) {
    CAPTURE(name);
    CHECK(run_traces(name, 8 << 20).evicted_pages == 0);
  }
}

TEST_CASE("the same with a cache so small that it evicts all the time") {
  CHECK(run_traces("qwen2-tiny", 250000).evicted_pages > 0);
  const Session both = run_traces("qwen35-tiny", 250000, 200000);
  CHECK(both.evicted_pages > 0);
  CHECK(both.evicted_checkpoints > 0);
}

}  // namespace
}  // namespace fimd
