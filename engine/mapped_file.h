// A file mapped read-only: what model weights are read from.
//
// Owner: the model source. Thread: any.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "support/result.h"

namespace fimd {

class MappedFile {
 public:
  MappedFile() = default;
  /// Errors: kNotFound, kIo, kInvalidArgument (not a regular file), kCorrupt (empty).
  static Result<MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Asks the system to read the file ahead, or says that its pages will hardly be needed again.
  void will_need() const;
  void wont_need() const;

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace fimd
