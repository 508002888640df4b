// Distribution of work over threads. Every thread first computes the same number of whole images, one band of output
// rows after the other, with the rows of h that they read in a ring. The remaining images (at batch 1, all of them) are
// computed by all threads together in three phases: h of all rows, then g, then y. In each phase the threads share the
// bands of rows, and also the channels where there are fewer bands than threads.

// f(share) on all threads, each with the registers of a method
template <class M, class F>
void on_threads(int64_t threads, const F& f) {
  parallel_for(
      threads, 1,
      [](void* f, int64_t begin, int64_t end) {
        [[maybe_unused]] const typename M::Registers registers;
        for (int64_t share = begin; share < end; ++share) (*static_cast<const F*>(f))(share);
      },
      const_cast<F*>(&f));
}

template <class M>
struct Schedule {
  using E = typename M::Element;
  const Block& block;
  const Image &x, &y;
  const Shape s;
  const int64_t threads, alone, shared;  // images that each thread computes alone, and images that threads share
  const int64_t mid, bands;              // bands of the shared images

  Schedule(const Block& block, const Image& x, const Image& y)
      : block(block),
        x(x),
        y(y),
        s(block, x, y),
        threads(thread_count()),
        alone(x.batch / threads),
        shared(x.batch % threads),
        mid(block.enter.columns),
        bands(count_bands(shared * s.out_height, s.out_rows)) {}

  // As many for every thread, if there are enough.
  int64_t count_bands(int64_t rows, int64_t band) const {
    const int64_t count = (rows + band - 1) / band;
    return count < threads ? count : least(rows, round_up(count, threads));
  }

  // The memory of a thread that works alone, and its private memory beside the shared one, in bytes.
  int64_t own_memory() const {
    Arena arena{};
    Pass<M>(block, x, y, arena);
    if (alone) Ring(arena, s, mid, s.ring()), take_g(arena);
    return arena.counted();
  }
  int64_t shared_memory() const {
    Arena arena{};
    if (shared) Ring(arena, s, mid, shared * s.height);
    for (int64_t band = 0; band < bands; ++band) take_g(arena);
    return arena.counted();
  }
  int64_t memory() const { return threads * own_memory() + shared_memory(); }

  Operand<M> take_g(Arena& arena) const {
    return take_operand<M>(arena, s.out_rows * s.out_width, block.leave.depth);
  }

  void run(char* memory) const {
    const int64_t own = own_memory();
    if (alone)
      on_threads<M>(threads, [&](int64_t share) {
        compute_images({share * alone, (share + 1) * alone}, Arena{memory + share * own});
      });
    if (shared) compute_shared({threads * alone, x.batch}, memory, own);
  }

  void compute_images(Range images, Arena arena) const {
    const Pass<M> pass(block, x, y, arena);
    const Ring h(arena, s, mid, s.ring());
    const Operand<M> g = take_g(arena);
    pass.clear(h, g);
    const int64_t end = images.end * s.out_height;
    for (int64_t q = images.begin * s.out_height, next = images.begin * s.height; q < end; q += s.out_rows) {
      const Range rows{q, least(end, q + s.out_rows)};
      for (const int64_t needed = s.needed(rows.end - 1); next < needed;) {
        const Range ahead{next, least(needed, next + s.in_rows)};
        pass.enter(ahead, {0, panels(block.enter)}, h);
        next = ahead.end;
      }
      pass.mix(rows, {0, block.chunks}, h, g);
      pass.append(rows, {0, block.chunks}, g);
      const auto row = [&](int64_t q) { return reinterpret_cast<const char*>(pass.pixel(x, q, 0)); };
      const int64_t later = s.needed(least(end, rows.end + s.out_rows) - 1);
      pass.leave(rows, {0, panels(block.leave)}, g, {row(next), row(later)});
    }
  }

  void compute_shared(Range images, char* memory, int64_t own) const {
    Arena common{memory + threads * own};
    const Ring h(common, s, mid, images.size() * s.height);
    char* const features = common.next;
    const auto g = [&](int64_t band) {
      Arena arena{features};
      const Operand<M> first = take_g(arena);
      return Operand<M>{first.data + band * ((arena.next - features) / int64_t(sizeof(E))), first.depth};
    };
    const Range in{images.begin * s.height, images.end * s.height};
    const Range out{images.begin * s.out_height, images.end * s.out_height};
    // f(pass, band, its rows, its share of `channels`)
    const auto deal = [&](Range rows, int64_t bands, int64_t channels, const auto& f) {
      const int64_t parts = least(channels, (threads + bands - 1) / bands);
      on_threads<M>(threads, [&](int64_t share) {
        Arena arena{memory + share * own};
        const Pass<M> pass(block, x, y, arena);
        const Range tasks = Range{0, bands * parts}.part(share, threads);
        for (int64_t task = tasks.begin; task < tasks.end; ++task)
          f(pass, task / parts, rows.part(task / parts, bands), Range{0, channels}.part(task % parts, parts));
      });
    };
    common = Arena{memory};
    const Pass<M> first(block, x, y, common);
    for (int64_t band = 0; band < bands; ++band) first.clear(h, g(band));
    deal(in, count_bands(in.size(), s.in_rows), panels(block.enter),
         [&](const auto& pass, int64_t, Range rows, Range some) { pass.clear(), pass.enter(rows, some, h); });
    deal(out, bands, block.chunks, [&](const auto& pass, int64_t band, Range rows, Range some) {
      pass.clear(), pass.mix(rows, some, h, g(band)), pass.append(rows, some, g(band));
    });
    deal(out, bands, panels(block.leave),
         [&](const auto& pass, int64_t band, Range rows, Range some) { pass.leave(rows, some, g(band)); });
  }
};

// The bytes of scratch memory that a pass needs; with `memory`, which has them, the pass itself.
template <template <class> class Work>
int64_t compute(const Block& block, [[maybe_unused]] Pairs pairs, const Image& x, const Image& y, char* memory) {
  const auto with = [&](const auto& work) {
    if (memory) work.run(memory);
    return work.memory();
  };
  if (x.dtype == Dtype::float32) return with(Work<Widened<float>>{block, x, y});
#if INVOLUTION_HAS_PAIRS
  if (pairs == Pairs::tiled) return with(Work<Tiled>{block, x, y});
  if (pairs == Pairs::dotted) return with(Work<Dotted>{block, x, y});
#endif
  return with(Work<Widened<bfloat16>>{block, x, y});
}
