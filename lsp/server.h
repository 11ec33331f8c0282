// Server: what all sessions of a process share: the model, its loading, the configuration.
//
// Used by the daemon, by `fimd lsp --in-process` and by commands that need a model. Loading runs on
// a thread of its own; everything else, and every callback, on the io thread. Owner: a command.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "lsp/session.h"
#include "support/clock.h"

namespace boost::asio {
class io_context;
}

namespace fimd::lsp {

struct ServerHooks {
  /// A session ended; its exit code as LSP defines it.
  std::function<void(int exit_code)> session_ended;
  /// fimd/stop was asked for.
  std::function<void()> stop;
  /// Replaces load_generator in tests.
  std::function<Result<std::unique_ptr<Generator>>(const EngineOptions&, const LoadProgress&)> load;
};

class Server : public SessionHost {
 public:
  Server(boost::asio::io_context& io, LoadedConfig config, std::string socket, ServerHooks hooks);
  ~Server() override;

  /// Begins to load the configured model.
  void load_model();
  void add_session(std::unique_ptr<Transport> transport);
  size_t session_count() const { return sessions_.size(); }
  /// Every session is told to end once its replies are out.
  void close_sessions();

  const ModelState& model() const override { return model_; }
  const LoadedConfig& base_config() const override { return config_; }
  Executor executor() override;
  std::unique_ptr<Completer> make_completer(Workspace* workspace,
                                            CompletionOptions options) override;
  std::unique_ptr<Commander> make_commander(Workspace* workspace,
                                            CompletionOptions options) override;
  void use_engine(const EngineOptions& options) override;
  DaemonStatus status() const override;
  DaemonStatus::Usage& usage() override { return usage_; }
  HelloResult hello(uint64_t asking_session) const override;
  void request_stop() override;
  void session_ended(uint64_t session, int exit_code) override;

 private:
  struct Loader;  // shared with the loading thread

  void start_loading(EngineOptions options);
  void device_lost(uint64_t serial);
  void loading_done(uint64_t serial, Result<std::unique_ptr<Generator>> loaded);
  void tell_sessions();

  boost::asio::io_context& io_;
  LoadedConfig config_;
  std::string socket_;
  ServerHooks hooks_;
  Stopwatch uptime_;
  ModelState model_;
  DaemonStatus::Usage usage_;
  EngineOptions engine_options_;  // of the model loaded or being loaded
  int devices_lost_ = 0;
  std::shared_ptr<Loader> loader_;
  std::map<uint64_t, std::shared_ptr<Session>> sessions_;
  uint64_t next_session_ = 0;
};

}  // namespace fimd::lsp
