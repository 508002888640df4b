// Small maps as one line: the rows of an output are neighbours in memory, and a line of 7 pixels would leave most lanes
// of a register idle. Tap (u, v) then reads a copy of x that is shifted by v, u rows further on.

constexpr int64_t kSmall = 4096, kNarrow = 64;  // pixels of a padded map and of its rows

inline bool one_line(const Image& image) { return image.height == 1 || image.stride_h == image.width * image.stride_w; }

// All rows as one.
inline Image as_line(Image image) {
  image.width *= image.height;
  image.height = 1;
  return image;
}

// The map of one group and its shifted copies. They serve one group and image after the other: what surrounds the pixels
// of x stays zero.
template <class T>
struct ShiftedMaps {
  const Window& w;
  const int64_t width, rows, height;         // of x; rows with padding; rows of x among them
  // Elements: of a copy, of all copies of a channel, of all copies; of a mask, of a plane.
  const int64_t line, channel, count, size, around;
  Scratch<T> memory, planes, inside;
  Scratch<T*> at;           // where the taps of each row of the window begin
  Scratch<int64_t> places;  // of each tap of a row, from there on

  // `x`: any group of the maps
  ShiftedMaps(const Image& x, const Window& w, const Image& out)
      : w(w),
        width(x.width),
        rows(out.height + (w.kh - 1) * w.dilation_h),
        height(smaller(x.height, rows - w.pad_h)),
        line(rows * width + 2 * lanes<T>),
        channel(w.kw * line),
        count(product(x.channels, channel)),
        size(ceil_div(x.height * width, lanes<T>) * lanes<T>),
        around(size + 2 * kNarrow),
        memory(count, true),
        planes(product(x.channels, around), true),
        inside(product(w.kw, size), true),
        at(w.kh),
        places(w.kw) {
    for (int64_t u = 0; u < w.kh; ++u) at.data[u] = memory.data + u * w.dilation_h * width;
    for (int64_t v = 0; v < w.kw; ++v) places.data[v] = v * line;
    for (int64_t v = 0; v < w.kw; ++v)
      for (int64_t h = 0; h < height; ++h)
        for (int64_t j = 0; j < width; ++j)
          inside.data[v * size + h * width + j] = j + shift(v) >= 0 && j + shift(v) < width;
  }

  static bool serves(const Image& x, const Window& w, const Image& out, const Image& kernel) {
    return w.stride_h * w.stride_w * w.scale_h * w.scale_w == 1 && x.width == out.width && x.width < kNarrow &&
           w.dilation_h < kSmall && w.kh < kSmall && (out.height + (w.kh - 1) * w.dilation_h) * x.width <= kSmall &&
           w.kw * x.height <= kSmall && one_line(x) && one_line(out) && one_line(kernel);
  }
  T* plane(int64_t c) const { return planes.data + c * around + kNarrow; }
  int64_t shift(int64_t v) const { return v * w.dilation_w - w.pad_w; }

  // f(copy, plane, mask) for each tap of channel c and each register of pixels: a pixel of the plane belongs to the copy
  // where the mask is one; elsewhere it is of the row before or behind.
  template <class F>
  void over_pixels(int64_t c, const F& f) const {
    for (int64_t v = 0; v < w.kw; ++v) {
      T* const copy = memory.data + c * channel + places.data[v] + w.pad_h * width;
      if (shift(v) > -width && shift(v) < width)
        for (int64_t p = 0; p < height * width; p += lanes<T>)
          f(copy + p, plane(c) + shift(v) + p, load(inside.data + v * size + p) > Vector<T>{});
    }
  }
  void read(const Image& x, int64_t b) {
    // All before the first copy: a register can be loaded only some time after parts of it were stored.
    for (int64_t c = 0; c < x.channels; ++c)
      line_reader<T>(x.dtype)(as_line(x), b, c, 0, 0, 1, x.height * width, plane(c));
    for (int64_t c = 0; c < x.channels; ++c)
      over_pixels(c, [](T* copy, const T* pixels, auto mask) { store(copy, mask ? load(pixels) : Vector<T>{}); });
  }
  void clear() { __builtin_memset(memory.data, 0, count * sizeof(T)); }
  void write(const Image& x, int64_t b) {
    for (int64_t c = 0; c < x.channels; ++c) {
      __builtin_memset(plane(c) - kNarrow, 0, around * sizeof(T));
      over_pixels(c, [](const T* sums, T* pixels, auto mask) {
        store(pixels, load(pixels) + (mask ? load(sums) : Vector<T>{}));
      });
      line_writer<T>(x.dtype)(as_line(x), b, c, 0, 0, 1, x.height * width, plane(c));
    }
  }
  static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
};
