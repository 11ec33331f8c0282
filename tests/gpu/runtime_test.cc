#include "kernels/cuda/runtime.h"

#include "tests/gpu/device_data.h"

namespace fimd::cuda {
namespace {

TEST_CASE("device memory that cannot be had is an error with its size, and nothing is lost") {
  auto too_much = DeviceBuffer::make(size_t{1} << 50, "a test");
  REQUIRE(!too_much.ok());
  CHECK(too_much.error().code == ErrorCode::kResourceExhausted);
  CHECK(too_much.error().message.find("1073741824 MiB") != std::string::npos);
  const std::vector<int> values = {1, 2, 3};
  CHECK(testing::to_host<int>(testing::to_device(values), 3) == values);
}

}  // namespace
}  // namespace fimd::cuda
