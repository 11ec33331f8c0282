// GGUF files (versions 2 and 3): metadata and tensors, read in place from a mapped file.
//
// The file is untrusted: every length, count and offset is checked against the bytes that are
// really there before it is used, and nothing is allocated in proportion to a count that has not
// been checked. Immutable after open(); may be read from any thread. Tensors and strings point
// into the mapping and live as long as the GgufFile.
//
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "support/result.h"

namespace fimd {

struct GgufTensor {
  std::string_view name;
  uint32_t type = 0;  // ggml's type number; kernels/formats/dtype.h knows those fimd can run
  int n_dims = 0;
  std::array<int64_t, 4> dims = {1, 1, 1, 1};  // dims[0] is contiguous: a row has dims[0] elements
  const std::byte* data = nullptr;             // null if the type is one fimd cannot run
  size_t bytes = 0;

  int64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
};

/// "Q4_K", "IQ4_XS", or "type 99".
std::string ggml_type_name(uint32_t type);

/// The advice that ends every message about a quantisation fimd cannot run.
std::string supported_quantizations();

class GgufFile {
 public:
  static Result<std::unique_ptr<GgufFile>> open(const std::string& path);

  /// Reads `bytes` in place, which must outlive the file. `name` is for messages.
  static Result<std::unique_ptr<GgufFile>> parse(std::span<const std::byte> bytes,
                                                 std::string name);

  ~GgufFile();
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  const std::string& path() const { return name_; }
  size_t file_bytes() const { return bytes_.size(); }
  int version() const { return version_; }

  bool has(std::string_view key) const;

  // Typed access. A missing key is kNotFound, a value of another type kCorrupt. Any integer type
  // serves as integer, and any integer or float type as real. The _or forms give `fallback` only
  // for a missing key.
  Result<int64_t> integer(std::string_view key) const;
  Result<int64_t> integer_or(std::string_view key, int64_t fallback) const;
  Result<double> real(std::string_view key) const;
  Result<double> real_or(std::string_view key, double fallback) const;
  Result<bool> boolean_or(std::string_view key, bool fallback) const;
  Result<std::string_view> string(std::string_view key) const;
  Result<std::string_view> string_or(std::string_view key, std::string_view fallback) const;
  Result<std::vector<std::string_view>> strings(std::string_view key) const;
  Result<std::vector<int64_t>> integers(std::string_view key) const;
  Result<std::vector<float>> reals(std::string_view key) const;
  /// True if the key holds an array (of anything).
  bool is_array(std::string_view key) const;

  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// Null if there is none of that name.
  const GgufTensor* tensor(std::string_view name) const;

  /// Asks the system to read the file ahead, or says that its pages will hardly be needed again.
  void will_need() const;
  void wont_need() const;

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
  std::span<const std::byte> bytes_;
  void* mapping_ = nullptr;  // null if the bytes are the caller's
  int version_ = 0;
  std::unordered_map<std::string_view, Value> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<uint64_t> tensor_offsets_;  // only while reading
  std::unordered_map<std::string_view, size_t> tensor_index_;
};

}  // namespace fimd
