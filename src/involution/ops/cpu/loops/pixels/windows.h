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

// The groups of an image, one after the other: only the address differs.
struct Groups {
  Image group;
  void* const data;
  const int64_t step;  // elements between two groups

  Groups(const Image& image, const Window& w)
      : group(group_of(image, w, 0)), data(image.data), step(image.stride_c * (w.interleaved ? 1 : group.channels)) {}
  const Image& operator[](int64_t g) {
    group.data = static_cast<char*>(data) + g * step * size_of(group.dtype);
    return group;
  }
};

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
  T* map = nullptr;  // the output or its gradient
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

// f(M, first channel) for blocks of M channels, 8 or fewer
template <class F>
inline void for_channels(int64_t channels, const F& f) {
  int64_t c = 0;
  for (; c + 8 <= channels; c += 8) f(Index<8>{}, c);
  for (; c + 4 <= channels; c += 4) f(Index<4>{}, c);
  if (channels - c == 3) f(Index<3>{}, c);
  if (channels - c == 2) f(Index<2>{}, c);
  if (channels - c == 1) f(Index<1>{}, c);
}

// f(J, first pixel) for tiles of J registers that cover a line
template <class T, int M, class F>
inline void for_pixels(int64_t width, const F& f) {
  constexpr int wide = M == 8 ? 1 : M == 4 ? 2 : 4, L = lanes<T>;  // sums: as many as hide the latency and fit into 16 registers
  int64_t j = 0;
  for (; j + wide * L <= width; j += wide * L) f(Index<wide>{}, j);
  for (; j < width; j += L) f(Index<1>{}, j);
}

template <class T, bool Masked>
void forward_lines(const WindowRow<T>& row, int64_t kh, int64_t channels, int64_t width) {
  const int64_t together = kh * row.kw <= kTogether ? kh : 1;
  for_channels(channels, [&](auto m, int64_t c) {
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

// The rows of one group at a time: row of windows i is computed by `work(WindowRow)`.
template <class T>
struct GroupRows {
  const Window& w;
  Groups all_maps;
  const Image& map;
  const Image all_kernels;
  Image kernel, pixel;  // of the group; of one output pixel of its windows
  const Lines<T> maps, taps;
  Scratch<T> shares;  // the softmax of the taps

  GroupRows(const Window& w, int64_t g, const Image& all_maps, const Image& all_kernels)
      : w(w),
        all_maps(all_maps, w),
        map(this->all_maps[g]),
        all_kernels(all_kernels),
        kernel(all_kernels.slice(g * w.taps(), w.taps())),
        pixel(kernel),
        maps(map, kernel.width, w.scale_w),
        taps(kernel, kernel.width, 1),
        shares(w.softmax ? product(w.taps(), taps.line) : 0) {}

  void select(int64_t g) {
    all_maps[g];
    kernel.data = all_kernels.address(g * w.taps() * kernel.stride_c);
  }

  // Distance from the taps of column `at` of row i to those that are read next, or 0 if they are copied.
  int64_t ahead(int64_t i, int64_t at) const {
    const auto place = [&](int64_t i, int64_t at) {
      return i / w.scale_h * kernel.stride_h + i % w.scale_h * kernel.step_h + at * kernel.step_w;
    };
    const int64_t next = at + 1 < w.scale_w ? place(i, at + 1) : place(i + 1, 0);
    return taps.in_place ? next - place(i, at) : 0;
  }
  // `row`: what row i of output pixels reads or adds to
  template <class F>
  void over_pixels(WindowRow<T> row, int64_t b, int64_t i, bool read_map, bool read_taps, const F& f) {
    const int64_t h = i / w.scale_h, at_h = i - h * w.scale_h;
    for (int64_t at = 0; at < w.scale_w; ++at) {
      pixel.data = kernel.address(at_h * kernel.step_h + at * kernel.step_w);
      T* const given = read_taps ? taps.read(pixel, b, h) : taps.place(pixel, b, h);
      row.taps = w.softmax ? shares.data : given;
      row.tap = w.softmax ? taps.line : taps.channel();
      if (w.softmax) softmax_lines<T>(given, taps.channel(), ahead(i, at), row.taps, row.tap, w.taps(), taps.line);
      row.map = read_map ? maps.read(map, b, i, at) : maps.place(map, b, i, at);
      row.map_channel = maps.channel();
      f(row, w.kh, map.channels, maps.line);
      if (!read_taps) taps.write(pixel, b, h);
    }
    if (!read_map) maps.write(map, b, i);
  }
};
