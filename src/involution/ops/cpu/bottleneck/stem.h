// The stem of a RedNet in one pass, row by row:
//
//   h = relu(conv(x))         3x3, stride 2: a product on the three rows of each window, 16 values of depth for each row
//   g = relu(scale * involution(h) + shift)
//   f = relu(conv(g))         3x3: a product whose left factor is g itself, shifted by each tap
//   y = max_pool(f)           3x3, stride 2
//
// Each thread computes some rows of y. Rows of h, g and f that its first row reads are computed by it too.

constexpr int64_t kWindowRow = 16;  // depth of one row of the first convolution's window

// Sizes between the layers, as an image without data.
inline Image stem_map(const Image& x, const Matrix& enter) {
  Image map{};
  map.batch = x.batch, map.channels = enter.depth, map.height = (x.height + 1) / 2, map.width = (x.width + 1) / 2;
  return map;
}

// Rows [channels / line][columns][line] with zeros on both sides, in slots, and one row of zeros.
template <class T, int Line>
struct Rows {
  T* data;
  int64_t columns, row, slots;
  Rows(Arena& arena, int64_t width, int64_t channels, int64_t slots)
      : columns(width + 2), row(channels * columns), slots(slots) {
    data = arena.take<T>((slots + 1) * row);
  }
  void clear() const { __builtin_memset(data, 0, (slots + 1) * row * sizeof(T)); }
  T* at(int64_t q, int64_t height) const { return data + (q >= 0 && q < height ? q % slots : slots) * row; }
  int64_t offset(int64_t pixel, int64_t channel) const { return (channel / Line * columns + pixel) * Line + channel % Line; }
};

template <class M>
struct StemPass {
  using D = typename M::Stored;
  using E = typename M::Element;
  static constexpr int L = lanes<float>, line = Operand<M>::line;
  static constexpr int64_t step = Operand<M>::step;
  const Block& block;
  const Image &x, &y;
  const Image map;
  const Pass<M> pass;
  const Ring h;
  const Rows<E, line> g;   // as wide as the tiles of a product
  const Rows<float, L> f;
  float *image_row, *masks;
  int64_t* lines;

  StemPass(const Block& block, const Image& x, const Image& y, Arena& arena)
      : block(block),
        x(x),
        y(y),
        map(stem_map(x, block.enter)),
        pass(block, map, map, arena),
        h(arena, pass.s, block.enter.columns, pass.s.reach),
        g(arena, round_up(map.width, step), block.enter.columns, 3),
        f(arena, map.width, block.leave.columns, 3) {
    image_row = arena.take<float>((x.width + 3) * x.channels + kWindowRow);
    masks = arena.take<float>(kWindowRow);
    lines = arena.take<int64_t>(block.leave.depth / line);
  }

  void clear() const {
    Pass<M>::clear(pass.entering, map.width, 0);
    pass.clear();
    g.clear(), f.clear();
    __builtin_memset(h.data, 0, (h.rows + 1) * h.row * sizeof(float));
    __builtin_memset(image_row, 0, ((x.width + 3) * x.channels + kWindowRow) * sizeof(float));
    for (int64_t i = 0; i < kWindowRow; ++i) masks[i] = float_of(i < 3 * x.channels ? ~0u : 0);
  }

  void enter(int64_t b, int64_t q) const {
    for (int64_t u = 0; u < 3; ++u) {
      read(b, 2 * q - 1 + u);
      for (int64_t j = 0; j < map.width; ++j)
        for (int64_t c = 0; c < kWindowRow; c += L) {
          const Vector<float> values = load(image_row + 2 * j * x.channels + c);
          const BitsRegister inside = (BitsRegister)values & (BitsRegister)load(masks + c);
          write_register<E>(pass.entering.at(j, u * kWindowRow + c), (Vector<float>)inside);
        }
    }
    float* const row = h.at(q) + pass.s.w.pad_w * L;
    pass.multiply(pass.entering, map.width, block.enter, {0, panels(block.enter)},
                  [&](int64_t p, int64_t n, Vector<float> sum) { store(row + n / L * h.block + p * L, relu(sum)); });
  }

  // A row of the image after one pixel of zeros.
  void read(int64_t b, int64_t row) const {
    float* const to = image_row + x.channels;
    if (row < 0 || row >= x.height) {
      __builtin_memset(to, 0, x.width * x.channels * sizeof(float));
      return;
    }
    const D* from = static_cast<const D*>(x.data) + b * x.stride_b + row * x.stride_h;
    if (x.stride_c == 1 && x.stride_w == x.channels)
      for (int64_t i = 0; i < x.width * x.channels; ++i) to[i] = widen(from[i]);
    else
      for (int64_t c = 0; c < x.channels; ++c)
        for (int64_t j = 0; j < x.width; ++j) to[j * x.channels + c] = widen(from[j * x.stride_w + c * x.stride_c]);
  }

  void mix(int64_t q) const {
    struct Target {
      const Rows<E, line>& g;
      E* row;
      E* at(int64_t pixel, int64_t channel) const { return row + g.offset(pixel + 1, channel); }
    };
    pass.mix({q, q + 1}, {0, block.chunks}, h, Target{g, g.at(q, map.height)});
  }

  void leave(int64_t q) const {
    int64_t* next = lines;
    for (int64_t u = 0; u < 3; ++u)
      for (int64_t v = 0; v < 3; ++v)
        for (int64_t c = 0; c < block.enter.columns; c += line)
          *next++ = g.at(q + u - 1, map.height) - g.data + g.offset(v, c);
    float* const row = f.at(q, map.height);
    const auto factor = [&](int64_t p) { return Factor<M>{g.data + p * line, Operand<M>::tile * line, lines}; };
    pass.multiply_factors(factor, map.width, block.leave, {0, panels(block.leave)},
                          [&](int64_t p, int64_t n, Vector<float> sum) { store(row + f.offset(p + 1, n), relu(sum)); });
  }

  // f is not negative, so that zeros outside the map do not change a maximum.
  void pool(int64_t b, int64_t i) const {
    D* const to = static_cast<D*>(y.data) + b * y.stride_b + i * y.stride_h;
    for (int64_t j = 0; j < y.width; ++j)
      for (int64_t n = 0; n < y.channels; n += L) {
        Vector<float> most{};
        for (int64_t u = 0; u < 3; ++u)
          for (int64_t v = 0; v < 3; ++v) {
            const Vector<float> value = load(f.at(2 * i - 1 + u, map.height) + f.offset(2 * j + v, n));
            most = value <= most ? most : value;  // NaN stays NaN
          }
        write_register<E>(to + j * y.stride_w + n, most);
      }
  }

  // Rows of y, counted through the batch.
  void run(Range rows) const {
    clear();
    int64_t entered = 0, mixed = 0, left = 0;  // rows of h, g and f computed so far
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const int64_t b = r / y.height, i = r % y.height;
      if (r == rows.begin || i == 0) {
        left = most(0, 2 * i - 1), mixed = most(0, left - 1), entered = most(0, mixed - pass.s.w.pad_h);
      }
      for (; left < least(map.height, 2 * i + 2); leave(left++))
        for (; mixed < least(map.height, left + 2); mix(mixed++))
          for (; entered < least(map.height, mixed + pass.s.w.pad_h + 1); ++entered) enter(b, entered);
      pool(b, i);
    }
  }
};

template <class M>
struct StemSchedule {
  const Block& block;
  const Image &x, &y;

  int64_t own_memory() const {
    Arena arena{};
    StemPass<M>(block, x, y, arena);
    return arena.counted();
  }
  int64_t memory() const { return thread_count() * own_memory(); }

  void run(char* memory) const {
    const int64_t threads = thread_count(), own = own_memory();
    on_threads<M>(threads, [&](int64_t share) {
      Arena arena{memory + share * own};
      StemPass<M>(block, x, y, arena).run(Range{0, x.batch * y.height}.part(share, threads));
    });
  }
};
