// A step of a memory and its gradient, as calls that XLA makes on a CPU.
//
// What is computed is told in `dnc_jax.addressing`, and what a tape is in
// `dnc_jax/native/tape.py`, which makes these calls.

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "backward.h"
#include "forward.h"
#include "memory.h"
#include "xla/ffi/api/ffi.h"

namespace dnc_jax {
namespace {

namespace ffi = xla::ffi;
using Numbers = ffi::Buffer<ffi::F32>;
using Index = ffi::Buffer<ffi::S32>;
using Written = ffi::ResultBuffer<ffi::F32>;

// Numbers in memories and links of a batch, from which on sequences are shared
// out to threads.
constexpr int64_t kFewestShared = 1 << 17;

// Calls a function of each sequence, on several threads where it pays.
void ForEach(int64_t batch_size, int64_t numbers, ffi::ThreadPool pool,
             std::function<void(int64_t)> each) {
  const int64_t threads =
      std::min<int64_t>(batch_size, std::max<int64_t>(pool.num_threads(), 1));
  if (threads < 2 || batch_size * numbers < kFewestShared) {
    for (int64_t b = 0; b < batch_size; ++b) each(b);
    return;
  }
  // A thread that only starts when all is done finds nothing left to do, so none
  // is waited for that has not begun: all may be waiting, as this one does.
  struct Work {
    std::function<void(int64_t)> each;
    int64_t batch_size;
    std::atomic<int64_t> next{0}, done{0};

    void Run() {
      for (int64_t b = next++; b < batch_size; b = next++) {
        each(b);
        ++done;
      }
    }
  };
  auto work = std::make_shared<Work>();
  work->each = std::move(each);
  work->batch_size = batch_size;
  for (int64_t i = 1; i < threads; ++i) {
    pool.Schedule([work] { work->Run(); });
  }
  work->Run();
  while (work->done < batch_size) std::this_thread::yield();
}

// What steps write. Every `spacing`th state, the memory and the links before a
// step, has a place of its own; those between share `spacing - 1` places, from
// one such state to the next. With a spacing of 0 all share two.
struct Tape {
  float *memories, *links, *heard, *kept;
  int64_t batch_size, states, steps, spacing;
  int64_t words, matrices, numbers, rows;

  int64_t State(int64_t t, int64_t b) const {
    int64_t place = t % 2;
    if (spacing > 0) {
      const int64_t between = t % spacing;
      place = between ? states - spacing + between : t / spacing;
    }
    return place * batch_size + b;
  }
  float* MemoryAt(int64_t t, int64_t b) const {
    return memories + State(t, b) * words;
  }
  float* LinkAt(int64_t t, int64_t b) const {
    return links + State(t, b) * matrices;
  }
  float* HeardAt(int64_t t, int64_t b) const {
    return heard + ((t % steps) * batch_size + b) * numbers;
  }
  float* KeptAt(int64_t t, int64_t b) const {
    return kept + ((t % steps) * batch_size + b) * rows;
  }
};

Tape MakeTape(const Memory& m, int64_t spacing, Written& memories,
              Written& links, Written& heard, Written& kept) {
  return {memories->typed_data(),
          links->typed_data(),
          heard->typed_data(),
          kept->typed_data(),
          memories->dimensions()[1],
          memories->dimensions()[0],
          heard->dimensions()[0],
          spacing,
          m.slots * m.word_size,
          m.links == kOff ? 0 : m.writes * m.slots * m.slots,
          Interface::Size(m),
          Kept::Size(m)};
}

ffi::ErrorOr<Memory> Describe(const Numbers& memories, const Numbers& heard,
                              const Numbers& kept, int64_t reads,
                              int64_t writes, int64_t links, bool oneplus,
                              bool usage_gradient, bool masked, bool deallocate,
                              float mask_floor) {
  const Memory m = {memories.dimensions()[2],
                    memories.dimensions()[3],
                    reads,
                    writes,
                    links,
                    oneplus,
                    usage_gradient,
                    masked,
                    deallocate,
                    mask_floor};
  const int64_t numbers = Interface::Size(m), rows = Kept::Size(m) / m.slots;
  if (heard.dimensions()[2] != numbers || kept.dimensions()[2] != rows) {
    return ffi::Unexpected(ffi::Error::InvalidArgument(
        "A memory's tape must have " + std::to_string(numbers) +
        " numbers of the interface and " + std::to_string(rows) +
        " rows a step, got " + std::to_string(heard.dimensions()[2]) + " and " +
        std::to_string(kept.dimensions()[2]) + "."));
  }
  return m;
}

int64_t PerSequence(const Memory& m) {
  const int64_t links = m.links == kOff ? 0 : m.writes * m.slots;
  return m.slots * (m.word_size + links);
}

// Asks the system for large pages.
void AskForLargePages(float* start, int64_t size) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t kPage = 1 << 21;
  const uintptr_t first = reinterpret_cast<uintptr_t>(start);
  const uintptr_t aligned = (first + kPage - 1) / kPage * kPage;
  const uintptr_t end = first + size * sizeof(float);
  if (end > aligned + kPage) {
    madvise(reinterpret_cast<void*>(aligned), end - aligned, MADV_HUGEPAGE);
  }
#endif
}

// Writes what is before the first step, and leaves the rest alone.
ffi::Error Open(Numbers memory, Numbers link, Written memories, Written links,
                Written heard, Written kept) {
  for (Written* x : {&memories, &links, &heard, &kept}) {
    AskForLargePages((*x)->typed_data(), (*x)->element_count());
  }
  Copy(memories->typed_data(), memory.typed_data(), memory.element_count());
  Copy(links->typed_data(), link.typed_data(), link.element_count());
  return ffi::Error::Success();
}

ffi::Error RunForward(ffi::ThreadPool pool, Index step, Numbers said,
                      Numbers read_weights, Numbers write_weights,
                      Numbers usage, Numbers precedence, Numbers memories,
                      Numbers links, Numbers heard, Numbers kept,
                      Written words_read, Written new_read_weights,
                      Written new_write_weights, Written new_usage,
                      Written new_precedence, Written new_memories,
                      Written new_links, Written new_heard, Written new_kept,
                      int64_t reads, int64_t writes, int64_t kind, bool oneplus,
                      bool usage_gradient, bool masked, bool deallocate,
                      float mask_floor, int64_t spacing) {
  const auto described =
      Describe(memories, heard, kept, reads, writes, kind, oneplus,
               usage_gradient, masked, deallocate, mask_floor);
  if (described.has_error()) return described.error();
  const Memory m = described.value();
  const Tape tape = MakeTape(m, spacing, new_memories, new_links, new_heard, new_kept);
  const int64_t N = m.slots, R = m.reads, H = m.writes, t = *step.typed_data();
  const int64_t linked = kind == kOff ? 0 : H * N;
  ForEach(tape.batch_size, PerSequence(m), pool, [&](int64_t b) {
    Forward(m,
            {said.typed_data() + b * tape.numbers, tape.MemoryAt(t, b),
             read_weights.typed_data() + b * R * N,
             write_weights.typed_data() + b * H * N, usage.typed_data() + b * N,
             tape.LinkAt(t, b), precedence.typed_data() + b * linked},
            {words_read->typed_data() + b * R * m.word_size,
             tape.MemoryAt(t + 1, b), new_read_weights->typed_data() + b * R * N,
             new_write_weights->typed_data() + b * H * N,
             new_usage->typed_data() + b * N, tape.LinkAt(t + 1, b),
             new_precedence->typed_data() + b * linked, tape.HeardAt(t, b),
             tape.KeptAt(t, b)});
  });
  return ffi::Error::Success();
}

ffi::Error RunBackward(ffi::ThreadPool pool, Index step, Numbers of_words_read,
                       Numbers of_read_weights, Numbers of_write_weights,
                       Numbers of_usage, Numbers of_precedence,
                       Numbers memories, Numbers links, Numbers heard,
                       Numbers kept, Written of_said,
                       Written of_prev_read_weights,
                       Written of_prev_write_weights, Written of_prev_usage,
                       Written of_prev_precedence, Written new_memories,
                       Written new_links, Written new_heard, Written new_kept,
                       int64_t reads, int64_t writes, int64_t kind,
                       bool oneplus, bool usage_gradient, bool masked,
                       bool deallocate, float mask_floor, int64_t spacing) {
  const auto described =
      Describe(memories, heard, kept, reads, writes, kind, oneplus,
               usage_gradient, masked, deallocate, mask_floor);
  if (described.has_error()) return described.error();
  const Memory m = described.value();
  const Tape tape = MakeTape(m, spacing, new_memories, new_links, new_heard, new_kept);
  const int64_t N = m.slots, R = m.reads, H = m.writes, t = *step.typed_data();
  const int64_t linked = kind == kOff ? 0 : H * N;
  // From here to the state before that has a place, those between are gone.
  const bool again = spacing > 1 && (t + 1) % spacing == 0;
  ForEach(tape.batch_size, PerSequence(m), pool, [&](int64_t b) {
    for (int64_t s = again ? t + 1 - spacing : t; s < t; ++s) {
      Advance(m, tape.MemoryAt(s, b), tape.LinkAt(s, b), tape.HeardAt(s, b),
              tape.KeptAt(s, b), tape.MemoryAt(s + 1, b),
              tape.LinkAt(s + 1, b));
    }
    Backward(m,
             {tape.HeardAt(t, b), tape.KeptAt(t, b),
              of_words_read.typed_data() + b * R * m.word_size,
              tape.MemoryAt(t + 1, b), of_read_weights.typed_data() + b * R * N,
              of_write_weights.typed_data() + b * H * N,
              of_usage.typed_data() + b * N, tape.LinkAt(t + 1, b),
              of_precedence.typed_data() + b * linked},
             {of_said->typed_data() + b * tape.numbers, tape.MemoryAt(t, b),
              of_prev_read_weights->typed_data() + b * R * N,
              of_prev_write_weights->typed_data() + b * H * N,
              of_prev_usage->typed_data() + b * N, tape.LinkAt(t, b),
              of_prev_precedence->typed_data() + b * linked});
  });
  return ffi::Error::Success();
}

template <typename T>
auto WithOptions(T binding) {
  return std::move(binding)
      .template Attr<int64_t>("reads")
      .template Attr<int64_t>("writes")
      .template Attr<int64_t>("links")
      .template Attr<bool>("oneplus")
      .template Attr<bool>("usage_gradient")
      .template Attr<bool>("masked")
      .template Attr<bool>("deallocate")
      .template Attr<float>("mask_floor")
      .template Attr<int64_t>("spacing");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(DncJaxOpen, Open,
                              ffi::Ffi::Bind()
                                  .Arg<Numbers>()    // memory
                                  .Arg<Numbers>()    // link
                                  .Ret<Numbers>()    // memories
                                  .Ret<Numbers>()    // links
                                  .Ret<Numbers>()    // heard
                                  .Ret<Numbers>());  // kept

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    DncJaxForward, RunForward,
    WithOptions(ffi::Ffi::Bind()
                    .Ctx<ffi::ThreadPool>()
                    .Arg<Index>()      // step
                    .Arg<Numbers>()    // said
                    .Arg<Numbers>()    // read_weights
                    .Arg<Numbers>()    // write_weights
                    .Arg<Numbers>()    // usage
                    .Arg<Numbers>()    // precedence_weights
                    .Arg<Numbers>()    // memories
                    .Arg<Numbers>()    // links
                    .Arg<Numbers>()    // heard
                    .Arg<Numbers>()    // kept
                    .Ret<Numbers>()    // words_read
                    .Ret<Numbers>()    // read_weights
                    .Ret<Numbers>()    // write_weights
                    .Ret<Numbers>()    // usage
                    .Ret<Numbers>()    // precedence_weights
                    .Ret<Numbers>()    // memories
                    .Ret<Numbers>()    // links
                    .Ret<Numbers>()    // heard
                    .Ret<Numbers>()))  // kept
;

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    DncJaxBackward, RunBackward,
    WithOptions(ffi::Ffi::Bind()
                    .Ctx<ffi::ThreadPool>()
                    .Arg<Index>()      // step
                    .Arg<Numbers>()    // of words_read
                    .Arg<Numbers>()    // of read_weights
                    .Arg<Numbers>()    // of write_weights
                    .Arg<Numbers>()    // of usage
                    .Arg<Numbers>()    // of precedence_weights
                    .Arg<Numbers>()    // memories
                    .Arg<Numbers>()    // links
                    .Arg<Numbers>()    // heard
                    .Arg<Numbers>()    // kept
                    .Ret<Numbers>()    // of said
                    .Ret<Numbers>()    // of read_weights
                    .Ret<Numbers>()    // of write_weights
                    .Ret<Numbers>()    // of usage
                    .Ret<Numbers>()    // of precedence_weights
                    .Ret<Numbers>()    // memories
                    .Ret<Numbers>()    // links
                    .Ret<Numbers>()    // heard
                    .Ret<Numbers>()))  // kept
;

}  // namespace dnc_jax
