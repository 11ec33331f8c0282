// safetensors files: a JSON list of tensors and their bytes, read in place from a mapped file.
//
// The file is untrusted: offsets, shapes and types are checked against each other and the file.
// Format: https://huggingface.co/docs/safetensors (8-byte little-endian header length, JSON header,
// data).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/mapped_file.h"
#include "kernels/formats/dtype.h"
#include "support/result.h"

namespace fimd {

struct Safetensor {
  std::string name;
  std::string type_name;            // "BF16"
  std::optional<DType> type;        // BF16, F16, F32; nothing for types fimd cannot run
  std::vector<int64_t> shape;       // row-major: the last is contiguous
  std::span<const std::byte> data;  // in the file
};

class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::string& path);
  /// Reads `bytes` in place, which must outlive the result. `name` is for messages.
  static Result<SafetensorsFile> parse(std::span<const std::byte> bytes, const std::string& name);

  const std::vector<Safetensor>& tensors() const { return tensors_; }
  const MappedFile& file() const { return file_; }

 private:
  Status read(std::span<const std::byte> bytes, const std::string& name);

  MappedFile file_;
  std::vector<Safetensor> tensors_;
};

}  // namespace fimd
