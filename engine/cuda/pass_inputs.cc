#include "engine/cuda/pass_inputs.h"

#include <algorithm>
#include <bit>

namespace fimd {

namespace {

constexpr size_t kAlign = 16;
size_t aligned(size_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

/// Few graphs must serve all passes, but a row too many costs as much as any.
int round_rows(int n) {
  for (const int size : {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48, 64}) {
    if (n <= size) return size;
  }
  return n;
}

int round_keys(int n) {
  constexpr unsigned kLeast = 512;
  return static_cast<int>(std::bit_ceil(std::max(static_cast<unsigned>(n), kLeast)));
}

}  // namespace

InputLayout::InputLayout(const PassShape& shape, int page_tokens, int max_pages) {
  const auto take = [this](size_t n) {
    const size_t at = bytes;
    bytes = aligned(bytes + n);
    return at;
  };
  const auto n_sequences = static_cast<size_t>(shape.sequences);
  const auto n_samples = static_cast<size_t>(shape.samples);
  pages_per_sequence = std::min((shape.keys + page_tokens - 1) / page_tokens, max_pages);
  tokens = take(static_cast<size_t>(shape.rows) * sizeof(int32_t));
  sequences = take(n_sequences * sizeof(cuda::Sequence));
  tail_sequences = take(static_cast<size_t>(shape.tail_sequences) * sizeof(cuda::Sequence));
  states = take(n_sequences * sizeof(cuda::SequenceState));
  saves = take(static_cast<size_t>(shape.rows) * sizeof(cuda::StateSaveAt));
  sample_rows = take(n_samples * sizeof(int32_t));
  samples = take(n_samples * sizeof(cuda::SampleRow));
  pages = take(n_sequences * static_cast<size_t>(pages_per_sequence) * sizeof(int32_t));
}

size_t InputLayout::most_bytes(int rows, int max_pages) {
  const auto n = static_cast<size_t>(std::max(rows, cuda::kMaxMatmulRows));
  const size_t n_sequences = kMaxPassSequences;
  constexpr size_t kParts = 8;
  return n * (2 * sizeof(int32_t) + sizeof(cuda::SampleRow) + sizeof(cuda::StateSaveAt)) +
         n_sequences * (2 * sizeof(cuda::Sequence) + sizeof(cuda::SequenceState) +
                        static_cast<size_t>(max_pages) * sizeof(int32_t)) +
         kParts * kAlign;
}

PassShape shape_of(std::span<const StepInput> batch, int matmul_rows) {
  PassShape shape;
  int rows = 0;
  int samples = 0;
  int keys = 0;
  for (const StepInput& input : batch) {
    const auto n = static_cast<int>(input.tokens.size());
    rows += n;
    samples += static_cast<int>(input.samples.size());
    keys = std::max(keys, input.first + n);
    shape.max_rows = std::max(shape.max_rows, n);
    if (!input.samples.empty()) {
      ++shape.tail_sequences;
      shape.tail_max_rows = std::max(shape.tail_max_rows, static_cast<int>(input.samples.size()));
    }
  }
  shape.sequences = static_cast<int>(batch.size());
  shape.rows = rows;
  shape.keys = round_keys(keys);
  shape.samples = samples;
  shape.small = rows <= matmul_rows;
  if (!shape.small) return shape;
  shape.rows = round_rows(rows);
  shape.sequences = round_rows(shape.sequences);
  shape.max_rows = round_rows(shape.max_rows);
  shape.every_row = samples == rows;
  shape.samples = shape.every_row ? shape.rows : round_rows(samples);
  shape.tail_sequences = 0;
  shape.tail_max_rows = 0;
  return shape;
}

void write_inputs(std::span<const StepInput> batch, const PassShape& shape,
                  const InputLayout& layout, int page_tokens, std::byte* to, IdLists* ids) {
  std::fill_n(to, layout.bytes, std::byte{});
  auto* tokens = reinterpret_cast<int32_t*>(to + layout.tokens);
  auto* sequences = reinterpret_cast<cuda::Sequence*>(to + layout.sequences);
  auto* tails = reinterpret_cast<cuda::Sequence*>(to + layout.tail_sequences);
  auto* states = reinterpret_cast<cuda::SequenceState*>(to + layout.states);
  auto* saves = reinterpret_cast<cuda::StateSaveAt*>(to + layout.saves);
  auto* sample_rows = reinterpret_cast<int32_t*>(to + layout.sample_rows);
  auto* samples = reinterpret_cast<cuda::SampleRow*>(to + layout.samples);
  auto* pages = reinterpret_cast<int32_t*>(to + layout.pages);
  int row = 0;
  int n_sequences = 0;
  int n_samples = 0;
  int32_t n_saves = 0;
  const auto add_ids = [&](std::span<const TokenId> list, int32_t* n, int32_t* begin) {
    if (ids->room.size() - ids->used < list.size()) {
      ids->overflow = true;
      return;
    }
    *n = static_cast<int32_t>(list.size());
    *begin = static_cast<int32_t>(ids->used);
    std::copy(list.begin(), list.end(), ids->room.begin() + static_cast<ptrdiff_t>(ids->used));
    ids->used += list.size();
  };
  for (const StepInput& input : batch) {
    const auto n = static_cast<int32_t>(input.tokens.size());
    const auto sampled = static_cast<int32_t>(input.samples.size());
    const int32_t page_begin = n_sequences * layout.pages_per_sequence;
    states[n_sequences] = {input.slot, n_saves, static_cast<int32_t>(input.saves.size())};
    for (const StateSave& save : input.saves) saves[n_saves++] = {save.after, save.checkpoint};
    sequences[n_sequences++] = {row, n, input.first, page_begin};
    const auto n_pages = static_cast<size_t>((input.first + n + page_tokens - 1) / page_tokens);
    std::copy_n(input.pages.begin(), n_pages, pages + page_begin);
    std::copy(input.tokens.begin(), input.tokens.end(), tokens + row);
    if (shape.tail_sequences > 0 && sampled > 0) {
      *tails++ = {row + n - sampled, sampled, input.first + n - sampled, page_begin};
    }
    for (int32_t i = 0; i < sampled; ++i) {
      const SampleSpec& spec = input.samples[static_cast<size_t>(i)];
      sample_rows[n_samples] = row + n - sampled + i;
      cuda::SampleRow& sample = samples[n_samples++];
      sample = {};
      if (!spec.allowed.empty()) {
        add_ids(spec.allowed, &sample.n_allowed, &sample.allowed_begin);
      } else {
        add_ids(spec.extra, &sample.n_extra, &sample.extra_begin);
      }
      sample.scored = spec.scored;
      sample.n_best = spec.n_best;
      if (!is_drawn(spec)) continue;
      // Lower ones would overflow, and are as good as greedy.
      constexpr float kLeastTemperature = 1e-6F;
      sample.temperature = std::max(spec.params.temperature, kLeastTemperature);
      sample.top_k = spec.params.top_k;
      sample.top_p = spec.params.top_p;
      sample.min_p = spec.params.min_p;
      sample.uniform = spec.uniform;
    }
    row += n;
  }
  // Padding is zeros: rows of no sequence, sequences without rows (whose states nobody touches).
  std::fill(samples + n_samples, samples + shape.samples, cuda::SampleRow{});
}

}  // namespace fimd
