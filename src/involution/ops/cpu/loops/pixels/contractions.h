// The drivers with lanes over pixels.

// Multiply-adds of a register for one group of a row of windows, `map` being what has their channels.
template <class T>
inline int64_t group_work(const Image& map, const Window& w) {
  return ceil_div(map.width, lanes<T>) * (map.channels / w.groups + 1) * w.taps();
}

// f(group, b, first row, last row + 1) for the ranges of rows of `image` of one thread
template <class T, class F>
void over_groups(const Image& image, const Window& w, int64_t rows_of_windows, const F& f) {
  Division division(w.groups, 1, 1);
  division.parts = w.groups;
  division.grain = kWorthwhile / (product(group_work<T>(image, w), rows_of_windows) + 1) + 1;
  division.over_rows(image, [&](const Part& part, int64_t b, int64_t first, int64_t last) { f(part.index, b, first, last); });
}

// f(first, last + 1) for the ranges of groups and images of one thread, where the maps of a group are small: number i is
// group i / batch of image i % batch.
template <class T, class F>
void over_small_maps(const Image& map, const Window& w, const F& f) {
  Division::for_ranges(product(w.groups, map.batch), kWorthwhile / (group_work<T>(as_line(map), w) + 1) + 1, f);
}

// The contractions that read x: `work` computes the map from the kernels (`to_map`), or the kernels from the map.
template <class T, class Work>
void read_pixels(const Image& x, const Image& map, const Image& kernel, const Window& w, bool to_map, const Work& work) {
  if (is_small(x, w, map, kernel))
    return over_small_maps<T>(map, w, [&](int64_t begin, int64_t end) {
      const SmallWindow<T> window(w, x.width, map.height, 1);
      Groups groups(x, w);
      const SmallMaps<T> maps(groups[0], window);
      GroupRows<T> rows(w, 0, as_line(map), as_line(kernel));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t g = i / x.batch, b = i - g * x.batch;
        maps.read(groups[g], b);
        rows.select(g);
        rows.over_pixels(row_of(window, maps), b, 0, 1, !to_map, to_map, work);
      }
    });
  const int64_t together = together_in(kernel, w);
  over_groups<T>(map, w, 1, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    const Image from = group_of(x, w, g);
    InputRows<T, Planes<T>> in(from, w, kernel.width, b, together);
    GroupRows<T> rows(w, g, map, kernel, together);
    for_bands(w, together, first, last, [&](int64_t i, int64_t count) {
      T* const* const seen = const_cast<T* const*>(in.see(i / w.scale_h, count));
      rows.over_pixels(row_of(in.layout, seen), b, i, count, !to_map, to_map, work);
    });
  });
}

template <class T>
void forward_pixels(const Image& x, const Image& kernel, const Window& w, const Image& y) {
  read_pixels<T>(x, y, kernel, w, true, forward_group<T>);
}

template <class T>
void grad_kernel_pixels(const Image& grad, const Image& x, const Window& w, const Image& grad_kernel) {
  read_pixels<T>(x, grad, grad_kernel, w, false, grad_kernel_group<T>);
}

template <class T>
void grad_x_pixels(const Image& grad, const Image& kernel, const Window& w, const Image& grad_x) {
  if (is_small(grad_x, w, grad, kernel))
    return over_small_maps<T>(grad, w, [&](int64_t begin, int64_t end) {
      const SmallWindow<T> window(w, grad.width, grad_x.height, -1);
      Groups given(grad, w), wanted(as_line(grad_x), w);
      const SmallMaps<T> grads(given[0], window), kernels(kernel.slice(0, w.taps()), window);
      const Lines<T> out(wanted[0], wanted[0].width, 1);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t g = i / grad.batch, b = i - g * grad.batch;
        const Image& to = wanted[g];
        grads.read(given[g], b);
        kernels.read(kernel.slice(g * w.taps(), w.taps()), b);
        WindowRow<T> row = row_of(window, grads);
        row.taps = kernels.rows.data[0], row.tap = kernels.channel;
        row.map = out.place(to, b, 0), row.map_channel = out.channel();
        grad_x_small_group(row, w.kh, to.channels, out.line);
        out.write(to, b, 0);
      }
    });
  over_groups<T>(grad_x, w, w.scale_h * w.scale_w, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    const Image to = group_of(grad_x, w, g);
    GradientRows<T, Planes<T>> out(to, w, kernel.width, b, first, last);
    GroupRows<T> rows(w, g, grad, kernel);
    for_output_rows(w, out.begin() * w.scale_h, out.end(kernel.height) * w.scale_h, [&](int64_t i) {
      rows.over_pixels(row_of(out.layout, out.open(i / w.scale_h)), b, i, 1, true, true, grad_x_group<T>);
    });
    out.finish();
  });
}
