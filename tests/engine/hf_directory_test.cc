// Models in Hugging Face's layout: the GGUF fixtures are written again as safetensors directories
// and must compute the same; damaged ones must be errors.
#include "engine/hf_directory.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "engine/cpu_backend.h"
#include "engine/gguf.h"
#include "engine/safetensors.h"
#include "tests/json.h"

namespace fimd {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Bytes = std::vector<std::byte>;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "fimd-hf-XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

struct Entry {
  std::string name;
  std::string type;
  std::vector<int64_t> shape;
  Bytes bytes;
};

void write_safetensors(const fs::path& path, const std::vector<Entry>& entries) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  size_t at = 0;
  for (const Entry& entry : entries) {
    header[entry.name] = {{"dtype", entry.type},
                          {"shape", entry.shape},
                          {"data_offsets", {at, at + entry.bytes.size()}}};
    at += entry.bytes.size();
  }
  const std::string text = test::dump_json(header);
  const uint64_t size = text.size();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&size), sizeof size);
  out << text;
  for (const Entry& entry : entries) {
    out.write(reinterpret_cast<const char*>(entry.bytes.data()),
              static_cast<std::streamsize>(entry.bytes.size()));
  }
}

/// Undoes what converters do to q and k of llama: rows 2i + j of a head were rows j * (dim / 2) +
/// i.
Bytes unpermuted(const Bytes& from, int64_t rows, int64_t head_dim) {
  const auto row_bytes = from.size() / static_cast<size_t>(rows);
  Bytes to(from.size());
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = row / head_dim;
    const int64_t in_head = row % head_dim;
    const int64_t original = head * head_dim + in_head % 2 * (head_dim / 2) + in_head / 2;
    std::memcpy(to.data() + static_cast<size_t>(original) * row_bytes,
                from.data() + static_cast<size_t>(row) * row_bytes, row_bytes);
  }
  return to;
}

/// The other way round: tiled value heads (index j * k_heads + k) to Hugging Face's (k * r + j).
/// `n` elements of `size` bytes for each head, from `begin` on; repeated to the end.
Bytes grouped(const Bytes& from, size_t begin, size_t n, int64_t k_heads, int64_t v_heads) {
  Bytes to = from;
  const int64_t r = v_heads / k_heads;
  const auto all = static_cast<size_t>(v_heads) * n;
  for (size_t at = begin; at + all <= from.size(); at += all) {
    for (int64_t head = 0; head < v_heads; ++head) {
      const int64_t tiled = head % r * k_heads + head / r;
      std::memcpy(to.data() + at + static_cast<size_t>(head) * n,
                  from.data() + at + static_cast<size_t>(tiled) * n, n);
    }
  }
  return to;
}

/// Undoes what converters do to qwen35's tensors.
void restore_qwen35(const GgufFile& file, std::string_view gguf_name, Entry* entry) {
  const auto number = [&](const char* key) { return *file.integer(std::string("qwen35.") + key); };
  const int64_t k_heads = number("ssm.group_count");
  const int64_t v_heads = number("ssm.time_step_rank");
  const auto v_dim = static_cast<size_t>(number("ssm.inner_size") / v_heads);
  const auto keys = static_cast<size_t>(k_heads * number("ssm.state_size"));
  const std::string_view stem = gguf_name.substr(gguf_name.find('.', 4) + 1);
  const size_t row = entry->bytes.size() / static_cast<size_t>(entry->shape[0]);
  const auto reorder = [&](size_t begin, size_t n) {
    entry->bytes = grouped(entry->bytes, begin, n, k_heads, v_heads);
  };
  const auto each = [&](auto change) {
    for (size_t at = 0; at < entry->bytes.size(); at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, entry->bytes.data() + at, sizeof value);
      value = change(value);
      std::memcpy(entry->bytes.data() + at, &value, sizeof value);
    }
  };
  if (stem == "attn_qkv.weight" || stem == "ssm_conv1d.weight") {
    reorder(2 * keys * row, v_dim * row);
    if (stem == "ssm_conv1d.weight") entry->shape.insert(entry->shape.begin() + 1, 1);
  } else if (stem == "attn_gate.weight") {
    reorder(0, v_dim * row);
  } else if (stem == "ssm_out.weight") {
    reorder(0, v_dim * (row / static_cast<size_t>(entry->shape[1])));
  } else if (stem == "ssm_alpha.weight" || stem == "ssm_beta.weight" || stem == "ssm_dt.bias") {
    reorder(0, row);
  } else if (stem == "ssm_a") {
    reorder(0, row);
    each([](float v) { return std::log(-v); });
  } else if (stem != "ssm_norm.weight" && gguf_name.ends_with("norm.weight")) {
    each([](float v) { return v - 1; });
  }
}

std::string hf_name(std::string_view gguf) {
  static constexpr std::pair<const char*, const char*> kNames[] = {
      {"attn_norm", "input_layernorm"},        {"ffn_norm", "post_attention_layernorm"},
      {"attn_q_norm", "self_attn.q_norm"},     {"attn_k_norm", "self_attn.k_norm"},
      {"attn_q", "self_attn.q_proj"},          {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},          {"attn_output", "self_attn.o_proj"},
      {"ffn_gate", "mlp.gate_proj"},           {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"},           {"post_attention_norm", "post_attention_layernorm"},
      {"attn_qkv", "linear_attn.in_proj_qkv"}, {"attn_gate", "linear_attn.in_proj_z"},
      {"ssm_beta", "linear_attn.in_proj_b"},   {"ssm_alpha", "linear_attn.in_proj_a"},
      {"ssm_conv1d", "linear_attn.conv1d"},    {"ssm_norm", "linear_attn.norm"},
      {"ssm_out", "linear_attn.out_proj"},
  };
  const auto layer_of = [&] { return std::string(gguf.substr(4, gguf.find('.', 4) - 4)); };
  if (gguf.ends_with(".ssm_a")) return "model.layers." + layer_of() + ".linear_attn.A_log";
  if (gguf.ends_with("ssm_dt.bias")) return "model.layers." + layer_of() + ".linear_attn.dt_bias";
  if (gguf == "token_embd.weight") return "model.embed_tokens.weight";
  if (gguf == "output_norm.weight") return "model.norm.weight";
  if (gguf == "output.weight") return "lm_head.weight";
  const size_t layer_end = gguf.find('.', 4);
  const size_t stem_end = gguf.rfind('.');
  const auto stem = gguf.substr(layer_end + 1, stem_end - layer_end - 1);
  for (const auto& [from, to] : kNames) {
    if (stem == from) {
      return "model.layers." + std::string(gguf.substr(4, layer_end - 4)) + "." + to +
             std::string(gguf.substr(stem_end));
    }
  }
  FAIL("no name for ", std::string(gguf));
  return {};
}

/// Writes `file` as a Hugging Face directory of `parts` files.
void convert(const GgufFile& file, const fs::path& to, size_t parts) {
  const std::string arch(*file.string("general.architecture"));
  const auto number = [&](const char* key) { return *file.integer(arch + "." + key); };
  const int64_t head_dim = number("attention.key_length");
  std::vector<std::vector<Entry>> files(parts);
  Json map = Json::object();
  for (const ModelTensor& tensor : file.tensors()) {
    if (tensor.name == "rope_freqs.weight") continue;
    Entry entry;
    entry.name = hf_name(tensor.name);
    entry.type = static_cast<DType>(tensor.type) == DType::kF16 ? "F16" : "F32";
    entry.bytes.assign(tensor.data, tensor.data + tensor.bytes);
    for (int d = tensor.n_dims - 1; d >= 0; --d) {
      entry.shape.push_back(tensor.dims[static_cast<size_t>(d)]);
    }
    const bool q_or_k = entry.name.find("q_proj") != std::string::npos ||
                        entry.name.find("k_proj") != std::string::npos;
    if (arch == "llama" && q_or_k) {
      entry.bytes = unpermuted(entry.bytes, entry.shape[0], head_dim);
    }
    if (arch == "qwen35") restore_qwen35(file, tensor.name, &entry);
    const size_t part = map.size() % parts;
    map[entry.name] = "part-" + std::to_string(part) + ".safetensors";
    files[part].push_back(std::move(entry));
  }
  for (size_t part = 0; part < parts; ++part) {
    const std::string name =
        parts == 1 ? "model.safetensors" : "part-" + std::to_string(part) + ".safetensors";
    write_safetensors(to / name, files[part]);
  }
  if (parts > 1) {
    write_text(to / "model.safetensors.index.json", test::dump_json({{"weight_map", map}}));
  }
  Json config = {
      {"model_type", arch},
      {"num_hidden_layers", number("block_count")},
      {"max_position_embeddings", number("context_length")},
      {"hidden_size", number("embedding_length")},
      {"intermediate_size", number("feed_forward_length")},
      {"num_attention_heads", number("attention.head_count")},
      {"num_key_value_heads", number("attention.head_count_kv")},
      {"head_dim", head_dim},
      {"rms_norm_eps", *file.real(arch + ".attention.layer_norm_rms_epsilon")},
      {"rope_theta", *file.real(arch + ".rope.freq_base")},
      {"tie_word_embeddings", file.tensor("output.weight") == nullptr},
      {"rope_scaling", nullptr},
  };
  if (arch == "qwen35") {
    config["model_type"] = "qwen3_5_text";
    config["linear_conv_kernel_dim"] = number("ssm.conv_kernel");
    config["linear_key_head_dim"] = number("ssm.state_size");
    config["linear_num_key_heads"] = number("ssm.group_count");
    config["linear_num_value_heads"] = number("ssm.time_step_rank");
    config["linear_value_head_dim"] = number("ssm.inner_size") / number("ssm.time_step_rank");
    config["partial_rotary_factor"] =
        static_cast<double>(number("rope.dimension_count")) / static_cast<double>(head_dim);
    config["layer_types"] = Json::array();  // the tensors tell
  }
  if (file.tensor("rope_freqs.weight") != nullptr) {  // as make_fixtures.py made them
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 16}};
  }
  write_text(to / "config.json", test::dump_json(config));
}

std::vector<float> logits_of(const ModelSource& source) {
  const auto spec = read_model_spec(source);
  REQUIRE(spec.ok());
  const auto backend =
      CpuBackend::make(*spec, TokenMask(), {.threads = 1, .kv_bytes = int64_t{4} << 20}, nullptr);
  REQUIRE(backend.ok());
  const std::vector<TokenId> tokens = {7, 100, 31, 250, 9, 9, 64, 128, 3, 77};
  const std::vector<SampleSpec> samples(tokens.size());
  const std::vector<int32_t> pages = {0};
  const StepInput input{.tokens = tokens, .pages = pages, .samples = samples};
  std::vector<Sampled> sampled(tokens.size());
  REQUIRE((*backend)->forward({&input, 1}, sampled).ok());
  std::vector<float> logits;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto row = (*backend)->logits(i);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

TEST_CASE("a Hugging Face directory computes what its GGUF conversion computes") {
  for (const char* name : {"qwen2-tiny", "qwen3-tiny", "llama-tiny", "llama-plain-tiny",
                           "qwen35-tiny", "qwen35-plain-tiny", "qwen35-heads"}) {
    CAPTURE(name);
    const auto file = GgufFile::open(std::string("tests/fixtures/") + name + ".gguf");
    REQUIRE(file.ok());
    for (const size_t parts : {size_t{1}, size_t{3}}) {
      const TemporaryDirectory directory;
      convert(**file, directory.path(), parts);
      const auto source = open_model_source(directory.path().string());
      REQUIRE_MESSAGE(source.ok(), source.error().message);
      const auto expected = logits_of(**file);
      const auto actual = logits_of(**source);
      REQUIRE(actual.size() == expected.size());
      double worst = 0;
      for (size_t i = 0; i < actual.size(); ++i) {
        worst = std::max(worst, std::abs(static_cast<double>(actual[i] - expected[i])));
      }
      CHECK(worst < 1e-3);  // rows in another order, frequencies from a formula: only rounding
    }
  }
}

TEST_CASE("a directory that is not a whole model says what is missing") {
  const auto file = GgufFile::open("tests/fixtures/qwen2-tiny.gguf");
  REQUIRE(file.ok());
  const TemporaryDirectory directory;
  const fs::path& path = directory.path();
  const auto message = [&] {
    const auto source = open_model_source(path.string());
    if (!source.ok()) return source.error().message;
    const auto spec = read_model_spec(**source);
    return spec.ok() ? std::string() : spec.error().message;
  };
  const auto says = [&](const char* text) { return message().find(text) != std::string::npos; };
  CHECK(says("config.json' is missing"));
  convert(**file, path, 1);
  CHECK(message().empty());

  fs::rename(path / "model.safetensors", path / "weights");
  CHECK(says("model.safetensors'"));
  write_text(path / "model.safetensors.index.json", R"({"weight_map": {"a": "../../etc/passwd"}})");
  CHECK(says("odd name"));
  fs::remove(path / "model.safetensors.index.json");
  fs::rename(path / "weights", path / "model.safetensors");

  const Json config = test::read_json(path / "config.json");
  const auto with = [&](const char* key, const Json& value) {
    Json changed = config;
    changed[key] = value;
    write_text(path / "config.json", test::dump_json(changed));
  };
  with("model_type", "gpt_neox");
  CHECK(says("of type 'gpt_neox'"));
  with("quantization_config", {{"bits", 4}});
  CHECK(says("quantised safetensors"));
  with("tie_word_embeddings", false);
  CHECK(says("lm_head"));
  with("num_hidden_layers", 4);
  CHECK(says("blk.3."));
  with("num_hidden_layers", "many");
  CHECK(says("block_count"));
  with("hidden_size", -1);
  CHECK(says("embedding_length"));
  write_text(path / "config.json", "[1");
  CHECK(says("is not a JSON object"));

  // The tokenizer is only looked for when it is needed.
  write_text(path / "config.json", test::dump_json(config));
  const auto source = open_model_source(path.string());
  REQUIRE(source.ok());
  CHECK((*source)->tokenizer().error().message.find("tokenizer.json") != std::string::npos);
}

TEST_CASE("damaged safetensors are errors, never a crash") {
  const auto parse = [](const std::string& header, size_t data, uint64_t claimed) {
    Bytes bytes(sizeof claimed + header.size() + data);
    std::memcpy(bytes.data(), &claimed, sizeof claimed);
    std::memcpy(bytes.data() + sizeof claimed, header.data(), header.size());
    return SafetensorsFile::parse(bytes, "t").ok();
  };
  const auto parses = [&](const std::string& header, size_t data) {
    return parse(header, data, header.size());
  };
  CHECK(parses(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 24));
  CHECK(parses(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4));
  CHECK(parses(R"({"a":{"dtype":"F9","shape":[2],"data_offsets":[0,1]}})", 1));  // never needed
  CHECK_FALSE(parses(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})", 23));
  CHECK_FALSE(parses(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[24,0]}})", 24));
  CHECK_FALSE(parses(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,24]}})", 24));
  CHECK_FALSE(parses(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 24));
  CHECK_FALSE(
      parses(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 24));
  CHECK_FALSE(parses(R"({"a":{"dtype":"F32","shape":[1e3],"data_offsets":[0,8]}})", 24));
  CHECK_FALSE(parses(R"({"a":{"shape":[1],"data_offsets":[0,4]}})", 24));
  CHECK_FALSE(parses(R"({"a":7})", 24));
  CHECK_FALSE(parses("[]", 24));
  CHECK_FALSE(parses("", 0));
  CHECK_FALSE(parse("{}", 0, 3));
  CHECK_FALSE(parse("{}", 0, uint64_t{1} << 63));
  CHECK_FALSE(SafetensorsFile::parse(Bytes(7), "short").ok());
}

}  // namespace
}  // namespace fimd
