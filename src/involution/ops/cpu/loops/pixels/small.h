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
  const int64_t line, channel, size, count;  // elements: of a copy, of all copies of a channel, of a mask, of all copies
  Scratch<T> memory, plane, inside;
  Scratch<T*> at;  // where the taps of each row of the window begin

  // `x`: any group of the maps
  ShiftedMaps(const Image& x, const Window& w, const Image& out)
      : w(w),
        width(x.width),
        rows(out.height + (w.kh - 1) * w.dilation_h),
        height(smaller(x.height, rows - w.pad_h)),
        line(rows * width + 2 * lanes<T>),
        channel(w.kw * line),
        size(ceil_div(x.height * width, lanes<T>) * lanes<T>),
        count(product(x.channels, channel)),
        memory(count, true),
        plane(size + 2 * kNarrow, true),
        inside(product(w.kw, size), true),
        at(w.kh) {
    for (int64_t u = 0; u < w.kh; ++u) at.data[u] = memory.data + u * w.dilation_h * width;
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
  int64_t tap(int64_t v) const { return v * line; }
  int64_t shift(int64_t v) const { return v * w.dilation_w - w.pad_w; }

  // f(copy, plane, mask) for each tap of channel c and each register of pixels: a pixel of the plane belongs to the copy
  // where the mask is one; elsewhere it is of the row before or behind.
  template <class F>
  void over_pixels(int64_t c, const F& f) const {
    for (int64_t v = 0; v < w.kw; ++v) {
      T* const copy = memory.data + c * channel + tap(v) + w.pad_h * width;
      if (shift(v) > -width && shift(v) < width)
        for (int64_t p = 0; p < height * width; p += lanes<T>)
          f(copy + p, plane.data + kNarrow + shift(v) + p, load(inside.data + v * size + p) > Vector<T>{});
    }
  }
  void read(const Image& x, int64_t b) {
    for (int64_t c = 0; c < x.channels; ++c) {
      line_reader<T>(x.dtype)(as_line(x), b, c, 0, 0, 1, x.height * width, plane.data + kNarrow);
      over_pixels(c, [](T* copy, const T* pixels, auto mask) { store(copy, mask ? load(pixels) : Vector<T>{}); });
    }
  }
  void clear() { __builtin_memset(memory.data, 0, count * sizeof(T)); }
  void write(const Image& x, int64_t b) {
    for (int64_t c = 0; c < x.channels; ++c) {
      __builtin_memset(plane.data, 0, (size + 2 * kNarrow) * sizeof(T));
      over_pixels(c, [](const T* sums, T* pixels, auto mask) {
        store(pixels, load(pixels) + (mask ? load(sums) : Vector<T>{}));
      });
      line_writer<T>(x.dtype)(as_line(x), b, c, 0, 0, 1, x.height * width, plane.data + kNarrow);
    }
  }
  static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
};
