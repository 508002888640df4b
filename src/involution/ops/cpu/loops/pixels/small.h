// Small maps as one line: the rows of a map are neighbours in memory, and a line of 7 pixels would leave most lanes of a
// register idle. Tap (u, v) reads u rows and v pixels further on; a mask leaves out what is then of the next row or the
// one before.

constexpr int64_t kSmall = 4096, kNarrow = 64;  // pixels of a padded map and of its rows

inline bool one_line(const Image& image) { return image.height == 1 || image.stride_h == image.width * image.stride_w; }

// All rows as one.
inline Image as_line(Image image) {
  image.width *= image.height;
  image.height = 1;
  return image;
}

// The pixel of a map that output pixel p sees through tap (u, v) is p + shift. The gradient of x has it the other way
// round: pixel p is seen from p - shift.
struct Shift {
  const Window& w;
  const int64_t width, sign;

  int64_t rows(int64_t u) const { return sign * (u * w.dilation_h - w.pad_h); }
  int64_t columns(int64_t v) const { return sign * (v * w.dilation_w - w.pad_w); }
  int64_t front() const { return larger(-rows(0), -rows(w.kh - 1)); }
  int64_t behind() const { return larger(rows(0), rows(w.kh - 1)); }
  static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
};

// Where the taps of a line read in maps with zeros around, and which of its pixels they find in them.
template <class T>
struct SmallWindow {
  const Shift shift;
  const int64_t height, line;  // rows of the line; elements of its registers
  Scratch<int64_t> places;     // of each tap of a row of the window
  Scratch<T> inside;           // for each of them, one where the pixel exists

  SmallWindow(const Window& w, int64_t width, int64_t height, int64_t sign)
      : shift{w, width, sign},
        height(height),
        line(ceil_div(height * width, lanes<T>) * lanes<T>),
        places(w.kw),
        inside(product(w.kw, line), true) {
    for (int64_t v = 0; v < w.kw; ++v) {
      const int64_t columns = shift.columns(v);
      const int64_t first = columns < 0 ? -columns : 0, end = columns > 0 ? width - columns : width;
      places.data[v] = first < end ? columns : 0;
      for (int64_t h = 0; h < height; ++h)
        for (int64_t j = first; j < end; ++j) inside.data[v * line + h * width + j] = 1;
    }
  }
};

// The maps of one group, with zeros around. They serve one group and image after the other.
template <class T>
struct SmallMaps {
  const int64_t count, front, channel;  // pixels of a map; elements before them; elements of a map with its zeros
  Scratch<T> memory;
  Scratch<T*> rows;  // where the taps of each row of the window read

  // `image`: any group
  SmallMaps(const Image& image, const SmallWindow<T>& taps)
      : count(image.height * image.width),
        front((Shift::larger(taps.shift.front(), 0) + 1) * image.width),
        channel(front + (Shift::larger(image.height, taps.height + taps.shift.behind()) + 1) * image.width + 2 * lanes<T>),
        memory(product(image.channels, channel), true),
        rows(taps.shift.w.kh) {
    for (int64_t u = 0; u < taps.shift.w.kh; ++u) rows.data[u] = memory.data + front + taps.shift.rows(u) * image.width;
  }

  void read(const Image& image, int64_t b) const {
    lines_reader<T>(image.dtype)(image, b, 0, 0, 1, count, memory.data + front, channel);
  }
};

template <class T>
inline WindowRow<T> row_of(const SmallWindow<T>& taps, const SmallMaps<T>& maps) {
  return {maps.rows.data, maps.channel, taps.places.data, taps.shift.w.kw, taps.inside.data, taps.line};
}

inline bool is_small(const Image& x, const Window& w, const Image& map, const Image& kernel) {
  const int64_t reach = (w.kh - 1) * w.dilation_h;
  const int64_t rows = Shift::larger(reach, w.pad_h) + Shift::larger(x.height, map.height);
  return w.stride_h * w.stride_w * w.scale_h * w.scale_w == 1 && x.width == map.width && x.width < kNarrow &&
         w.dilation_h < kSmall && w.kh < kSmall && w.kw < kSmall && rows * x.width <= kSmall && w.kw * rows <= kSmall &&
         one_line(x) && one_line(map) && one_line(kernel);
}
