#include "engine/scheduler.h"

#include <algorithm>

#include "engine/sequence.h"
#include "support/log.h"

namespace fimd {

namespace {
/// Prompts with at most this much left to read share a step with others.
constexpr int kShortRemainder = 16;
/// Several texts are scored at once, and are to be compared at once.
constexpr int kShortScored = 40;
}  // namespace

Scheduler::Scheduler(Backend& backend, const Tokenizer& tokenizer, PromptEncoder& encoder,
                     const SchedulerOptions& options)
    : backend_(backend),
      tokenizer_(tokenizer),
      encoder_(encoder),
      options_([&] {
        // One page is kept for the copy that a branch in mid-page makes.
        SchedulerOptions limited = options;
        const KvGeometry kv = backend.kv();
        const int64_t capacity = (int64_t{kv.n_pages} - 1) * kv.page_tokens;
        limited.context_length =
            static_cast<int>(std::min<int64_t>(options.context_length, capacity));
        limited.prefill_chunk = std::clamp(options.prefill_chunk, 1, backend.max_batch_tokens());
        // One prompt must not turn all others out.
        limited.checkpoints.most =
            std::clamp(backend.state().n_checkpoints / 2, 1, std::max(options.checkpoints.most, 1));
        return limited;
      }()),
      geometry_(backend.kv()),
      states_(backend.state()),
      cache_(geometry_.page_tokens, geometry_.n_pages,
             states_.n_slots > 0 ? states_.n_checkpoints : 0),
      ms_per_token_(options.ms_per_token) {
  status_.kv_bytes_budget = geometry_.page_bytes * geometry_.n_pages;
  status_.state_bytes_budget = states_.checkpoint_bytes * states_.n_checkpoints;
  for (int32_t slot = states_.n_slots - 1; slot >= 0; --slot) free_slots_.push_back(slot);
}

Scheduler::~Scheduler() { stop(); }

// ---- Any thread ----

GenerationId Scheduler::submit(GenerationRequest request) {
  auto sequence = std::make_unique<Sequence>();
  sequence->ticket = std::make_shared<Ticket>();
  sequence->ticket->lane = request.lane;
  sequence->request = std::move(request);
  const std::lock_guard lock(mutex_);
  const GenerationId id = next_id_++;
  sequence->ticket->id = id;
  const std::string& lane = sequence->ticket->lane;
  if (!lane.empty()) {
    const auto [newest, first] = newest_.try_emplace(lane, id);
    if (!first) {
      if (const auto old = tickets_.find(newest->second); old != tickets_.end()) {
        old->second->superseded = true;
        old->second->cancelled = true;
      }
      newest->second = id;
    }
  }
  tickets_.emplace(id, sequence->ticket);
  mail_.push_back(std::move(sequence));
  ++status_.queued_requests;
  mail_arrived_.notify_one();
  return id;
}

void Scheduler::cancel(GenerationId id) {
  const std::lock_guard lock(mutex_);
  const auto found = tickets_.find(id);
  if (found == tickets_.end()) return;
  found->second->cancelled = true;
  cancel_pending_ = true;
  mail_arrived_.notify_one();
}

EngineStatus Scheduler::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void Scheduler::wait() {
  std::unique_lock lock(mutex_);
  mail_arrived_.wait(lock, [&] { return !mail_.empty() || cancel_pending_ || interrupted_; });
}

void Scheduler::interrupt() {
  const std::lock_guard lock(mutex_);
  interrupted_ = true;
  mail_arrived_.notify_all();
}

// ---- The engine thread ----

bool Scheduler::step() {
  take_mail();
  drop_cancelled();
  const bool busy = !sequences_.empty();
  if (plan()) run();
  sweep();
  return busy;
}

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  take_mail();
  for (const auto& sequence : sequences_) sequence->ticket->cancelled = true;
  drop_cancelled();
  sweep();
}

void Scheduler::take_mail() {
  std::vector<SequencePtr> mail;
  bool stopped = false;
  {
    const std::lock_guard lock(mutex_);
    mail.swap(mail_);
    cancel_pending_ = false;
    stopped = stopped_;
  }
  for (SequencePtr& sequence : mail) {
    if (stopped) sequence->ticket->cancelled = true;
    start(std::move(sequence));
  }
}

void Scheduler::start(SequencePtr owned) {
  sequences_.push_back(std::move(owned));
  Sequence& sequence = *sequences_.back();
  if (sequence.ticket->cancelled) return;  // drop_cancelled() ends it
  const GenerationParams& params = sequence.request.params;
  const Stopwatch watch;
  auto encoded = encoder_.encode(sequence.request.prompt, params.heal);
  sequence.stats.tokenize_ms = watch.elapsed_ms();
  if (!encoded.ok()) return fail(sequence, encoded.error());
  sequence.request.prompt.clear();
  sequence.tokens = std::move(encoded->ids);
  sequence.taken_back = std::move(encoded->taken_back);
  if (params.scored_bytes > 0) {
    if (auto status = prepare_score(sequence); !status.ok()) return fail(sequence, status.error());
  }
  sequence.prompt_tokens = static_cast<int>(sequence.tokens.size());
  if (states_.n_slots > 0) {
    sequence.checkpoints =
        plan_checkpoints(options_.checkpoints, encoded->segments, sequence.prompt_tokens);
  }
  sequence.stats.prompt_tokens = sequence.prompt_tokens;
  for (const std::string& name : params.stop_controls) {
    const auto id = tokenizer_.control_id(name);
    if (!id) {
      return fail(sequence, {ErrorCode::kInvalidArgument,
                             "the model has no control token '" + name.substr(0, 80) + "'"});
    }
    sequence.stops.push_back(*id);
  }
  sequence.sample.params = params.sampling;
  sequence.sample.extra = sequence.stops;
  sequence.stream.emplace(std::move(encoded->healed), params.stop);
  prepare_search(sequence);
  prepare_sample(sequence);
  const size_t least = sequence.tokens.size() + (sequence.generates() ? 1 : 0);
  if (least > static_cast<size_t>(options_.context_length)) {
    fail(sequence,
         {ErrorCode::kInvalidArgument, "the prompt has " + std::to_string(sequence.tokens.size()) +
                                           " tokens, more than the context of " +
                                           std::to_string(options_.context_length)});
  }
}

void Scheduler::drop_cancelled() {
  for (const auto& sequence : sequences_) {
    if (sequence->done || !sequence->ticket->cancelled) continue;
    keep_in_cache(*sequence);
    keep_state(*sequence);
    end(*sequence,
        Error{ErrorCode::kCancelled,
              sequence->ticket->superseded ? "superseded by a newer request" : "cancelled"});
  }
  sweep();
}

/// Chooses what the coming pass computes. False: nothing.
bool Scheduler::plan() {
  planned_.clear();
  const auto interactive = [](const SequencePtr& s) { return !s->done && s->interactive(); };
  const bool only_interactive = std::any_of(sequences_.begin(), sequences_.end(), interactive);
  const auto may_run = [&](const Sequence& s) {
    return !s.done && (!only_interactive || s.interactive());
  };
  int budget = backend_.max_batch_tokens();
  for (const auto& sequence : sequences_) {
    if (!may_run(*sequence) || !sequence->admitted) continue;
    if (sequence->searching()) {
      budget -= plan_branches(*sequence, budget);
    } else if (sequence->remaining() == 1 && budget > 0 && plan_input(*sequence, 1)) {
      --budget;
    }
  }
  bool reading_long = false;
  bool admitting = true;
  for (const auto& owned : sequences_) {
    Sequence& sequence = *owned;
    if (!may_run(sequence) || sequence.planned > 0 || budget <= 0) continue;
    if (sequence.searching()) continue;
    const int cached = cache_.matched_length(sequence.known());
    if (sequence.admitted && cached > sequence.computed + 1) {
      give_up_pages(sequence);  // while it waited, another has read more of the same prompt
    }
    if (!sequence.admitted) {
      if (!admitting) continue;
      const int left = static_cast<int>(sequence.tokens.size()) - cached;
      if (reading_long && left > (sequence.scored.empty() ? kShortRemainder : kShortScored)) {
        continue;
      }
      admitting = admit(sequence);  // nobody overtakes one that must wait for pages
      if (!admitting) continue;
    }
    if (sequence.done) continue;
    if (sequence.remaining() == 0) {
      finish(sequence, FinishReason::kMaxTokens);  // only a prefill, and all of it was cached
      continue;
    }
    const bool is_long =
        sequence.remaining() > (sequence.scored.empty() ? kShortRemainder : kShortScored);
    if (is_long && reading_long) continue;
    const int n = std::min({sequence.remaining(), chunk_for(sequence), budget});
    if (plan_input(sequence, n)) budget -= n;
    reading_long = reading_long || is_long;
  }
  return !planned_.empty();
}

int Scheduler::chunk_for(const Sequence& sequence) const {
  if (ms_per_token_ <= 0) return options_.prefill_chunk;
  const double budget_ms =
      sequence.interactive() ? options_.chunk_ms : options_.background_chunk_ms;
  const double affordable = std::min(budget_ms / ms_per_token_, 1e6);
  return std::min(options_.prefill_chunk,
                  std::max(options_.least_chunk, static_cast<int>(affordable)));
}

bool Scheduler::plan_input(Sequence& sequence, int n_tokens) {
  if (!extend_pages(sequence, sequence.computed + n_tokens)) {
    // Promises cover every page a sequence uses; this is the last defence.
    fail(sequence, cache_full());
    return false;
  }
  sequence.planned = n_tokens;
  planned_.push_back(&sequence);
  return true;
}

/// Whether the token that is now sampled will most likely be all that the next pass computes.
bool Scheduler::goes_on(const Sequence& sequence) const {
  const bool alone = std::none_of(sequences_.begin(), sequences_.end(), [&](const SequencePtr& s) {
    return s.get() != &sequence && !s->done && (s->interactive() || !sequence.interactive());
  });
  return alone && !sequence.searches && sequence.allowed.empty() &&
         sequence.new_tokens + 1 < sequence.request.params.max_tokens &&
         static_cast<int>(sequence.tokens.size()) + 1 < options_.context_length;
}

void Scheduler::run() {
  inputs_.clear();
  size_t samples = 0;
  size_t tokens = 0;
  for (Sequence* sequence : planned_) {
    if (sequence->searching()) {
      add_branches(*sequence);
      samples += static_cast<size_t>(sequence->planned);
      tokens += static_cast<size_t>(sequence->planned);
      continue;
    }
    StepInput input;
    input.tokens = std::span<const TokenId>(sequence->tokens)
                       .subspan(static_cast<size_t>(sequence->computed),
                                static_cast<size_t>(sequence->planned));
    input.first = sequence->computed;
    input.pages = sequence->pages;
    const auto behind = static_cast<size_t>(sequence->remaining() - sequence->planned);
    if (sequence->generates()) {
      if (behind == 0) {
        input.samples = {&sequence->sample, 1};
        input.goes_on = goes_on(*sequence);
      }
    } else if (sequence->scored.size() > behind) {
      const std::span<const SampleSpec> wanted =
          std::span(sequence->scored).first(sequence->scored.size() - behind);
      input.samples = wanted.last(std::min(wanted.size(), input.tokens.size()));
    }
    plan_saves(*sequence);
    input.slot = std::max(sequence->slot, 0);
    input.saves = sequence->saves;
    samples += input.samples.size();
    tokens += input.tokens.size();
    inputs_.push_back(input);
  }
  sampled_.assign(samples, {});
  const Stopwatch watch;
  const Status status = backend_.forward(inputs_, sampled_);
  if (tokens >= static_cast<size_t>(options_.least_chunk)) {
    const double per_token = watch.elapsed_ms() / static_cast<double>(tokens);
    constexpr double kWeightOfNew = 0.3;
    ms_per_token_ =
        ms_per_token_ > 0 ? ms_per_token_ + kWeightOfNew * (per_token - ms_per_token_) : per_token;
  }
  if (!status.ok()) {
    for (Sequence* sequence : planned_) {
      for (const StateSave& save : sequence->saves) cache_.drop_checkpoint(save.checkpoint);
      sequence->saves.clear();
      fail(*sequence, status.error());
    }
    return;
  }
  size_t row = 0;
  size_t next = 0;
  for (Sequence* sequence : planned_) {
    size_t n = 0;
    const size_t inputs = sequence->searching() ? static_cast<size_t>(sequence->planned) : 1;
    for (size_t i = 0; i < inputs; ++i) n += inputs_[next++].samples.size();
    advance(*sequence, row, n);
    row += n;
  }
}

/// Its samples of the last pass are the n_rows from first_row on.
void Scheduler::advance(Sequence& sequence, size_t first_row, size_t n_rows) {
  if (sequence.searching()) return search_on(sequence, first_row);
  const int before = sequence.computed;
  sequence.computed += sequence.planned;
  const int read = std::min(sequence.computed, sequence.prompt_tokens) -
                   std::min(before, sequence.prompt_tokens);
  sequence.stats.prefilled_tokens += read;
  if (read > 0) {
    sequence.stats.prefill_ms = sequence.since_submit.elapsed_ms() - sequence.started_ms;
    keep_in_cache(sequence);  // so that others can begin where this one is
  }
  keep_saves(sequence);
  sequence.planned = 0;
  if (!sequence.scored.empty()) add_scores(sequence, first_row, n_rows);
  if (sequence.done) return;
  if (n_rows > 0 && sequence.generates()) {
    if (sequence.stats.decoded_tokens == 0) {
      sequence.first_sample_ms = sequence.since_submit.elapsed_ms();
    }
    if (sequence.searches) return search_from(sequence, first_row);
    accept(sequence, sampled_[first_row]);
  } else if (sequence.remaining() == 0) {
    finish(sequence, FinishReason::kMaxTokens);
  }
}

void Scheduler::accept(Sequence& sequence, const Sampled& sampled) {
  if (sampled.token < 0) return fail(sequence, not_a_number());
  ++sequence.stats.decoded_tokens;
  const auto ends = tokenizer_.end_of_generation();
  if (std::find(ends.begin(), ends.end(), sampled.token) != ends.end() ||
      std::find(sequence.stops.begin(), sequence.stops.end(), sampled.token) !=
          sequence.stops.end()) {
    return finish(sequence, FinishReason::kEndOfText);
  }
  const std::string_view bytes = tokenizer_.bytes(sampled.token);
  TextStream& stream = *sequence.stream;
  if (bytes.size() > stream.healing().size()) ++sequence.new_tokens;
  sequence.tokens.push_back(sampled.token);
  const bool stopped = stream.push(bytes, sampled.logprob);
  if (!emit(sequence)) return finish(sequence, FinishReason::kStoppedBySink);
  if (stopped) return finish(sequence, FinishReason::kStopText);
  if (sequence.new_tokens >= sequence.request.params.max_tokens) {
    return finish(sequence, FinishReason::kMaxTokens);
  }
  prepare_sample(sequence);
  if (static_cast<int>(sequence.tokens.size()) >= options_.context_length) {
    return finish(sequence, FinishReason::kContextFull);
  }
}

/// Sets what the next token may be.
void Scheduler::prepare_sample(Sequence& sequence) {
  sequence.allowed.clear();
  if (!sequence.generates()) return;
  if (!sequence.stream->healing().empty()) {
    sequence.allowed = tokenizer_.compatible_with(sequence.stream->healing());
    if (sequence.allowed.empty()) force_healing(sequence);
  }
  sequence.sample.allowed = sequence.allowed;
  sequence.sample.uniform = uniform_at(sequence.request.params.sampling.seed,
                                       static_cast<uint64_t>(sequence.stats.decoded_tokens));
}

/// No token can begin with the bytes that healing took back: puts them back as they were, or as the
/// tokenizer would have them by themselves.
void Scheduler::force_healing(Sequence& sequence) {
  std::vector<TokenId> ids;
  if (static_cast<int>(sequence.tokens.size()) == sequence.prompt_tokens) {
    ids = sequence.taken_back;
  } else {
    tokenizer_.encode(sequence.stream->healing(), &ids);
  }
  sequence.tokens.insert(sequence.tokens.end(), ids.begin(), ids.end());
  const std::string rest(sequence.stream->healing());
  sequence.stream->push(rest, 0);
}

/// False: the sink wants no more.
bool Scheduler::emit(Sequence& sequence) {
  const std::string_view text = sequence.stream->take();
  if (text.empty()) return true;
  if (sequence.stats.first_text_ms == 0) {
    sequence.stats.first_text_ms = sequence.since_submit.elapsed_ms();
  }
  return sequence.request.sink->on_text(text, sequence.stream->logprob()) ==
         GenerationSink::Flow::kContinue;
}

void Scheduler::finish(Sequence& sequence, FinishReason reason) {
  if (sequence.generates() && reason != FinishReason::kStoppedBySink) {
    sequence.stream->finish();
    emit(sequence);
  }
  keep_in_cache(sequence);
  sequence.stats.reason = reason;
  sequence.stats.total_ms = sequence.since_submit.elapsed_ms();
  end(sequence, sequence.stats);
}

void Scheduler::fail(Sequence& sequence, Error error) { end(sequence, std::move(error)); }

/// Lets go of everything and answers. The sequence itself goes with the next sweep().
void Scheduler::end(Sequence& sequence, Result<GenerationStats> result) {
  give_up_pages(sequence);
  sequence.done = true;
  sequence.planned = 0;
  update_status();
  const GenerationStats& stats = sequence.stats;
  const double total_ms = sequence.since_submit.elapsed_ms();
  {
    const std::lock_guard lock(mutex_);
    const Ticket& ticket = *sequence.ticket;
    tickets_.erase(ticket.id);
    if (const auto newest = newest_.find(ticket.lane);
        newest != newest_.end() && newest->second == ticket.id) {
      newest_.erase(newest);
    }
    status_.prompt_tokens += stats.cached_tokens + stats.prefilled_tokens;
    status_.cached_tokens += stats.cached_tokens;
    status_.decoded_tokens += stats.decoded_tokens;
    const double decode_ms = total_ms - sequence.first_sample_ms;
    if (stats.decoded_tokens > 1 && decode_ms > 0) {
      status_.decode_tokens_per_second = 1000.0 * (stats.decoded_tokens - 1) / decode_ms;
    }
  }
  const auto level = sequence.generates() ? log::Level::kInfo : log::Level::kDebug;
  log::write(level,
             "request {}: {} prompt tokens, {} cached, {} computed, {} decoded; queue {:.1f} ms, "
             "tokenize {:.1f}, prefill {:.1f}, first text {:.1f}, total {:.1f}; {}",
             sequence.ticket->id, stats.prompt_tokens, stats.cached_tokens, stats.prefilled_tokens,
             stats.decoded_tokens, stats.queue_ms, stats.tokenize_ms, stats.prefill_ms,
             stats.first_text_ms, total_ms,
             result.ok() ? finish_reason_name(stats.reason) : error_code_name(result.error().code));
  if (sequence.request.sink) sequence.request.sink->on_done(std::move(result));
}

void Scheduler::sweep() {
  std::erase_if(sequences_, [](const auto& sequence) { return sequence->done; });
  update_status();
}

void Scheduler::update_status() {
  int active = 0;
  int queued = 0;
  for (const auto& sequence : sequences_) {
    if (!sequence->done) ++(sequence->admitted ? active : queued);
  }
  const std::lock_guard lock(mutex_);
  status_.active_requests = active;
  status_.queued_requests = queued + static_cast<int>(mail_.size());
  status_.prompt_ms_per_token = ms_per_token_;
  status_.kv_bytes_used = geometry_.page_bytes * cache_.used_pages();
  status_.state_bytes_used = states_.checkpoint_bytes * cache_.used_checkpoints();
}

}  // namespace fimd
