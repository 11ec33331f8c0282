#include "support/result.h"

#include <doctest/doctest.h>

#include <memory>

namespace fimd {
namespace {

Result<int> half(int x) {
  if (x % 2 != 0) return Error{ErrorCode::kInvalidArgument, "odd"};
  return x / 2;
}

Result<int> quarter(int x) {
  FIMD_ASSIGN_OR_RETURN(const int h, half(x));
  return half(h);
}

Status check(int x) {
  FIMD_RETURN_IF_ERROR(quarter(x));
  return {};
}

TEST_CASE("a result holds a value or an error") {
  CHECK(*quarter(8) == 2);
  REQUIRE_FALSE(quarter(6).ok());
  CHECK(quarter(6).error().message == "odd");
  CHECK(check(8).ok());
  CHECK(check(3).error().code == ErrorCode::kInvalidArgument);
}

TEST_CASE("move-only values move out") {
  Result<std::unique_ptr<int>> r = std::make_unique<int>(7);
  std::unique_ptr<int> p = std::move(r).value();
  CHECK(*p == 7);
}

TEST_CASE("every code has a name") {
  for (int c = 0; c <= static_cast<int>(ErrorCode::kInternal); ++c) {
    CHECK(std::string(error_code_name(static_cast<ErrorCode>(c))) != "unknown");
  }
}

}  // namespace
}  // namespace fimd
