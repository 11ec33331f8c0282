// GGUF files (versions 2 and 3): metadata and tensors, read in place from a mapped file.
//
// The file is untrusted: every length, count and offset is checked against the bytes that are
// really there before it is used, and nothing is allocated in proportion to a count that has not
// been checked. Immutable after open(); may be read from any thread. Tensors and strings point
// into the mapping and live as long as the GgufFile.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/mapped_file.h"
#include "engine/model_source.h"
#include "support/result.h"

namespace fimd {

class GgufFile final : public ModelSource {
 public:
  static Result<std::unique_ptr<GgufFile>> open(const std::string& path);

  /// Reads `bytes` in place, which must outlive the file. `name` is for messages.
  static Result<std::unique_ptr<GgufFile>> parse(std::span<const std::byte> bytes,
                                                 std::string name);

  ~GgufFile() override;
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  const std::string& path() const override { return name_; }
  size_t file_bytes() const { return bytes_.size(); }
  int version() const { return version_; }

  bool has(std::string_view key) const override;
  Result<int64_t> integer(std::string_view key) const override;
  Result<double> real(std::string_view key) const override;
  Result<bool> boolean(std::string_view key) const override;
  Result<std::string_view> string(std::string_view key) const override;
  Result<std::vector<int64_t>> integers(std::string_view key) const override;
  Result<std::vector<std::string_view>> strings(std::string_view key) const;
  Result<std::vector<float>> reals(std::string_view key) const;
  bool is_array(std::string_view key) const override;

  const std::vector<ModelTensor>& tensors() const override { return tensors_; }
  const ModelTensor* tensor(std::string_view name) const override;
  Result<std::unique_ptr<Tokenizer>> tokenizer() const override;

  void will_need() const override { file_.will_need(); }
  void wont_need() const override { file_.wont_need(); }

 private:
  struct Reader;
  struct Value {
    uint32_t type = 0;
    uint32_t element_type = 0;  // of an array
    uint64_t count = 0;         // of an array
    size_t offset = 0;          // of the payload (an array's first element) in the file
  };

  GgufFile() = default;
  Status read_all();
  Status read_metadata(Reader& in, uint64_t count);
  Status read_tensor_infos(Reader& in, uint64_t count);
  Status place_tensors(size_t data_offset, uint64_t alignment);
  Error corrupt(const std::string& what) const;
  Result<Value> find(std::string_view key) const;
  Result<Value> find_array(std::string_view key) const;
  Error wrong_type(std::string_view key, const char* wanted) const;

  std::string name_;
  MappedFile file_;  // empty if the bytes are the caller's
  std::span<const std::byte> bytes_;
  int version_ = 0;
  std::unordered_map<std::string_view, Value> metadata_;
  std::vector<ModelTensor> tensors_;
  std::vector<uint64_t> tensor_offsets_;  // only while reading
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace fimd
