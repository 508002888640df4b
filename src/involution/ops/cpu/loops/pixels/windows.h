// The three contractions with lanes over the pixels of a line: for groups of few channels, which do not fill a register,
// and for interleaved groups. One group is computed after the other, because each has taps of its own.

constexpr int64_t kFewChannels = 4;
constexpr int64_t kTogether = 64;  // taps that are read side by side; of larger windows, row by row

template <class T>
bool lanes_over_pixels(const Image& x, const Window& w) {
  return w.softmax || w.interleaved || x.channels / w.groups <= kFewChannels;
}

// The channels of group g.
inline Image group_of(const Image& image, const Window& w, int64_t g) {
  const int64_t channels = image.channels / w.groups;
  Image group = image.slice(w.interleaved ? g : g * channels, channels);
  if (w.interleaved) group.stride_c *= w.groups;
  return group;
}

// One row of the windows of a group. `x`: rows of x or of its gradient, with the place of every tap in them; `map`: the
// output or its gradient. Channels, and taps, are at equal distances.
template <class T>
struct WindowRow {
  T* const* x;
  const int64_t x_channel, *places, kw;
  T* taps;
  const int64_t tap;
  T* map;
  const int64_t map_channel;
};

// map[m] (+)= sum over the taps of rows [u, end) of taps[u, v] * x[m], from pixel j on: M channels from c on, J registers
template <class T, int M, int J>
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
        unroll<M>([&](auto m) { sum[m][n] += k * load(x + m * row.x_channel + n * L); });
      });
    }
  unroll<M>([&](auto m) { unroll<J>([&](auto n) { store(y + m * row.map_channel + n * L, sum[m][n]); }); });
}

// taps[u, v] (+)= sum over M channels of map[m] * x[m]
template <class T, int M, int J>
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
        unroll<M>([&](auto m) { sum += grad[m][n] * load(x + m * row.x_channel + n * L); });
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

// f(M, first channel) for blocks of M channels, 4 or fewer
template <class F>
inline void for_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + 4 <= channels; c += 4) f(Index<4>{}, c);
  if (channels - c == 3) f(Index<3>{}, c);
  if (channels - c == 2) f(Index<2>{}, c);
  if (channels - c == 1) f(Index<1>{}, c);
}

// f(J, first pixel) for tiles of J registers that cover a line
template <class T, int M, class F>
inline void for_pixels(int64_t width, const F& f) {
  constexpr int wide = M == 4 ? 2 : 4, L = lanes<T>;  // sums: as many as hide the latency and fit into 16 registers
  int64_t j = 0;
  for (; j + wide * L <= width; j += wide * L) f(Index<wide>{}, j);
  for (; j < width; j += L) f(Index<1>{}, j);
}

template <class T>
void forward_group(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  const int64_t together = kh * row.kw <= kTogether ? kh : 1;
  for_channels(channels, [&](auto m, int64_t c) {
    for (int64_t u = 0; u < kh; u += together)
      for_pixels<T, m.value>(
          width, [&](auto n, int64_t j) { forward_line<T, m.value, n.value>(row, u, u + together, c, j, u > 0); });
  });
}

template <class T>
void grad_kernel_group(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  for_channels(channels, [&](auto m, int64_t c) {
    for_pixels<T, m.value>(
        width, [&](auto n, int64_t j) { grad_kernel_line<T, m.value, n.value>(row, 0, kh, c, j, c > 0); });
  });
}

template <class T>
void grad_x_group(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  for_channels(channels, [&](auto m, int64_t c) { grad_x_line<T, m.value>(row, kh, c, width); });
}

// The rows of one group: row of windows i is computed by `work(WindowRow)`.
template <class T>
struct GroupRows {
  const Window& w;
  const Image map, kernel;
  const Lines<T> maps, taps;
  Scratch<T> shares;  // the softmax of the taps

  // g: which group of all maps and kernels
  GroupRows(const Window& w, int64_t g, const Image& map, const Image& kernel)
      : w(w),
        map(group_of(map, w, g)),
        kernel(kernel.slice(g * w.taps(), w.taps())),
        maps(this->map, kernel.width, w.scale_w),
        taps(this->kernel, kernel.width, 1),
        shares(w.softmax ? product(w.taps(), taps.line) : 0) {}

  // Distance from the taps of column `at` of row i to those that are read next, or 0 if they are copied.
  int64_t ahead(int64_t i, int64_t at) const {
    const auto place = [&](int64_t i, int64_t at) {
      return i / w.scale_h * kernel.stride_h + i % w.scale_h * kernel.step_h + at * kernel.step_w;
    };
    const int64_t next = at + 1 < w.scale_w ? place(i, at + 1) : place(i + 1, 0);
    return taps.in_place ? next - place(i, at) : 0;
  }
  // `x`: the rows that row i of output pixels reads or adds to, laid out by `layout`
  template <class Layout, class F>
  void over_pixels(T* const* x, const Layout& layout, int64_t b, int64_t i, bool read_map, bool read_taps, const F& f) {
    for (int64_t at = 0; at < w.scale_w; ++at) {
      const Image kernels = kernel.at(i % w.scale_h, at);
      const int64_t h = i / w.scale_h;
      T* const given = read_taps ? taps.read(kernels, b, h, 0) : taps.place(kernels, b, h);
      T* const tap = w.softmax ? shares.data : given;
      const int64_t distance = w.softmax ? taps.line : taps.channel();
      if (w.softmax) softmax_lines<T>(given, taps.channel(), ahead(i, at), tap, distance, w.taps(), taps.line);
      T* const pixels = read_map ? maps.read(map, b, i, at) : maps.place(map, b, i);
      f(WindowRow<T>{x, layout.channel, layout.places.data, w.kw, tap, distance, pixels, maps.channel()}, w.kh, map.channels,
        maps.line);
      if (!read_taps) taps.write(kernels, b, h, 0);
      if (!read_map) maps.write(map, b, i, at);
    }
  }
};
