// Rows of an image as lines: the pixels of one channel, converted to the accumulation type. With few channels a group
// the lanes of a register are neighbouring pixels of a line.

// `count` pixels of channel c, `step` apart from pixel w on.
template <class T, class E>
__attribute__((flatten)) void read_line(const Image& image, int64_t b, int64_t c, int64_t h, int64_t w, int64_t step,
                                        int64_t count, T* to) {
  const E* from = static_cast<const E*>(image.data) + b * image.stride_b + c * image.stride_c + h * image.stride_h +
                  w * image.stride_w;
  const int64_t distance = step * image.stride_w;
  constexpr int L = lanes<T>;
  if (distance == 1 && count >= L) {
    for (int64_t p = 0; p + L <= count; p += L) store(to + p, load_widened<T>(from + p));
    store(to + count - L, load_widened<T>(from + count - L));
  } else {
    for (int64_t p = 0; p < count; ++p) to[p] = widen(from[p * distance]);
  }
}

template <class T, class E>
__attribute__((flatten)) void write_line(const Image& image, int64_t b, int64_t c, int64_t h, int64_t w, int64_t step,
                                         int64_t count, const T* from) {
  E* to = static_cast<E*>(image.data) + b * image.stride_b + c * image.stride_c + h * image.stride_h +
          w * image.stride_w;
  const int64_t distance = step * image.stride_w;
  constexpr int L = lanes<T>;
  if (distance == 1 && count >= L) {
    for (int64_t p = 0; p + L <= count; p += L) store_narrowed<T>(to + p, load(from + p));
    store_narrowed<T>(to + count - L, load(from + count - L));
  } else {
    for (int64_t p = 0; p < count; ++p) to[p * distance] = narrow<E>(from[p]);
  }
}

template <class T>
auto line_reader(Dtype dtype) {
  if constexpr (__is_same(T, double)) return read_line<double, double>;
  else
    return dtype == Dtype::bfloat16  ? read_line<float, bfloat16>
           : dtype == Dtype::float16 ? read_line<float, float16>
                                     : read_line<float, float>;
}

template <class T>
auto line_writer(Dtype dtype) {
  if constexpr (__is_same(T, double)) return write_line<double, double>;
  else
    return dtype == Dtype::bfloat16  ? write_line<float, bfloat16>
           : dtype == Dtype::float16 ? write_line<float, float16>
                                     : write_line<float, float>;
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
  // f(channel, first pixel, its place, number of pixels) for each line
  template <class F>
  void over_lines(const Image& image, int64_t count, const F& f) const {
    for (int64_t c = 0; c < image.channels; ++c)
      for (int64_t p = 0; p < w.stride_w && p < count; ++p) {
        f(c, p, c * channel + place(p + w.pad_w), ceil_div(count - p, w.stride_w));
      }
  }
  void read(const Image& image, int64_t b, int64_t h, int64_t count, T* data) const {
    over_lines(image, count, [&](int64_t c, int64_t p, int64_t place, int64_t some) {
      line_reader<T>(image.dtype)(image, b, c, h, p, w.stride_w, some, data + place);
    });
  }
  void write(const Image& image, int64_t b, int64_t h, const T* data) const {
    over_lines(image, image.width, [&](int64_t c, int64_t p, int64_t place, int64_t some) {
      line_writer<T>(image.dtype)(image, b, c, h, p, w.stride_w, some, data + place);
    });
  }
};

// One output row of an image, one pixel per window, as lines of whole registers: in place if memory has this layout.
template <class T>
struct Lines {
  const Image& image;
  const int64_t width, scale, line;  // windows; output pixels per window; elements of a line
  const bool in_place;
  Scratch<T> copy;

  Lines(const Image& image, int64_t width, int64_t scale)
      : image(image),
        width(width),
        scale(scale),
        line(ceil_div(width, lanes<T>) * lanes<T>),
        in_place(scale * image.stride_w == 1 && line == width && PixelRow<T>::is_native(image.dtype)),
        copy(in_place ? 0 : product(image.channels, line), true) {}

  // Distance of two channels.
  int64_t channel() const { return in_place ? image.stride_c : line; }
  T* place(const Image& at, int64_t b, int64_t h) const {
    return in_place ? static_cast<T*>(at.data) + b * at.stride_b + h * at.stride_h : copy.data;
  }
  // Pixels w, w + scale, ... of row h; `at` is the image, or that of one output pixel of its windows.
  T* read(const Image& at, int64_t b, int64_t h, int64_t w) const {
    if (!in_place)
      for (int64_t c = 0; c < at.channels; ++c)
        line_reader<T>(at.dtype)(at, b, c, h, w, scale, width, copy.data + c * line);
    return place(at, b, h);
  }
  void write(const Image& at, int64_t b, int64_t h, int64_t w) const {
    if (!in_place)
      for (int64_t c = 0; c < at.channels; ++c)
        line_writer<T>(at.dtype)(at, b, c, h, w, scale, width, copy.data + c * line);
  }
};
