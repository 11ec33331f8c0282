// safetensors files: the header and where it says the tensors lie.
#include <cstdint>
#include <span>

#include "engine/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fimd;
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(data, size)), "fuzz");
  if (!file.ok()) return 0;
  for (const Safetensor& tensor : file->tensors()) {
    if (tensor.data.empty()) continue;
    // The first and the last byte must be there.
    const volatile auto first = tensor.data.front();
    const volatile auto last = tensor.data.back();
    (void)first;
    (void)last;
  }
  return 0;
}
