#include "engine/memory_needs.h"

#include <doctest/doctest.h>

#include "engine/gguf.h"
#include "engine/models/registry.h"
#include "tests/engine/qwen36_27b.h"

namespace fimd {
namespace {

using test::qwen36_27b;

TEST_CASE("the 27B hybrid: state, keys and values, weights") {
  const MemoryNeeds needs = memory_needs(qwen36_27b());
  CHECK(needs.kv_bytes_per_token == 65536);
  CHECK(needs.state_bytes == 48 * (48 * 128 * 128 + 3 * 10240) * 4);
  CHECK(needs.state_bytes == 156893184);
  CHECK(needs.weight_bytes == int64_t{16536406016});
  // Codes of 16 layers, and a layer of halves.
  CHECK(memory_needs(qwen36_27b(), true).kv_bytes_per_token == 16 * 2 * 4 * (256 + 16) + 4096);
}

TEST_CASE("the 27B hybrid in Q4_K_M fits 22 GB at 8k and 32k, with checkpoints to reuse") {
  const MemoryNeeds needs = memory_needs(qwen36_27b());
  MemoryWishes wishes;
  wishes.budget_bytes = int64_t{22} * 1000 * 1000 * 1000;
  for (const auto& [context, least] : {std::pair{8192, 20}, std::pair{32768, 8}}) {
    CAPTURE(context);
    wishes.context_length = context;
    const auto split = split_memory(needs, wishes);
    REQUIRE_MESSAGE(split.ok(), split.error().message);
    CHECK(split->total() <= wishes.budget_bytes);
    CHECK(wishes.budget_bytes - split->total() < needs.state_bytes);
    CHECK(split->n_checkpoints >= least);
    CHECK(split->kv_bytes == (int64_t{context} + 4096) * 65536);
  }
  wishes.context_length = 131072;
  const auto split = split_memory(needs, wishes);
  REQUIRE_FALSE(split.ok());
  CHECK(split.error().code == ErrorCode::kResourceExhausted);
  CHECK(split.error().message.find("MiB more") != std::string::npos);
}

TEST_CASE("what a file's model needs is what its tensors take") {
  for (const char* name : {"qwen2-tiny", "qwen35-tiny", "qwen35-plain-tiny"}) {
    auto file = GgufFile::open("tests/fixtures/" + std::string(name) + ".gguf");
    REQUIRE(file.ok());
    const auto spec = read_model_spec(**file);
    REQUIRE(spec.ok());
    const MemoryNeeds needs = memory_needs(*spec);
    CHECK(needs.weight_bytes == spec->weight_bytes);
    CHECK((needs.state_bytes > 0) == (std::string(name) != "qwen2-tiny"));
  }
  // Without recurrent layers everything that is left stays free.
  const auto split = split_memory({1000, 10, 0}, {5000, 100, 2, 500});
  REQUIRE(split.ok());
  CHECK(split->total() == 3000);
  CHECK(split->n_checkpoints == 0);
}

}  // namespace
}  // namespace fimd
