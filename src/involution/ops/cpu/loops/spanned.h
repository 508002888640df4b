// The involution whose kernels exist only in cache: a row of them is spanned from the reduced features, used, and
// overwritten by the next. Backward spans them again.
//
// The bias is one more row of the weight: reduced features get a channel of ones behind their R.

constexpr int kPanel = kRegister == 64 ? 2 : 1;  // registers of columns in a tile of the matrix product

template <class T>
using Multiply = decltype(&multiply<T, 1, 1>);
template <class T>
constexpr Multiply<T> kMultiply[2][kTiles] = {
    {multiply<T, kTile[0], 1>, multiply<T, kTile[1], 1>, multiply<T, kTile[2], 1>},
    {multiply<T, kTile[0], kPanel>, multiply<T, kTile[1], kPanel>, multiply<T, kTile[2], kPanel>},
};

// f(first register, whether the panel is whole) over panels of `columns` registers.
template <class F>
inline void for_panels(int64_t columns, const F& f) {
  for (int64_t n = 0; n < columns; n += kPanel) f(n, columns - n >= kPanel ? 1 : 0);
}

// The weight as the products need it.
template <class T>
struct SpanWeight {
  static constexpr int L = lanes<T>;
  const Span& span;
  const int64_t reduced, taps, registers, natural_row;
  Scratch<T> turned_memory, natural;  // natural: [tap][R], for backward alone
  const Row<T> turned;                // [register of taps][R + 1][lane]

  SpanWeight(const Span& span, bool backward)
      : span(span),
        reduced(span.reduced.channels),
        taps(span.weight.channels),
        registers(blocks<T>(taps)),
        natural_row(blocks<T>(reduced) * L),
        turned_memory(registers * (reduced + 1) * L),
        natural(backward ? taps * natural_row : 0),
        turned{turned_memory.data, (reduced + 1) * L, L} {
    const auto read = reader<T>(span.reduced.dtype);
    read(span.weight, 0, 0, 0, reduced, turned);
    const Row<T> ones{turned.at(0, reduced), turned.block, 0};
    if (span.bias.data) read(span.bias, 0, 0, 0, 1, ones);
    else
      for (int64_t n = 0; n < registers; ++n) store(ones.at(n, 0), Vector<T>{});
    if (backward) {
      Image rows = span.weight;  // the same, taps and reduced channels exchanged
      rows.channels = reduced, rows.width = taps;
      rows.stride_c = span.weight.stride_w, rows.stride_w = span.weight.stride_c;
      read(rows, 0, 0, 0, taps, Row<T>{natural.data, L, natural_row});
    }
  }

  // One row of kernels, [pixels][taps], from one row of reduced features with their ones.
  void kernels(const Row<T>& features, int64_t width, const Row<T>& out) const {
    for_panels(registers, [&](int64_t n, int whole) {
      for_tiles(kMultiply<T>[whole], width, true, [&](int tile, int64_t j) {
        kMultiply<T>[whole][tile](features.at(0, j), features.pixel, 1, turned.at(n, 0), L, turned.block, reduced + 1,
                                  false, out.at(n, j), out.pixel);
      });
    });
  }

  // grad_reduced = weightᵀ · grad_kernel
  void grad_reduced(const Row<T>& kernels, int64_t width, const Row<T>& out) const {
    for_panels(blocks<T>(reduced), [&](int64_t n, int whole) {
      for_tiles(kMultiply<T>[whole], width, true, [&](int tile, int64_t j) {
        kMultiply<T>[whole][tile](kernels.at(0, j), kernels.pixel, 1, natural.data + n * L, natural_row, L, taps, false,
                                  out.at(n, j), out.pixel);
      });
    });
  }

  // grad_weight += grad_kernel · reducedᵀ, [R + 1][taps], over one row of pixels
  void grad_weight(const Row<T>& kernels, const Row<T>& features, int64_t width, const Row<T>& sum) const {
    for_panels(registers, [&](int64_t n, int whole) {
      for_tiles(kMultiply<T>[whole], reduced + 1, false, [&](int tile, int64_t r) {
        kMultiply<T>[whole][tile](features.data + r, 1, features.pixel, kernels.at(n, 0), kernels.pixel, L, width, true,
                                  sum.at(n, r), sum.pixel);
      });
    });
  }

  int64_t sum_size() const { return (reduced + 1) * registers * L; }
  Row<T> sum_rows(T* data) const { return {data, L, registers * L}; }
};

// A row of reduced features with the ones behind them.
template <class T>
struct Features : PixelRow<T> {
  explicit Features(const Image& reduced) : PixelRow<T>(reduced, false, 1) {}
  Row<T> read(int64_t b, int64_t h) const {
    const Row<T> row = PixelRow<T>::read(b, h);
    for (int64_t j = 0; j < this->image.width; ++j) row.at(0, j)[this->image.channels] = 1;
    return row;
  }
};

template <class T>
void spanned(const Image& x, const Span& span, const Window& w, const Image& y) {
  const SpanWeight<T> weight(span, false);
  over_rows(y, grain<T>(y, w.taps()), [&](int64_t b, int64_t first, int64_t last) {
    InputRows<T> in(x, w, y.width);
    const TapRegister<T> taps(x, w);
    const Loops<T> loops = taps.loops();
    const Features<T> features(span.reduced);
    const PixelRow<T> out(y, true);
    const int64_t pixel = weight.registers * lanes<T>;
    Scratch<T> memory(y.width * pixel);
    const Row<T> kernels{memory.data, lanes<T>, pixel};
    for (int64_t i = first; i < last; ++i) {
      weight.kernels(features.read(b, i), y.width, kernels);
      forward_row(in.see(b, i), in, kernels, taps, loops, y.width, out.place(b, i), 0);
      out.write(b, i);
    }
  });
}

// Rows [first, last) of the gradient of x in image b, and of everything else the output rows of that share.
template <class T>
void spanned_backward_rows(const Image& grad, const Image& x, const SpanWeight<T>& weight, const Window& w,
                           const Image& grad_x, const Span& grads, int64_t b, int64_t first, int64_t last,
                           const Row<T>& sum) {
  InputRows<T> in(x, w, grad.width);
  GradientRows<T> out(grad_x, w, grad.width, b, first, last);
  const TapRegister<T> taps(x, w);
  const Loops<T> loops = taps.loops();
  const Features<T> features(weight.span.reduced);
  const PixelRow<T> grad_rows(grad, true), grad_features(grads.reduced, true);
  const int64_t pixel = weight.registers * lanes<T>;
  Scratch<T> memory(grad.width * pixel + lanes<T>), grad_memory(grad.width * pixel + lanes<T>);
  const Row<T> kernels{memory.data, lanes<T>, pixel}, grad_kernels{grad_memory.data, lanes<T>, pixel};
  grad_memory.zero(grad.width * pixel);  // the taps that only fill the last register

  const int64_t own_begin = first * grad.height / grad_x.height, own_end = last * grad.height / grad_x.height;
  const int64_t begin = own_begin < out.begin() ? own_begin : out.begin();
  const int64_t end = own_end > out.end(grad.height) ? own_end : out.end(grad.height);
  for (int64_t i = begin; i < end; ++i) {
    const Row<T> feature_row = features.read(b, i), grad_row = grad_rows.read(b, i);
    weight.kernels(feature_row, grad.width, kernels);
    grad_x_row(out.open(i), out, kernels, taps, loops, grad.width, grad_row, 0);
    out.close((i + 1) * w.stride_h - w.pad_h);
    if (i < own_begin || i >= own_end) continue;
    grad_kernel_row(in.see(b, i), in, grad_row, grad.width, grad_kernels);
    weight.grad_reduced(grad_kernels, grad.width, grad_features.place(b, i));
    grad_features.write(b, i);
    weight.grad_weight(grad_kernels, feature_row, grad.width, sum);
  }
  out.close(last);
}

template <class T>
void spanned_backward(const Image& grad, const Image& x, const Span& span, const Window& w, const Image& grad_x,
                      const Span& grads) {
  const SpanWeight<T> weight(span, true);
  const int64_t size = weight.sum_size(), rows = x.batch * x.height;
  const int64_t shares = thread_count() < rows ? thread_count() : rows;
  Scratch<T> sums(shares * size + 1);  // one a share, added in their order: the same result every time
  sums.zero(shares * size);
  struct Context {
    const Image &grad, &x;
    const SpanWeight<T>& weight;
    const Window& w;
    const Image& grad_x;
    const Span& grads;
    int64_t shares, size, rows;
    T* sums;
  } context{grad, x, weight, w, grad_x, grads, shares, size, rows, sums.data};
  parallel_for(
      shares, 1,
      [](void* pointer, int64_t begin, int64_t end) {
        const Context& c = *static_cast<Context*>(pointer);
        for (int64_t share = begin; share < end; ++share)
          for (int64_t row = c.rows * share / c.shares, stop = c.rows * (share + 1) / c.shares; row < stop;) {
            const int64_t b = row / c.x.height, first = row % c.x.height;
            const int64_t last = c.x.height - first < stop - row ? c.x.height : first + stop - row;
            spanned_backward_rows<T>(c.grad, c.x, c.weight, c.w, c.grad_x, c.grads, b, first, last,
                                     c.weight.sum_rows(c.sums + share * c.size));
            row += last - first;
          }
      },
      &context);
  for (int64_t share = 1; share < shares; ++share)
    for (int64_t i = 0; i < size; ++i) sums.data[i] += sums.data[share * size + i];
  const auto write = writer<T>(span.reduced.dtype);
  const Row<T> sum = weight.sum_rows(sums.data);
  write(grads.weight, 0, 0, sum);
  if (grads.bias.data) write(grads.bias, 0, 0, Row<T>{sum.at(0, weight.reduced), sum.block, 0});
}
