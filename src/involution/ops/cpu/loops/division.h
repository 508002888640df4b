// Division of the work on a map among threads: by rows and, if these are few, by groups as well.

constexpr int64_t kWorthwhile = 20000;  // least multiply-adds of a register per thread

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Multiply-adds of a register in one row of windows.
template <class T>
inline int64_t row_work(const Image& y, const Window& w) {
  return blocks<T>(y.channels) * y.width * w.taps() + 1;
}

// Neighbouring groups. Images of x, y and kernels have a number of channels that the groups divide.
struct Part {
  int64_t index, first, groups, all;

  Image of(const Image& image) const {
    const int64_t channels = image.channels / all;
    return image.slice(first * channels, groups * channels);
  }
  Window of(Window w) const {
    w.groups = groups;
    return w;
  }
};

struct Division {
  const int64_t groups, unit, units;  // a part has whole units: groups of which the channels fill registers
  int64_t parts, grain;

  Division(int64_t groups, int64_t group_channels, int lanes)
      : groups(groups), unit(lanes / gcd(lanes, group_channels)), units(ceil_div(groups, unit)), parts(1), grain(1) {}

  // For work on the rows of `image`.
  Division(const Image& image, const Window& w, int64_t row_work, int lanes)
      : Division(w.groups, image.channels / w.groups, lanes) {
    const int64_t rows = image.batch * image.height, threads = useful_threads(rows, row_work);
    if (threads > 1 && rows < 4 * threads) choose_parts(ceil_div(4 * threads, rows));
    grain = kWorthwhile / (row_work / parts + 1) + 1;
  }

  static int64_t useful_threads(int64_t rows, int64_t row_work) {
    const int64_t useful = product(rows, row_work) / kWorthwhile + 1, threads = thread_count();
    return threads < useful ? threads : useful;
  }

  // At least this number of parts, if there are as many units; of equal size, if fewer than twice as many achieve it.
  void choose_parts(int64_t wanted) {
    parts = wanted < units ? wanted : units;
    for (int64_t more = parts; more < 2 * parts && more <= units; ++more)
      if (units % more == 0) {
        parts = more;
        return;
      }
  }

  Part part(int64_t index) const {
    const int64_t first = units * index / parts * unit, end = units * (index + 1) / parts * unit;
    return {index, first, (end < groups ? end : groups) - first, groups};
  }

  // f(part, b, first row, last row + 1) for the ranges of rows of `image` of one thread
  template <class F>
  void over_rows(const Image& image, const F& f) const {
    for_ranges(product(parts, image.batch, image.height), grain, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t run = begin / image.height, h = begin % image.height;
        const int64_t last = image.height - h < end - begin ? image.height : h + end - begin;
        f(part(run / image.batch), run % image.batch, h, last);
        begin += last - h;
      }
    });
  }

  // f(begin, end) for the ranges of [0, count) of one thread
  template <class F>
  static void for_ranges(int64_t count, int64_t grain, const F& f) {
    parallel_for(
        count, grain, [](void* f, int64_t begin, int64_t end) { (*static_cast<const F*>(f))(begin, end); },
        const_cast<F*>(&f));
  }
};
