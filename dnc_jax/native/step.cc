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
  int64_t writes, links;
  bool oneplus, usage_gradient, masked, deallocate;
  float mask_floor;
  int64_t spacing;
};

// What steps write. The last place is for the memory and the links as they are
// now, as `carried` is for all else, and on the way back for their gradients.
// Before it lie those before every `spacing`th step; with a spacing of 0, none.
struct Tape {
  float *memories, *links, *carried, *heard, *kept;
  int64_t batch_size, states, steps, spacing;
  int64_t words, matrices, weights, numbers, rows;

  float* MemoryAt(int64_t place, int64_t b) const {
    return memories + (place * batch_size + b) * words;
  }
  float* LinkAt(int64_t place, int64_t b) const {
    return links + (place * batch_size + b) * matrices;
  }
  float* HeardAt(int64_t t, int64_t b) const {
    return heard + ((t % steps) * batch_size + b) * numbers;
  }
  float* KeptAt(int64_t t, int64_t b) const {
    return kept + ((t % steps) * batch_size + b) * rows;
  }

  // As it is now, or its gradient.
  State Now(const Memory& m, int64_t b) const {
    float* read_weights = carried + b * weights;
    float* write_weights = read_weights + m.reads * m.slots;
    float* usage = write_weights + m.writes * m.slots;
    return {MemoryAt(states - 1, b), LinkAt(states - 1, b), read_weights,
            write_weights,           usage,                 usage + m.slots};
  }
};

// Does a step, or its gradient, of one sequence: from what was said or is
// found, to what answers it.
using Do = void(const Memory& m, const Tape& tape, int64_t t, int64_t b,
                const float* in, float* out);

void ForwardAt(const Memory& m, const Tape& tape, int64_t t, int64_t b,
               const float* said, float* words_read) {
  const State now = tape.Now(m, b);
  if (tape.spacing > 0 && t % tape.spacing == 0) {
    Copy(tape.MemoryAt(t / tape.spacing, b), now.memory, tape.words);
    Copy(tape.LinkAt(t / tape.spacing, b), now.link, tape.matrices);
  }
  Forward(m, said, now, words_read, tape.HeardAt(t, b), tape.KeptAt(t, b));
}

void BackwardAt(const Memory& m, const Tape& tape, int64_t t, int64_t b,
                const float* of_words_read, float* of_said) {
  const int64_t place = t / tape.spacing, since = t % tape.spacing;
  const Past past = {m,
                     since,
                     tape.MemoryAt(place, b),
                     tape.LinkAt(place, b),
                     tape.HeardAt(t - since, b),
                     tape.KeptAt(t - since, b),
                     tape.batch_size * tape.numbers,
                     tape.batch_size * tape.rows};
  Backward(m, past, tape.HeardAt(t, b), tape.KeptAt(t, b), of_words_read,
           tape.Now(m, b), of_said);
}

// Does a step, or its gradient, of every sequence of a batch, and moves the
// clock on or back. The tape comes as an argument and as a result, in one
// place.
template <Do each, bool forward>
ffi::Error Run(ffi::ThreadPool pool, Numbers in, Numbers, Numbers, Numbers,
               Numbers, Numbers, Numbers, Written out, Written memories,
               Written links, Written carried, Written heard, Written kept,
               Written clock, Options own) {
  const int64_t linked = own.links == kOff ? 0 : own.writes;
  const Memory m = {memories->dimensions()[2],
                    memories->dimensions()[3],
                    carried->dimensions()[1] - own.writes - 1 - linked,
                    own.writes,
                    own.links,
                    own.oneplus,
                    own.usage_gradient,
                    own.masked,
                    own.deallocate,
                    own.mask_floor};
  const int64_t N = m.slots;
  const int64_t numbers = heard->dimensions()[2];
  const int64_t rows = kept->dimensions()[2] * N;
  if (numbers < Interface::Size(m) || rows != Kept::Size(m)) {
    return ffi::Error::InvalidArgument(
        "A memory's tape must have at least " +
        std::to_string(Interface::Size(m)) + " numbers of the interface and " +
        std::to_string(Kept::Size(m) / N) + " rows a step, got " +
        std::to_string(numbers) + " and " + std::to_string(rows / N) + ".");
  }
  const int64_t batch_size = memories->dimensions()[1];
  const Tape tape = {memories->typed_data(),
                     links->typed_data(),
                     carried->typed_data(),
                     heard->typed_data(),
                     kept->typed_data(),
                     batch_size,
                     memories->dimensions()[0],
                     heard->dimensions()[0],
                     own.spacing,
                     N * m.word_size,
                     linked * N * N,
                     carried->dimensions()[1] * N,
                     numbers,
                     rows};
  float* now = clock->typed_data();
  const int64_t t = static_cast<int64_t>(*now) - (forward ? 0 : 1);
  *now += forward ? 1.0f : -1.0f;
  ForEach(batch_size, tape.words + tape.matrices, pool, [&](int64_t b) {
    each(m, tape, t, b, in.typed_data() + b * (in.element_count() / batch_size),
         out->typed_data() + b * (out->element_count() / batch_size));
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

// Gives room, and writes nothing.
ffi::Error GiveRoom(ffi::RemainingRets rooms) {
  for (size_t i = 0; i < rooms.size(); ++i) {
    auto room = rooms.get<Numbers>(i);
    if (room.has_error()) return room.error();
    AskForLargePages((*room)->typed_data(), (*room)->element_count());
  }
  return ffi::Error::Success();
}

// Writes what is before the first step as what is now, and leaves the rest
// alone.
ffi::Error Open(Numbers memory, Numbers link, Numbers carried, Written memories,
                Written links, Written now, Written heard, Written kept,
                Written clock) {
  for (Written* x : {&memories, &links, &heard, &kept}) {
    AskForLargePages((*x)->typed_data(), (*x)->element_count());
  }
  const int64_t last = memories->dimensions()[0] - 1;
  const int64_t words = memory.element_count();
  const int64_t matrices = link.element_count();
  Copy(memories->typed_data() + last * words, memory.typed_data(), words);
  Copy(links->typed_data() + last * matrices, link.typed_data(), matrices);
  Copy(now->typed_data(), carried.typed_data(), carried.element_count());
  *clock->typed_data() = 0.0f;
  return ffi::Error::Success();
}

}  // namespace
}  // namespace dnc_jax

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(
    dnc_jax::Options, StructMember<int64_t>("writes"),
    StructMember<int64_t>("links"),
    StructMember<bool>("oneplus"), StructMember<bool>("usage_gradient"),
    StructMember<bool>("masked"), StructMember<bool>("deallocate"),
    StructMember<float>("mask_floor"), StructMember<int64_t>("spacing"));

namespace dnc_jax {
namespace {

// What `Run` takes and gives, which `dnc_jax/native/tape.py` names.
auto Bind() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Numbers>()  // What the controller says, or of the words read.
      .Arg<Numbers>()  // Tape: memories,
      .Arg<Numbers>()  // links,
      .Arg<Numbers>()  // carried,
      .Arg<Numbers>()  // heard,
      .Arg<Numbers>()  // kept,
      .Arg<Numbers>()  // clock.
      .Ret<Numbers>()  // The words read, or of what the controller says.
      .Ret<Numbers>()  // Tape.
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Ret<Numbers>()
      .Attrs<Options>();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(DncJaxRoom, GiveRoom,
                              ffi::Ffi::Bind().RemainingRets());

XLA_FFI_DEFINE_HANDLER_SYMBOL(DncJaxOpen, Open,
                              ffi::Ffi::Bind()
                                  .Arg<Numbers>()    // memory
                                  .Arg<Numbers>()    // link
                                  .Arg<Numbers>()    // carried
                                  .Ret<Numbers>()    // Tape.
                                  .Ret<Numbers>()
                                  .Ret<Numbers>()
                                  .Ret<Numbers>()
                                  .Ret<Numbers>()
                                  .Ret<Numbers>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(DncJaxForward, (Run<ForwardAt, true>), Bind());

XLA_FFI_DEFINE_HANDLER_SYMBOL(DncJaxBackward, (Run<BackwardAt, false>), Bind());

}  // namespace dnc_jax
