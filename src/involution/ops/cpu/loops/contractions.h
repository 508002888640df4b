// The drivers with lanes over channels: they assign rows to loops and threads. A thread takes a range of neighbouring
// output rows and keeps the few input rows that they read, so a thread reads every row once.

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

  // `pixel` is set to the distance between the taps of two pixels.
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
void forward_row(const T* const* rows, const InputRows<T>& in, const Row<T>& kernel, const TapRegister<T>& taps,
                 const Loops<T>& loops, int64_t width, const Row<T>& y, int64_t ahead) {
  constexpr int L = lanes<T>;
  Scratch<const T*> shifted(in.w.kh);
  for_tiles(loops.forward, width, true, [&](int tile, int64_t j) {
    for (int64_t k = 0; k < blocks<T>(in.x.channels); ++k) {
      int64_t pixel;
      const T* at = taps.of(kernel, j, kTile[tile], k, pixel);
      for (int64_t u = 0; u < in.w.kh; ++u) shifted.data[u] = rows[u] + k * in.block() + j * in.w.stride_w * L;
      loops.forward[tile](shifted.data, at, pixel, ahead, in.w, y.at(k, j), y.pixel);
    }
  });
}

// Pixels `at`, `at` + scale, ... of an output row: one for each window.
template <class T>
inline Row<T> every(const Row<T>& row, int64_t at, int64_t scale) {
  return {row.at(0, at), row.block, row.pixel * scale};
}

template <class T>
void forward(const Image& all_x, const Image& all_kernels, const Window& all, const Image& all_y) {
  if (lanes_over_pixels<T>(all_x, all)) return forward_pixels<T>(all_x, all_kernels, all, all_y);
  const Division division(all_y, all, row_work<T>(all_y, all), lanes<T>);
  division.over_rows(all_y, [&](const Part& part, int64_t b, int64_t first, int64_t last) {
    const Image x = part.of(all_x), kernel = part.of(all_kernels), y = part.of(all_y);
    const Window w = part.of(all);
    InputRows<T> in(x, w, kernel.width, b);
    const TapRegister<T> taps(x, w);
    const Loops<T> loops = taps.loops();
    KernelRows<T> kernels(kernel, w);
    const PixelRow<T> out(y, true);
    for_output_rows(w, first, last, [&](int64_t i) {
      const T* const* rows = in.see(i / w.scale_h);
      for (int64_t at = 0; at < w.scale_w; ++at)
        forward_row(rows, in, kernels.read(b, i, at, last), taps, loops, kernel.width,
                    every(out.place(b, i), at, w.scale_w), taps.shared ? kernels.ahead() : 0);
      out.write(b, i);
    });
  });
}

template <class T>
void grad_x_row(T* const* rows, const GradientRows<T>& out, const Row<T>& kernel, const TapRegister<T>& taps,
                const Loops<T>& loops, int64_t width, const Row<T>& grad, int64_t ahead) {
  constexpr int L = lanes<T>;
  Scratch<T*> shifted(out.w.kh);
  for_tiles(loops.grad_x, width, false, [&](int tile, int64_t j) {
    for (int64_t k = 0; k < blocks<T>(out.grad_x.channels); ++k) {
      int64_t pixel;
      const T* at = taps.of(kernel, j, kTile[tile], k, pixel);
      for (int64_t u = 0; u < out.w.kh; ++u)
        shifted.data[u] = rows[u] ? rows[u] + k * out.block() + j * out.w.stride_w * L : nullptr;
      loops.grad_x[tile](shifted.data, at, pixel, ahead, out.w, grad.at(k, j), grad.pixel);
    }
  });
}

template <class T>
void grad_x(const Image& all_grads, const Image& all_kernels, const Window& all, const Image& all_grad_x) {
  if (lanes_over_pixels<T>(all_grad_x, all)) return grad_x_pixels<T>(all_grads, all_kernels, all, all_grad_x);
  const Division division(all_grad_x, all, row_work<T>(all_grad_x, all) * all.scale_h * all.scale_w, lanes<T>);
  division.over_rows(all_grad_x, [&](const Part& part, int64_t b, int64_t first, int64_t last) {
    const Image grad = part.of(all_grads), kernel = part.of(all_kernels), grad_x = part.of(all_grad_x);
    const Window w = part.of(all);
    GradientRows<T> out(grad_x, w, kernel.width, b, first, last);
    const TapRegister<T> taps(grad_x, w);
    const Loops<T> loops = taps.loops();
    KernelRows<T> kernels(kernel, w);
    const PixelRow<T> grads(grad, true);
    const int64_t end = out.end(kernel.height) * w.scale_h;
    for_output_rows(w, out.begin() * w.scale_h, end, [&](int64_t i) {
      T* const* rows = out.open(i / w.scale_h);
      const Row<T> row = grads.read(b, i);
      for (int64_t at = 0; at < w.scale_w; ++at)
        grad_x_row(rows, out, kernels.read(b, i, at, end), taps, loops, kernel.width, every(row, at, w.scale_w),
                   taps.shared ? kernels.ahead() : 0);
    });
    out.finish();
  });
}

// The gradient of one row of kernels.
template <class T>
void grad_kernel_row(const T* const* rows, const InputRows<T>& in, const Row<T>& grad, int64_t width,
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
      grad_kernel_lanes(columns.data, offset, in.block(), grad.at(0, j), grad.block, in.x.channels, group_channels,
                        w.taps(), kernel.at(0, j));
    else
      for (int64_t g = 0; g < w.groups; ++g)
        grad_kernel_pixel(columns.data, offset + g * count * in.block(), in.block(), grad.at(g * count, j), grad.block,
                          count, w.taps(), kernel.at(0, j) + g * w.taps());
  }
}

template <class T>
void grad_kernel(const Image& all_grads, const Image& all_x, const Window& all, const Image& all_grad_kernels) {
  if (lanes_over_pixels<T>(all_x, all)) return grad_kernel_pixels<T>(all_grads, all_x, all, all_grad_kernels);
  const Division division(all_grads, all, row_work<T>(all_grads, all), lanes<T>);
  division.over_rows(all_grads, [&](const Part& part, int64_t b, int64_t first, int64_t last) {
    const Image grad = part.of(all_grads), x = part.of(all_x), grad_kernel = part.of(all_grad_kernels);
    const Window w = part.of(all);
    InputRows<T> in(x, w, grad_kernel.width, b);
    const PixelRow<T> grads(grad, true), out(grad_kernel, false);
    for_output_rows(w, first, last, [&](int64_t i) {
      const T* const* rows = in.see(i / w.scale_h);
      const Row<T> row = grads.read(b, i);
      const int64_t h = i / w.scale_h, at_h = i % w.scale_h;
      for (int64_t at = 0; at < w.scale_w; ++at) {
        grad_kernel_row(rows, in, every(row, at, w.scale_w), grad_kernel.width, out.place(b, h, at_h, at));
        out.write(b, h, at_h, at);
      }
    });
  });
}
