#include "lsp/paths.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace fimd::lsp {
namespace {

namespace fs = std::filesystem;

std::string variable(const Env& env, std::string_view name) {
  const auto it = env.find(name);
  return it == env.end() ? "" : it->second;
}

std::string home(const Env& env) {
  if (std::string value = variable(env, "HOME"); !value.empty()) return value;
  const passwd* user = ::getpwuid(::getuid());
  return user != nullptr && user->pw_dir != nullptr ? user->pw_dir : "/";
}

// An XDG directory; relative values are ignored, as the specification says.
std::string xdg(const Env& env, std::string_view name, std::string_view fallback) {
  const std::string value = variable(env, name);
  if (!value.empty() && value.front() == '/') return value;
  return fallback.empty() ? "" : home(env) + "/" + std::string(fallback);
}

std::string expand_home(const std::string& path, const Env& env) {
  return path == "~" || path.starts_with("~/") ? home(env) + path.substr(1) : path;
}

}  // namespace

std::string config_file(const Env& env) {
  if (std::string path = variable(env, "FIMD_CONFIG"); !path.empty()) return path;
  return xdg(env, "XDG_CONFIG_HOME", ".config") + "/fimd/config.toml";
}

std::string runtime_dir(const Env& env) {
  const std::string dir = xdg(env, "XDG_RUNTIME_DIR", "");
  return (dir.empty() ? xdg(env, "XDG_CACHE_HOME", ".cache") : dir) + "/fimd";
}

std::string socket_path(const Env& env, const Config& config) {
  const std::string& path = config.string("daemon.socket");
  return path.empty() ? runtime_dir(env) + "/fimd.sock" : expand_home(path, env);
}

std::string log_path(const Env& env, const Config& config) {
  const std::string& path = config.string("log.file");
  return path.empty() ? xdg(env, "XDG_STATE_HOME", ".local/state") + "/fimd/daemon.log"
                      : expand_home(path, env);
}

std::string executable_path() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  return error ? "" : path.string();
}

Status make_private_dir(const std::string& path) {
  std::error_code error;
  if (const fs::path parent = fs::path(path).parent_path(); !parent.empty()) {
    fs::create_directories(parent, error);
    if (error)
      return Error{ErrorCode::kIo, "cannot create " + parent.string() + ": " + error.message()};
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error{ErrorCode::kIo, "cannot create " + path + ": " + std::strerror(errno)};
  }
  struct stat info = {};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return Error{ErrorCode::kIo, path + " is not a directory"};
  }
  if (info.st_uid != ::geteuid()) {
    return Error{ErrorCode::kIo,
                 path + " belongs to another user; remove it or set XDG_RUNTIME_DIR"};
  }
  if ((info.st_mode & 0777) != 0700 && ::chmod(path.c_str(), 0700) != 0) {
    return Error{ErrorCode::kIo, "cannot make " + path + " private: " + std::strerror(errno)};
  }
  return {};
}

std::vector<ModelPlace> model_places(const Config& config, const std::string& executable) {
  std::vector<ModelPlace> places;
  const auto add = [&places](std::string path, std::string why) {
    std::error_code error;
    const bool exists = fs::exists(path, error);
    places.push_back({std::move(path), std::move(why), exists});
  };
  if (const std::string& path = config.string("model.path"); !path.empty()) {
    add(expand_home(path, process_environment()), "model.path, " + config.origin("model.path"));
    return places;
  }
  const fs::path dir = fs::path(executable).parent_path();
  add((dir / "../share/fimd/models/fimd-small.gguf").lexically_normal().string(),
      "installed with fimd");
#ifdef FIMD_SOURCE_MODELS
  add(FIMD_SOURCE_MODELS "/fimd-small.gguf", "the source tree fimd was built from");
#endif
  return places;
}

Result<std::string> find_model(const Config& config, const std::string& executable) {
  std::string looked;
  for (const ModelPlace& place : model_places(config, executable)) {
    if (place.exists) return place.path;
    looked += "\n  " + place.path + " (" + place.why + ")";
  }
  return Error{ErrorCode::kNotFound,
               "no model found; looked at" + looked +
                   "\nset model.path in the configuration, or FIMD_MODEL, to a .gguf "
                   "file or a directory of safetensors"};
}

Result<EngineOptions> engine_options(const Config& config) {
  EngineOptions options = config.engine_options();
  FIMD_ASSIGN_OR_RETURN(options.model_path, find_model(config, executable_path()));
  return options;
}

std::string path_of_uri(const std::string& uri) {
  constexpr std::string_view kScheme = "file://";
  if (!uri.starts_with(kScheme)) return "";
  std::string rest = uri.substr(kScheme.size());
  const size_t slash = rest.find('/');  // after an authority, usually empty
  if (slash == std::string::npos) return "";
  rest.erase(0, slash);
  std::string path;
  for (size_t i = 0; i < rest.size(); ++i) {
    if (rest[i] == '%' && i + 2 < rest.size() &&
        std::isxdigit(static_cast<unsigned char>(rest[i + 1])) &&
        std::isxdigit(static_cast<unsigned char>(rest[i + 2]))) {
      path += static_cast<char>(std::stoi(rest.substr(i + 1, 2), nullptr, 16));
      i += 2;
    } else {
      path += rest[i];
    }
  }
  return path;
}

std::string uri_of_path(const std::string& path) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string uri = "file://";
  for (const unsigned char c : path) {
    if (std::isalnum(c) != 0 || std::strchr("/-._~+@,", c) != nullptr) {
      uri += static_cast<char>(c);
    } else {
      uri += '%';
      uri += kHex[c >> 4];
      uri += kHex[c & 15];
    }
  }
  return uri;
}

}  // namespace fimd::lsp
