// The drivers: which rows are where, for which thread. A thread takes a run of neighbouring output rows and keeps the
// few input rows that they see in a ring, so every row of memory is read once.

template <class T>
inline int64_t grain(const Image& y, int64_t taps) {
  // About 20 000 multiply-adds of a register make a thread worth waking.
  const int64_t row = blocks<T>(y.channels) * y.width * taps + 1;
  return 20000 / row + 1;
}

template <class F>
void over_rows(const Image& image, int64_t grain, const F& f) {
  // f(b, first row, last row + 1) for the runs of rows of one thread
  struct Context {
    const F& f;
    int64_t height;
  } context{f, image.height};
  parallel_for(
      image.batch * image.height, grain,
      [](void* pointer, int64_t begin, int64_t end) {
        const Context& c = *static_cast<Context*>(pointer);
        while (begin < end) {
          const int64_t b = begin / c.height, h = begin % c.height;
          const int64_t last = c.height - h < end - begin ? c.height : h + end - begin;
          c.f(b, h, last);
          begin += last - h;
        }
      },
      &context);
}

// One row of an image as [pixels][channels]: in place if memory already has it so, else copied.
template <class T>
struct PixelRow {
  const Image& image;
  const bool in_place;
  Scratch<T> copy;
  Row<T> row;

  // `extra`: room for further channels behind those of the image; `rows`: for so many rows
  explicit PixelRow(const Image& image, bool whole_registers, int64_t extra = 0, int64_t rows = 1)
      : image(image),
        in_place(!extra && image.stride_c == 1 && is_native(image.dtype) &&
                 !(whole_registers && image.channels % lanes<T>)),
        copy(in_place ? 0 : rows * image.width * padded(extra)),
        row{copy.data, lanes<T>, padded(extra)} {}

  int64_t padded(int64_t extra) const { return blocks<T>(image.channels + extra) * lanes<T>; }
  static bool is_native(Dtype dtype) { return dtype == (sizeof(T) == 8 ? Dtype::float64 : Dtype::float32); }
  Row<T> place(int64_t b, int64_t h) const {
    if (!in_place) return row;
    return {static_cast<T*>(image.data) + b * image.stride_b + h * image.stride_h, lanes<T>, image.stride_w};
  }
  Row<T> read(int64_t b, int64_t h) const {
    if (!in_place) reader<T>(image.dtype)(image, b, h, 0, image.width, row);
    return place(b, h);
  }
  // Distance to the next row in elements, or 0 if rows are copied.
  int64_t ahead() const { return in_place ? image.stride_h : 0; }
  void write(int64_t b, int64_t h) const {
    if (!in_place) writer<T>(image.dtype)(image, b, h, row);
  }
};

// Rows of kernels. Where memory has them as planes, rows of some 64 pixels are read together: a thread then follows a
// register's planes over several lines, which processors foresee, and not all planes over one line.
template <class T>
struct KernelRows : PixelRow<T> {
  const int64_t together;
  int64_t b = -1, first = 0, end = 0;  // rows [first, end) of image b are here

  explicit KernelRows(const Image& kernel)
      : PixelRow<T>(kernel, false, 0, together_in(kernel)), together(together_in(kernel)) {}

  static int64_t together_in(const Image& kernel) {
    const bool planes = kernel.stride_w == 1 && kernel.stride_h == kernel.width;
    return planes && kernel.width < 64 ? 64 / kernel.width : 1;
  }

  // Row i of those before `last`.
  Row<T> read(int64_t image, int64_t i, int64_t last) {
    if (this->in_place) return this->place(image, i);
    const int64_t width = this->image.width;
    if (image != b || i < first || i >= end) {
      b = image, first = i, end = last - i < together ? last : i + together;
      reader<T>(this->image.dtype)(this->image, b, first, 0, (end - first) * width, this->row);
    }
    return {this->row.at(0, (i - first) * width), this->row.block, this->row.pixel};
  }
};

// The rows of x that the windows of one output row see, with the zeros around the image.
template <class T>
struct InputRows {
  const Image& x;
  const Window& w;
  const int64_t width, columns, ring, size;  // columns: pixels of a padded row; size: its elements
  Scratch<T> memory;                         // ring rows and, behind them, one of zeros
  Scratch<const T*> rows;
  int64_t b = -1, next = 0;

  InputRows(const Image& x, const Window& w, int64_t out_width)
      : x(x),
        w(w),
        width(out_width),
        columns((out_width - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1),
        ring((w.kh - 1) * w.dilation_h + 1),
        size(blocks<T>(x.channels) * columns * lanes<T>),
        memory((ring + 1) * size),
        rows(w.kh) {
    memory.zero((ring + 1) * size);
  }

  int64_t block() const { return columns * lanes<T>; }

  // Pointers to the kh rows seen by output row i, which must not decrease within an image.
  const T* const* see(int64_t image, int64_t i) {
    const int64_t top = i * w.stride_h - w.pad_h, bottom = top + ring - 1;
    if (image != b) next = 0, b = image;
    if (next < top) next = top;
    const int64_t room = columns - w.pad_w, count = x.width < room ? x.width : room;
    for (; next <= bottom && next < x.height; ++next) {
      T* data = memory.data + next % ring * size + w.pad_w * lanes<T>;
      if (count > 0) reader<T>(x.dtype)(x, b, next, 0, count, Row<T>{data, block(), lanes<T>});
    }
    for (int64_t u = 0; u < w.kh; ++u) {
      const int64_t h = top + u * w.dilation_h;
      rows.data[u] = memory.data + (h >= 0 && h < x.height ? h % ring : ring) * size;
    }
    return rows.data;
  }
};

// Taps of a tile of pixels for one register of channels: a pointer if the lanes share them, else expanded.
template <class T>
struct TapRegister {
  const Image& x;
  const Window& w;
  const int64_t group_channels;
  const bool shared;
  Scratch<T> expanded;

  TapRegister(const Image& x, const Window& w)
      : x(x),
        w(w),
        group_channels(x.channels / w.groups),
        shared(group_channels % lanes<T> == 0),
        expanded(shared ? 0 : kTile[0] * w.taps() * lanes<T>) {}

  Loops<T> loops() const { return shared ? choose<T, true>(w) : choose<T, false>(w); }

  // `pixel` becomes the distance of two pixels' taps.
  const T* of(const Row<T>& kernel, int64_t j, int count, int64_t block, int64_t& pixel) const {
    const T* source = kernel.at(0, j);
    const int64_t channel = block * lanes<T>;
    pixel = kernel.pixel;
    if (shared) return source + channel / group_channels * w.taps();
    pixel = w.taps() * lanes<T>;
    for (int lane = 0; lane < lanes<T>; ++lane) {
      const int64_t c = channel + lane < x.channels ? channel + lane : x.channels - 1;
      const T* group = source + c / group_channels * w.taps();
      for (int p = 0; p < count; ++p)
        for (int64_t t = 0; t < w.taps(); ++t)
          expanded.data[p * pixel + t * lanes<T> + lane] = group[p * kernel.pixel + t];
    }
    return expanded.data;
  }
};

// One output row from its kernels.
template <class T>
void gather_row(const T* const* rows, const InputRows<T>& in, const Row<T>& kernel, const TapRegister<T>& taps,
                const Loops<T>& loops, int64_t width, const Row<T>& y, int64_t ahead) {
  constexpr int L = lanes<T>;
  Scratch<const T*> shifted(in.w.kh);
  for_tiles(loops.gather, width, true, [&](int tile, int64_t j) {
    for (int64_t k = 0; k < blocks<T>(in.x.channels); ++k) {
      int64_t pixel;
      const T* at = taps.of(kernel, j, kTile[tile], k, pixel);
      for (int64_t u = 0; u < in.w.kh; ++u) shifted.data[u] = rows[u] + k * in.block() + j * in.w.stride_w * L;
      loops.gather[tile](shifted.data, at, pixel, ahead, in.w, y.at(k, j), y.pixel);
    }
  });
}

template <class T>
void forward(const Image& x, const Image& kernel, const Window& w, const Image& y) {
  over_rows(y, grain<T>(y, w.taps()), [&](int64_t b, int64_t first, int64_t last) {
    InputRows<T> in(x, w, y.width);
    const TapRegister<T> taps(x, w);
    const Loops<T> loops = taps.loops();
    KernelRows<T> kernels(kernel);
    const PixelRow<T> out(y, true);
    for (int64_t i = first; i < last; ++i) {
      gather_row(in.see(b, i), in, kernels.read(b, i, last), taps, loops, y.width, out.place(b, i),
                 taps.shared ? kernels.ahead() : 0);
      out.write(b, i);
    }
  });
}

// The rows of the gradient of x that output rows still add to.
template <class T>
struct GradientRows {
  const Image& grad_x;
  const Window& w;
  const int64_t columns, ring, size;
  Scratch<T> memory;
  Scratch<T*> rows;
  int64_t b, first, last, done;  // rows [first, last) of image b are ours, those before `done` are written

  GradientRows(const Image& grad_x, const Window& w, int64_t out_width, int64_t b, int64_t first, int64_t last)
      : grad_x(grad_x),
        w(w),
        columns(reach(grad_x.width + w.pad_w, (out_width - 1) * w.stride_w + (w.kw - 1) * w.dilation_w + 1)),
        ring((w.kh - 1) * w.dilation_h + 1),
        size(blocks<T>(grad_x.channels) * columns * lanes<T>),
        memory(ring * size),
        rows(w.kh),
        b(b),
        first(first),
        last(last),
        done(first) {
    memory.zero(ring * size);
  }

  static int64_t reach(int64_t a, int64_t b) { return a > b ? a : b; }
  int64_t block() const { return columns * lanes<T>; }

  // The output rows that our rows depend on.
  int64_t begin() const {
    const int64_t i = first + w.pad_h - (ring - 1);
    return i > 0 ? (i + w.stride_h - 1) / w.stride_h : 0;
  }
  int64_t end(int64_t out_height) const {
    const int64_t i = (last - 1 + w.pad_h) / w.stride_h + 1;
    return i < out_height ? i : out_height;
  }

  // Pointers to the rows that output row i adds to, null where they are not ours.
  T* const* open(int64_t i) {
    for (int64_t u = 0; u < w.kh; ++u) {
      const int64_t h = i * w.stride_h - w.pad_h + u * w.dilation_h;
      rows.data[u] = h >= first && h < last ? memory.data + h % ring * size : nullptr;
    }
    return rows.data;
  }

  // Write the rows before `h`, which get no more.
  void close(int64_t h) {
    for (; done < h && done < last; ++done) {
      T* data = memory.data + done % ring * size;
      writer<T>(grad_x.dtype)(grad_x, b, done, Row<T>{data + w.pad_w * lanes<T>, block(), lanes<T>});
      __builtin_memset(data, 0, size * sizeof(T));
    }
  }
};

template <class T>
void scatter_row(T* const* rows, const GradientRows<T>& out, const Row<T>& kernel, const TapRegister<T>& taps,
                 const Loops<T>& loops, int64_t width, const Row<T>& grad, int64_t ahead) {
  constexpr int L = lanes<T>;
  Scratch<T*> shifted(out.w.kh);
  for_tiles(loops.scatter, width, false, [&](int tile, int64_t j) {
    for (int64_t k = 0; k < blocks<T>(out.grad_x.channels); ++k) {
      int64_t pixel;
      const T* at = taps.of(kernel, j, kTile[tile], k, pixel);
      for (int64_t u = 0; u < out.w.kh; ++u)
        shifted.data[u] = rows[u] ? rows[u] + k * out.block() + j * out.w.stride_w * L : nullptr;
      loops.scatter[tile](shifted.data, at, pixel, ahead, out.w, grad.at(k, j), grad.pixel);
    }
  });
}

template <class T>
void grad_x(const Image& grad, const Image& kernel, const Window& w, const Image& grad_x) {
  over_rows(grad_x, grain<T>(grad_x, w.taps()), [&](int64_t b, int64_t first, int64_t last) {
    GradientRows<T> out(grad_x, w, grad.width, b, first, last);
    const TapRegister<T> taps(grad_x, w);
    const Loops<T> loops = taps.loops();
    KernelRows<T> kernels(kernel);
    const PixelRow<T> grads(grad, true);
    const int64_t end = out.end(grad.height);
    for (int64_t i = out.begin(); i < end; ++i) {
      scatter_row(out.open(i), out, kernels.read(b, i, end), taps, loops, grad.width, grads.read(b, i),
                  taps.shared ? kernels.ahead() : 0);
      out.close((i + 1) * w.stride_h - w.pad_h);
    }
    out.close(last);
  });
}

// The gradient of one row of kernels.
template <class T>
void correlate_row(const T* const* rows, const InputRows<T>& in, const Row<T>& grad, int64_t width,
                   const Row<T>& kernel) {
  constexpr int L = lanes<T>;
  const Window& w = in.w;
  const int64_t group_channels = in.x.channels / w.groups, count = group_channels / L;
  Scratch<const T*> columns(w.taps());
  for (int64_t u = 0; u < w.kh; ++u)
    for (int64_t v = 0; v < w.kw; ++v) columns.data[u * w.kw + v] = rows[u] + v * w.dilation_w * L;
  for (int64_t j = 0; j < width; ++j) {
    const int64_t offset = j * w.stride_w * L;
    if (group_channels % L)
      correlate_lanes(columns.data, offset, in.block(), grad.at(0, j), grad.block, in.x.channels, group_channels,
                      w.taps(), kernel.at(0, j));
    else
      for (int64_t g = 0; g < w.groups; ++g)
        correlate(columns.data, offset + g * count * in.block(), in.block(), grad.at(g * count, j), grad.block, count,
                  w.taps(), kernel.at(0, j) + g * w.taps());
  }
}

template <class T>
void grad_kernel(const Image& grad, const Image& x, const Window& w, const Image& grad_kernel) {
  over_rows(grad, grain<T>(grad, w.taps()), [&](int64_t b, int64_t first, int64_t last) {
    InputRows<T> in(x, w, grad.width);
    const PixelRow<T> grads(grad, true), out(grad_kernel, false);
    for (int64_t i = first; i < last; ++i) {
      correlate_row(in.see(b, i), in, grads.read(b, i), grad.width, out.place(b, i));
      out.write(b, i);
    }
  });
}
