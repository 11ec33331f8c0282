// rope_append() and attention() one behind the other, as in a forward pass.
#include <cstring>

#include "tests/gpu/paged_kv.h"

namespace fimd::cuda {
namespace {

using testing::AttentionShape;
using testing::PagedKv;
using testing::poisoned;
using testing::to_device;
using testing::to_host;

struct Pass {
  explicit Pass(const AttentionShape& shape, unsigned seed)
      : shape(shape),
        kv(shape, seed),
        n_heads(shape.n_kv_heads * shape.group),
        outputs(static_cast<size_t>(kv.n_rows * n_heads * shape.head_dim)),
        qkv(to_device(testing::random_floats(
            static_cast<size_t>(kv.n_rows * (n_heads + 2 * shape.n_kv_heads) * shape.head_dim),
            seed + 3))),
        inv_freq(to_device(std::vector<float>(static_cast<size_t>(shape.head_dim / 2), 0.01F))),
        q(poisoned<__half>(outputs)),
        out(poisoned<float>(outputs)),
        workspace(to_device(
            std::vector<char>(attention_workspace_bytes(kv.n_rows, n_heads, shape.head_dim)))),
        stale(kv.before_append()) {}

  void append() const {
    RopeParams rope;
    rope.rotary_dim = shape.head_dim;
    rope.inv_freq = inv_freq.as<float>();
    rope_append(qkv.as<float>(), kv.n_rows, n_heads, rope, 0.1F, kv.device(),
                kv.device_sequences.as<Sequence>(), static_cast<int>(kv.sequences.size()),
                kv.device_pages.as<int32_t>(), q.as<__half>(), nullptr);
  }
  void attend(const DeviceBuffer& sequences, int max_rows, bool overlaps) const {
    AttentionParams p = kv.attention_params();
    p.q = q.as<__half>();
    p.sequences = sequences.as<Sequence>();
    p.max_rows = max_rows;
    p.out = out.as<float>();
    p.overlaps_append = overlaps;
    p.workspace = workspace.data();
    attention(p, nullptr);
  }
  /// Pages as they were before: keys that append() has not stored yet are not numbers.
  void reset() const {
    kv.upload(stale);
    REQUIRE(cudaMemset(out.data(), 0, out.bytes()) == cudaSuccess);
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  }

  AttentionShape shape;
  PagedKv kv;
  int n_heads;
  size_t outputs;
  DeviceBuffer qkv, inv_freq, q, out, workspace;
  PagedKv::Contents stale;
};

TEST_CASE("attention right behind the append sees what was appended") {
  for (const int rows : {1, 2, 7, 90}) {
    for (const int first : {0, 64, 500, 3000}) {
      AttentionShape shape;
      shape.n_kv_heads = 2;
      shape.group = 4;
      shape.spans = {{rows, first}, {1, 130}};
      Pass pass(shape, 40);
      pass.reset();
      pass.append();
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      pass.attend(pass.kv.device_sequences, pass.kv.max_rows, false);
      const auto apart = to_host<float>(pass.out, pass.outputs);
      for (int again = 0; again < 10; ++again) {
        pass.reset();
        pass.append();
        pass.attend(pass.kv.device_sequences, pass.kv.max_rows, true);
        const auto behind = to_host<float>(pass.out, pass.outputs);
        INFO(rows << " rows behind " << first);
        REQUIRE(std::memcmp(apart.data(), behind.data(), apart.size() * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("attention of the last rows alone sees the rows appended before them") {
  for (const int rows : {70, 100, 400}) {
    AttentionShape shape;
    shape.n_kv_heads = 2;
    shape.group = 2;
    shape.spans = {{rows, 200}, {rows, 0}};
    Pass pass(shape, 41);
    std::vector<Sequence> tails;
    for (const Sequence& s : pass.kv.sequences) {
      tails.push_back({s.row_begin + s.n_rows - 1, 1, s.first + s.n_rows - 1, s.page_begin});
    }
    const DeviceBuffer device_tails = to_device(tails);
    pass.reset();
    pass.append();
    REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
    pass.attend(device_tails, 1, false);
    const auto apart = to_host<float>(pass.out, pass.outputs);
    for (const float x : apart) REQUIRE(std::isfinite(x));
    for (int again = 0; again < 10; ++again) {
      pass.reset();
      pass.append();
      pass.attend(device_tails, 1, false);
      const auto behind = to_host<float>(pass.out, pass.outputs);
      REQUIRE(std::memcmp(apart.data(), behind.data(), apart.size() * sizeof(float)) == 0);
    }
  }
}

}  // namespace
}  // namespace fimd::cuda
