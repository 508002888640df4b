// The groups of an image and the rows of one group at a time.

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

// Rows of windows that are computed together: where each output pixel of a window has its kernels in planes of their own,
// the rows in a page of a plane. One row is a piece too short for the prefetchers of a processor.
inline int64_t together_in(const Image& kernel, const Window& w) {
  constexpr int64_t page = 4096;
  const bool planes = kernel.stride_w == 1 && kernel.stride_h == kernel.width && w.scale_h > 1 && phases(w) == 1;
  const int64_t rows = planes ? page / (kernel.width * size_of(kernel.dtype)) : 1;
  return rows < 1 ? 1 : rows < kernel.height ? rows : kernel.height;
}

// f(i, count) for output rows i, i + scale, ...: those of `together` rows of windows that are in [begin, end)
template <class F>
inline void for_bands(const Window& w, int64_t together, int64_t begin, int64_t end, const F& f) {
  if (together == 1) return for_output_rows(w, begin, end, [&](int64_t i) { f(i, 1); });
  const int64_t scale = w.scale_h, band = together * scale;
  for (int64_t first = begin / scale * scale; first < end; first += band)
    for (int64_t at = first; at < first + scale; ++at) {
      const int64_t i = at < begin ? at + scale : at, last = first + band < end ? first + band : end;
      if (i < last) f(i, ceil_div(last - i, scale));
    }
}

// The rows of one group at a time: rows of windows are computed by `work(WindowRow)`.
template <class T>
struct GroupRows {
  const Window& w;
  Groups all_maps;
  const Image& map;
  const Image all_kernels;
  Image kernel, pixel;  // of the group; of one output pixel of its windows
  const Lines<T> maps, taps;
  const bool normalize;  // several blocks of channels use the softmax of the taps
  Scratch<T> shares;     // that softmax

  GroupRows(const Window& w, int64_t g, const Image& all_maps, const Image& all_kernels, int64_t together = 1)
      : w(w),
        all_maps(all_maps, w),
        map(this->all_maps[g]),
        all_kernels(all_kernels),
        kernel(all_kernels.slice(g * w.taps(), w.taps())),
        pixel(kernel),
        maps(map, kernel.width, w.scale_w, together),
        taps(kernel, kernel.width, 1),
        normalize(w.softmax && map.channels > kBlock),
        shares(normalize ? product(w.taps(), taps.line) : 0) {}

  void select(int64_t g) {
    all_maps[g];
    kernel.data = all_kernels.address(g * w.taps() * kernel.stride_c);
  }

  // Output rows i, i + scale, ..., `count` of them; `row`: what the windows of the first one read or add to, followed by
  // the others.
  template <class F>
  void over_pixels(WindowRow<T> row, int64_t b, int64_t i, int64_t count, bool read_map, bool read_taps, const F& f) {
    const int64_t at_h = i % w.scale_h;
    T* const* const x = row.x;
    for (int64_t at = 0; at < w.scale_w; ++at) {
      pixel.data = kernel.address(at_h * kernel.step_h + at * kernel.step_w);
      for (int64_t n = 0; n < count; ++n) {
        const int64_t h = i / w.scale_h + n, output = i + n * w.scale_h;
        row.x = x + n * w.kh;
        row.taps = read_taps ? taps.read(pixel, b, h) : taps.place(pixel, b, h);
        row.tap = taps.channel();
        row.scores = w.softmax;
        row.ahead = n + 1 == count && at + 1 < w.scale_w ? kernel.step_w - n * kernel.stride_h : kernel.stride_h;
        if (!taps.in_place) row.ahead = 0;
        if (normalize) {
          softmax_lines(row.taps, row.tap, shares.data, taps.line, w.taps(), taps.line);
          row.taps = shares.data, row.tap = taps.line, row.scores = false;
        }
        row.map = read_map ? maps.read(map, b, output, at, n) : maps.place(map, b, output, at, n);
        row.map_channel = maps.channel();
        f(row, w.kh, map.channels, maps.line);
        if (!read_taps) taps.write(pixel, b, h);
      }
    }
    for (int64_t n = 0; n < count && !read_map; ++n) maps.write(map, b, i + n * w.scale_h, n);
  }
};
