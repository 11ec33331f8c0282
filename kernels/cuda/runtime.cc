#include "kernels/cuda/runtime.h"

#include <string>

namespace fimd::cuda {

Status check(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return {};
  const ErrorCode code =
      error == cudaErrorMemoryAllocation ? ErrorCode::kResourceExhausted : ErrorCode::kUnavailable;
  return Error{code, std::string("CUDA: ") + doing + ": " + cudaGetErrorString(error) + " (" +
                         cudaGetErrorName(error) + ")"};
}

bool is_sticky(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorContained:
      return true;
    default:
      return false;
  }
}

template <class Memory>
Result<Buffer<Memory>> Buffer<Memory>::make(size_t bytes, const char* what) {
  Buffer buffer;
  if (bytes == 0) return buffer;
  void* data = nullptr;
  const cudaError_t error = Memory::take(&data, bytes);
  if (error != cudaSuccess) {
    static_cast<void>(cudaGetLastError());  // an allocation that failed leaves nothing behind
    return Error{ErrorCode::kResourceExhausted, std::string("no ") + std::to_string(bytes >> 20) +
                                                    " MiB of " + Memory::kName + " for " + what +
                                                    ": " + cudaGetErrorString(error)};
  }
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.bytes_ = bytes;
  return buffer;
}

template class Buffer<DeviceMemory>;
template class Buffer<PinnedMemory>;

Result<Stream> Stream::make() {
  Stream stream;
  FIMD_RETURN_IF_ERROR(
      check(cudaStreamCreateWithFlags(&stream.stream_, cudaStreamNonBlocking), "making a stream"));
  return stream;
}

Stream::~Stream() {
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

Status Stream::synchronize() const { return check(cudaStreamSynchronize(stream_), "waiting"); }

Result<Event> Event::make(bool timing) {
  Event event;
  FIMD_RETURN_IF_ERROR(check(
      cudaEventCreateWithFlags(&event.event_, timing ? cudaEventDefault : cudaEventDisableTiming),
      "making an event"));
  return event;
}

Event::~Event() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

}  // namespace fimd::cuda
