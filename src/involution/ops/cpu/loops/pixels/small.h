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

// The map and its shifted copies for one group.
template <class T>
struct ShiftedMaps {
  const Image x;  // as a line
  const Window& w;
  const int64_t height, width, rows;    // of x; rows with padding
  const int64_t line, channel;          // elements of a copy, and of all copies of a channel
  Scratch<T> memory, plane;
  Scratch<T*> at;  // where the taps of each row of the window begin

  ShiftedMaps(const Image& x, const Window& w, const Image& out)
      : x(as_line(x)),
        w(w),
        height(x.height),
        width(x.width),
        rows(out.height + (w.kh - 1) * w.dilation_h),
        line(rows * width + 2 * lanes<T>),
        channel(w.kw * line),
        memory(product(x.channels, channel), true),
        plane(this->x.width),
        at(w.kh) {
    for (int64_t u = 0; u < w.kh; ++u) at.data[u] = memory.data + u * w.dilation_h * width;
  }

  static bool serves(const Image& x, const Window& w, const Image& out, const Image& kernel) {
    return w.stride_h * w.stride_w * w.scale_h * w.scale_w == 1 && x.width == out.width && x.width < kNarrow &&
           w.dilation_h < kSmall && w.kh < kSmall && (out.height + (w.kh - 1) * w.dilation_h) * x.width <= kSmall &&
           w.kw * x.height <= kSmall && one_line(x) && one_line(out) && one_line(kernel);
  }
  int64_t tap(int64_t v) const { return v * line; }

  // f(place in a copy, place in the plane) for the pixels of x that tap v reads, in runs of `count`
  template <class F>
  void over_rows(int64_t v, const F& f) const {
    const int64_t shift = v * w.dilation_w - w.pad_w, first = shift < 0 ? -shift : 0;
    const int64_t count = width - (shift < 0 ? -shift : shift);
    for (int64_t h = 0; count > 0 && h < height && h + w.pad_h < rows; ++h)
      f((h + w.pad_h) * width + first, h * width + first + shift, count);
  }
  void read(int64_t b) {
    for (int64_t c = 0; c < x.channels; ++c) {
      line_reader<T>(x.dtype)(x, b, c, 0, 0, 1, x.width, plane.data);
      for (int64_t v = 0; v < w.kw; ++v)
        over_rows(v, [&](int64_t to, int64_t from, int64_t count) {
          __builtin_memcpy(memory.data + c * channel + tap(v) + to, plane.data + from, count * sizeof(T));
        });
    }
  }
  void write(int64_t b) {
    for (int64_t c = 0; c < x.channels; ++c) {
      __builtin_memset(plane.data, 0, x.width * sizeof(T));
      for (int64_t v = 0; v < w.kw; ++v)
        over_rows(v, [&](int64_t from, int64_t to, int64_t count) {
          const T* sums = memory.data + c * channel + tap(v) + from;
          for (int64_t p = 0; p < count; ++p) plane.data[to + p] += sums[p];
        });
      line_writer<T>(x.dtype)(x, b, c, 0, 0, 1, x.width, plane.data);
    }
  }
};
