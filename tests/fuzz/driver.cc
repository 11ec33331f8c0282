// Runs a fuzz target without libFuzzer: every file of the given folders, then mutations of them.
// usage: fuzz_<name> [--runs N] [--max-seconds S] [--seed N] FILE_OR_FOLDER...
// The same seed gives the same mutations. An input that crashes or takes longer than 20 s is left
// in crash-<name of the program> in the working directory.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*)());

namespace {

// Only for the signal handlers, which can be given nothing else.
const std::string* current_input = nullptr;
char crash_path[256];

void save_input() {
  if (current_input == nullptr) return;
  const int fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return;
  const ssize_t written = write(fd, current_input->data(), current_input->size());
  close(fd);
  constexpr char kSaved[] = "fuzz driver: the input was saved in ";
  if (written >= 0) {
    (void)!write(2, kSaved, sizeof kSaved - 1);
    (void)!write(2, crash_path, std::char_traits<char>::length(crash_path));
    (void)!write(2, "\n", 1);
  }
}

void on_signal(int signal) {
  save_input();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

constexpr unsigned kSecondsPerInput = 20;

void run_one(const std::string& input) {
  current_input = &input;
  alarm(kSecondsPerInput);
  // An exact copy, so that a sanitizer sees a read past the end.
  const std::vector<uint8_t> copy(input.begin(), input.end());
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
  alarm(0);
  current_input = nullptr;
}

std::string mutate(const std::vector<std::string>& corpus, std::mt19937_64* random) {
  const auto below = [&](size_t n) { return n == 0 ? 0 : (*random)() % n; };
  std::string s = corpus[below(corpus.size())];
  for (size_t changes = 1 + below(4); changes > 0; --changes) {
    size_t at = below(s.size() + 1);
    if (below(2) == 0) at = below(at + 1);  // headers come first
    const size_t length = below(std::min<size_t>(s.size() - at, 32) + 1);
    switch (below(7)) {
      case 0:
        if (at < s.size()) s[at] = static_cast<char>((*random)());
        break;
      case 1:
        if (at < s.size()) s[at] = static_cast<char>(s[at] ^ (1 << below(8)));
        break;
      case 2:
        s.erase(at, length);
        break;
      case 3:
        s.insert(at, s.substr(below(s.size()), below(64)));
        break;
      case 4: {  // a length or count that may be too large
        constexpr uint64_t kOdd[] = {
            0,       1,          0x7F,       0xFF,         0xFFFF,
            1 << 20, 0x7FFFFFFF, 0xFFFFFFFF, ~uint64_t{0}, uint64_t{1} << 63};
        const uint64_t value = kOdd[below(std::size(kOdd))] - below(2);
        const size_t bytes = size_t{1} << below(4);
        for (size_t i = 0; i < bytes && at + i < s.size(); ++i) {
          s[at + i] = static_cast<char>(value >> (8 * i));
        }
        break;
      }
      case 5: {
        const std::string& other = corpus[below(corpus.size())];
        s.replace(at, length, other.substr(below(other.size()), below(64)));
        break;
      }
      default:
        s.resize(at);
    }
  }
  return s;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t runs = 0;
  uint64_t seed = 1;
  double max_seconds = 1e9;
  std::vector<std::filesystem::path> paths;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--runs" && i + 1 < argc) {
      runs = std::strtoull(argv[++i], nullptr, 10);
    } else if (arg == "--seed" && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (arg == "--max-seconds" && i + 1 < argc) {
      max_seconds = std::strtod(argv[++i], nullptr);
    } else if (std::filesystem::is_directory(arg)) {
      for (const auto& entry : std::filesystem::recursive_directory_iterator(arg)) {
        if (entry.is_regular_file()) paths.push_back(entry.path());
      }
    } else if (std::filesystem::is_regular_file(arg)) {
      paths.emplace_back(arg);
    } else {
      std::fprintf(stderr, "fuzz driver: no such file: %s\n", arg.c_str());
      return 2;
    }
  }
  if (paths.empty()) {
    std::fprintf(stderr, "fuzz driver: the corpus is empty\n");
    return 2;
  }
  std::sort(paths.begin(), paths.end());
  std::snprintf(crash_path, sizeof crash_path, "crash-%s",
                std::filesystem::path(argv[0]).filename().c_str());
  std::signal(SIGALRM, on_signal);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(save_input);
  } else {
    for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL}) {
      std::signal(signal, on_signal);
    }
  }

  std::vector<std::string> corpus;
  for (const auto& path : paths) {
    corpus.push_back(read_file(path));
    run_one(corpus.back());
  }
  std::mt19937_64 random(seed);
  const auto start = std::chrono::steady_clock::now();
  uint64_t done = 0;
  while (done < runs) {
    run_one(mutate(corpus, &random));
    ++done;
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (took.count() > max_seconds) break;
  }
  std::printf("%zu files, %llu mutations\n", corpus.size(), static_cast<unsigned long long>(done));
  return 0;
}
