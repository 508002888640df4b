// The three contractions with lanes over the pixels of a line: for groups of few channels, which do not fill a register,
// and for interleaved groups. One group is computed after the other, because each has taps of its own.

constexpr int64_t kFewChannels = 4;
constexpr int kBlock = 8;          // most channels that are computed at once
constexpr int64_t kTogether = 64;  // taps that are read side by side; of larger windows, row by row

template <class T>
bool lanes_over_pixels(const Image& x, const Window& w) {
  return w.softmax || w.interleaved || x.channels / w.groups <= kFewChannels;
}

// One row of the windows of a group. Channels, and taps, are at equal distances.
template <class T>
struct WindowRow {
  T* const* x;  // rows of x or of its gradient
  int64_t x_channel;
  const int64_t *places, kw;  // of every tap of a row of the window, in the rows of x
  const T* inside = nullptr;  // of a small map: a mask for each of these taps, `line` apart
  int64_t line = 0;
  T* taps = nullptr;
  int64_t tap = 0;
  bool scores = false;  // taps are the softmax of `taps`
  int64_t ahead = 0;    // distance to the scores that are read next
  T* map = nullptr;     // the output or its gradient
  int64_t map_channel = 0;

  // The pixels that tap v of a row sees from pixel j on, at `x`; zero where the mask is.
  template <bool Masked>
  Vector<T> see(const T* x, int64_t v, int64_t j) const {
    if constexpr (Masked) return load(inside + v * line + j) > Vector<T>{} ? load(x) : Vector<T>{};
    else return load(x);
  }
};

template <class T>
inline WindowRow<T> row_of(const Planes<T>& planes, T* const* x) {
  return {x, planes.channel, planes.places.data, planes.w.kw};
}

// map[m] (+)= sum over the taps of rows [u, end) of taps[u, v] * x[m], from pixel j on: M channels from c on, J registers
template <class T, bool Masked, int M, int J>
INVOLUTION_LOOP void forward_line(const WindowRow<T>& row, int64_t u, int64_t end, int64_t c, int64_t j, bool add) {
  constexpr int L = lanes<T>;
  T* y = row.map + c * row.map_channel + j;
  Vector<T> sum[M][J] = {};
  if (add) unroll<M>([&](auto m) { unroll<J>([&](auto n) { sum[m][n] = load(y + m * row.map_channel + n * L); }); });
  const T* taps = row.taps + u * row.kw * row.tap + j;
  for (; u < end; ++u)
    for (int64_t v = 0; v < row.kw; ++v, taps += row.tap) {
      const T* x = row.x[u] + c * row.x_channel + row.places[v] + j;
      unroll<J>([&](auto n) {
        const Vector<T> k = load(taps + n * L);
        unroll<M>([&](auto m) {
          sum[m][n] += k * row.template see<Masked>(x + m * row.x_channel + n * L, v, j + n * L);
        });
      });
    }
  unroll<M>([&](auto m) { unroll<J>([&](auto n) { store(y + m * row.map_channel + n * L, sum[m][n]); }); });
}

// map[m] = sum over the taps of softmax(taps)[u, v] * x[m]; scores `ahead` are prefetched
template <class T, bool Masked, int M, int J>
INVOLUTION_LOOP void forward_scores(const WindowRow<T>& row, int64_t kh, int64_t c, int64_t j) {
  constexpr int L = lanes<T>;
  const T* taps = row.taps + j;
  Vector<T> top[J], total[J] = {}, sum[M][J] = {};
  unroll<J>([&](auto n) { top[n] = load(taps + n * L); });
  for (int64_t t = 1; t < kh * row.kw; ++t)
    unroll<J>([&](auto n) { top[n] = larger<T>(load(taps + t * row.tap + n * L), top[n]); });
  for (int64_t u = 0; u < kh; ++u)
    for (int64_t v = 0; v < row.kw; ++v, taps += row.tap) {
      const T* x = row.x[u] + c * row.x_channel + row.places[v] + j;
      unroll<J>([&](auto n) {
        __builtin_prefetch(taps + row.ahead + n * L);
        const Vector<T> k = exponential<T>(load(taps + n * L) - top[n]);
        total[n] += k;
        unroll<M>([&](auto m) {
          sum[m][n] += k * row.template see<Masked>(x + m * row.x_channel + n * L, v, j + n * L);
        });
      });
    }
  T* y = row.map + c * row.map_channel + j;
  unroll<J>([&](auto n) {
    const Vector<T> share = 1 / total[n];
    unroll<M>([&](auto m) { store(y + m * row.map_channel + n * L, sum[m][n] * share); });
  });
}

// taps[u, v] (+)= sum over M channels of map[m] * x[m]
template <class T, bool Masked, int M, int J>
INVOLUTION_LOOP void grad_kernel_line(const WindowRow<T>& row, int64_t u, int64_t end, int64_t c, int64_t j, bool add) {
  constexpr int L = lanes<T>;
  const T* map = row.map + c * row.map_channel + j;
  Vector<T> grad[M][J];
  unroll<M>([&](auto m) { unroll<J>([&](auto n) { grad[m][n] = load(map + m * row.map_channel + n * L); }); });
  T* taps = row.taps + u * row.kw * row.tap + j;
  for (; u < end; ++u)
    for (int64_t v = 0; v < row.kw; ++v, taps += row.tap) {
      const T* x = row.x[u] + c * row.x_channel + row.places[v] + j;
      unroll<J>([&](auto n) {
        Vector<T> sum = add ? load(taps + n * L) : Vector<T>{};
        unroll<M>([&](auto m) {
          sum += grad[m][n] * row.template see<Masked>(x + m * row.x_channel + n * L, v, j + n * L);
        });
        store(taps + n * L, sum);
      });
    }
}

// x[m] += taps[u, v] * map[m] for the rows that are not null and `width` pixels: a whole line tap by tap, because a
// register can be loaded only some time after parts of it were stored
template <class T, int M>
INVOLUTION_LOOP void grad_x_line(const WindowRow<T>& row, int64_t kh, int64_t c, int64_t width) {
  const T* map = row.map + c * row.map_channel;
  const T* taps = row.taps;
  for (int64_t u = 0; u < kh; ++u)
    for (int64_t v = 0; v < row.kw; ++v, taps += row.tap) {
      if (!row.x[u]) continue;
      T* x = row.x[u] + c * row.x_channel + row.places[v];
      for (int64_t j = 0; j < width; j += lanes<T>) {
        const Vector<T> k = load(taps + j);
        unroll<M>([&](auto m) {
          T* to = x + m * row.x_channel + j;
          store(to, load(to) + k * load(map + m * row.map_channel + j));
        });
      }
    }
}

// map[m] = sum over the taps of taps[u, v] * x[m], each where the window of an output pixel has this pixel: the gradient
// of a small map, in `map`, from that of the output, in `x`
template <class T, int M, int J>
INVOLUTION_LOOP void grad_x_small(const WindowRow<T>& row, int64_t kh, int64_t c, int64_t j) {
  constexpr int L = lanes<T>;
  Vector<T> sum[M][J] = {};
  const T* taps = row.taps + j;
  for (int64_t u = 0; u < kh; ++u)
    for (int64_t v = 0; v < row.kw; ++v, taps += row.tap) {
      const T* x = row.x[u] + c * row.x_channel + row.places[v] + j;
      const T* k = taps + (row.x[u] - row.x[0]) + row.places[v];
      unroll<J>([&](auto n) {
        const auto inside = load(row.inside + v * row.line + j + n * L) > Vector<T>{};
        unroll<M>([&](auto m) {
          const Vector<T> product = load(k + n * L) * load(x + m * row.x_channel + n * L);
          sum[m][n] += inside ? product : Vector<T>{};
        });
      });
    }
  T* to = row.map + c * row.map_channel + j;
  unroll<M>([&](auto m) { unroll<J>([&](auto n) { store(to + m * row.map_channel + n * L, sum[m][n]); }); });
}

// f(M, first channel) for blocks of M channels
template <class F>
inline void for_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + kBlock <= channels; c += kBlock) f(Index<kBlock>{}, c);
  for (; c + 4 <= channels; c += 4) f(Index<4>{}, c);
  if (channels - c == 3) f(Index<3>{}, c);
  if (channels - c == 2) f(Index<2>{}, c);
  if (channels - c == 1) f(Index<1>{}, c);
}

// f(J, first pixel) for tiles of J registers that cover a line: as many sums as hide the latency and fit into 16 registers
template <class T, int M, class F>
inline void for_pixels(int64_t width, const F& f) {
  constexpr int wide = M == kBlock ? 1 : M == 4 ? 2 : 4, L = lanes<T>;
  int64_t j = 0;
  for (; j + wide * L <= width; j += wide * L) f(Index<wide>{}, j);
  for (; j < width; j += L) f(Index<1>{}, j);
}

template <class T, bool Masked>
void forward_lines(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  const int64_t together = kh * row.kw <= kTogether ? kh : 1;
  for_channels(channels, [&](auto m, int64_t c) {
    if (row.scores)
      return for_pixels<T, m.value>(
          width, [&](auto n, int64_t j) { forward_scores<T, Masked, m.value, n.value>(row, kh, c, j); });
    for (int64_t u = 0; u < kh; u += together)
      for_pixels<T, m.value>(width, [&](auto n, int64_t j) {
        forward_line<T, Masked, m.value, n.value>(row, u, u + together, c, j, u > 0);
      });
  });
}

template <class T, bool Masked>
void grad_kernel_lines(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  for_channels(channels, [&](auto m, int64_t c) {
    for_pixels<T, m.value>(
        width, [&](auto n, int64_t j) { grad_kernel_line<T, Masked, m.value, n.value>(row, 0, kh, c, j, c > 0); });
  });
}

template <class T>
void forward_group(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  (row.inside ? forward_lines<T, true> : forward_lines<T, false>)(row, kh, channels, width);
}

template <class T>
void grad_kernel_group(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  (row.inside ? grad_kernel_lines<T, true> : grad_kernel_lines<T, false>)(row, kh, channels, width);
}

template <class T>
void grad_x_group(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  for_channels(channels, [&](auto m, int64_t c) { grad_x_line<T, m.value>(row, kh, c, width); });
}

template <class T>
void grad_x_small_group(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  for_channels(channels, [&](auto m, int64_t c) {
    for_pixels<T, m.value>(width, [&](auto n, int64_t j) { grad_x_small<T, m.value, n.value>(row, kh, c, j); });
  });
}
