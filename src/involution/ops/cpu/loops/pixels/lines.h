// Rows of an image as lines: the pixels of one channel, converted to the accumulation type. With few channels a group
// the lanes of a register are neighbouring pixels of a line.

// `count` pixels of every channel of row h, `step` apart from pixel w on; the channels are `channel` apart in `to`.
template <class T, class E>
__attribute__((flatten)) void read_lines(const Image& image, int64_t b, int64_t h, int64_t w, int64_t step, int64_t count,
                                         T* to, int64_t channel) {
  constexpr int L = lanes<T>;
  const int64_t distance = step * image.stride_w;
  const E* from = static_cast<const E*>(image.data) + b * image.stride_b + h * image.stride_h + w * image.stride_w;
  for (int64_t c = 0; c < image.channels; ++c, from += image.stride_c, to += channel)
    if (distance == 1 && count >= L) {
      for (int64_t p = 0; p + L <= count; p += L) store(to + p, load_widened<T>(from + p));
      store(to + count - L, load_widened<T>(from + count - L));
    } else {
      for (int64_t p = 0; p < count; ++p) to[p] = widen(from[p * distance]);
    }
}

template <class T, class E>
__attribute__((flatten)) void write_lines(const Image& image, int64_t b, int64_t h, int64_t w, int64_t step,
                                          int64_t count, const T* from, int64_t channel) {
  constexpr int L = lanes<T>;
  const int64_t distance = step * image.stride_w;
  E* to = static_cast<E*>(image.data) + b * image.stride_b + h * image.stride_h + w * image.stride_w;
  for (int64_t c = 0; c < image.channels; ++c, to += image.stride_c, from += channel)
    if (distance == 1 && count >= L) {
      for (int64_t p = 0; p + L <= count; p += L) store_narrowed<T>(to + p, load(from + p));
      store_narrowed<T>(to + count - L, load(from + count - L));
    } else {
      for (int64_t p = 0; p < count; ++p) to[p * distance] = narrow<E>(from[p]);
    }
}

// Rows 0 to N - 1, element by element in turns: those of N / 2 rows after those of the others, until all are neighbours.
template <class T, int N, int Rest = N>
inline void interleave(Vector<T>* rows) {
  if constexpr (Rest > 1) {
    Vector<T> pairs[N];
    unroll<N / 2>([&](auto i) {
      pairs[2 * i] = pick<T, InTurns<T, 0>>(rows[i], rows[i + N / 2]);
      pairs[2 * i + 1] = pick<T, InTurns<T, 1>>(rows[i], rows[i + N / 2]);
    });
    unroll<N>([&](auto i) { rows[i] = pairs[i]; });
    interleave<T, N, Rest / 2>(rows);
  }
}

template <class T, int Scale, class E>
inline void write_interleaved(const T* from, int64_t line, int64_t count, E* to) {
  constexpr int L = lanes<T>;
  const auto write = [&](int64_t p) {
    Vector<T> rows[Scale];
    unroll<Scale>([&](auto i) { rows[i] = load(from + i * line + p); });
    interleave<T, Scale>(rows);
    unroll<Scale>([&](auto i) { store_narrowed<T>(to + p * Scale + i * L, rows[i]); });
  };
  for (int64_t p = 0; p + L <= count; p += L) write(p);
  write(count - L);
}

// Row h of every channel from `scale` lines: pixel p of line i becomes pixel p * scale + i.
template <class T, class E>
__attribute__((flatten)) void write_scaled(const Image& image, int64_t b, int64_t h, int64_t scale, int64_t count,
                                           const T* from, int64_t line) {
  E* to = static_cast<E*>(image.data) + b * image.stride_b + h * image.stride_h;
  const bool whole = image.stride_w == 1 && count >= lanes<T> && (scale == 2 || scale == 4 || scale == 8);
  for (int64_t i = 0; i < (whole ? 0 : scale); ++i)
    write_lines<T, E>(image, b, h, i, scale, count, from + i * line, scale * line);
  for (int64_t c = 0; whole && c < image.channels; ++c, to += image.stride_c, from += scale * line) {
    if (scale == 2) write_interleaved<T, 2>(from, line, count, to);
    if (scale == 4) write_interleaved<T, 4>(from, line, count, to);
    if (scale == 8) write_interleaved<T, 8>(from, line, count, to);
  }
}

template <class T>
auto lines_reader(Dtype dtype) {
  if constexpr (__is_same(T, double)) return read_lines<double, double>;
  else
    return dtype == Dtype::bfloat16  ? read_lines<float, bfloat16>
           : dtype == Dtype::float16 ? read_lines<float, float16>
                                     : read_lines<float, float>;
}

template <class T>
auto lines_writer(Dtype dtype) {
  if constexpr (__is_same(T, double)) return write_lines<double, double>;
  else
    return dtype == Dtype::bfloat16  ? write_lines<float, bfloat16>
           : dtype == Dtype::float16 ? write_lines<float, float16>
                                     : write_lines<float, float>;
}

// The layout of a padded row of an image in lines. The pixels that one tap reads are `stride_w` apart: they are a line,
// so that a channel has `stride_w` lines.
template <class T>
struct Planes {
  const Window& w;
  const int64_t line, channel, size;  // elements; a register may extend beyond the end of a line
  Scratch<int64_t> places;  // where each tap of a row of the window reads, from the line of the first pixel on

  Planes(const Image& image, const Window& w, int64_t columns)
      : w(w),
        line(ceil_div(columns, w.stride_w) / lanes<T> * lanes<T> + 2 * lanes<T>),
        channel(product(line, w.stride_w)),
        size(product(image.channels, channel)),
        places(w.kw) {
    for (int64_t v = 0; v < w.kw; ++v) places.data[v] = place(v * w.dilation_w);
  }

  int64_t place(int64_t column) const { return column % w.stride_w * line + column / w.stride_w; }
  // f(first pixel, its place, number of pixels) for each line of a channel
  template <class F>
  void over_lines(int64_t count, const F& f) const {
    for (int64_t p = 0; p < w.stride_w && p < count; ++p) f(p, place(p + w.pad_w), ceil_div(count - p, w.stride_w));
  }
  void read(const Image& image, int64_t b, int64_t h, int64_t count, T* data) const {
    over_lines(count, [&](int64_t p, int64_t place, int64_t some) {
      lines_reader<T>(image.dtype)(image, b, h, p, w.stride_w, some, data + place, channel);
    });
  }
  void write(const Image& image, int64_t b, int64_t h, const T* data) const {
    over_lines(image.width, [&](int64_t p, int64_t place, int64_t some) {
      lines_writer<T>(image.dtype)(image, b, h, p, w.stride_w, some, data + place, channel);
    });
  }
};

template <class T>
auto scaled_writer(Dtype dtype) {
  if constexpr (__is_same(T, double)) return write_scaled<double, double>;
  else
    return dtype == Dtype::bfloat16  ? write_scaled<float, bfloat16>
           : dtype == Dtype::float16 ? write_scaled<float, float16>
                                     : write_scaled<float, float>;
}

// One output row of an image, or several, as lines of whole registers, one for each output pixel of the windows: in place
// if memory has this layout.
template <class T>
struct Lines {
  const Image& image;
  const int64_t width, scale, line;  // windows; output pixels per window; elements of a line
  const bool in_place;
  Scratch<T> copy;

  Lines(const Image& image, int64_t width, int64_t scale, int64_t rows = 1)
      : image(image),
        width(width),
        scale(scale),
        line(ceil_div(width, lanes<T>) * lanes<T>),
        in_place(scale * image.stride_w == 1 && line == width && PixelRow<T>::is_native(image.dtype)),
        copy(in_place ? 0 : product(rows, image.channels, scale, line), true) {}

  // Distance of two channels.
  int64_t channel() const { return in_place ? image.stride_c : scale * line; }
  // The copy of row `n`.
  T* row(int64_t n) const { return copy.data + n * image.channels * scale * line; }
  // The line of pixels w, w + scale, ... of row h; `at` is the image, or that of one output pixel of its windows.
  T* place(const Image& at, int64_t b, int64_t h, int64_t w = 0, int64_t n = 0) const {
    return in_place ? static_cast<T*>(at.data) + b * at.stride_b + h * at.stride_h : row(n) + w * line;
  }
  T* read(const Image& at, int64_t b, int64_t h, int64_t w = 0, int64_t n = 0) const {
    if (!in_place) lines_reader<T>(at.dtype)(at, b, h, w, scale, width, place(at, b, h, w, n), channel());
    return place(at, b, h, w, n);
  }
  // All lines.
  void write(const Image& at, int64_t b, int64_t h, int64_t n = 0) const {
    if (!in_place) scaled_writer<T>(at.dtype)(at, b, h, scale, width, row(n), line);
  }
};
