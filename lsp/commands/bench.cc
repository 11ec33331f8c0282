// `fimd bench`: how fast this machine completes, with the model that editors use.
#include <algorithm>
#include <cstdio>
#include <future>
#include <memory>
#include <vector>

#include "engine/load.h"
#include "lsp/commands/bench_keystrokes.h"
#include "lsp/commands/commands.h"
#include "lsp/paths.h"

namespace fimd::lsp {
namespace {

struct Args {
  std::string what;
  std::string model;
  std::string backend;
  int tokens = 0;
  int repeat = 5;
  KeystrokeArgs keystrokes;
};

// ---- prefill and decode: the generator alone ----

class WaitingSink : public GenerationSink {
 public:
  Flow on_text(std::string_view, float) override { return Flow::kContinue; }
  void on_done(Result<GenerationStats> stats) override { done_.set_value(std::move(stats)); }
  Result<GenerationStats> wait() { return done_.get_future().get(); }

 private:
  std::promise<Result<GenerationStats>> done_;
};

Result<GenerationStats> generate(Generator& generator, const std::string& text, int max_tokens) {
  auto sink = std::make_shared<WaitingSink>();
  GenerationRequest request;
  request.prompt = {text_segment(text)};
  request.params.max_tokens = max_tokens;
  request.params.heal = false;
  request.sink = sink;
  generator.submit(std::move(request));
  return sink->wait();
}

// Code-like text of about `tokens` tokens that begins unlike any other seed's, so that no run
// finds another's cache.
std::string synthetic_text(const Generator& generator, int tokens, int seed) {
  std::string text = "# run " + std::to_string(seed) + "\n";
  std::string block;
  for (int i = 0; i < 8; ++i) {
    const std::string n = std::to_string(seed * 8 + i);
    block += "def compute_" + n + "(values, scale):\n    total = 0\n    for value in values:\n" +
             "        total += value * scale\n    return total\n\n";
  }
  const size_t per_block = std::max<size_t>(1, generator.count_tokens(block));
  const size_t wanted = static_cast<size_t>(tokens);
  for (size_t have = 0; have + per_block <= wanted; have += per_block) text += block;
  while (generator.count_tokens(text) + 4 <= wanted) text += "x = 1\n";
  return text;
}

int run_engine(const Args& args, const CommandContext& context) {
  EngineOptions options = context.config().engine_options();
  auto path = args.model.empty() ? find_model(context.config(), context.executable)
                                 : Result<std::string>(args.model);
  if (!path.ok()) return fail(path.error().message);
  options.model_path = *path;
  auto loaded = load_generator(options, nullptr);
  if (!loaded.ok()) return fail(loaded.error().message);
  Generator& generator = **loaded;
  const ModelInfo& info = generator.info();
  std::printf("%s on %s\n", info.name.c_str(), info.backend.c_str());
  const bool prefill = args.what == "prefill";
  const int tokens =
      std::min(args.tokens > 0 ? args.tokens : (prefill ? 1500 : 128), info.context_length * 3 / 4);
  std::vector<double> speeds;
  for (int run = 0; run < args.repeat; ++run) {
    const std::string text = synthetic_text(generator, prefill ? tokens : 64, run + 1);
    const auto stats = generate(generator, text, prefill ? 1 : tokens);
    if (!stats.ok()) return fail(stats.error().message);
    const double ms = prefill ? stats->prefill_ms : stats->total_ms - stats->first_text_ms;
    const int done = prefill ? stats->prefilled_tokens : stats->decoded_tokens - 1;
    if (ms <= 0 || done <= 0) {
      std::printf("run %d: ended after %d tokens\n", run + 1, stats->decoded_tokens);
      continue;
    }
    speeds.push_back(1e3 * done / ms);
    std::printf("run %d: %d tokens in %.1f ms, %.0f tokens/s\n", run + 1, done, ms, speeds.back());
  }
  const double median = percentile(speeds, 0.5);
  std::printf("median %.0f tokens/s", median);
  if (!prefill) {  // every token reads every weight
    std::printf(", %.1f GB/s of weights", median * static_cast<double>(info.weight_bytes) / 1e9);
  }
  std::printf("\n");
  return speeds.empty() ? 1 : 0;
}

}  // namespace

CommandSpec bench_command() {
  auto args = std::make_shared<Args>();
  return {.name = "bench",
          .summary = "Measure keystrokes, prefill or decode on this machine",
          .examples =
              "  fimd bench keystrokes                 types into a file, as an editor does\n"
              "  fimd bench keystrokes src/app.py --lines 20 --jumps 40 --switches 20\n"
              "  fimd bench prefill --tokens 1500\n"
              "  fimd bench decode --tokens 256",
          .declare =
              [args](Options& options) {
                options.positional("WHAT", &args->what, "keystrokes, prefill or decode");
                options.positional("FILE", &args->keystrokes.file,
                                   "keystrokes: the file to type into", false);
                options.option("--lines", &args->keystrokes.lines,
                               "keystrokes: how many lines to type");
                options.option("--jumps", &args->keystrokes.jumps,
                               "keystrokes: how often the cursor jumps within the file");
                options.option("--switches", &args->keystrokes.switches,
                               "keystrokes: how often the file changes");
                options.flag("--plain", &args->keystrokes.plain,
                             "keystrokes: nothing computed ahead, to see what requests cost");
                options.option("--tokens", &args->tokens,
                               "prefill, decode: tokens per run; 0: 1500 and 128");
                options.option("--repeat", &args->repeat, "prefill, decode: runs");
                options.option("--new-tokens", &args->keystrokes.new_tokens,
                               "keystrokes: length of every reply, whatever the model says");
                options.option("--model", &args->model, "A .gguf file");
                options.option("--backend", &args->backend, "auto, cuda or cpu");
              },
          .run =
              [args](CommandContext& context) {
                if (!args->backend.empty()) {
                  context.loaded.config.merge_environment({{"FIMD_ENGINE_BACKEND", args->backend}},
                                                          &context.loaded.problems);
                }
                if (args->what == "keystrokes") {
                  if (!args->model.empty()) {
                    context.loaded.config.merge_environment({{"FIMD_MODEL", args->model}},
                                                            &context.loaded.problems);
                  }
                  return run_keystrokes(args->keystrokes, context);
                }
                if (args->what == "prefill" || args->what == "decode") {
                  return run_engine(*args, context);
                }
                fail("bench knows keystrokes, prefill and decode, not '" + args->what + "'");
                return 2;
              }};
}

}  // namespace fimd::lsp
