// The gradients of the spanned involution. Kernels are recomputed, some rows at a time, and the gradients of these
// kernels also exist only in cache: they enter two more matrix products and are overwritten.
//
// A part's weight and the gradient of it stay in the L2 cache while all rows are processed. Every share of the rows has
// its own sum for the gradient of the weight, and every part one for that of the reduced features; they are added in
// a fixed order, so the result is deterministic.

constexpr int64_t kCached = 1 << 19;  // bytes of weights that a part may hold
constexpr int64_t kPixels = 56;       // least pixels of a matrix product, if there are as many

template <class T>
struct SpannedBackward {
  static constexpr int L = lanes<T>;
  const Image &grad, &x;
  const Span& span;
  const Window& w;
  const Image& grad_x;
  const Span& grads;
  const bool for_span, for_weight;  // whether grad_kernel, grad_weight or grad_bias are requested
  const int64_t rows, threads;
  const Division division;
  const int64_t shares;
  const SpanWeights<T> weights;
  const int64_t sum_size, partial_size;
  Scratch<T> sums, partials;  // [part][share][R + 1][taps] and, if there are several, [part][b][i][j][R]

  SpannedBackward(const Image& grad, const Image& x, const Span& span, const Window& w, const Image& grad_x,
                  const Span& grads)
      : grad(grad),
        x(x),
        span(span),
        w(w),
        grad_x(grad_x),
        grads(grads),
        for_span(grads.reduced.data || grads.weight.data || grads.bias.data),
        for_weight(grads.weight.data || grads.bias.data),
        rows(x.batch * x.height),
        threads(Division::useful_threads(rows, 2 * row_work<T>(x, w) + 3 * span_work<T>(span))),
        division(divide()),
        shares(least(threads / gcd(threads, division.parts), rows)),
        weights(span, w, division, true),
        sum_size(for_weight ? product(weights.registers, L, span.reduced.channels + 1) : 0),
        partial_size(summed() ? product(grad.batch * grad.height * grad.width, partial_pixel()) : 0),
        sums(product(division.parts, shares, sum_size), true),
        partials(product(division.parts, partial_size)) {}

  static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
  bool summed() const { return grads.reduced.data && division.parts > 1; }
  int64_t partial_pixel() const { return blocks<T>(span.reduced.channels) * L; }

  Division divide() const {
    Division division(w.groups, x.channels / w.groups, L);
    const int64_t bytes = product(3 * sizeof(T) * L, blocks<T>(span.weight.channels), span.reduced.channels + 1);
    const int64_t cached = ceil_div(bytes, kCached), busy = ceil_div(threads, x.batch);
    division.choose_parts(cached > busy ? cached : busy);
    return division;
  }

  // The sums of one share of a part's rows, [R + 1][taps].
  Row<T> sum(const Part& part, int64_t share) const {
    return {sums.data + (part.index * shares + share) * sum_size, L, weights.of(part).registers * L};
  }

  // The destination of a part's gradient of the reduced features.
  Image reduced_of(const Part& part) const {
    if (!summed()) return grads.reduced;
    Image image = grads.reduced;
    image.data = partials.data + part.index * partial_size;
    image.dtype = sizeof(T) == 8 ? Dtype::float64 : Dtype::float32;
    image.stride_c = 1, image.stride_w = partial_pixel();
    image.stride_h = image.stride_w * image.width, image.stride_b = image.stride_h * image.height;
    return image;
  }

  void run() const {
    Division::for_ranges(division.parts * shares, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const Part part = division.part(item / shares);
        const int64_t share = item % shares, stop = rows * (share + 1) / shares;
        for (int64_t row = rows * share / shares; row < stop;) {
          const int64_t b = row / x.height, first = row % x.height, last = least(x.height, first + stop - row);
          add_rows(part, b, first, last, sum(part, share));
          row += last - first;
        }
      }
    });
    if (for_weight) write_weight();
    if (summed()) write_reduced();
  }

  // Rows [first, last) of the gradient of x in image b, and the output rows of that share of all other gradients.
  void add_rows(const Part& part, int64_t b, int64_t first, int64_t last, const Row<T>& sum) const {
    const Image x = part.of(this->x), grad = part.of(this->grad), grad_x = part.of(this->grad_x);
    const Image grad_reduced = reduced_of(part);
    const Window w = part.of(this->w);
    const SpanWeight<T> weight = weights.of(part);
    const int64_t width = grad.width, pixel = weight.registers * L;
    const int64_t together = least(ceil_div(kPixels, width), grad.height);

    InputRows<T> in(x, w, width, b);
    GradientRows<T> out(grad_x, w, width, b, first, last);
    const TapRegister<T> taps(x, w);
    const Loops<T> loops = taps.loops();
    const Features<T> features(span.reduced, together);
    const PixelRow<T> grad_rows(grad, true);
    Scratch<T> memory(product(together, width, pixel)), grad_memory(product(together, width, pixel), true);
    Scratch<T> features_memory(product(together, width, partial_pixel()));
    const Row<T> kernels{memory.data, L, pixel}, grad_kernels{grad_memory.data, L, pixel};
    const Row<T> grad_features{features_memory.data, L, partial_pixel()};
    Scratch<int64_t> waiting(together);
    int64_t count = 0;

    const auto at = [](const Row<T>& row, int64_t j) { return Row<T>{row.at(0, j), row.block, row.pixel}; };
    const auto flush = [&](bool own) {
      if (grad_x.data) weight.kernels(features.row, count * width, kernels);
      for (int64_t r = 0; r < count; ++r) {
        const int64_t i = waiting.data[r], j = r * width;
        const Row<T> grad_row = grad_rows.read(b, i);
        if (grad_x.data) grad_x_row(out.open(i), out, at(kernels, j), taps, loops, width, grad_row, 0);
        if (own && for_span) grad_kernel_row(in.see(i), in, grad_row, width, at(grad_kernels, j));
      }
      if (own && grad_reduced.data) {
        weight.grad_reduced(grad_kernels, count * width, grad_features);
        for (int64_t r = 0; r < count; ++r)
          writer<T>(grad_reduced.dtype)(grad_reduced, b, waiting.data[r], at(grad_features, r * width));
      }
      if (own && for_weight)
        weight.grad_weight(grad_kernels, features.row, count * width, grads.weight.data ? 0 : weight.reduced, sum);
      count = 0;
    };

    const int64_t own_begin = first * grad.height / x.height, own_end = last * grad.height / x.height;
    int64_t begin = own_begin, end = own_end;
    if (grad_x.data) {
      begin = least(begin, out.begin());
      end = end > out.end(grad.height) ? end : out.end(grad.height);
    }
    bool own = false;
    for_output_rows(w, begin, end, [&](int64_t i) {
      const bool now = i >= own_begin && i < own_end;
      if (count == together || (count && now != own)) flush(own);
      own = now;
      features.read(b, i, count);
      waiting.data[count++] = i;
    });
    if (count) flush(own);
    if (grad_x.data) out.finish();
  }

  // Add the shares of every part and write the gradients of weight and bias, a register of taps at a time.
  void write_weight() const {
    const int64_t depth = span.reduced.channels + 1, registers = weights.registers;
    const auto write = writer<T>(span.reduced.dtype);
    Division::for_ranges(
        product(division.parts, registers), kWorthwhile / (depth * shares) + 1, [&](int64_t begin, int64_t end) {
          for (int64_t item = begin; item < end; ++item) {
            const Part part = division.part(item / registers);
            const Image weight = part.of(grads.weight), bias = part.of(grads.bias);
            const int64_t n = item % registers, taps = weights.of(part).taps;
            if (n * L >= taps) continue;
            const Row<T> total = sum(part, 0);
            for (int64_t share = 1; share < shares; ++share)
              for (int64_t r = 0; r < depth; ++r)
                store(total.at(n, r), load(total.at(n, r)) + load(sum(part, share).at(n, r)));
            const int64_t count = least(L, taps - n * L);
            const Row<T> rows{total.at(n, 0), total.block, total.pixel};
            if (weight.data) write(weight.slice(n * L, count), 0, 0, rows);
            if (bias.data) write(bias.slice(n * L, count), 0, 0, Row<T>{rows.at(0, depth - 1), total.block, 0});
          }
        });
  }

  // Add the gradients of the reduced features from all parts.
  void write_reduced() const {
    const Image& target = grads.reduced;
    const int64_t size = target.width * partial_pixel();
    Division::for_ranges(target.batch * target.height, kWorthwhile / (size / L * division.parts + 1) + 1,
                         [&](int64_t begin, int64_t end) {
                           for (int64_t row = begin; row < end; ++row) {
                             T* const total = partials.data + row * size;
                             for (int64_t p = 1; p < division.parts; ++p)
                               for (int64_t k = 0; k < size; k += L)
                                 store(total + k, load(total + k) + load(total + p * partial_size + k));
                             writer<T>(target.dtype)(target, row / target.height, row % target.height,
                                                     Row<T>{total, L, partial_pixel()});
                           }
                         });
  }
};

template <class T>
void spanned_backward(const Image& grad, const Image& x, const Span& span, const Window& w, const Image& grad_x,
                      const Span& grads) {
  SpannedBackward<T>(grad, x, span, w, grad_x, grads).run();
}
