// RAII for what the CUDA runtime hands out, and its errors as Status.
//
// Owner: whoever holds the object. Thread: any, one at a time; the device is the current one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "support/result.h"

namespace fimd::cuda {

/// OK, or an error that says what was being done. A sticky error (is_sticky) means that this
/// process's CUDA context is lost for good.
Status check(cudaError_t error, const char* doing);
/// The error of the launches since the last look.
inline Status check_launch(const char* doing) { return check(cudaGetLastError(), doing); }
bool is_sticky(cudaError_t error);

/// A block of memory of one kind. Empty after a move.
template <class Memory>
class Buffer {
 public:
  Buffer() = default;
  static Result<Buffer> make(size_t bytes, const char* what);
  ~Buffer() {
    if (data_ != nullptr) Memory::give_back(data_);
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

struct DeviceMemory {
  static constexpr const char* kName = "GPU memory";
  static cudaError_t take(void** data, size_t bytes) { return cudaMalloc(data, bytes); }
  static void give_back(void* data) { cudaFree(data); }
};
using DeviceBuffer = Buffer<DeviceMemory>;

/// Page-locked host memory: copies to and from it run beside the host.
struct PinnedMemory {
  static constexpr const char* kName = "page-locked memory";
  static cudaError_t take(void** data, size_t bytes) {
    return cudaHostAlloc(data, bytes, cudaHostAllocDefault);
  }
  static void give_back(void* data) { cudaFreeHost(data); }
};
using PinnedBuffer = Buffer<PinnedMemory>;

/// A non-blocking stream.
class Stream {
 public:
  Stream() = default;
  static Result<Stream> make();
  ~Stream();
  Stream(Stream&& other) noexcept { std::swap(stream_, other.stream_); }
  Stream& operator=(Stream&& other) noexcept {
    std::swap(stream_, other.stream_);
    return *this;
  }
  cudaStream_t get() const { return stream_; }
  Status synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() = default;
  static Result<Event> make(bool timing);
  ~Event();
  Event(Event&& other) noexcept { std::swap(event_, other.event_); }
  Event& operator=(Event&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace fimd::cuda
