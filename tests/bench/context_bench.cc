// context_bench FILE...: what a keystroke in the first file costs in CPU time, the others being
// open too.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "context/gatherer.h"
#include "context/syntax_queries.h"

namespace fimd {
namespace {

// CPU time: what else the machine does must not count.
double cpu_ms() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

void report(const char* what, std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double share) {
    return ms[static_cast<size_t>(share * static_cast<double>(ms.size() - 1))] * 1000;
  };
  std::printf("%-28s median %8.1f us   p95 %8.1f us   max %8.1f us   (%zu times)\n", what, at(0.5),
              at(0.95), at(1), ms.size());
}

std::vector<double> time(size_t times, const std::function<void(size_t)>& task) {
  std::vector<double> ms;
  for (size_t i = 0; i < times; ++i) {
    const double start = cpu_ms();
    task(i);
    ms.push_back(cpu_ms() - start);
  }
  return ms;
}

int run(const std::vector<std::string>& files) {
  Workspace workspace;
  workspace.set_folders({"/bench"});
  Exclusion exclusion;
  std::vector<DocumentPtr> documents;
  size_t bytes = 0;
  std::vector<double> open_ms;
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(in), {}};
    bytes += text.size();
    const std::string name = file.substr(file.rfind('/') + 1);
    const double start = cpu_ms();
    documents.push_back(workspace.open("file:///bench/" + name, "", 1, std::move(text)));
    open_ms.push_back(cpu_ms() - start);
  }
  // The last one opened is the most recently used: the first file of the list is typed into.
  DocumentPtr document = documents.front();
  std::printf("%zu files, %zu bytes; typing into %s: %zu lines, %zu bytes, %s\n", files.size(),
              bytes, files[0].c_str(), document->line_count(), document->text().size(),
              document->tree() != nullptr ? "with a tree" : "without a tree");
  report("open and parse", open_ms);

  const CountTokensFn count = [](std::string_view text) { return text.size() / 3; };
  Gatherer gatherer(&workspace, &exclusion);
  size_t offset = document->line_start(document->line_count() / 2);
  report("gather, nothing indexed",
         time(1, [&](size_t) { gatherer.gather(document, offset, 700, count); }));
  gatherer.forget(document->uri());
  report("gather, a new choice", time(20, [&](size_t i) {
           gatherer.forget(document->uri());
           const size_t line = document->line_count() * i / 20;
           gatherer.gather(document, document->line_start(line), 700, count);
         }));

  const std::string typed = "    result = compute(value, other[0])\n";
  std::vector<double> apply, questions, gather;
  for (size_t i = 0; i < 200; ++i) {
    const std::string key(1, typed[i % typed.size()]);
    const Position p = document->position_at(offset, PositionEncoding::kUtf16);
    apply.push_back(time(1, [&](size_t) {
      auto next = workspace.change(document->uri(), {{Range{p, p}, key}}, 2 + static_cast<int>(i),
                                   PositionEncoding::kUtf16);
      if (next.ok()) document = *next;
    })[0]);
    ++offset;
    questions.push_back(time(1, [&](size_t) {
      place_at(*document, offset);
      inside_call_arguments(*document, offset);
      at_empty_block(*document, offset);
      at_statement_start(*document, offset);
    })[0]);
    gather.push_back(time(1, [&](size_t) { gatherer.gather(document, offset, 700, count); })[0]);
  }
  report("keystroke: edit and reparse", apply);
  report("keystroke: four questions", questions);
  report("keystroke: gather", gather);

  const std::string generated = "value = other(1, 2)\n    if value:\n        return value\n";
  std::vector<double> start, grow;
  for (int round = 0; round < 10; ++round) {
    std::optional<Continuation> continuation;
    start.push_back(time(1, [&](size_t) { continuation.emplace(document, offset, offset); })[0]);
    for (size_t n = 4; n < generated.size(); n += 4) {
      grow.push_back(
          time(1, [&](size_t) { continuation->statement_end(generated.substr(0, n)); })[0]);
    }
  }
  report("continuation: start", start);
  report("continuation: statement_end", grow);
  return 0;
}

}  // namespace
}  // namespace fimd

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: context_bench FILE...\n");
    return 2;
  }
  return fimd::run(std::vector<std::string>(argv + 1, argv + argc));
}
