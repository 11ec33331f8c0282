// How a GPU's memory is divided up. Needs the CUDA build, but no GPU.
#include <doctest/doctest.h>

#include "engine/cuda/memory_plan.h"
#include "engine/cuda/pass_inputs.h"
#include "engine/gguf.h"
#include "engine/memory_needs.h"
#include "tests/engine/qwen36_27b.h"
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

std::vector<std::byte> small_file(DType type = DType::kQ8_0) {
  return test::random_model({.arch = "llama",
                             .type = type,
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

TEST_CASE("which passes go through cuBLAS depends on what it must do for the weights") {
  for (const DType type : {DType::kQ8_0, DType::kBF16}) {
    const auto bytes = small_file(type);
    std::unique_ptr<GgufFile> file;
    const ModelSpec spec = small_model(bytes, &file);
    const auto with = plan_memory(spec, {}, 40 * kGiB, true, "a GPU");
    const auto without = plan_memory(spec, {}, 40 * kGiB, false, "a GPU");
    REQUIRE(with.ok());
    REQUIRE(without.ok());
    CHECK(with->limits.matmul_rows == (type == DType::kBF16 ? 8 : 32));
    CHECK(without->limits.matmul_rows == cuda::kMaxMatmulRows);
  }
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

TEST_CASE("the 27B hybrid: states are planned as doctor says, and shared with pages") {
  const ModelSpec spec = test::qwen36_27b();
  REQUIRE(check_cuda_support(spec).ok());
  const MemoryNeeds needs = memory_needs(spec);
  CHECK(state_bytes(spec) == needs.state_bytes);  // every part is a multiple of a cache line
  // Packed weights take at most 3% more than the file's.
  CudaOptions options;
  constexpr size_t kCard = size_t{22} * 1000 * 1000 * 1000;
  for (const int context : {8192, 32768}) {
    CAPTURE(context);
    options.context_length = context;
    const auto plan = plan_memory(spec, options, kCard, true, "a GPU");
    REQUIRE_MESSAGE(plan.ok(), plan.error().message);
    CAPTURE(plan->text());
    CHECK(plan->total() + kReservedBytes <= kCard);
    CHECK(static_cast<double>(plan->weight_bytes) < 1.03 * static_cast<double>(needs.weight_bytes));
    CHECK(plan->n_slots == 2);
    CHECK(plan->n_checkpoints >= (context == 8192 ? 12 : 8));
    CHECK(plan->state_bytes == static_cast<size_t>(plan->n_slots + plan->n_checkpoints) *
                                   static_cast<size_t>(needs.state_bytes));
    CHECK(int64_t{plan->n_pages} * 32 >= wanted_kv_tokens(context));
    CHECK(plan->text().find("checkpoints") != std::string::npos);
  }

  // More memory never makes the context shorter, and in the end all is there.
  options.context_length = 0;
  MemoryPlan before;
  for (size_t free = 18 * kGiB; free <= 78 * kGiB; free += kGiB) {
    const auto plan = plan_memory(spec, options, free, true, "a GPU");
    if (!plan.ok()) {
      CHECK(before.n_slots == 0);
      continue;
    }
    CHECK(plan->total() + kReservedBytes <= free);
    CHECK(plan->n_slots >= 2);
    CHECK(plan->n_checkpoints >= 2);
    CHECK(plan->n_pages + 1 >= before.n_pages);
    before = *plan;
  }
  CHECK(before.n_slots == 8);
  CHECK(before.n_checkpoints == 64);
  CHECK(int64_t{before.n_pages} * 32 >= wanted_kv_tokens(spec.context_length));

  options.checkpoint_bytes = int64_t{5} << 30;
  options.kv_bytes = int64_t{1} << 30;
  options.state_slots = 3;
  const auto asked = plan_memory(spec, options, 40 * kGiB, true, "a GPU");
  REQUIRE(asked.ok());
  CHECK(asked->n_checkpoints == (int64_t{5} << 30) / needs.state_bytes);
  CHECK(asked->n_slots == 3);
  CHECK(asked->kv_bytes <= kGiB);
  options.checkpoint_bytes = int64_t{50} << 30;
  const auto refused = plan_memory(spec, options, 40 * kGiB, true, "a GPU");
  REQUIRE_FALSE(refused.ok());
  for (const char* part : {"recurrent states", "150 MiB each", "lower engine.state_cache_mb"}) {
    CAPTURE(part);
    CHECK(refused.error().message.find(part) != std::string::npos);
  }
}

TEST_CASE("pages of 8-bit codes: as doctor says, and more of them in the same memory") {
  const ModelSpec spec = test::qwen36_27b();
  CudaOptions options;
  options.kv_bytes = int64_t{1} << 30;
  const auto halves = plan_memory(spec, options, 40 * kGiB, true, "a GPU");
  options.kv_coded = true;
  const auto codes = plan_memory(spec, options, 40 * kGiB, true, "a GPU");
  REQUIRE(halves.ok());
  REQUIRE(codes.ok());
  CHECK(codes->kv_bytes <= kGiB);
  CHECK(codes->n_pages > halves->n_pages * 16 / 10);
  CHECK(codes->text().find("(8-bit)") != std::string::npos);
  CHECK(kv_page_bytes(spec, 32, true) == 32 * memory_needs(spec, true).kv_bytes_per_token);
  CHECK(kv_page_bytes(spec, 32, false) == 32 * memory_needs(spec).kv_bytes_per_token);

  // Every layer has its own codes, and the room behind them is shared.
  DeviceModel model;
  Bump count;
  lay_out_weights(spec, &count, &model, nullptr);
  Bump kv(reinterpret_cast<std::byte*>(uintptr_t{1} << 40));
  lay_out_kv(10, 32, true, &kv, &model);
  CHECK(kv.used() == 10 * static_cast<size_t>(kv_page_bytes(spec, 32, true)));
  const DeviceAttention* before = nullptr;
  for (const DeviceLayer& layer : model.layers) {
    const DeviceAttention* attention = layer.attention();
    if (attention == nullptr) continue;
    CHECK(attention->kv.v_codes == attention->kv.k_codes + 10 * attention->kv.page_bytes());
    if (before != nullptr) {
      CHECK(attention->kv.k_codes == before->kv.v_codes + 10 * before->kv.page_bytes());
      CHECK(attention->kv.k == before->kv.k);
    }
    before = attention;
  }
  CHECK(reinterpret_cast<uint8_t*>(before->kv.k) ==
        before->kv.v_codes + 10 * before->kv.page_bytes());

  // Who has no room for halves is told of codes.
  options = {};
  const auto refused = plan_memory(spec, options, 33 * kGiB / 2, true, "a GPU");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("engine.kv_type") != std::string::npos);
}

TEST_CASE("a state's layers lie together, slots before checkpoints") {
  const ModelSpec spec = test::qwen36_27b();
  DeviceModel model;
  Bump count;
  lay_out_weights(spec, &count, &model, nullptr);
  // Addresses that nobody uses.
  Bump states(reinterpret_cast<std::byte*>(uintptr_t{1} << 40));
  lay_out_states(2, 3, &states, &model);
  CHECK(states.used() == 5 * static_cast<size_t>(state_bytes(spec)));
  const int64_t stride = state_bytes(spec) / 4;
  const float* end = nullptr;
  const float* base = nullptr;
  for (const DeviceLayer& layer : model.layers) {
    const DeviceDelta* delta = layer.delta();
    if (delta == nullptr) continue;
    if (base == nullptr) base = end = delta->state.slots;
    for (const cuda::RecurrentState* part : {&delta->state, &delta->tails}) {
      CHECK(part->slots == end);
      CHECK(part->stride == stride);
      CHECK(part->checkpoints == part->slots + 2 * stride);
      end += part == &delta->state ? 48 * 128 * 128 : 3 * 10240;
    }
  }
  CHECK(end == base + stride);
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
  StepInput a[] = {input(9, 10, true), input(1, 3, false)};
  const StateSave saves[] = {{4, 11}, {9, 12}};
  a[0].slot = 3;
  a[0].saves = saves;
  a[1].slot = 2;
  a[1].saves = {saves, 1};
  const StepInput b[] = {input(10, 100, true), input(2, 7, false)};
  constexpr int kMatmulRows = 16;
  CHECK(shape_of(a, kMatmulRows) == shape_of(b, kMatmulRows));
  CHECK(shape_of(a, kMatmulRows).rows == 12);
  CHECK(shape_of(a, kMatmulRows).small);
  CHECK_FALSE(shape_of(b, 8).small);
  const StepInput wide[] = {input(17, 0, true)};
  CHECK(shape_of(wide, kMatmulRows).rows == 17);
  CHECK_FALSE(shape_of(wide, kMatmulRows).small);
  const StepInput decode[] = {input(1, 0, true), input(1, 9, true)};
  CHECK(shape_of(decode, kMatmulRows).every_row);

  const PassShape shape = shape_of(a, kMatmulRows);
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
  const auto* states = reinterpret_cast<const cuda::SequenceState*>(memory.data() + layout.states);
  const auto* save = reinterpret_cast<const cuda::StateSaveAt*>(memory.data() + layout.saves);
  CHECK(states[0].slot == 3);
  CHECK(states[0].n_saves == 2);
  CHECK(save[states[0].save_begin + 1].after == 9);
  CHECK(save[states[0].save_begin + 1].checkpoint == 12);
  CHECK(states[1].slot == 2);
  CHECK(states[1].n_saves == 1);
  CHECK(save[states[1].save_begin].checkpoint == 11);
  const auto* page = reinterpret_cast<const int32_t*>(memory.data() + layout.pages);
  CHECK(page[sequences[1].page_begin] == 5);
  const auto* row = reinterpret_cast<const int32_t*>(memory.data() + layout.sample_rows);
  CHECK(row[0] == 8);  // the last of the first sequence
  const auto* token = reinterpret_cast<const int32_t*>(memory.data() + layout.tokens);
  CHECK(token[9] == 7);
  CHECK(token[11] == 0);  // padding
  CHECK_FALSE(ids.overflow);
  // Equal inputs are equal bytes, whatever was there before.
  std::vector<std::byte> again(layout.bytes, std::byte{0x5A});
  IdLists same_ids{.room = room};
  write_inputs(a, shape, layout, 32, again.data(), &same_ids);
  CHECK(again == memory);

  SampleSpec restricted;
  const std::vector<TokenId> many(9, 1);
  restricted.allowed = many;
  StepInput c = input(1, 0, false);
  c.samples = {&restricted, 1};
  const PassShape one = shape_of({&c, 1}, kMatmulRows);
  const InputLayout small(one, 32, 8);
  memory.resize(small.bytes);
  write_inputs({&c, 1}, one, small, 32, memory.data(), &ids);
  CHECK(ids.overflow);  // there was room for four
}

TEST_CASE("samples travel with what decides on them, and without what does not") {
  const std::vector<TokenId> tokens(5, 7);
  const std::vector<int32_t> pages = {5};
  const std::vector<TokenId> allowed = {3, 4};
  const std::vector<TokenId> extra = {9};
  std::vector<SampleSpec> specs(5);
  for (SampleSpec& spec : specs) {
    spec.params = {.temperature = 0.5F, .top_k = 40, .top_p = 0.9F, .min_p = 0.1F};
    spec.uniform = 0.25;
  }
  specs[0].allowed = allowed;
  specs[1].n_best = 8;
  specs[1].extra = extra;
  specs[2].scored = 6;
  specs[3].params.top_k = 1;             // is greedy
  specs[4].params.temperature = 1e-30F;  // would overflow
  StepInput input;
  input.tokens = tokens;
  input.pages = pages;
  input.samples = specs;
  const PassShape shape = shape_of({&input, 1}, cuda::kMaxMatmulRows);
  StepInput greedy = input;
  const std::vector<SampleSpec> plain(5);
  greedy.samples = plain;
  CHECK(shape_of({&greedy, 1}, cuda::kMaxMatmulRows) == shape);  // one graph for all
  const InputLayout layout(shape, 32, 8);
  std::vector<std::byte> memory(layout.bytes, std::byte{0xFF});
  std::vector<int32_t> room(10);
  IdLists ids{.room = room};
  write_inputs({&input, 1}, shape, layout, 32, memory.data(), &ids);
  const auto* rows = reinterpret_cast<const cuda::SampleRow*>(memory.data() + layout.samples);
  CHECK(rows[0].temperature == 0.5F);
  CHECK(rows[0].top_k == 40);
  CHECK(rows[0].top_p == 0.9F);
  CHECK(rows[0].min_p == 0.1F);
  CHECK(rows[0].uniform == 0.25);
  CHECK(rows[0].n_allowed == 2);
  CHECK(rows[0].scored == -1);
  CHECK(rows[0].n_best == 0);
  CHECK(rows[1].n_best == 8);
  CHECK(rows[1].n_extra == 1);
  CHECK(room[static_cast<size_t>(rows[1].extra_begin)] == 9);
  CHECK(rows[2].scored == 6);
  for (const int greedy_row : {1, 2, 3}) CHECK(rows[greedy_row].temperature == 0);
  CHECK(1 / rows[4].temperature < 1e7F);
  CHECK(rows[4].temperature > 0);
}

}  // namespace
}  // namespace fimd
