// How a GPU's memory is divided up. Needs the CUDA build, but no GPU.
#include <doctest/doctest.h>

#include "engine/cuda/memory_plan.h"
#include "engine/cuda/pass.h"
#include "engine/gguf.h"
#include "tests/engine/random_model.h"

namespace fimd {
namespace {

ModelSpec small_model(const std::vector<std::byte>& bytes, std::unique_ptr<GgufFile>* file) {
  auto parsed = GgufFile::parse(bytes, "random");
  REQUIRE(parsed.ok());
  *file = std::move(*parsed);
  auto spec = read_model_spec(**file);
  REQUIRE(spec.ok());
  return std::move(*spec);
}

std::vector<std::byte> small_file() {
  return test::random_model({.arch = "llama",
                             .type = DType::kQ8_0,
                             .hidden = 256,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 64,
                             .ff = 512,
                             .vocab = 300,
                             .context = 4096},
                            1);
}

constexpr size_t kGiB = size_t{1} << 30;

TEST_CASE("a plan fits what is free, and takes smaller passes where memory is short") {
  const auto bytes = small_file();
  std::unique_ptr<GgufFile> file;
  const ModelSpec spec = small_model(bytes, &file);
  const auto roomy = plan_memory(spec, {}, 40 * kGiB, true, "a GPU");
  REQUIRE(roomy.ok());
  CHECK(roomy->limits.rows == 2048 + 64);
  CHECK(roomy->total() + kReservedBytes <= 40 * kGiB);
  // Automatic: 4 GiB of pages.
  CHECK(roomy->kv_bytes <= 4 * kGiB + (size_t{1} << 20));
  CHECK(roomy->kv_bytes > 3 * kGiB);

  const size_t least = roomy->weight_bytes + kReservedBytes;
  int rows = 0;
  for (size_t free = least; free < 2 * kGiB; free += size_t{4} << 20) {
    const auto plan = plan_memory(spec, {}, free, true, "a GPU");
    if (!plan.ok()) {
      CHECK(rows == 0);  // more memory never makes it worse
      continue;
    }
    CHECK(plan->total() + kReservedBytes <= free);
    CHECK(plan->limits.rows >= rows);
    CHECK(int64_t{plan->n_pages} * 32 >= 4096);
    rows = plan->limits.rows;
  }
  CHECK(rows == 2048 + 64);
}

TEST_CASE("a model that does not fit is refused with the numbers and what to do") {
  const auto bytes = small_file();
  std::unique_ptr<GgufFile> file;
  const ModelSpec spec = small_model(bytes, &file);
  const auto refused = plan_memory(spec, {.kv_bytes = int64_t{8} << 30}, kGiB, true, "NVIDIA X");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == ErrorCode::kResourceExhausted);
  for (const char* part : {"NVIDIA X", "8192 MiB", "1024 MiB are free", "lower engine.kv_cache_mb",
                           "smaller quantisation"}) {
    CAPTURE(part);
    CHECK(refused.error().message.find(part) != std::string::npos);
  }
  const auto tiny = plan_memory(spec, {.kv_bytes = 1000}, kGiB, true, "NVIDIA X");
  REQUIRE_FALSE(tiny.ok());
  CHECK(tiny.error().message.find("bytes each") != std::string::npos);
}

TEST_CASE("passes of few rows have few shapes, and inputs hold what the shape says") {
  const std::vector<TokenId> tokens(200, 7);
  const std::vector<int32_t> pages = {5, 6, 7, 8, 9, 10, 11, 12};
  const SampleSpec sample;
  const auto input = [&](size_t n, int first, bool sampled) {
    StepInput in;
    in.tokens = std::span(tokens).first(n);
    in.first = first;
    in.pages = pages;
    if (sampled) in.samples = {&sample, 1};
    return in;
  };
  const StepInput a[] = {input(9, 10, true), input(1, 3, false)};
  const StepInput b[] = {input(10, 100, true), input(2, 7, false)};
  CHECK(shape_of(a) == shape_of(b));
  CHECK(shape_of(a).rows == 12);
  CHECK(shape_of(a).small());
  const StepInput wide[] = {input(80, 0, true)};
  CHECK(shape_of(wide).rows == 80);
  CHECK_FALSE(shape_of(wide).small());
  const StepInput decode[] = {input(1, 0, true), input(1, 9, true)};
  CHECK(shape_of(decode).every_row);

  const PassShape shape = shape_of(a);
  const InputLayout layout(shape, 32, 8);
  CHECK(layout.bytes <= InputLayout::most_bytes(64, 8));
  std::vector<std::byte> memory(layout.bytes, std::byte{0xFF});
  std::vector<int32_t> room(4);
  IdLists ids{.room = room};
  write_inputs(a, shape, layout, 32, memory.data(), &ids);
  const auto* sequences = reinterpret_cast<const cuda::Sequence*>(memory.data() + layout.sequences);
  CHECK(sequences[0].n_rows == 9);
  CHECK(sequences[1].row_begin == 9);
  CHECK(sequences[1].first == 3);
  const auto* page = reinterpret_cast<const int32_t*>(memory.data() + layout.pages);
  CHECK(page[sequences[1].page_begin] == 5);
  const auto* row = reinterpret_cast<const int32_t*>(memory.data() + layout.sample_rows);
  CHECK(row[0] == 8);  // the last of the first sequence
  const auto* token = reinterpret_cast<const int32_t*>(memory.data() + layout.tokens);
  CHECK(token[9] == 7);
  CHECK(token[11] == 0);  // padding
  CHECK_FALSE(ids.overflow);

  SampleSpec restricted;
  const std::vector<TokenId> many(9, 1);
  restricted.allowed = many;
  StepInput c = input(1, 0, false);
  c.samples = {&restricted, 1};
  const PassShape one = shape_of({&c, 1});
  const InputLayout small(one, 32, 8);
  memory.resize(small.bytes);
  write_inputs({&c, 1}, one, small, 32, memory.data(), &ids);
  CHECK(ids.overflow);  // there was room for four
}

}  // namespace
}  // namespace fimd
