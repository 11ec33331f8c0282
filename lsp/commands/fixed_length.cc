#include "lsp/commands/fixed_length.h"

#include <string>
#include <utility>

namespace fimd::lsp {
namespace {

class LetterSink final : public GenerationSink {
 public:
  explicit LetterSink(std::shared_ptr<GenerationSink> sink) : sink_(std::move(sink)) {}

  Flow on_text(std::string_view /*piece*/, float /*logprob*/) override {
    // All different for a while: repetition would end the text.
    const std::string letter(1, static_cast<char>((n_ < 26 ? 'a' : 'A') + n_ % 26));
    ++n_;
    static_cast<void>(sink_->on_text(letter, 0.0F));
    return Flow::kContinue;
  }
  void on_done(Result<GenerationStats> stats) override { sink_->on_done(std::move(stats)); }

 private:
  std::shared_ptr<GenerationSink> sink_;
  int n_ = 0;
};

class FixedLength final : public Generator {
 public:
  FixedLength(std::unique_ptr<Generator> generator, int tokens)
      : generator_(std::move(generator)), tokens_(tokens) {}

  const ModelInfo& info() const override { return generator_->info(); }
  GenerationId submit(GenerationRequest request) override {
    if (request.params.max_tokens > 0 && request.sink) {
      request.params.max_tokens = tokens_;
      request.params.beam = {};
      request.params.stop.clear();
      request.params.stop_controls.clear();
      request.sink = std::make_shared<LetterSink>(std::move(request.sink));
    }
    return generator_->submit(std::move(request));
  }
  void cancel(GenerationId id) override { generator_->cancel(id); }
  size_t count_tokens(std::string_view text) const override {
    return generator_->count_tokens(text);
  }
  EngineStatus status() const override { return generator_->status(); }
  void when_lost(std::function<void()> callback) override {
    generator_->when_lost(std::move(callback));
  }

 private:
  std::unique_ptr<Generator> generator_;
  const int tokens_;
};

}  // namespace

std::unique_ptr<Generator> with_fixed_length(std::unique_ptr<Generator> generator, int tokens) {
  return std::make_unique<FixedLength>(std::move(generator), tokens);
}

}  // namespace fimd::lsp
