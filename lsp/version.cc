#include "lsp/version.h"

#include <sys/stat.h>

#include <cstdio>

namespace fimd::lsp {

std::string build_id() {
  // The file this process runs, even if another one has its name by now.
  static const std::string id = [] {
    std::string text = kVersion;
    struct stat info = {};
    if (::stat("/proc/self/exe", &info) == 0) {
      char suffix[64];
      std::snprintf(suffix, sizeof suffix, "+%llx.%llx",
                    static_cast<unsigned long long>(info.st_size),
                    static_cast<unsigned long long>(info.st_mtim.tv_sec) * 1000000000ULL +
                        static_cast<unsigned long long>(info.st_mtim.tv_nsec));
      text += suffix;
    }
    return text;
  }();
  return id;
}

}  // namespace fimd::lsp
