// Reader: checked access to the members of a JSON object. For .cc files only (includes json.hpp).
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "context/document.h"
#include "lsp/binder.h"
#include "support/result.h"

namespace fimd::lsp {

// Reads members of one JSON object; remembers the first thing that is missing or of a wrong type.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail(where_ + " must be an object");
  }

  const Json* find(const char* key) const {
    if (!json_.is_object()) return nullptr;
    const auto it = json_.find(key);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }
  const Json* need(const char* key) {
    const Json* value = find(key);
    if (value == nullptr) fail(name(key) + " is missing");
    return value;
  }

  void string(const char* key, std::string* out, bool required = true) {
    const Json* value = required ? need(key) : find(key);
    if (value == nullptr) return;
    if (!value->is_string()) return fail(name(key) + " must be a string");
    *out = value->get<std::string>();
  }
  void integer(const char* key, int64_t* out, bool required = true) {
    const Json* value = required ? need(key) : find(key);
    if (value == nullptr) return;
    if (!value->is_number_integer()) return fail(name(key) + " must be an integer");
    *out = value->get<int64_t>();
  }
  void optional_integer(const char* key, std::optional<int64_t>* out) {
    if (find(key) == nullptr) return;
    int64_t value = 0;
    integer(key, &value, false);
    *out = value;
  }
  void boolean(const char* key, bool* out) const {
    if (const Json* value = find(key); value != nullptr && value->is_boolean()) {
      *out = value->get<bool>();
    }
  }
  template <class T>
  void object(const char* key, T* out) {
    if (const Json* value = need(key)) merge(decode_at(*value, name(key), out));
  }
  void document(std::string* uri) {
    if (const Json* value = need("textDocument")) {
      Reader inner(*value, name("textDocument"));
      inner.string("uri", uri);
      merge(inner.status());
    }
  }

  void merge(const Status& status) {
    if (status_.ok() && !status.ok()) status_ = status;
  }
  void fail(std::string message) { merge(Error{ErrorCode::kInvalidArgument, std::move(message)}); }
  std::string name(const char* key) const { return where_ + "." + key; }
  const Status& status() const { return status_; }

 private:
  static Status decode_at(const Json& json, const std::string& where, Position* out);
  static Status decode_at(const Json& json, const std::string& where, Range* out);

  const Json& json_;
  std::string where_;
  Status status_;
};

}  // namespace fimd::lsp
