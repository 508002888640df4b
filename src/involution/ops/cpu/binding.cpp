// Definition of the operators, and all but `bottleneck` for CPU tensors: check the shapes again, allocate the outputs and
// call the loops.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <tuple>

#include "arguments.h"

namespace involution {

int64_t thread_count() { return torch::stable::get_num_threads(); }

void parallel_for(int64_t count, int64_t grain, void (*work)(void*, int64_t, int64_t), void* context) {
  if (count <= 0) return;
  std::atomic<int64_t> missing{0};  // no exception may leave a thread
  torch::stable::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    try {
      work(context, begin, end);
    } catch (const OutOfMemory& error) {
      missing = error.bytes;
    }
  });
  if (missing) throw OutOfMemory{missing};
}

// The best instruction set of this processor; INVOLUTION_CPU names another one, for tests.
const InstructionSet& chosen() {
  static const InstructionSet* const best = [] {
    const char* wanted = std::getenv("INVOLUTION_CPU");
    // "avx512_bf16" and "amx" are extensions of avx512, see bottleneck/binding.cpp.
    const auto allowed = [&](const InstructionSet& set) {
      return !wanted || !*wanted || !std::strcmp(wanted, set.name) ||
             (&set == &avx512 && (!std::strcmp(wanted, "avx512_bf16") || !std::strcmp(wanted, "amx")));
    };
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (allowed(avx512) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
      return &avx512;
    if (allowed(avx2) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &avx2;
#endif
    return &baseline;
  }();
  return *best;
}

namespace {

// The properties of an involution that the axes of its arguments state: scale and interleaved groups.
Window with_axes(Window w, const Tensor& map, const Tensor& output, int64_t first) {
  if (output.dim() - first == 4) w.scale_h = output.size(first + 1), w.scale_w = output.size(first + 3);
  check(w.scale_h > 0 && w.scale_w > 0, "scale: expected at least 1, got ", w.scale_h, " and ", w.scale_w);
  if (lead(map) == 3) {
    check(map.size(2) == w.groups, "kernel: expected the ", map.size(2), " interleaved groups of the map, got ", w.groups);
    w.interleaved = w.groups > 1 && map.size(1) > 1;
  }
  return w;
}

// The sizes of `head`, up to `axes` of them, and those of `tail` from axis `first` on.
Ints joined(const Tensor& head, int64_t axes, const Tensor& tail, int64_t first) {
  Ints sizes(head.sizes().begin(), head.sizes().begin() + axes);
  sizes.insert(sizes.end(), tail.sizes().begin() + first, tail.sizes().end());
  return sizes;
}

void check_output(const char* name, const Tensor& map, const Tensor& kernel) {
  const int64_t first = lead(map);
  bool equal = map.size(0) == kernel.size(0) && map.dim() - first == kernel.dim() - 4;
  for (int64_t d = 4; equal && d < kernel.dim(); ++d) equal = kernel.size(d) == map.size(first + d - 4);
  check(equal, "kernel: expected the batch size, rows and columns of ", name, ", ", Shape(map), ", got shape ",
        Shape(kernel));
}

Tensor aggregate(const Tensor& x, const Tensor& kernel, const Ints& stride, const Ints& padding, const Ints& dilation,
                 bool softmax) {
  check_like("kernel", kernel, "x", x);
  Tensor x_owner, kernel_owner, y_owner;
  const Image from = feature_map("x", x, x_owner), taps = kernel_image(kernel, kernel_owner);
  check(x.dim() - lead(x) == 2, "x: expected [B, C, H, W], got shape ", Shape(x));
  Window w = with_axes(
      window(from.channels, kernel.size(1), {kernel.size(2), kernel.size(3)}, stride, padding, dilation), x, kernel, 4);
  w.softmax = softmax;
  check(taps.batch == from.batch, "kernel: expected the batch size of x, ", from.batch, ", got ", taps.batch);
  const Tensor y = empty(x, joined(x, lead(x), kernel, 4), kernel.dim() - 4);
  if (y.numel())
    run([&](const InstructionSet& set) { set.forward(from, taps, w, feature_map("y", y, y_owner)); });
  return y;
}

Tensor involution2d(const Tensor& x, const Tensor& kernel, const Ints stride, const Ints padding, const Ints dilation) {
  return aggregate(x, kernel, stride, padding, dilation, false);
}

Tensor involution2d_softmax(const Tensor& x, const Tensor& scores, const Ints stride, const Ints padding,
                            const Ints dilation) {
  return aggregate(x, scores, stride, padding, dilation, true);
}

// `involution2d` of interleaved groups with few arguments: small maps take less time than the conversion of more.
Tensor ska(const Tensor& x, const Tensor& w) {
  check_like("w", w, "x", x);
  check(w.dim() == 5, "w: expected [B, G, K*K, H, W], got shape ", Shape(w));
  const int64_t channels = x.dim() == 4 ? x.size(1) : 0, groups = w.size(1), taps = w.size(2);
  int64_t side = 1;
  while (side * side < taps && side * side < kLargest) ++side;
  check(side * side == taps, "w: expected a square number of taps, K*K, got ", taps);
  check(groups > 0 && channels % groups == 0, "w: expected groups G that divide the ", channels,
        " channels of x, got G = ", groups);
  Tensor owner;
  const Image from = image("x", x), kernel = kernel_image(w, owner, 3);
  check(kernel.batch == from.batch && kernel.height == from.height && kernel.width == from.width,
        "w: expected the batch size, rows and columns of x, ", Shape(x), ", got shape ", Shape(w));
  const int64_t front = (side - 1) / 2;
  Window window{groups, side, side, 1, 1, front, front, 1, 1};
  window.interleaved = groups > 1 && channels > groups;
  const Tensor y = empty(x, {x.sizes().begin(), x.sizes().end()});
  if (y.numel()) run([&](const InstructionSet& set) { set.forward(from, kernel, window, image("y", y)); });
  return y;
}

Tensor involution2d_grad_x(const Tensor& grad, const Tensor& kernel, const Ints size, const Ints stride,
                           const Ints padding, const Ints dilation) {
  check_like("kernel", kernel, "grad", grad);
  Tensor grad_owner, kernel_owner, x_owner;
  const Image from = feature_map("grad", grad, grad_owner), taps = kernel_image(kernel, kernel_owner);
  const Window w = with_axes(
      window(from.channels, kernel.size(1), {kernel.size(2), kernel.size(3)}, stride, padding, dilation), grad, kernel, 4);
  check_output("grad", grad, kernel);
  check(size.size() == 2 && size[0] >= 0 && size[1] >= 0, "size: expected the rows and columns of x");
  Ints sizes(grad.sizes().begin(), grad.sizes().begin() + lead(grad));
  sizes.insert(sizes.end(), size.begin(), size.end());
  Tensor grad_x = empty(grad, sizes);
  if (!from.height || !from.width) torch::stable::zero_(grad_x);
  else if (grad_x.numel())
    run([&](const InstructionSet& set) { set.grad_x(from, taps, w, feature_map("grad_x", grad_x, x_owner)); });
  return grad_x;
}

Tensor involution2d_grad_kernel(const Tensor& grad, const Tensor& x, int64_t groups, const Ints taps, const Ints stride,
                                const Ints padding, const Ints dilation) {
  check_like("x", x, "grad", grad);
  Tensor grad_owner, x_owner, kernel_owner;
  const Image from = feature_map("grad", grad, grad_owner), seen = feature_map("x", x, x_owner);
  const Window w = with_axes(window(from.channels, groups, taps, stride, padding, dilation), grad, grad, lead(grad));
  check(seen.batch == from.batch && seen.channels == from.channels && lead(x) == lead(grad) && x.dim() - lead(x) == 2,
        "x: expected the batch size and channels of grad, ", Shape(grad), ", got shape ", Shape(x));
  Ints sizes{from.batch, groups, w.kh, w.kw};
  sizes.insert(sizes.end(), grad.sizes().begin() + lead(grad), grad.sizes().end());
  Tensor grad_kernel = empty(grad, sizes, grad.dim() - lead(grad));
  if (!from.channels) torch::stable::zero_(grad_kernel);
  else if (grad_kernel.numel())
    run([&](const InstructionSet& set) { set.grad_kernel(from, seen, w, kernel_image(grad_kernel, kernel_owner)); });
  return grad_kernel;
}

Span checked_span(const Tensor& x, const Tensor& reduced, const Tensor& weight, const MaybeTensor& bias,
                  const Window& w) {
  check_like("reduced", reduced, "x", x);
  check_like("weight", weight, "x", x);
  if (bias) check_like("bias", *bias, "x", x);
  const Span span = span_of(reduced, weight, bias, w);
  check(span.reduced.batch == x.size(0), "reduced: expected the batch size of x, ", x.size(0), ", got ",
        span.reduced.batch);
  return span;
}

Tensor involution2d_spanned(const Tensor& x, const Tensor& reduced, const Tensor& weight, const MaybeTensor bias,
                            int64_t groups, const Ints taps, const Ints stride, const Ints padding,
                            const Ints dilation) {
  const Image from = image("x", x);
  const Window w = window(from.channels, groups, taps, stride, padding, dilation);
  const Span span = checked_span(x, reduced, weight, bias, w);
  const Tensor y = empty(x, {from.batch, from.channels, span.reduced.height, span.reduced.width});
  if (y.numel()) run([&](const InstructionSet& set) { set.spanned(from, span, w, image("y", y)); });
  return y;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> involution2d_spanned_backward(
    const Tensor& grad, const Tensor& x, const Tensor& reduced, const Tensor& weight, const MaybeTensor bias,
    int64_t groups, const Ints taps, const Ints stride, const Ints padding, const Ints dilation,
    const std::vector<bool> output_mask) {
  check(output_mask.size() == 4, "output_mask: expected 4 values, got ", output_mask.size());
  check_like("grad", grad, "x", x);
  const Image from = image("x", x), outer = image("grad", grad);
  const Window w = window(from.channels, groups, taps, stride, padding, dilation);
  const Span span = checked_span(x, reduced, weight, bias, w);
  check(outer.batch == from.batch && outer.channels == from.channels && outer.height == span.reduced.height &&
            outer.width == span.reduced.width,
        "grad: expected the batch size and channels of x and the rows and columns of reduced, got shape ", Shape(grad));
  const Tensor none = empty_strided(x, {0}, {1});
  Tensor grad_x = output_mask[0] ? empty(x, {from.batch, from.channels, from.height, from.width}) : none;
  Tensor grad_reduced = output_mask[1] ? empty(reduced, {from.batch, span.reduced.channels, outer.height, outer.width})
                                       : none;
  const int64_t rows = w.groups * w.taps(), depth = span.reduced.channels;
  Tensor grad_weight = output_mask[2] ? empty_strided(weight, {rows, depth}, {depth, 1}) : none;
  Tensor grad_bias = output_mask[3] && bias ? empty_strided(weight, {rows}, {1}) : none;
  if (!grad.numel() || !x.numel()) {
    for (Tensor* gradient : {&grad_x, &grad_reduced, &grad_weight, &grad_bias}) torch::stable::zero_(*gradient);
    return {grad_x, grad_reduced, grad_weight, grad_bias};
  }
  // Outputs that are not requested have no data.
  Image for_x = from;
  Span grads = span;
  for_x.data = grads.reduced.data = grads.weight.data = nullptr;
  if (output_mask[0]) for_x = image("grad_x", grad_x);
  if (output_mask[1]) grads.reduced = image("grad_reduced", grad_reduced);
  if (output_mask[2]) grads.weight.data = grad_weight.data_ptr(), grads.weight.stride_c = depth, grads.weight.stride_w = 1;
  grads.bias.data = output_mask[3] && bias ? grad_bias.data_ptr() : nullptr;
  grads.bias.stride_c = 1;
  run([&](const InstructionSet& set) { set.spanned_backward(outer, from, span, w, for_x, grads); });
  return {grad_x, grad_reduced, grad_weight, grad_bias};
}

// Which of the sets runs: 0 baseline, 1 avx2, 2 avx512.
int64_t instruction_set() {
  const char* name = chosen().name;
  return !std::strcmp(name, "avx512") ? 2 : !std::strcmp(name, "avx2") ? 1 : 0;
}

}  // namespace
}  // namespace involution

STABLE_TORCH_LIBRARY_FRAGMENT(involution, library) {
  library.def("cpu_instruction_set() -> int");
  for (const char* signature : {INVOLUTION_SIGNATURES}) library.def(signature);  // of signatures.py, by setup.py
}

STABLE_TORCH_LIBRARY_IMPL(involution, CompositeExplicitAutograd, library) {
  library.impl("cpu_instruction_set", TORCH_BOX(&involution::instruction_set));
}

STABLE_TORCH_LIBRARY_IMPL(involution, CPU, library) {
  library.impl("involution2d", TORCH_BOX(&involution::involution2d));
  library.impl("involution2d_softmax", TORCH_BOX(&involution::involution2d_softmax));
  library.impl("ska", TORCH_BOX(&involution::ska));
  library.impl("involution2d_grad_x", TORCH_BOX(&involution::involution2d_grad_x));
  library.impl("involution2d_grad_kernel", TORCH_BOX(&involution::involution2d_grad_kernel));
  library.impl("involution2d_spanned", TORCH_BOX(&involution::involution2d_spanned));
  library.impl("involution2d_spanned_backward", TORCH_BOX(&involution::involution2d_spanned_backward));
}
