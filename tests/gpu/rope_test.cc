#include "tests/gpu/paged_kv.h"

namespace fimd::cuda {
namespace {

using testing::AttentionShape;
using testing::PagedKv;
using testing::poisoned;
using testing::to_device;
using testing::to_host;

struct RopeCase {
  int head_dim;
  int rotary_dim;
  bool adjacent;
  bool norm;
};

/// One head as the definition has it, in double precision.
std::vector<double> rotated(const float* x, const RopeCase& c, const std::vector<float>& inv_freq,
                            const std::vector<float>* norm, float eps, int position) {
  std::vector<double> y(x, x + c.head_dim);
  if (norm != nullptr) {
    double sum = 0;
    for (const double value : y) sum += value * value;
    for (size_t d = 0; d < y.size(); ++d) {
      y[d] *= double{(*norm)[d]} / std::sqrt(sum / c.head_dim + double{eps});
    }
  }
  const int half = c.rotary_dim / 2;
  for (int i = 0; i < half; ++i) {
    const auto a = static_cast<size_t>(c.adjacent ? 2 * i : i);
    const auto b = static_cast<size_t>(c.adjacent ? 2 * i + 1 : i + half);
    // The angle is a float product, as on the CPU.
    const double angle = static_cast<float>(position) * inv_freq[static_cast<size_t>(i)];
    const double first = y[a];
    y[a] = first * std::cos(angle) - y[b] * std::sin(angle);
    y[b] = y[b] * std::cos(angle) + first * std::sin(angle);
  }
  return y;
}

std::vector<float> floats(const std::vector<__half>& halves) {
  std::vector<float> result(halves.size());
  std::transform(halves.begin(), halves.end(), result.begin(),
                 [](__half x) { return __half2float(x); });
  return result;
}

TEST_CASE("rope_append rotates, scales and stores where the pages say, and nowhere else") {
  const RopeCase cases[] = {{64, 64, false, false},  {128, 128, false, true},
                            {128, 128, true, false}, {80, 32, false, false},
                            {96, 96, false, false},  {256, 64, false, true},
                            {256, 256, true, true},  {80, 0, false, false}};
  unsigned seed = 1;
  for (const RopeCase& c : cases) {
    for (const int many : {0, 1}) {
      AttentionShape shape;
      shape.head_dim = c.head_dim;
      shape.n_kv_heads = 2;
      shape.group = 3;
      shape.page_tokens = many ? 32 : 16;
      shape.spans = {{1, 31}, {0, 5}, {many ? 190 : 3, 4090}, {2, 0}};
      const int n_heads = shape.n_kv_heads * shape.group;
      PagedKv kv(shape, seed += 10);
      const int padding = 2;  // rows that no sequence has
      const int n_rows = kv.n_rows + padding;
      const int heads = n_heads + 2 * shape.n_kv_heads;
      const auto dim = static_cast<size_t>(c.head_dim);
      const size_t row_floats = static_cast<size_t>(heads) * dim;
      std::vector<float> qkv =
          testing::random_floats(static_cast<size_t>(n_rows) * row_floats, seed, 3.0F);
      // The last head of v in the first row: beyond half's range.
      qkv[row_floats - 1] = 1e6F;
      qkv[row_floats - 2] = -1e6F;
      const std::vector<float> q_norm = testing::random_floats(dim, seed + 1);
      const std::vector<float> k_norm = testing::random_floats(dim, seed + 2);
      std::vector<float> inv_freq;
      for (int i = 0; i < c.rotary_dim / 2; ++i) {
        inv_freq.push_back(
            std::pow(10000.0F, -2.0F * static_cast<float>(i) / static_cast<float>(c.rotary_dim)));
      }
      const float eps = 1e-5F;
      const float q_scale = kLog2E / std::sqrt(static_cast<float>(c.head_dim));
      // With gates every head of q is followed by what the kernel must step over.
      const bool gates = many == 1;
      std::vector<float> laid_out;
      for (size_t i = 0; i < qkv.size(); i += dim) {
        laid_out.insert(laid_out.end(), qkv.begin() + static_cast<long>(i),
                        qkv.begin() + static_cast<long>(i + dim));
        if (gates && i % row_floats / dim < static_cast<size_t>(n_heads)) {
          laid_out.insert(laid_out.end(), dim, NAN);
        }
      }
      const DeviceBuffer device_qkv = to_device(laid_out);
      const DeviceBuffer device_freq = to_device(inv_freq, 1);
      const DeviceBuffer device_q_norm = to_device(q_norm);
      const DeviceBuffer device_k_norm = to_device(k_norm);
      const size_t q_count = static_cast<size_t>(n_rows * n_heads) * dim;
      const DeviceBuffer q_out = poisoned<__half>(q_count);
      RopeParams rope;
      rope.adjacent = c.adjacent;
      rope.rotary_dim = c.rotary_dim;
      rope.inv_freq = device_freq.as<float>();
      rope.q_norm = c.norm ? device_q_norm.as<float>() : nullptr;
      rope.k_norm = c.norm ? device_k_norm.as<float>() : nullptr;
      rope.norm_eps = eps;
      rope.q_gates = gates;
      rope_append(device_qkv.as<float>(), n_rows, n_heads, rope, q_scale, kv.device(),
                  kv.device_sequences.as<Sequence>(), static_cast<int>(kv.sequences.size()),
                  kv.device_pages.as<int32_t>(), q_out.as<__half>(), nullptr);
      const std::vector<float> q = floats(to_host<__half>(q_out, q_count));
      const std::vector<float> k = floats(to_host<__half>(kv.device_k, kv.k.size()));
      const std::vector<float> v = floats(to_host<__half>(kv.device_v, kv.v.size()));

      // What the pages should hold: what they held, and the new tokens.
      std::vector<float> expected_k = floats(kv.k);
      std::vector<float> expected_v = floats(kv.v);
      std::vector<double> expected_q(q.size(), NAN);
      for (size_t s = 0; s < kv.sequences.size(); ++s) {
        for (int r = 0; r < kv.sequences[s].n_rows; ++r) {
          const int row = kv.sequences[s].row_begin + r;
          const int position = kv.sequences[s].first + r;
          for (int head = 0; head < heads; ++head) {
            const float* x = qkv.data() + static_cast<size_t>(row) * row_floats +
                             static_cast<size_t>(head) * dim;
            const bool is_q = head < n_heads;
            const bool is_v = head >= n_heads + shape.n_kv_heads;
            const std::vector<float>* norm = is_v || !c.norm ? nullptr : is_q ? &q_norm : &k_norm;
            const RopeCase as_is = {c.head_dim, 0, false, false};
            const auto y = rotated(x, is_v ? as_is : c, inv_freq, norm, eps, position);
            for (size_t d = 0; d < dim; ++d) {
              if (is_q) {
                expected_q[static_cast<size_t>(row * n_heads + head) * dim + d] = y[d] * q_scale;
                continue;
              }
              const size_t at = kv.at(s, position, (head - n_heads) % shape.n_kv_heads) + d;
              (is_v ? expected_v : expected_k)[at] =
                  static_cast<float>(std::clamp(y[d], -65504.0, 65504.0));
            }
          }
        }
      }
      INFO("head_dim " << c.head_dim << ", rotary_dim " << c.rotary_dim << ", adjacent "
                       << c.adjacent << ", norm " << c.norm << ", rows " << n_rows);
      const auto close = [](double got, double expected) {
        if (std::isnan(expected)) return std::isnan(got);
        return std::abs(got - expected) <= 1e-3 * std::abs(expected) + 1e-4;
      };
      size_t wrong = 0;
      for (size_t i = 0; i < q.size(); ++i) wrong += !close(q[i], expected_q[i]);
      CHECK(wrong == 0);
      for (size_t i = 0; i < k.size(); ++i) {
        wrong += !close(k[i], expected_k[i]) || !close(v[i], expected_v[i]);
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("rope_append stores the codes of the halves that it would store") {
  for (const int dim : {64, 80, 96, 128, 256}) {
    AttentionShape shape;
    shape.head_dim = dim;
    shape.n_kv_heads = 2;
    shape.group = 2;
    shape.page_tokens = 16;
    shape.spans = {{1, 31}, {0, 5}, {40, 100}, {2, 0}};
    const PagedKv halves(shape, 70);
    shape.coded = true;
    const PagedKv codes(shape, 70);
    const int n_heads = shape.n_kv_heads * shape.group;
    const auto row = static_cast<size_t>((n_heads + 2 * shape.n_kv_heads) * dim);
    std::vector<float> host =
        testing::random_floats(static_cast<size_t>(halves.n_rows) * row, 71, 3.0F);
    // The row's last head of v: nothing, and a number beyond half's range beside small ones.
    std::fill_n(host.end() - dim, dim, 0.0F);
    host[row - 1] = -1e6F;
    host[row - 2] = 1e-7F;
    const DeviceBuffer qkv = to_device(host);
    const DeviceBuffer freq = to_device(std::vector<float>(static_cast<size_t>(dim / 2), 0.01F));
    const DeviceBuffer q = poisoned<__half>(static_cast<size_t>(halves.n_rows * n_heads * dim));
    RopeParams rope;
    rope.rotary_dim = dim;
    rope.inv_freq = freq.as<float>();
    for (const PagedKv* kv : {&halves, &codes}) {
      rope_append(qkv.as<float>(), kv->n_rows, n_heads, rope, 1.0F, kv->device(),
                  kv->device_sequences.as<Sequence>(), static_cast<int>(kv->sequences.size()),
                  kv->device_pages.as<int32_t>(), q.as<__half>(), nullptr);
    }
    INFO("head_dim " << dim);
    const size_t bytes = codes.k_codes.size();
    CHECK(to_host<uint8_t>(codes.device_k_codes, bytes) ==
          halves.encode(to_host<__half>(halves.device_k, halves.k.size())));
    CHECK(to_host<uint8_t>(codes.device_v_codes, bytes) ==
          halves.encode(to_host<__half>(halves.device_v, halves.v.size())));
  }
}

TEST_CASE("copy_page copies one page and no other") {
  AttentionShape shape;
  shape.head_dim = 80;
  shape.n_kv_heads = 3;
  shape.spans = {{1, 200}};
  PagedKv kv(shape, 4);
  copy_page(kv.device(), 2, 5, nullptr);
  const size_t page = static_cast<size_t>(shape.page_tokens * shape.n_kv_heads * shape.head_dim);
  for (const bool keys : {true, false}) {
    const auto got = to_host<__half>(keys ? kv.device_k : kv.device_v, kv.k.size());
    std::vector<__half> expected = keys ? kv.k : kv.v;
    std::copy_n(expected.begin() + static_cast<ptrdiff_t>(2 * page), page,
                expected.begin() + static_cast<ptrdiff_t>(5 * page));
    CHECK(std::memcmp(got.data(), expected.data(), got.size() * sizeof(__half)) == 0);
  }
  shape.coded = true;
  const PagedKv coded(shape, 4);
  copy_page(coded.device(), 2, 5, nullptr);
  const auto bytes =
      static_cast<ptrdiff_t>(page / static_cast<size_t>(shape.head_dim)) * kv_row_bytes(80);
  for (const bool keys : {true, false}) {
    std::vector<uint8_t> expected = keys ? coded.k_codes : coded.v_codes;
    std::copy_n(expected.begin() + 2 * bytes, bytes, expected.begin() + 5 * bytes);
    CHECK(to_host<uint8_t>(keys ? coded.device_k_codes : coded.device_v_codes, expected.size()) ==
          expected);
  }
}

}  // namespace
}  // namespace fimd::cuda
