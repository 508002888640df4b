// One bottleneck block in one pass:
//
//   h = relu(W1 x + b1)                            enter
//   r = relu(Wr pool(h) + br)
//   g = relu(scale * involution(h, Ws r + bs) + shift)       mix
//   y = relu(W3 g + b3 + shortcut(x))              leave
//
// x is read and y is written once. h, r, the kernels and g are kept in scratch memory for some rows at a time: a *band*
// of output rows, about kBandPixels of them, amortizes one read of the weights. Rows are counted through
// the batch, row i of image b being b * height + i, so that small images share a band.

constexpr int64_t kBandPixels = 98;

// Larger weights do not stay in the second cache from one band to the next, so that each panel is prefetched during the
// products of the one before it.
constexpr int64_t kCachedWeights = 1 << 19;

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
  // Part `i` of `count` nearly equal ones.
  Range part(int64_t i, int64_t count) const {
    return {begin + size() * i / count, begin + size() * (i + 1) / count};
  }
};

// Sizes that follow from the shapes.
struct Shape {
  const Window& w;
  const int64_t height, width, out_height, out_width;
  const int64_t in_rows, out_rows;  // of a band, on either side of the window
  const int64_t columns;            // of a row of h with its zero padding
  const int64_t reach;              // rows of h that one output row reads

  Shape(const Block& block, const Image& x, const Image& y)
      : w(block.window),
        height(x.height),
        width(x.width),
        out_height(y.height),
        out_width(y.width),
        in_rows(most(1, (kBandPixels + width - 1) / width)),
        out_rows(most(1, (kBandPixels + out_width - 1) / out_width)),
        columns(most((out_width - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1, width + w.pad_w)),
        reach(most((w.kh - 1) * w.dilation_h + 1, w.pad_h + w.stride_h)) {}

  int64_t ring() const { return (out_rows - 1) * w.stride_h + reach; }
  // The row of h after the last that output row q reads.
  int64_t needed(int64_t q) const {
    const int64_t bottom = q % out_height * w.stride_h - w.pad_h + reach;
    return q / out_height * height + least(height, bottom);
  }
};

// Rows of h, [channels / lanes][columns][lanes] each with zeros on both sides; row q is stored in slot q % rows.
struct Ring {
  float* data;
  int64_t rows, block, row;
  Ring(Arena& arena, const Shape& s, int64_t channels, int64_t rows)
      : rows(rows), block(s.columns * lanes<float>), row(channels * s.columns) {
    data = arena.take<float>((rows + 1) * row);
  }
  float* at(int64_t q) const { return data + q % rows * row; }
  float* zeros() const { return data + rows * row; }
};

struct Nothing {
  void operator()(int64_t, int64_t, int64_t, int64_t) const {}
};

// Bytes that are read soon.
struct Ahead {
  const char *begin, *end;
};

template <class M>
struct Pass {
  static constexpr int L = lanes<float>;
  using D = typename M::Stored;
  using E = typename M::Element;
  const Block& block;
  const Image &x, &y;
  const Shape s;
  const int64_t mid, span_columns;
  const Loops<float> loops;
  Operand<M> entering, centre, reduced;
  float *kernels, *sums;
  int64_t* places;
  const float** window_rows;

  Pass(const Block& block, const Image& x, const Image& y, Arena& arena)
      : block(block),
        x(x),
        y(y),
        s(block, x, y),
        mid(block.enter.columns),
        span_columns(block.span.columns),
        loops(choose<float, true>(block.window)) {
    const int64_t in_pixels = s.in_rows * s.width, out_pixels = s.out_rows * s.out_width;
    entering = take_operand<M>(arena, in_pixels, block.enter.depth);
    centre = take_operand<M>(arena, out_pixels, block.reduce.depth);
    reduced = take_operand<M>(arena, out_pixels, block.span.depth);
    kernels = arena.take<float>(round_up(out_pixels, Operand<M>::step) * span_columns);
    sums = arena.take<float>(Operand<M>::step * kPanelColumns);
    places = arena.take<int64_t>(most(in_pixels, out_pixels));
    window_rows = arena.take<const float*>((s.out_rows + 1) * block.window.kh);
  }

  // Channels that pad a line are multiplied by weights of zero, and must be finite.
  static void clear(const Operand<M>& a, int64_t pixels, int64_t channels) {
    if (a.depth > channels) __builtin_memset(a.data, 0, Operand<M>::size(pixels, a.depth) * sizeof(E));
  }
  void clear() const {
    clear(entering, s.in_rows * s.width, x.channels);
    clear(centre, s.out_rows * s.out_width, mid);
    clear(reduced, s.out_rows * s.out_width, block.reduce.columns);
  }
  void clear(const Ring& h, const Operand<M>& g) const {
    clear();
    clear(g, s.out_rows * s.out_width, mid + (block.projection ? x.channels : 0));
    __builtin_memset(h.zeros(), 0, h.row * sizeof(float));
  }

  // The share of the next panel that the tile from pixel p on prefetches.
  static Upcoming ahead(const Matrix& m, const D* weights, int64_t p, int64_t pixels) {
    constexpr int64_t line = kPanelColumns * sizeof(D) * Operand<M>::line / 64;  // lines of weights for a line of depth
    if (m.columns * m.depth * int64_t(sizeof(D)) < kCachedWeights) return {};
    const int64_t tiles = (pixels + Operand<M>::step - 1) / Operand<M>::step, lines = (line + tiles - 1) / tiles;
    const int64_t done = p / Operand<M>::step * lines * (m.depth / Operand<M>::line) * 64;
    return {reinterpret_cast<const char*>(weights + kPanelColumns * m.depth) + done, lines};
  }

  // finish(pixel, first column, sums) for registers of all pixels and the columns of some panels. `factor(p)` is the
  // left factor of the tile from pixel p on; before(first pixel, pixels, first column, columns) is called for each tile.
  template <class A, class F, class B = Nothing>
  void multiply_factors(const A& factor, int64_t pixels, const Matrix& m, Range some, const F& finish,
                        const B& before = {}) const {
    for (int64_t panel = some.begin; panel < some.end; ++panel) {
      const int64_t first = panel * kPanelColumns, count = least(kPanelColumns, m.columns - first);
      const D* weights = static_cast<const D*>(m.panels) + first * m.depth;
      for (int64_t p = 0; p < pixels; p += Operand<M>::step) {
        const int64_t tile = least(Operand<M>::step, pixels - p);
        before(p, tile, first, count);
        const Upcoming upcoming = panel + 1 < some.end ? ahead(m, weights, p, pixels) : Upcoming{};
        M::multiply(factor(p), weights, m.depth, tile, count, sums, upcoming);
        for (int64_t i = 0; i < tile; ++i)
          for (int64_t n = 0; n < count; n += L)
            finish(p + i, first + n, load(sums + i * kPanelColumns + n) + load(m.bias + first + n));
      }
    }
  }
  template <class F, class B = Nothing>
  void multiply(const Operand<M>& a, int64_t pixels, const Matrix& m, Range some, const F& finish,
                const B& before = {}) const {
    const auto factor = [&](int64_t p) { return Factor<M>{a.at(p, 0), Operand<M>::tile * a.depth}; };
    multiply_factors(factor, pixels, m, some, finish, before);
  }

  D* pixel(const Image& image, int64_t q, int64_t column) const {
    return static_cast<D*>(image.data) + q / image.height * image.stride_b + q % image.height * image.stride_h +
           column * image.stride_w;
  }

  static void copy(const D* from, const Operand<M>& to, int64_t p, int64_t first, int64_t channels) {
    for (int64_t c = 0; c < channels; c += L)
      if constexpr (__is_same(D, E)) __builtin_memcpy(to.at(p, first + c), from + c, L * sizeof(D));
      else write_register<E>(to.at(p, first + c), read_register(from + c));
  }

  // Rows of h.
  void enter(Range rows, Range some, const Ring& h) const {
    for (int64_t q = rows.begin, p = 0; q < rows.end; ++q) {
      float* row = h.at(q);
      for (int64_t k = some.begin * kPanelColumns / L; k * L < least(some.end * kPanelColumns, mid); ++k) {
        __builtin_memset(row + k * h.block, 0, s.w.pad_w * L * sizeof(float));
        const int64_t behind = s.w.pad_w + s.width;
        __builtin_memset(row + k * h.block + behind * L, 0, (s.columns - behind) * L * sizeof(float));
      }
      for (int64_t j = 0; j < s.width; ++j, ++p) {
        copy(pixel(x, q, j), entering, p, 0, x.channels);
        places[p] = row - h.data + (s.w.pad_w + j) * L;
      }
    }
    multiply(entering, rows.size() * s.width, block.enter, some, [&](int64_t p, int64_t n, Vector<float> sum) {
      store(h.data + places[p] + n / L * h.block, relu(sum));
    });
  }

  // The pixels of h that kernels are generated from: h itself, or means over the stride.
  void read_centre(Range rows, const Ring& h) const {
    for (int64_t q = rows.begin, p = 0; q < rows.end; ++q) {
      const int64_t top = q % s.out_height * s.w.stride_h, first = q / s.out_height * s.height + top;
      const int64_t rows_in = least(s.w.stride_h, s.height - top);
      for (int64_t j = 0; j < s.out_width; ++j, ++p) {
        const int64_t left = j * s.w.stride_w, columns_in = least(s.w.stride_w, s.width - left);
        const float share = 1.0f / float(rows_in * columns_in);
        for (int64_t k = 0; k < mid / L; ++k) {
          Vector<float> mean{};
          for (int64_t u = 0; u < rows_in; ++u)
            for (int64_t v = 0; v < columns_in; ++v)
              mean += load(h.at(first + u) + k * h.block + (s.w.pad_w + left + v) * L);
          write_register<E>(centre.at(p, k * L), rows_in * columns_in > 1 ? mean * share : mean);
        }
      }
    }
  }

  // The involution of a band; g has a place `at(pixel, channel)`.
  template <class G>
  void mix(Range rows, Range chunks, const Ring& h, const G& g) const {
    const int64_t pixels = rows.size() * s.out_width;
    read_centre(rows, h);
    multiply(centre, pixels, block.reduce, {0, panels(block.reduce)}, [&](int64_t p, int64_t n, Vector<float> sum) {
      if (n < reduced.depth) write_register<E>(reduced.at(p, n), relu(sum));
    });
    for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
      const int64_t each = panels(block.span) * kPanelColumns;
      const Matrix span{static_cast<const D*>(block.span.panels) + chunk * each * block.span.depth,
                        block.span.bias + chunk * span_columns, span_columns, block.span.depth};
      multiply(reduced, pixels, span, {0, panels(span)},
               [&](int64_t p, int64_t n, Vector<float> sum) { store(kernels + p * span_columns + n, sum); });
      const Range groups{chunk * block.chunk_groups, least(s.w.groups, (chunk + 1) * block.chunk_groups)};
      aggregate(rows, groups, h, g);
    }
  }

  // x follows g where the shortcut is a projection.
  void append(Range rows, Range chunks, const Operand<M>& g) const {
    if (!block.projection) return;
    // Each part of the chunks copies its share of x.
    const int64_t begin = x.channels / L * chunks.begin / block.chunks * L;
    const int64_t end = x.channels / L * chunks.end / block.chunks * L;
    for (int64_t q = rows.begin, p = 0; q < rows.end; ++q)
      for (int64_t j = 0; j < s.out_width; ++j, ++p) {
        const int64_t row = q / s.out_height * s.height + q % s.out_height * s.w.stride_h;
        copy(pixel(x, row, j * s.w.stride_w) + begin, g, p, mid + begin, end - begin);
      }
  }

  // The involution of some groups. The rows of a band are computed tile by tile: most rows of h that one output row
  // reads are still in the first cache when the next one reads them.
  template <class G>
  void aggregate(Range rows, Range groups, const Ring& h, const G& g) const {
    const int64_t registers = mid / s.w.groups / L;
    const float **seen = window_rows, **shifted = window_rows + rows.size() * s.w.kh;
    for (int64_t q = rows.begin; q < rows.end; ++q) {
      const int64_t image = q / s.out_height * s.height, top = q % s.out_height * s.w.stride_h - s.w.pad_h;
      for (int64_t u = 0; u < s.w.kh; ++u) {
        const int64_t row = top + u * s.w.dilation_h;
        *seen++ = row >= 0 && row < s.height ? h.at(image + row) : h.zeros();
      }
    }
    for_tiles(loops.forward, s.out_width, true, [&](int tile, int64_t j) {
      for (int64_t k = groups.begin * registers; k < groups.end * registers; ++k) {
        const Vector<float> scale = load(block.scale + k * L), shift = load(block.shift + k * L);
        for (int64_t q = 0; q < rows.size(); ++q) {
          const int64_t p = q * s.out_width + j;
          for (int64_t u = 0; u < s.w.kh; ++u)
            shifted[u] = window_rows[q * s.w.kh + u] + k * h.block + j * s.w.stride_w * L;
          const float* taps = kernels + p * span_columns + (k / registers - groups.begin) * s.w.taps();
          loops.forward[tile](shifted, taps, span_columns, 0, s.w, sums, L);
          for (int i = 0; i < kTile[tile]; ++i)
            write_register<E>(g.at(p + i, k * L), relu(scale * load(sums + i * L) + shift));
        }
      }
    });
  }

  // Pixels of y are too far apart for a hardware prefetcher. Rows of x that the next band reads, `ahead`, are prefetched
  // during the products, a part for each tile.
  void leave(Range rows, Range some, const Operand<M>& g, Ahead ahead = {}) const {
    for (int64_t q = rows.begin, p = 0; q < rows.end; ++q)
      for (int64_t j = 0; j < s.out_width; ++j, ++p) places[p] = pixel(y, q, j) - static_cast<D*>(y.data);
    const bool same = !block.projection;
    const D* shortcut = static_cast<const D*>(x.data);
    const int64_t pixels = rows.size() * s.out_width, tiles = some.size() * (round_up(pixels, g.step) / g.step);
    const int64_t part = round_up((ahead.end - ahead.begin) / tiles, 64);
    const auto finish = [&](int64_t p, int64_t n, Vector<float> sum) {
      if (same) sum += read_register(shortcut + places[p] + n);
      write_register<E>(static_cast<D*>(y.data) + places[p] + n, relu(sum));
    };
    multiply(g, pixels, block.leave, some, finish, [&](int64_t p, int64_t tile, int64_t first, int64_t count) {
      for (int64_t i = p; i < p + tile; ++i)
        for (int64_t n = first; n < first + count; n += 64 / sizeof(D)) {
          __builtin_prefetch(static_cast<D*>(y.data) + places[i] + n, 1);
          if (same) __builtin_prefetch(shortcut + places[i] + n);
        }
      for (int64_t i = 0; i < part && ahead.begin < ahead.end; i += 64, ahead.begin += 64)
        __builtin_prefetch(ahead.begin, 0, 2);
    });
  }
};
