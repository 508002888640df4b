// 1x1 convolutions of maps [pixels][channels] in float32 and their gradients. Numbers of channels are multiples of 16.
//
// Each is a matrix product. Its factors are copied into the order in which the inner loop reads them, so that no two
// lines of a tile fall into the same set of a cache, whatever the number of channels. While one piece is multiplied, the
// next one is prefetched.

constexpr int64_t kTilesTogether = 7;  // tiles of pixels per pass over the panels of the weight

// Panels [columns / 32][depth][32] of the weight.
inline void pack(const Pointwise& conv, float* panels) {
  constexpr int L = lanes<float>;
  const int64_t grain = kWorthwhile / (2 * conv.depth) + 1;
  Division::for_ranges(ceil_div(conv.columns, kPanelColumns), grain, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin * kPanelColumns; n < least(end * kPanelColumns, conv.columns); n += L) {
      float* const to = panels + n / kPanelColumns * kPanelColumns * conv.depth + n % kPanelColumns;
      for (int64_t k = 0; k < conv.depth; k += L) {
        Vector<float> rows[L];
        if (conv.weight_column == 1) {
          unroll<L>([&](auto i) { rows[i] = load(conv.weight + (k + i) * conv.weight_depth + n); });
        } else {
          unroll<L>([&](auto i) { rows[i] = load(conv.weight + (n + i) * conv.weight_column + k); });
          transpose<float>(rows);
        }
        unroll<L>([&](auto i) { store(to + (k + i) * kPanelColumns, rows[i]); });
      }
    }
  });
}

// The addend of a pixel, or null.
inline const float* addend(const Pointwise& conv, int64_t pixel) {
  if (!conv.addend || conv.stride == 1) return conv.addend ? conv.addend + pixel * conv.columns : nullptr;
  const int64_t row = pixel / conv.width, w = pixel % conv.width, b = row / conv.height, h = row % conv.height;
  if (h % conv.stride || w % conv.stride) return nullptr;
  const int64_t rows = ceil_div(conv.height, conv.stride), columns = ceil_div(conv.width, conv.stride);
  return conv.addend + ((b * rows + h / conv.stride) * columns + w / conv.stride) * conv.columns;
}

// The tiles [begin, end) of pixels.
inline void multiply_tiles(const Pointwise& conv, const float* panels, int64_t begin, int64_t end) {
  using M = Widened<float>;
  constexpr int L = lanes<float>, tile = Operand<M>::tile, line = Operand<M>::line;
  const int64_t count = ceil_div(conv.columns, kPanelColumns), panel_size = kPanelColumns * conv.depth;
  const WrittenRows out(conv.y, conv.pixels, conv.columns);
  const bool streams = count * panel_size * int64_t(sizeof(float)) >= kCachedWeights;
  const Scratch<float> memory(kTilesTogether * tile * conv.depth), sums(tile * kPanelColumns);
  const Operand<M> operand{memory.data, conv.depth};
  const float* addends[kTilesTogether * tile];
  for (int64_t t = begin; t < end; t += kTilesTogether) {
    const int64_t first = t * tile, pixels = least(least(end, t + kTilesTogether) * tile, conv.pixels) - first;
    const float* const x = conv.x + first * conv.depth;
    for (int64_t p = 0; p < pixels; ++p) {
      addends[p] = addend(conv, first + p);
      for (int64_t k = 0; k < conv.depth; k += L) store(operand.at(p, k), load(x + p * conv.depth + k));
    }
    // Each product prefetches a share of the next panel, if the weight does not stay in cache, or else of the next pixels.
    Upcoming next_pixels{reinterpret_cast<const char*>(x + pixels * conv.depth), ceil_div(tile, count)};
    if (t + kTilesTogether >= end) next_pixels.lines = 0;
    for (int64_t n = 0; n < conv.columns; n += kPanelColumns) {
      const int64_t columns = least(kPanelColumns, conv.columns - n);
      const float* const panel = panels + n * conv.depth;
      Upcoming next_panel{reinterpret_cast<const char*>(panel + panel_size), ceil_div(kPanelColumns, kTilesTogether)};
      if (n + kPanelColumns >= conv.columns) next_panel.lines = 0;
      Upcoming& upcoming = streams ? next_panel : next_pixels;
      for (int64_t p = 0; p < pixels; p += tile) {
        const int64_t to = (first + p) * conv.columns + n, some = least(tile, pixels - p);
        for (int64_t i = 0; i < some; ++i)
          for (int64_t c = 0; c < columns; c += line) {
            if (!out.past) __builtin_prefetch(conv.y + to + i * conv.columns + c, 1);
            if (addends[p + i]) __builtin_prefetch(addends[p + i] + n + c);
          }
        M::multiply({operand.at(p, 0), 0}, panel, conv.depth, some, columns, sums.data, upcoming);
        upcoming.weights += upcoming.lines * conv.depth / line * 64;
        for (int64_t i = 0; i < some; ++i)
          for (int64_t c = 0; c < columns; c += L) {
            Vector<float> sum = load(sums.data + i * kPanelColumns + c);
            if (addends[p + i]) sum += load(addends[p + i] + n + c);
            out.put(conv.y + to + i * conv.columns + c, sum);
          }
      }
    }
  }
  finish_streams();
}

inline void pointwise(const Pointwise& conv) {
  constexpr int tile = Operand<Widened<float>>::tile;
  const Scratch<float> panels(product(ceil_div(conv.columns, kPanelColumns), kPanelColumns, conv.depth));
  pack(conv, panels.data);
  const int64_t grain = kWorthwhile / (conv.depth * conv.columns / lanes<float> * tile + 1) + 1;
  Division::for_ranges(ceil_div(conv.pixels, tile), grain, [&](int64_t begin, int64_t end) {
    multiply_tiles(conv, panels.data, begin, end);
  });
}

// The gradient of the weight is divided into parts of at most kSide channels on either side, so that the copies and the
// sums of a part stay in the second cache. With more threads than parts, a part has several shares of the pixels.
constexpr int64_t kSide = 256, kDepth = 128;  // kDepth: pixels per pass over the sums of a part
constexpr int64_t kInPlace = 512;  // most channels of a gradient that is read in place: the cache holds kDepth pixels
constexpr int kSumRows = kRegister == 64 ? 8 : 4, kSumRegisters = 2, kSumColumns = kSumRegisters * lanes<float>;

// Panels [channels / Columns][kDepth + 2][Columns] of some pixels. Without the two more rows, the lines of one pixel would
// fall into the same set of a cache.
template <int Columns>
struct PixelPanels {
  static constexpr int64_t size = (kDepth + 2) * Columns;
  Scratch<float> memory{kSide / Columns * size};

  const float* at(int64_t channel) const { return memory.data + channel / Columns * size; }
  void copy(const float* from, int64_t distance, int64_t pixels, int64_t channels) const {
    constexpr int some = Columns < 16 ? Columns : 16;  // divides the number of channels
    for (int64_t p = 0; p < pixels; ++p, from += distance)
      for (int64_t c = 0; c < channels; c += some)
        __builtin_memcpy(memory.data + c / Columns * size + p * Columns + c % Columns, from + c, some * sizeof(float));
  }
};

// sums[m][n] += sum over the pixels of grad[pixel][m] * x[pixel][n]; the pixels of grad are `step` apart
INVOLUTION_LOOP void add_products(const float* grad, int64_t step, const float* x, int64_t pixels, float* sums) {
  constexpr int L = lanes<float>;
  Vector<float> sum[kSumRows][kSumRegisters] = {};  // from 0: rounds less than if all pixels were added to one sum
  for (int64_t p = 0; p < pixels; ++p, grad += step, x += kSumColumns) {
    Vector<float> row[kSumRegisters];
    unroll<kSumRegisters>([&](auto n) { row[n] = load(x + n * L); });
    unroll<kSumRows>([&](auto m) {
      const Vector<float> factor = broadcast(grad[m]);
      unroll<kSumRegisters>([&](auto n) { sum[m][n] += factor * row[n]; });
    });
  }
  unroll<kSumRows>([&](auto m) {
    unroll<kSumRegisters>([&](auto n) {
      float* const place = sums + m * kSumColumns + n * L;
      store(place, load(place) + sum[m][n]);
    });
  });
}

struct WeightGradient {
  const PointwiseWeight& conv;
  const int64_t ins, parts, threads, shares;
  const Scratch<float> sums;  // [part][share][kSide / kSumColumns][kSide][kSumColumns]

  explicit WeightGradient(const PointwiseWeight& conv)
      : conv(conv),
        ins(ceil_div(conv.inputs, kSide)),
        parts(ins * ceil_div(conv.outputs, kSide)),
        threads(Division::useful_threads(conv.pixels, conv.outputs * conv.inputs / lanes<float>)),
        shares(threads / gcd(threads, parts)),
        sums(product(parts, shares, kSide, kSide)) {}

  float* sums_of(int64_t part, int64_t share) const { return sums.data + (part * shares + share) * kSide * kSide; }

  void run() const {
    Division::for_ranges(parts * shares, 1, [&](int64_t begin, int64_t end) {
      const PixelPanels<kSumRows> grads;
      const PixelPanels<kSumColumns> values;
      for (int64_t item = begin; item < end; ++item) add_pixels(item / shares, item % shares, grads, values);
    });
    Division::for_ranges(conv.outputs, kWorthwhile / (conv.inputs * shares + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m)
        for (int64_t n = 0; n < conv.inputs; n += kSumColumns) write(m, n);
    });
  }

  void add_pixels(int64_t part, int64_t share, const PixelPanels<kSumRows>& grads,
                  const PixelPanels<kSumColumns>& values) const {
    const int64_t out = part / ins * kSide, outputs = least(kSide, conv.outputs - out);
    const int64_t in = part % ins * kSide, inputs = least(kSide, conv.inputs - in);
    const int64_t panels = ceil_div(inputs, kSumColumns), products = panels * (outputs / kSumRows);
    const int64_t end = conv.pixels * (share + 1) / shares;
    const bool in_place = conv.outputs <= kInPlace;
    float* const sums = sums_of(part, share);
    __builtin_memset(sums, 0, panels * kSumColumns * kSide * sizeof(float));
    for (int64_t p = conv.pixels * share / shares; p < end; p += kDepth) {
      const int64_t pixels = least(kDepth, end - p), ahead = least(kDepth, end - p - pixels);
      const float *grad = conv.grad + p * conv.outputs + out, *x = conv.x + p * conv.inputs + in;
      const float *next_grad = grad + pixels * conv.outputs, *next_x = x + pixels * conv.inputs;
      if (!in_place) grads.copy(grad, conv.outputs, pixels, outputs);
      values.copy(x, conv.inputs, pixels, inputs);
      int64_t done = 0;
      for (int64_t n = 0; n < inputs; n += kSumColumns)
        for (int64_t m = 0; m < outputs; m += kSumRows, ++done) {
          for (int64_t row = ahead * done / products; row < ahead * (done + 1) / products; ++row) {
            prefetch(next_grad + row * conv.outputs, outputs);
            prefetch(next_x + row * conv.inputs, inputs);
          }
          add_products(in_place ? grad + m : grads.at(m), in_place ? conv.outputs : kSumRows, values.at(n), pixels,
                       sums + n * kSide + m * kSumColumns);
        }
    }
  }

  // Add the shares, in a fixed order, for kSumColumns inputs from n on.
  void write(int64_t m, int64_t n) const {
    const int64_t part = m / kSide * ins + n / kSide, columns = least(kSumColumns, conv.inputs - n);
    float* __restrict to = conv.grad_weight + m * conv.inputs + n;
    for (int64_t share = 0; share < shares; ++share) {
      const float* __restrict sum = sums_of(part, share) + n % kSide * kSide + m % kSide * kSumColumns;
      for (int64_t c = 0; c < columns; ++c) to[c] = share ? to[c] + sum[c] : sum[c];
    }
  }
};

inline void pointwise_weight(const PointwiseWeight& conv) { WeightGradient(conv).run(); }
