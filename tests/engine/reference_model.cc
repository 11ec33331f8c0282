#include "tests/engine/reference_model.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "kernels/formats/dtype.h"

namespace fimd::test {

namespace {

using Vector = std::vector<double>;

struct Reader {
  const GgufFile& file;
  std::string arch = std::string(*file.string("general.architecture"));

  int64_t integer(const std::string& key) const { return *file.integer(arch + "." + key); }

  Vector tensor(const std::string& name) const {
    const ModelTensor* t = file.tensor(name);
    if (t == nullptr) return {};
    std::vector<float> values(static_cast<size_t>(t->elements()));
    dequantize(static_cast<DType>(t->type), t->data, t->elements(), values.data());
    return {values.begin(), values.end()};
  }
};

Vector multiply(const Vector& w, const Vector& x, const Vector& bias) {
  const size_t rows = w.size() / x.size();
  Vector y(rows);
  for (size_t r = 0; r < rows; ++r) {
    double sum = bias.empty() ? 0.0 : bias[r];
    for (size_t c = 0; c < x.size(); ++c) sum += w[r * x.size() + c] * x[c];
    y[r] = sum;
  }
  return y;
}

void normalize(double* x, size_t n, const Vector& weight, double eps) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] * x[i];
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(n) + eps);
  for (size_t i = 0; i < n; ++i) x[i] *= scale * weight[i];
}

}  // namespace

std::vector<std::vector<double>> reference_logits(const GgufFile& file,
                                                  std::span<const TokenId> tokens) {
  const Reader in{file};
  const auto hidden = static_cast<size_t>(in.integer("embedding_length"));
  const auto heads = static_cast<size_t>(in.integer("attention.head_count"));
  const auto kv_heads = static_cast<size_t>(in.integer("attention.head_count_kv"));
  const auto head_dim = static_cast<size_t>(
      *file.integer_or(in.arch + ".attention.key_length", static_cast<int64_t>(hidden / heads)));
  const double eps = *file.real(in.arch + ".attention.layer_norm_rms_epsilon");
  const double theta = *file.real_or(in.arch + ".rope.freq_base", 10000.0);
  const bool adjacent = in.arch == "llama";
  const auto window =
      static_cast<size_t>(adjacent ? *file.integer_or("llama.attention.sliding_window", 0) : 0);
  double position_scale = 1;
  if (*file.string_or(in.arch + ".rope.scaling.type", "none") == "linear") {
    position_scale = 1.0 / *file.real(in.arch + ".rope.scaling.factor");
  }
  const Vector divisors = in.tensor("rope_freqs.weight");

  const auto rotate = [&](double* x, size_t position) {
    for (size_t i = 0; i < head_dim / 2; ++i) {
      double angle = static_cast<double>(position) * position_scale *
                     std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      if (!divisors.empty()) angle /= divisors[i];
      double& a = adjacent ? x[2 * i] : x[i];
      double& b = adjacent ? x[2 * i + 1] : x[i + head_dim / 2];
      const double turned = a * std::cos(angle) - b * std::sin(angle);
      b = b * std::cos(angle) + a * std::sin(angle);
      a = turned;
    }
  };

  const Vector embedding = in.tensor("token_embd.weight");
  std::vector<Vector> x;
  for (const TokenId token : tokens) {
    const auto begin = embedding.begin() + token * static_cast<ptrdiff_t>(hidden);
    x.emplace_back(begin, begin + static_cast<ptrdiff_t>(hidden));
  }
  for (int64_t layer = 0; layer < in.integer("block_count"); ++layer) {
    const auto t = [&](const char* name) {
      return in.tensor("blk." + std::to_string(layer) + "." + name);
    };
    const Vector wq = t("attn_q.weight"), wk = t("attn_k.weight"), wv = t("attn_v.weight");
    const Vector bq = t("attn_q.bias"), bk = t("attn_k.bias"), bv = t("attn_v.bias");
    const Vector nq = t("attn_q_norm.weight"), nk = t("attn_k_norm.weight");
    const Vector wo = t("attn_output.weight");
    const Vector gate = t("ffn_gate.weight"), up = t("ffn_up.weight"), down = t("ffn_down.weight");
    const Vector n1 = t("attn_norm.weight"), n2 = t("ffn_norm.weight");
    std::vector<Vector> keys, values;
    for (size_t p = 0; p < x.size(); ++p) {
      Vector h = x[p];
      normalize(h.data(), hidden, n1, eps);
      Vector q = multiply(wq, h, bq);
      keys.push_back(multiply(wk, h, bk));
      values.push_back(multiply(wv, h, bv));
      for (size_t head = 0; head < heads; ++head) {
        if (!nq.empty()) normalize(q.data() + head * head_dim, head_dim, nq, eps);
        rotate(q.data() + head * head_dim, p);
      }
      for (size_t head = 0; head < kv_heads; ++head) {
        if (!nk.empty()) normalize(keys[p].data() + head * head_dim, head_dim, nk, eps);
        rotate(keys[p].data() + head * head_dim, p);
      }
      Vector mixed(heads * head_dim);
      for (size_t head = 0; head < heads; ++head) {
        const size_t kv = head * kv_heads / heads;
        const size_t first = window > 0 && p + 1 > window ? p + 1 - window : 0;
        Vector weight(p + 1);
        double total = 0;
        for (size_t j = first; j <= p; ++j) {
          double dot = 0;
          for (size_t d = 0; d < head_dim; ++d) {
            dot += q[head * head_dim + d] * keys[j][kv * head_dim + d];
          }
          weight[j] = std::exp(dot / std::sqrt(static_cast<double>(head_dim)));
          total += weight[j];
        }
        for (size_t j = first; j <= p; ++j) {
          for (size_t d = 0; d < head_dim; ++d) {
            mixed[head * head_dim + d] += weight[j] / total * values[j][kv * head_dim + d];
          }
        }
      }
      const Vector o = multiply(wo, mixed, t("attn_output.bias"));
      for (size_t i = 0; i < hidden; ++i) x[p][i] += o[i];
    }
    for (Vector& row : x) {
      Vector h = row;
      normalize(h.data(), hidden, n2, eps);
      Vector g = multiply(gate, h, {});
      const Vector u = multiply(up, h, {});
      for (size_t i = 0; i < g.size(); ++i) g[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
      const Vector d = multiply(down, g, {});
      for (size_t i = 0; i < hidden; ++i) row[i] += d[i];
    }
  }
  const Vector norm = in.tensor("output_norm.weight");
  Vector output = in.tensor("output.weight");
  if (output.empty()) output = embedding;
  std::vector<Vector> logits;
  for (Vector& row : x) {
    normalize(row.data(), hidden, norm, eps);
    logits.push_back(multiply(output, row, {}));
  }
  return logits;
}

}  // namespace fimd::test
