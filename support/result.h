// Result<T>: a value or an Error, used by every call that can fail at run time.
//
// No exception crosses a folder's public functions; those of libraries are caught at the boundary
// and become an Error. A message says what was wrong, where, and what to do about it.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace fimd {

enum class ErrorCode {
  kInvalidArgument,  // the caller's input is wrong: a position outside the text, a bad option
  kNotFound,         // a file, model, document or token does not exist
  kCorrupt,          // a file's bytes contradict its format
  kUnsupported,      // well-formed, but of a kind fimd does not handle
  kResourceExhausted,
  kUnavailable,  // not now: the model is loading, the daemon is not running
  kCancelled,    // superseded by a newer request or cancelled by the client
  kIo,
  kInternal,
};

/// Stable lower-case name of a code, for logs and JSON.
const char* error_code_name(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    assert(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    assert(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    assert(!ok_);
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace fimd

/// Leaves the enclosing function with the error of `expr` (a Status or Result<T>).
#define FIMD_RETURN_IF_ERROR(expr)                      \
  do {                                                  \
    if (auto fimd_status = (expr); !fimd_status.ok()) { \
      return fimd_status.error();                       \
    }                                                   \
  } while (false)

#define FIMD_CONCAT_INNER(a, b) a##b
#define FIMD_CONCAT(a, b) FIMD_CONCAT_INNER(a, b)

/// FIMD_ASSIGN_OR_RETURN(auto file, open(path)): declares `file`, or leaves with the error.
#define FIMD_ASSIGN_OR_RETURN(lhs, expr) \
  FIMD_ASSIGN_OR_RETURN_INNER(FIMD_CONCAT(fimd_result_, __LINE__), lhs, expr)
#define FIMD_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                \
  if (!tmp.ok()) return tmp.error();                \
  lhs = std::move(tmp).value()
