// A server whose model's device is lost loads the model again.
#include <doctest/doctest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lsp/server.h"

namespace fimd::lsp {
namespace {

/// What the test and the generators, which live on several threads, share.
struct Loads {
  std::mutex mutex;
  std::vector<std::string> backends;  // that were asked for
  std::function<void()> lose;         // of the newest generator
  int alive = 0;
};

class LosableGenerator final : public Generator {
 public:
  explicit LosableGenerator(std::shared_ptr<Loads> loads) : loads_(std::move(loads)) {
    const std::lock_guard lock(loads_->mutex);
    ++loads_->alive;
  }
  ~LosableGenerator() override {
    const std::lock_guard lock(loads_->mutex);
    --loads_->alive;
  }
  const ModelInfo& info() const override { return info_; }
  GenerationId submit(GenerationRequest) override { return 0; }
  void cancel(GenerationId) override {}
  size_t count_tokens(std::string_view) const override { return 0; }
  EngineStatus status() const override { return {}; }
  void when_lost(std::function<void()> callback) override {
    const std::lock_guard lock(loads_->mutex);
    loads_->lose = std::move(callback);
  }

 private:
  std::shared_ptr<Loads> loads_;
  ModelInfo info_;
};

TEST_CASE("a lost device: the model is loaded again, and after three times on the CPU") {
  const auto loads = std::make_shared<Loads>();
  boost::asio::io_context io{1};
  const auto work = boost::asio::make_work_guard(io);
  LoadedConfig config;
  config.config.merge_environment({{"FIMD_MODEL", "tests/fixtures/qwen2-tiny.gguf"}},
                                  &config.problems);
  ServerHooks hooks;
  hooks.load = [loads](const EngineOptions& options,
                       const LoadProgress&) -> Result<std::unique_ptr<Generator>> {
    {
      const std::lock_guard lock(loads->mutex);
      loads->backends.push_back(options.backend);
      // The one before is gone: two models may not fit, and a lost device is reset.
      if (loads->alive != 0) return Error{ErrorCode::kInternal, "the old generator lives"};
    }
    return std::unique_ptr<Generator>(std::make_unique<LosableGenerator>(loads));
  };
  Server server(io, std::move(config), "", std::move(hooks));
  server.load_model();
  const auto until_ready = [&] {
    while (server.model().phase != ModelState::Phase::kReady) {
      REQUIRE(server.model().phase == ModelState::Phase::kLoading);
      io.run_one();
    }
  };
  until_ready();
  for (int time = 1; time <= 3; ++time) {
    std::function<void()> lose;
    {
      const std::lock_guard lock(loads->mutex);
      lose.swap(loads->lose);
    }
    REQUIRE(lose);
    const uint64_t serial = server.model().serial;
    lose();
    while (server.model().serial == serial) io.run_one();
    CHECK(server.model().phase == ModelState::Phase::kLoading);
    until_ready();
    CHECK(server.model().generator != nullptr);
  }
  const std::lock_guard lock(loads->mutex);
  CHECK(loads->backends == std::vector<std::string>{"auto", "auto", "auto", "cpu"});
}

}  // namespace
}  // namespace fimd::lsp
