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

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// x += the Gated DeltaNet of a `qwen35` file's layer, one token after another.
void add_delta_net(const Reader& in, const std::string& prefix, double eps,
                   std::vector<Vector>& x) {
  const auto kernel = static_cast<size_t>(in.integer("ssm.conv_kernel"));
  const auto k_dim = static_cast<size_t>(in.integer("ssm.state_size"));
  const auto k_heads = static_cast<size_t>(in.integer("ssm.group_count"));
  const auto v_heads = static_cast<size_t>(in.integer("ssm.time_step_rank"));
  const size_t v_dim = static_cast<size_t>(in.integer("ssm.inner_size")) / v_heads;
  const bool grouped = *in.file.boolean_or(in.arch + ".ssm.grouped_value_heads", false);
  const auto t = [&](const char* name) { return in.tensor(prefix + name); };
  const Vector input_norm = t("attn_norm.weight"), wqkv = t("attn_qkv.weight");
  const Vector wz = t("attn_gate.weight"), wa = t("ssm_alpha.weight"), wb = t("ssm_beta.weight");
  const Vector conv = t("ssm_conv1d.weight"), decay = t("ssm_a"), dt = t("ssm_dt.bias");
  const Vector norm = t("ssm_norm.weight"), wo = t("ssm_out.weight");
  std::vector<Vector> history;  // qkv of all tokens
  std::vector<Vector> states(v_heads, Vector(k_dim * v_dim));
  for (Vector& row : x) {
    Vector h = row;
    normalize(h.data(), h.size(), input_norm, eps);
    history.push_back(multiply(wqkv, h, {}));
    Vector z = multiply(wz, h, {});
    const Vector a = multiply(wa, h, {}), b = multiply(wb, h, {});
    Vector u(history.back().size());
    for (size_t c = 0; c < u.size(); ++c) {
      for (size_t j = 0; j < kernel && j < history.size(); ++j) {
        u[c] += conv[c * kernel + kernel - 1 - j] * history[history.size() - 1 - j][c];
      }
      u[c] *= sigmoid(u[c]);
    }
    for (size_t head = 0; head < 2 * k_heads; ++head) {
      double sum = 1e-6;
      for (size_t i = 0; i < k_dim; ++i) sum += u[head * k_dim + i] * u[head * k_dim + i];
      const double scale = head < k_heads ? std::sqrt(static_cast<double>(k_dim)) : 1.0;
      for (size_t i = 0; i < k_dim; ++i) u[head * k_dim + i] /= std::sqrt(sum) * scale;
    }
    for (size_t head = 0; head < v_heads; ++head) {
      const size_t k_head = grouped ? head / (v_heads / k_heads) : head % k_heads;
      const double* q = u.data() + k_head * k_dim;
      const double* k = q + k_heads * k_dim;
      const double* v = u.data() + 2 * k_heads * k_dim + head * v_dim;
      const double keep = std::exp(decay[head] * std::log1p(std::exp(a[head] + dt[head])));
      Vector& state = states[head];
      Vector out(v_dim);
      for (size_t j = 0; j < v_dim; ++j) {
        double memory = 0;
        for (size_t i = 0; i < k_dim; ++i) memory += (state[i * v_dim + j] *= keep) * k[i];
        for (size_t i = 0; i < k_dim; ++i) {
          state[i * v_dim + j] += k[i] * sigmoid(b[head]) * (v[j] - memory);
          out[j] += state[i * v_dim + j] * q[i];
        }
      }
      normalize(out.data(), v_dim, norm, eps);
      for (size_t j = 0; j < v_dim; ++j) {
        double& gate = z[head * v_dim + j];
        gate = out[j] * gate * sigmoid(gate);
      }
    }
    const Vector o = multiply(wo, z, {});
    for (size_t i = 0; i < row.size(); ++i) row[i] += o[i];
  }
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
  const auto rotary = static_cast<size_t>(
      *file.integer_or(in.arch + ".rope.dimension_count", static_cast<int64_t>(head_dim)));
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
    for (size_t i = 0; i < rotary / 2; ++i) {
      double angle = static_cast<double>(position) * position_scale *
                     std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
      if (!divisors.empty()) angle /= divisors[i];
      double& a = adjacent ? x[2 * i] : x[i];
      double& b = adjacent ? x[2 * i + 1] : x[i + rotary / 2];
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
    const Vector n1 = t("attn_norm.weight");
    const Vector n2 = t(in.arch == "qwen35" ? "post_attention_norm.weight" : "ffn_norm.weight");
    const bool recurrent = wq.empty();
    if (recurrent) add_delta_net(in, "blk." + std::to_string(layer) + ".", eps, x);
    std::vector<Vector> keys, values;
    for (size_t p = 0; p < x.size() && !recurrent; ++p) {
      Vector h = x[p];
      normalize(h.data(), hidden, n1, eps);
      Vector q = multiply(wq, h, bq);
      Vector output_gate;
      if (in.arch == "qwen35") {  // each head: its query, then its gate
        Vector queries;
        for (size_t i = 0; i < q.size(); ++i) {
          (i / head_dim % 2 == 0 ? queries : output_gate).push_back(q[i]);
        }
        q = queries;
      }
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
      for (size_t i = 0; i < output_gate.size(); ++i) mixed[i] *= sigmoid(output_gate[i]);
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
