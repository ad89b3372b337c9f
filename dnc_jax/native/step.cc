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
  // A thread that only starts when all is done finds nothing left to do, so
  // none is waited for that has not begun: all may be waiting, as this one is.
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

// What XLA is told of a memory beside its shapes.
struct Options {
  int64_t links;
  bool oneplus, usage_gradient, masked, deallocate;
  float mask_floor;
  int64_t spacing;
};

// What a step gives the next beside the tape, of one sequence.
struct Carried {
  float *read_weights, *write_weights, *usage, *precedence_weights;
};

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

// Does a step, or its gradient, of one sequence: from what was heard or is
// found, and what was carried, to what answers it.
using Do = void(const Memory& m, const Tape& tape, int64_t t, int64_t b,
                const float* in, const Carried& before, float* out,
                const Carried& after);

void ForwardAt(const Memory& m, const Tape& tape, int64_t t, int64_t b,
               const float* said, const Carried& before, float* words_read,
               const Carried& after) {
  Forward(m,
          {said, tape.MemoryAt(t, b), before.read_weights, before.write_weights,
           before.usage, tape.LinkAt(t, b), before.precedence_weights},
          {words_read, tape.MemoryAt(t + 1, b), after.read_weights,
           after.write_weights, after.usage, tape.LinkAt(t + 1, b),
           after.precedence_weights, tape.HeardAt(t, b), tape.KeptAt(t, b)});
}

void BackwardAt(const Memory& m, const Tape& tape, int64_t t, int64_t b,
                const float* of_words_read, const Carried& of_after,
                float* of_said, const Carried& of_before) {
  // From here to the state before that has a place, those between are gone.
  const bool again = tape.spacing > 1 && (t + 1) % tape.spacing == 0;
  for (int64_t s = again ? t + 1 - tape.spacing : t; s < t; ++s) {
    Advance(m, tape.MemoryAt(s, b), tape.LinkAt(s, b), tape.HeardAt(s, b),
            tape.KeptAt(s, b), tape.MemoryAt(s + 1, b), tape.LinkAt(s + 1, b));
  }
  Backward(m,
           {tape.HeardAt(t, b), tape.KeptAt(t, b), of_words_read,
            tape.MemoryAt(t + 1, b), of_after.read_weights,
            of_after.write_weights, of_after.usage, tape.LinkAt(t + 1, b),
            of_after.precedence_weights},
           {of_said, tape.MemoryAt(t, b), of_before.read_weights,
            of_before.write_weights, of_before.usage, tape.LinkAt(t, b),
            of_before.precedence_weights});
}

// Does a step, or its gradient, of every sequence of a batch. The tape comes as
// an argument and as a result, in one place.
template <Do each>
ffi::Error Run(ffi::ThreadPool pool, Index step, Numbers in,
               Numbers read_weights, Numbers write_weights, Numbers usage,
               Numbers precedence_weights, Numbers, Numbers, Numbers, Numbers,
               Written out, Written new_read_weights, Written new_write_weights,
               Written new_usage, Written new_precedence_weights,
               Written memories, Written links, Written heard, Written kept,
               Options own) {
  const Memory m = {memories->dimensions()[2],
                    memories->dimensions()[3],
                    read_weights.dimensions()[1],
                    write_weights.dimensions()[1],
                    own.links,
                    own.oneplus,
                    own.usage_gradient,
                    own.masked,
                    own.deallocate,
                    own.mask_floor};
  const int64_t N = m.slots, R = m.reads, H = m.writes;
  const int64_t numbers = Interface::Size(m), rows = Kept::Size(m);
  if (heard->dimensions()[2] != numbers || kept->dimensions()[2] * N != rows) {
    return ffi::Error::InvalidArgument(
        "A memory's tape must have " + std::to_string(numbers) +
        " numbers of the interface and " + std::to_string(rows / N) +
        " rows a step, got " + std::to_string(heard->dimensions()[2]) +
        " and " + std::to_string(kept->dimensions()[2]) + ".");
  }
  const int64_t batch_size = memories->dimensions()[1];
  const int64_t linked = m.links == kOff ? 0 : H * N;
  const Tape tape = {memories->typed_data(),
                     links->typed_data(),
                     heard->typed_data(),
                     kept->typed_data(),
                     batch_size,
                     memories->dimensions()[0],
                     heard->dimensions()[0],
                     own.spacing,
                     N * m.word_size,
                     linked * N,
                     numbers,
                     rows};
  const int64_t t = *step.typed_data();
  ForEach(batch_size, tape.words + tape.matrices, pool, [&](int64_t b) {
    each(m, tape, t, b, in.typed_data() + b * (in.element_count() / batch_size),
         {read_weights.typed_data() + b * R * N,
          write_weights.typed_data() + b * H * N, usage.typed_data() + b * N,
          precedence_weights.typed_data() + b * linked},
         out->typed_data() + b * (out->element_count() / batch_size),
         {new_read_weights->typed_data() + b * R * N,
          new_write_weights->typed_data() + b * H * N,
          new_usage->typed_data() + b * N,
          new_precedence_weights->typed_data() + b * linked});
  });
  return ffi::Error::Success();
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

}  // namespace
}  // namespace dnc_jax

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(
    dnc_jax::Options, StructMember<int64_t>("links"),
    StructMember<bool>("oneplus"), StructMember<bool>("usage_gradient"),
    StructMember<bool>("masked"), StructMember<bool>("deallocate"),
    StructMember<float>("mask_floor"), StructMember<int64_t>("spacing"));

namespace dnc_jax {
namespace {

// What `Run` takes and gives, which `dnc_jax/native/tape.py` names.
auto Bind() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Index>()
      .Arg<Numbers>()  // What the controller says, or of the words read.
      .Arg<Numbers>()  // Carried: read weights,
      .Arg<Numbers>()  // write weights,
      .Arg<Numbers>()  // usage,
      .Arg<Numbers>()  // precedence weights.
      .Arg<Numbers>()  // Tape: memories,
      .Arg<Numbers>()  // links,
      .Arg<Numbers>()  // heard,
      .Arg<Numbers>()  // kept.
      .Ret<Numbers>()  // The words read, or of what the controller says.
      .Ret<Numbers>()  // Carried.
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Ret<Numbers>()  // Tape.
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Attrs<Options>();
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(DncJaxForward, Run<ForwardAt>, Bind());

XLA_FFI_DEFINE_HANDLER_SYMBOL(DncJaxBackward, Run<BackwardAt>, Bind());

}  // namespace dnc_jax
