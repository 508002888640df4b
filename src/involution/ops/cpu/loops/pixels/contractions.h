// The drivers with lanes over pixels.

// f(group, b, first row, last row + 1) for the ranges of rows of `image` of one thread
template <class T, class F>
void over_groups(const Image& image, const Window& w, int64_t rows_of_windows, const F& f) {
  Division division(w.groups, 1, 1);
  division.parts = w.groups;
  const int64_t registers = ceil_div(image.width, lanes<T>) * (image.channels / w.groups + 1) * w.taps();
  division.grain = kWorthwhile / (product(registers, rows_of_windows) + 1) + 1;
  division.over_rows(image, [&](const Part& part, int64_t b, int64_t first, int64_t last) { f(part.index, b, first, last); });
}

template <class T>
void forward_pixels(const Image& x, const Image& kernel, const Window& w, const Image& y) {
  if (ShiftedMaps<T>::serves(x, w, y, kernel)) {
    const Image line = as_line(y), taps = as_line(kernel);
    return over_groups<T>(line, w, 1, [&](int64_t g, int64_t b, int64_t, int64_t) {
      ShiftedMaps<T> maps(group_of(x, w, g), w, y);
      maps.read(b);
      GroupRows<T>(w, g, line, taps).over_pixels(maps.at.data, maps, b, 0, false, true, forward_group<T>);
    });
  }
  over_groups<T>(y, w, 1, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    const Image from = group_of(x, w, g);
    InputRows<T, Planes<T>> in(from, w, kernel.width);
    GroupRows<T> rows(w, g, y, kernel);
    for_output_rows(w, first, last, [&](int64_t i) {
      rows.over_pixels(const_cast<T* const*>(in.see(b, i / w.scale_h)), in.layout, b, i, false, true, forward_group<T>);
    });
  });
}

template <class T>
void grad_x_pixels(const Image& grad, const Image& kernel, const Window& w, const Image& grad_x) {
  if (ShiftedMaps<T>::serves(grad_x, w, grad, kernel)) {
    const Image line = as_line(grad), taps = as_line(kernel);
    return over_groups<T>(line, w, 1, [&](int64_t g, int64_t b, int64_t, int64_t) {
      ShiftedMaps<T> maps(group_of(grad_x, w, g), w, grad);
      GroupRows<T>(w, g, line, taps).over_pixels(maps.at.data, maps, b, 0, true, true, grad_x_group<T>);
      maps.write(b);
    });
  }
  over_groups<T>(grad_x, w, w.scale_h * w.scale_w, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    const Image to = group_of(grad_x, w, g);
    GradientRows<T, Planes<T>> out(to, w, kernel.width, b, first, last);
    GroupRows<T> rows(w, g, grad, kernel);
    for_output_rows(w, out.begin() * w.scale_h, out.end(kernel.height) * w.scale_h, [&](int64_t i) {
      rows.over_pixels(out.open(i / w.scale_h), out.layout, b, i, true, true, grad_x_group<T>);
    });
    out.finish();
  });
}

template <class T>
void grad_kernel_pixels(const Image& grad, const Image& x, const Window& w, const Image& grad_kernel) {
  if (ShiftedMaps<T>::serves(x, w, grad, grad_kernel)) {
    const Image line = as_line(grad), taps = as_line(grad_kernel);
    return over_groups<T>(line, w, 1, [&](int64_t g, int64_t b, int64_t, int64_t) {
      ShiftedMaps<T> maps(group_of(x, w, g), w, grad);
      maps.read(b);
      GroupRows<T>(w, g, line, taps).over_pixels(maps.at.data, maps, b, 0, true, false, grad_kernel_group<T>);
    });
  }
  over_groups<T>(grad, w, 1, [&](int64_t g, int64_t b, int64_t first, int64_t last) {
    const Image from = group_of(x, w, g);
    InputRows<T, Planes<T>> in(from, w, grad_kernel.width);
    GroupRows<T> rows(w, g, grad, grad_kernel);
    for_output_rows(w, first, last, [&](int64_t i) {
      rows.over_pixels(const_cast<T* const*>(in.see(b, i / w.scale_h)), in.layout, b, i, true, false,
                       grad_kernel_group<T>);
    });
  });
}
