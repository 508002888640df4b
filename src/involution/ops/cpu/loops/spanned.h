// The involution whose kernels exist only in cache: a row of kernels is computed from the reduced features, used, and
// overwritten by the next.
//
// The bias is one more row of the weight: reduced features get a channel of ones after their R.

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

// The rows of the weight that one part's taps need, in the layout of the products.
template <class T>
struct SpanWeight {
  static constexpr int L = lanes<T>;
  const int64_t reduced, taps, registers, natural_row;
  const Row<T> turned;  // [register of taps][R + 1][lane]
  T* const natural;     // [tap][R], for the backward pass only

  SpanWeight(int64_t reduced, int64_t taps, T* memory)
      : reduced(reduced),
        taps(taps),
        registers(blocks<T>(taps)),
        natural_row(blocks<T>(reduced) * L),
        turned{memory, (reduced + 1) * L, L},
        natural(memory + registers * (reduced + 1) * L) {}

  // Elements of memory for at most the given number of registers of taps.
  static int64_t size(int64_t reduced, int64_t registers, bool backward) {
    return product(registers, reduced + 1 + (backward ? blocks<T>(reduced) * L : 0), L);
  }

  // Read register n of taps.
  void fill(const Image& weight, const Image& bias, int64_t n, bool backward) const {
    const int64_t first = n * L, count = taps - first < L ? taps - first : L;
    const auto read = reader<T>(weight.dtype);
    read(weight.slice(first, count), 0, 0, 0, reduced, Row<T>{turned.at(n, 0), turned.block, L});
    T* const ones = turned.at(n, reduced);
    if (bias.data) read(bias.slice(first, count), 0, 0, 0, 1, Row<T>{ones, turned.block, 0});
    else store(ones, Vector<T>{});
    if (backward && reduced) {
      Image rows = weight;  // the same, taps and reduced channels transposed
      rows.channels = reduced, rows.width = taps;
      rows.stride_c = weight.stride_w, rows.stride_w = weight.stride_c;
      read(rows, 0, 0, first, count, Row<T>{natural + first * natural_row, L, natural_row});
    }
  }

  // Kernels, [pixels][taps], from the same number of pixels of reduced features with the channel of ones.
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
        kMultiply<T>[whole][tile](kernels.at(0, j), kernels.pixel, 1, natural + n * L, natural_row, L, taps, false,
                                  out.at(n, j), out.pixel);
      });
    });
  }

  // grad_weight += grad_kernel · reducedᵀ, [R + 1][taps], rows from `first` on, summed over `width` pixels
  void grad_weight(const Row<T>& kernels, const Row<T>& features, int64_t width, int64_t first,
                   const Row<T>& sum) const {
    for_panels(registers, [&](int64_t n, int whole) {
      for_tiles(kMultiply<T>[whole], reduced + 1 - first, false, [&](int tile, int64_t rest) {
        const int64_t r = first + rest;
        kMultiply<T>[whole][tile](features.data + r, 1, features.pixel, kernels.at(n, 0), kernels.pixel, L, width, true,
                                  sum.at(n, r), sum.pixel);
      });
    });
  }
};

// The weights of all parts, read by all threads.
template <class T>
struct SpanWeights {
  const Span& span;
  const Division& division;
  const int64_t registers, size;  // upper bounds for a part
  Scratch<T> memory;

  SpanWeights(const Span& span, const Window& w, const Division& division, bool backward)
      : span(span),
        division(division),
        registers(most_registers(w, division)),
        size(SpanWeight<T>::size(span.reduced.channels, registers, backward)),
        memory(product(division.parts, size)) {
    Division::for_ranges(
        product(division.parts, registers), kWorthwhile / (span.reduced.channels * lanes<T> + 1) + 1,
        [&](int64_t begin, int64_t end) {
          for (int64_t item = begin; item < end; ++item) {
            const Part part = division.part(item / registers);
            const SpanWeight<T> weight = of(part);
            const int64_t n = item % registers;
            if (n < weight.registers) weight.fill(part.of(span.weight), part.of(span.bias), n, backward);
          }
        });
  }

  static int64_t most_registers(const Window& w, const Division& division) {
    const int64_t groups = ceil_div(division.units, division.parts) * division.unit;
    return blocks<T>((groups < w.groups ? groups : w.groups) * w.taps());
  }

  SpanWeight<T> of(const Part& part) const {
    return {span.reduced.channels, part.of(span.weight).channels, memory.data + part.index * size};
  }
};

// Some rows of reduced features, followed by the channel of ones.
template <class T>
struct Features : PixelRow<T> {
  explicit Features(const Image& reduced, int64_t rows = 1) : PixelRow<T>(reduced, false, 1, rows) {}
  // Read row h into row `place` of this buffer.
  Row<T> read(int64_t b, int64_t h, int64_t place = 0) const {
    const Image& image = this->image;
    const Row<T> row{this->row.at(0, place * image.width), this->row.block, this->row.pixel};
    reader<T>(image.dtype)(image, b, h, 0, image.width, row);
    for (int64_t j = 0; j < image.width; ++j) row.at(0, j)[image.channels] = 1;
    return row;
  }
};

// Multiply-adds of a register for one row of kernels.
template <class T>
inline int64_t span_work(const Span& span) {
  return span.reduced.width * blocks<T>(span.weight.channels) * (span.reduced.channels + 1);
}

template <class T>
void spanned(const Image& all_x, const Span& span, const Window& all, const Image& all_y) {
  const Division division(all_y, all, row_work<T>(all_y, all) + span_work<T>(span), lanes<T>);
  const SpanWeights<T> weights(span, all, division, false);
  division.over_rows(all_y, [&](const Part& part, int64_t b, int64_t first, int64_t last) {
    const Image x = part.of(all_x), y = part.of(all_y);
    const Window w = part.of(all);
    const SpanWeight<T> weight = weights.of(part);
    InputRows<T> in(x, w, y.width, b);
    const TapRegister<T> taps(x, w);
    const Loops<T> loops = taps.loops();
    const Features<T> features(span.reduced);
    const PixelRow<T> out(y, true);
    const int64_t pixel = weight.registers * lanes<T>;
    Scratch<T> memory(product(y.width, pixel));
    const Row<T> kernels{memory.data, lanes<T>, pixel};
    for_output_rows(w, first, last, [&](int64_t i) {
      weight.kernels(features.read(b, i), y.width, kernels);
      forward_row(in.see(i), in, kernels, taps, loops, y.width, out.place(b, i), 0);
      out.write(b, i);
    });
  });
}
