#include "lsp/server.h"

#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "lsp/paths.h"
#include "lsp/version.h"
#include "support/log.h"

namespace fimd::lsp {

namespace asio = boost::asio;

namespace {
bool same_engine(const EngineOptions& a, const EngineOptions& b) {
  return a.model_path == b.model_path && a.backend == b.backend && a.threads == b.threads &&
         a.kv_cache_bytes == b.kv_cache_bytes && a.kv_type == b.kv_type &&
         a.state_cache_bytes == b.state_cache_bytes && a.context_length == b.context_length &&
         a.prefill_chunk == b.prefill_chunk;
}
}  // namespace

// The loading thread may outlive the server when the process ends in the middle of a load: it
// posts only while `server` is set, under the mutex.
struct Server::Loader {
  std::mutex mutex;
  Server* server = nullptr;
  std::thread thread;
  bool running = false;  // io thread only

  void post(std::function<void(Server&)> task) {
    const std::lock_guard lock(mutex);
    if (server == nullptr) return;
    asio::post(server->io_, [server = server, task = std::move(task)] { task(*server); });
  }
};

Server::Server(asio::io_context& io, LoadedConfig config, std::string socket, ServerHooks hooks)
    : io_(io),
      config_(std::move(config)),
      socket_(std::move(socket)),
      hooks_(std::move(hooks)),
      loader_(std::make_shared<Loader>()) {
  loader_->server = this;
  if (!hooks_.load) hooks_.load = load_generator;
}

Server::~Server() {
  {
    const std::lock_guard lock(loader_->mutex);
    loader_->server = nullptr;
  }
  if (loader_->thread.joinable()) {
    if (loader_->running) {
      loader_->thread.detach();  // nobody waits for a model that is not needed any more
    } else {
      loader_->thread.join();
    }
  }
  sessions_.clear();  // their completers use the model
}

void Server::load_model() {
  auto options = engine_options(config_.config);
  if (!options.ok()) {
    log::error("{}", options.error().message);
    model_.phase = ModelState::Phase::kFailed;
    model_.message = options.error().message;
    tell_sessions();
    return;
  }
  start_loading(std::move(*options));
}

void Server::use_engine(const EngineOptions& options) {
  if (model_.phase != ModelState::Phase::kFailed && same_engine(options, engine_options_)) return;
  log::info("an editor asks for {}", options.model_path);
  start_loading(options);
}

/// The generator's device is gone: everything of it goes, and the model is loaded again.
void Server::device_lost(uint64_t serial) {
  if (model_.serial != serial || model_.phase != ModelState::Phase::kReady) return;
  ++devices_lost_;
  log::error("the device that ran the model is lost; loading the model again");
  constexpr int kEnough = 3;
  if (devices_lost_ >= kEnough && engine_options_.backend == "auto") {
    log::error("that was the {}rd time: from now on the CPU computes", kEnough);
    engine_options_.backend = "cpu";
  }
  start_loading(engine_options_);
}

void Server::start_loading(EngineOptions options) {
  engine_options_ = options;
  if (loader_->running) return;  // the newest options are loaded when this load is done
  if (loader_->thread.joinable()) loader_->thread.join();
  const uint64_t serial = model_.serial + 1;
  // Two models may not fit on a device: the one before has a moment to go.
  const std::weak_ptr<Generator> before = model_.generator;
  model_ = {.phase = ModelState::Phase::kLoading, .message = options.model_path, .serial = serial};
  loader_->running = true;
  loader_->thread = std::thread([loader = loader_, load = hooks_.load, options, serial, before] {
    constexpr auto kPatience = std::chrono::seconds(1);
    const auto give_up = std::chrono::steady_clock::now() + kPatience;
    while (!before.expired() && std::chrono::steady_clock::now() < give_up) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    Stopwatch watch;
    const LoadProgress progress = [&loader, serial](double fraction, const std::string& what) {
      loader->post([fraction, what, serial](Server& server) {
        if (server.model_.serial != serial) return;
        server.model_.progress = fraction;
        server.model_.message = what;
        server.tell_sessions();
      });
    };
    // std::function wants copyable captures.
    auto loaded = std::make_shared<Result<std::unique_ptr<Generator>>>(load(options, progress));
    if (loaded->ok()) {
      log::info("loaded {} in {:.0f} ms", options.model_path, watch.elapsed_ms());
    } else {
      log::error("cannot load {}: {}", options.model_path, loaded->error().message);
    }
    loader->post([serial, loaded, options](Server& server) {
      server.loader_->running = false;
      if (!same_engine(options, server.engine_options_)) {
        server.start_loading(server.engine_options_);
        return;
      }
      server.loading_done(serial, std::move(*loaded));
    });
  });
  tell_sessions();
}

void Server::loading_done(uint64_t serial, Result<std::unique_ptr<Generator>> loaded) {
  if (model_.serial != serial) return;
  if (loaded.ok()) {
    model_.phase = ModelState::Phase::kReady;
    model_.progress = 1;
    model_.message.clear();
    model_.generator = std::move(loaded).value();
    model_.generator->when_lost([loader = loader_, serial] {
      loader->post([serial](Server& server) { server.device_lost(serial); });
    });
  } else {
    model_.phase = ModelState::Phase::kFailed;
    model_.message =
        "cannot load the model " + engine_options_.model_path + ": " + loaded.error().message;
  }
  tell_sessions();
}

void Server::tell_sessions() {
  std::vector<std::shared_ptr<Session>> all;
  for (const auto& [id, session] : sessions_) all.push_back(session);
  for (const auto& session : all) session->model_changed();
}

void Server::add_session(std::unique_ptr<Transport> transport) {
  const uint64_t id = ++next_session_;
  auto session = std::make_shared<Session>(this, id, std::move(transport));
  sessions_[id] = session;
  session->start();
}

void Server::close_sessions() {
  for (const auto& [id, session] : sessions_) session->close();
}

Executor Server::executor() {
  return [&io = io_](std::function<void()> task) { asio::post(io, std::move(task)); };
}

std::unique_ptr<Completer> Server::make_completer(Workspace* workspace, CompletionOptions options) {
  return fimd::make_completer([this] { return model_.generator; }, workspace, executor(),
                              std::move(options));
}

std::unique_ptr<Commander> Server::make_commander(Workspace* workspace, CompletionOptions options) {
  return fimd::make_commander([this] { return model_.generator; }, workspace, executor(),
                              std::move(options));
}

DaemonStatus Server::status() const {
  DaemonStatus status;
  status.version = kVersion;
  status.build = build_id();
  status.pid = ::getpid();
  status.uptime_s = uptime_.elapsed_ms() / 1e3;
  status.socket = socket_;
  status.message = model_.message;
  status.progress = model_.progress;
  status.state = model_.phase == ModelState::Phase::kReady     ? "ready"
                 : model_.phase == ModelState::Phase::kLoading ? "loading"
                                                               : "error";
  if (model_.generator) {
    status.model = model_.generator->info();
    status.engine = model_.generator->status();
  }
  status.usage = usage_;
  for (const auto& [id, session] : sessions_) {
    if (session->is_editor()) status.editors.push_back(session->describe());
  }
  return status;
}

HelloResult Server::hello(uint64_t asking_session) const {
  HelloResult hello{kVersion, build_id(), kSocketProtocol, ::getpid(), 0};
  for (const auto& [id, session] : sessions_) {
    if (id != asking_session && session->is_editor()) ++hello.editors;
  }
  return hello;
}

void Server::request_stop() {
  if (hooks_.stop) asio::post(io_, hooks_.stop);
}

void Server::session_ended(uint64_t session, int exit_code) {
  asio::post(io_, [this, session, exit_code] {
    sessions_.erase(session);
    if (hooks_.session_ended) hooks_.session_ended(exit_code);
  });
}

}  // namespace fimd::lsp
