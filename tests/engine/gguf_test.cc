#include "engine/gguf.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <random>

#include "engine/model_spec.h"
#include "tests/engine/gguf_writer.h"

namespace fimd {
namespace {

using test::GgufWriter;

GgufWriter small_file() {
  GgufWriter writer;
  writer.add_string("general.architecture", "qwen2");
  writer.add_u32("qwen2.block_count", 3);
  writer.add_f32("qwen2.rope.freq_base", 1e6F);
  writer.add_bool("tokenizer.ggml.add_bos_token", true);
  writer.add_strings("tokenizer.ggml.tokens", {"a", "", "long one"});
  writer.add_i32s("tokenizer.ggml.token_type", {1, -2, 3});
  writer.add_matrix("m", DType::kF32, 2, 3, {1, 2, 3, 4, 5, 6});
  writer.add_matrix("v", DType::kF16, 1, 4, {1, 2, 3, 4});
  return writer;
}

TEST_CASE("metadata and tensors are read in place") {
  const auto bytes = small_file().bytes();
  auto file = GgufFile::parse(bytes, "test");
  REQUIRE_MESSAGE(file.ok(), file.error().message);
  const GgufFile& gguf = **file;
  CHECK(*gguf.string("general.architecture") == "qwen2");
  CHECK(*gguf.integer("qwen2.block_count") == 3);
  CHECK(*gguf.real("qwen2.rope.freq_base") == 1e6);
  CHECK(*gguf.real("qwen2.block_count") == 3.0);
  CHECK(*gguf.boolean_or("tokenizer.ggml.add_bos_token", false));
  CHECK(*gguf.strings("tokenizer.ggml.tokens") ==
        std::vector<std::string_view>{"a", "", "long one"});
  CHECK(*gguf.integers("tokenizer.ggml.token_type") == std::vector<int64_t>{1, -2, 3});
  CHECK(*gguf.integer_or("absent", 7) == 7);
  CHECK(gguf.integer("absent").error().code == ErrorCode::kNotFound);
  CHECK(gguf.integer("general.architecture").error().code == ErrorCode::kCorrupt);
  CHECK(gguf.strings("tokenizer.ggml.token_type").error().code == ErrorCode::kCorrupt);
  CHECK(gguf.integers("tokenizer.ggml.tokens").error().code == ErrorCode::kCorrupt);
  CHECK(gguf.string("tokenizer.ggml.tokens").error().code == ErrorCode::kCorrupt);

  const ModelTensor* m = gguf.tensor("m");
  REQUIRE(m != nullptr);
  CHECK(m->dims[0] == 3);
  CHECK(m->dims[1] == 2);
  REQUIRE(m->bytes == 24);
  float values[6];
  std::memcpy(values, m->data, sizeof(values));
  CHECK(values[5] == 6.0F);
  CHECK(gguf.tensor("v")->bytes == 8);
  CHECK(gguf.tensor("absent") == nullptr);
}

TEST_CASE("a file cut short anywhere is an error, never a crash") {
  const auto bytes = small_file().bytes();
  for (size_t n = 0; n < bytes.size(); ++n) {
    // An exact-size copy, so that a sanitizer sees any read beyond the cut.
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    const auto file = GgufFile::parse(cut, "cut");
    const size_t padding = 24;  // after the last tensor's 8 bytes
    if (n + padding < bytes.size()) CHECK_FALSE(file.ok());
  }
}

TEST_CASE("no flipped bit crashes the reader or makes it allocate absurdly") {
  const auto bytes = small_file().bytes();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto file = GgufFile::parse(damaged, "damaged");
    if (!file.ok()) continue;
    for (const ModelTensor& tensor : (*file)->tensors()) {
      if (tensor.data == nullptr) continue;
      CHECK(tensor.data >= damaged.data());
      CHECK(tensor.data + tensor.bytes <= damaged.data() + damaged.size());
    }
    (void)(*file)->strings("tokenizer.ggml.tokens");
    (void)(*file)->integers("tokenizer.ggml.token_type");
    (void)read_model_spec(**file);
  }
}

TEST_CASE("absurd counts are refused before anything is allocated for them") {
  for (const int64_t extra : {int64_t{1} << 20, int64_t{1} << 40, int64_t{1} << 62}) {
    GgufWriter tensors = small_file();
    tensors.extra_tensors = extra;
    CHECK(GgufFile::parse(tensors.bytes(), "t").error().code == ErrorCode::kCorrupt);
    GgufWriter pairs = small_file();
    pairs.extra_metadata = extra;
    CHECK(GgufFile::parse(pairs.bytes(), "t").error().code == ErrorCode::kCorrupt);
    for (const uint32_t element : {8U, 4U, 12U, 9U}) {
      GgufWriter array;
      std::vector<std::byte> payload;
      GgufWriter::put(payload, element);
      GgufWriter::put(payload, static_cast<uint64_t>(extra));
      array.add_raw("a", 9, payload);
      CHECK_FALSE(GgufFile::parse(array.bytes(), "t").ok());
    }
  }
}

TEST_CASE("contradictions are named") {
  const auto error_of = [](const GgufWriter& writer) {
    const auto file = GgufFile::parse(writer.bytes(), "t");
    return file.ok() ? Error{} : file.error();
  };
  GgufWriter twice = small_file();
  twice.add_u32("qwen2.block_count", 4);
  CHECK(error_of(twice).message.find("appears twice") != std::string::npos);

  GgufWriter tensor_twice = small_file();
  tensor_twice.add_matrix("m", DType::kF32, 1, 1, {1});
  CHECK(error_of(tensor_twice).message.find("'m' appears twice") != std::string::npos);

  for (const std::vector<uint64_t>& dims : {std::vector<uint64_t>{0},
                                            {},
                                            {1, 1, 1, 1, 1},
                                            {uint64_t{1} << 41},
                                            {uint64_t{1} << 30, uint64_t{1} << 30},
                                            {~uint64_t{0}},
                                            {1000}}) {
    GgufWriter shape;
    shape.add_tensor("x", dims, 0, std::vector<std::byte>(64));
    CHECK(error_of(shape).code == ErrorCode::kCorrupt);
  }
  GgufWriter blocks;
  blocks.add_tensor("x", {33}, 8, std::vector<std::byte>(68));
  CHECK(error_of(blocks).message.find("whole Q8_0 blocks") != std::string::npos);

  GgufWriter alignment = small_file();
  alignment.add_u32("general.alignment", 33);
  CHECK(error_of(alignment).code == ErrorCode::kCorrupt);

  GgufWriter split = small_file();
  split.add_u32("split.count", 3);
  CHECK(error_of(split).code == ErrorCode::kUnsupported);
  CHECK(error_of(split).message.find("--merge") != std::string::npos);

  for (const uint32_t version : {1U, 4U, 0x03000000U}) {
    GgufWriter old = small_file();
    old.version = version;
    CHECK(error_of(old).code == ErrorCode::kUnsupported);
  }
  GgufWriter two = small_file();
  two.version = 2;
  CHECK(GgufFile::parse(two.bytes(), "t").ok());
}

TEST_CASE("files that are not models get clear errors") {
  CHECK(GgufFile::open("/nonexistent/model.gguf").error().code == ErrorCode::kNotFound);
  CHECK(GgufFile::open("/tmp").error().code == ErrorCode::kInvalidArgument);
  CHECK(GgufFile::open("/dev/null").error().code == ErrorCode::kInvalidArgument);
  const std::string pipe = "/tmp/fimd_gguf_test_pipe_" + std::to_string(::getpid());
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(GgufFile::open(pipe).error().code == ErrorCode::kInvalidArgument);
  ::unlink(pipe.c_str());
  const auto text = GgufFile::open("CMakeLists.txt");
  CHECK(text.error().message.find("not a GGUF file") != std::string::npos);
}

TEST_CASE("an unknown architecture or quantisation says what would work") {
  GgufWriter mamba;
  mamba.add_string("general.architecture", "mamba");
  const auto bytes = mamba.bytes();
  const auto file = GgufFile::parse(bytes, "t");
  REQUIRE(file.ok());
  CHECK(read_model_spec(**file).error().message.find("llama, qwen2, qwen3") != std::string::npos);

  GgufWriter iq4;
  iq4.add_string("general.architecture", "llama");
  for (const char* key : {"embedding_length", "feed_forward_length", "context_length"}) {
    iq4.add_u32("llama." + std::string(key), 256);
  }
  iq4.add_u32("llama.block_count", 1);
  iq4.add_u32("llama.attention.head_count", 4);
  iq4.add_tensor("token_embd.weight", {256, 10}, 23, std::vector<std::byte>(1360));
  const auto iq4_bytes = iq4.bytes();
  const auto iq4_file = GgufFile::parse(iq4_bytes, "t");
  REQUIRE(iq4_file.ok());
  const auto spec = read_model_spec(**iq4_file);
  CHECK(spec.error().code == ErrorCode::kUnsupported);
  CHECK(spec.error().message.find("IQ4_XS") != std::string::npos);
  CHECK(spec.error().message.find("Q4_K_M") != std::string::npos);
}

}  // namespace
}  // namespace fimd
