// Scheduler: turns requests into forward passes, one step at a time.
//
// submit() and cancel() only fill a mailbox; everything else happens in step(), which the engine
// thread calls in a loop (tests call it themselves). A step looks at the mailbox, then runs one
// forward pass that holds one token of every sequence that is generating and one chunk of a prompt
// that is being read. Nothing runs longer than that pass, so a cancelled or superseded request is
// gone, and a newer one started, after at most one (a backend may have begun another just before it
// was: StepInput::goes_on).
//
// - Newest wins: a request supersedes an unfinished one of the same lane.
// - Interactive work runs alone: while there is any, background sequences keep their pages but get
//   no step.
// - Chunks are as long as fits in a fraction of a second, whatever the model and the machine.
// - One long prompt is read at a time, oldest first; short remainders join it. A prompt looks for
//   its cached prefix when its turn comes, so it finds what the prompts before it have computed.
// - A sequence is admitted when the pages it may come to need are not promised to others; what it
//   has computed stays in the prefix cache when it ends, however it ends.
// - With a recurrent model, a sequence also needs a state slot, and passes leave checkpoints of its
//   state in the cache: where checkpoint_plan.h says, and while it generates.
//
// Thread: submit, cancel, status and wait from any thread; step and stop from one.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/backend.h"
#include "engine/generator.h"
#include "engine/prefix_cache.h"
#include "engine/prompt_encoder.h"
#include "support/clock.h"

namespace fimd {

struct Sequence;
struct Ticket;

struct SchedulerOptions {
  int context_length = 0;   // tokens a sequence may have
  int prefill_chunk = 128;  // tokens of a prompt in one step, at most
  double ms_per_token = 0;  // of reading prompts, a first estimate; 0: not known
  /// How long reading a chunk of a prompt may take. Somebody may come to wait for the end of a
  /// background one.
  double chunk_ms = 120;
  double background_chunk_ms = 40;
  /// Shorter chunks would read the weights too often for too little, and say little about speed.
  int least_chunk = 16;
  CheckpointPlan checkpoints;
};

class Scheduler {
 public:
  /// All three must outlive the scheduler.
  Scheduler(Backend& backend, const Tokenizer& tokenizer, PromptEncoder& encoder,
            const SchedulerOptions& options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  GenerationId submit(GenerationRequest request);
  void cancel(GenerationId id);
  EngineStatus status() const;

  /// One turn of the engine thread. False: there was nothing to do.
  bool step();

  /// Blocks until there may be something to do, or until interrupt().
  void wait();
  void interrupt();

  /// Ends every request with kCancelled; later ones are ended at once.
  void stop();

  /// What was asked for, or less if the KV pages hold less.
  int context_length() const { return options_.context_length; }
  /// Branches of a recurrent model would need states.
  bool can_search() const { return backend_.max_best() > 0 && states_.n_slots == 0; }
  const PrefixCache& cache() const { return cache_; }

 private:
  using SequencePtr = std::unique_ptr<Sequence>;

  void take_mail();
  void start(SequencePtr sequence);
  void drop_cancelled();
  bool plan();
  bool admit(Sequence& sequence);
  void give_up_pages(Sequence& sequence);
  bool has_room_for(const Sequence& sequence) const;
  bool make_room_for(const Sequence& sequence);
  void plan_saves(Sequence& sequence);
  void keep_saves(Sequence& sequence);
  void keep_state(Sequence& sequence);
  bool extend_pages(Sequence& sequence, int end);
  int chunk_for(const Sequence& sequence) const;
  bool plan_input(Sequence& sequence, int n_tokens);
  bool goes_on(const Sequence& sequence) const;
  void run();
  void advance(Sequence& sequence, size_t first_row, size_t n_rows);
  void accept(Sequence& sequence, const Sampled& sampled);
  void force_healing(Sequence& sequence);
  void prepare_sample(Sequence& sequence);
  bool emit(Sequence& sequence);
  void finish(Sequence& sequence, FinishReason reason);
  void fail(Sequence& sequence, Error error);
  void end(Sequence& sequence, Result<GenerationStats> result);
  void keep_in_cache(const Sequence& sequence);
  void sweep();
  void update_status();

  // scheduler_search.cc: beam search and scoring.
  int search_room(const Sequence& sequence) const;
  int branch_page_promise(const Sequence& sequence) const;
  int plan_branches(Sequence& sequence, int budget);
  void add_branches(Sequence& sequence);
  void search_from(Sequence& sequence, size_t row);
  void search_on(Sequence& sequence, size_t first_row);
  bool take_branch_pages(Sequence& sequence);
  void keep_best_branch(const Sequence& sequence);
  void emit_agreed(Sequence& sequence);
  void finish_search(Sequence& sequence);
  void end_search(Sequence& sequence);
  void prepare_search(Sequence& sequence);
  Status prepare_score(Sequence& sequence);
  void add_scores(Sequence& sequence, size_t first_row, size_t n_rows);

  Backend& backend_;
  const Tokenizer& tokenizer_;
  PromptEncoder& encoder_;
  const SchedulerOptions options_;
  const KvGeometry geometry_;
  const StateGeometry states_;

  // The engine thread's.
  PrefixCache cache_;
  std::vector<SequencePtr> sequences_;  // oldest first
  int promised_pages_ = 0;
  std::vector<int32_t> free_slots_;
  double ms_per_token_;  // of reading prompts, smoothed; 0: not known yet
  std::vector<Sequence*> planned_;
  std::vector<StepInput> inputs_;
  std::vector<Sampled> sampled_;

  // The mailbox.
  mutable std::mutex mutex_;
  std::condition_variable mail_arrived_;
  std::vector<SequencePtr> mail_;
  std::unordered_map<GenerationId, std::shared_ptr<Ticket>> tickets_;  // unfinished requests
  std::unordered_map<std::string, GenerationId> newest_;               // by lane
  GenerationId next_id_ = 1;
  bool interrupted_ = false;
  bool stopped_ = false;
  bool cancel_pending_ = false;
  EngineStatus status_;
};

}  // namespace fimd
