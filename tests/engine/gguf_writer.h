// Writes GGUF files into memory, well-formed unless asked otherwise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/formats/dtype.h"

namespace fimd::test {

class GgufWriter {
 public:
  void add_u32(std::string_view key, uint32_t value) {
    begin_value(key, 4);
    put(metadata_, value);
  }
  void add_f32(std::string_view key, float value) {
    begin_value(key, 6);
    put(metadata_, value);
  }
  void add_bool(std::string_view key, bool value) {
    begin_value(key, 7);
    metadata_.push_back(std::byte{value});
  }
  void add_string(std::string_view key, std::string_view value) {
    begin_value(key, 8);
    put_string(metadata_, value);
  }
  void add_strings(std::string_view key, const std::vector<std::string>& values) {
    begin_value(key, 9);
    put(metadata_, uint32_t{8});
    put(metadata_, static_cast<uint64_t>(values.size()));
    for (const std::string& value : values) put_string(metadata_, value);
  }
  void add_i32s(std::string_view key, const std::vector<int32_t>& values) {
    begin_value(key, 9);
    put(metadata_, uint32_t{5});
    put(metadata_, static_cast<uint64_t>(values.size()));
    for (const int32_t value : values) put(metadata_, value);
  }
  /// A pair whose payload is given byte by byte.
  void add_raw(std::string_view key, uint32_t type, const std::vector<std::byte>& payload) {
    begin_value(key, type);
    metadata_.insert(metadata_.end(), payload.begin(), payload.end());
  }

  /// dims[0] is contiguous.
  void add_tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                  const std::vector<std::byte>& bytes) {
    describe_tensor(name, dims, type, bytes.size());
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    data_.resize((data_.size() + 31) / 32 * 32);
  }
  /// A tensor whose bytes the caller writes behind bytes(), padded to 32, in the same order.
  void describe_tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                       size_t n_bytes) {
    put_string(infos_, name);
    put(infos_, static_cast<uint32_t>(dims.size()));
    for (const uint64_t dim : dims) put(infos_, dim);
    put(infos_, type);
    put(infos_, static_cast<uint64_t>(described_));
    described_ += (n_bytes + 31) / 32 * 32;
    ++tensor_count_;
  }
  /// Encodes `values` (rows, cols) in `type`.
  void add_matrix(std::string_view name, DType type, int64_t rows, int64_t cols,
                  const std::vector<float>& values) {
    const FormatInfo& format = *find_format(static_cast<uint32_t>(type));
    std::vector<std::byte> bytes(row_bytes(format, cols) * static_cast<size_t>(rows));
    quantize(type, values.data(), rows * cols, bytes.data());
    std::vector<uint64_t> dims = {static_cast<uint64_t>(cols)};
    if (rows > 1) dims.push_back(static_cast<uint64_t>(rows));
    add_tensor(name, dims, static_cast<uint32_t>(type), bytes);
  }

  uint32_t version = 3;
  int64_t extra_tensors = 0;   // claimed but not there
  int64_t extra_metadata = 0;  // likewise

  std::vector<std::byte> bytes() const {
    std::vector<std::byte> file;
    put(file, uint32_t{0x46554747});
    put(file, version);
    put(file, static_cast<uint64_t>(tensor_count_ + extra_tensors));
    put(file, static_cast<uint64_t>(metadata_count_ + extra_metadata));
    file.insert(file.end(), metadata_.begin(), metadata_.end());
    file.insert(file.end(), infos_.begin(), infos_.end());
    file.resize((file.size() + 31) / 32 * 32);
    file.insert(file.end(), data_.begin(), data_.end());
    return file;
  }

  template <class T>
  static void put(std::vector<std::byte>& out, T value) {
    const auto at = out.size();
    out.resize(at + sizeof(T));
    std::memcpy(out.data() + at, &value, sizeof(T));
  }
  static void put_string(std::vector<std::byte>& out, std::string_view text) {
    put(out, static_cast<uint64_t>(text.size()));
    const auto* data = reinterpret_cast<const std::byte*>(text.data());
    out.insert(out.end(), data, data + text.size());
  }

 private:
  void begin_value(std::string_view key, uint32_t type) {
    put_string(metadata_, key);
    put(metadata_, type);
    ++metadata_count_;
  }

  std::vector<std::byte> metadata_;
  std::vector<std::byte> infos_;
  std::vector<std::byte> data_;
  size_t described_ = 0;  // bytes of all tensors
  int64_t tensor_count_ = 0;
  int64_t metadata_count_ = 0;
};

}  // namespace fimd::test
