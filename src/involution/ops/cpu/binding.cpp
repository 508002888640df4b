// The operators of schema.py for CPU tensors: shapes are checked once more, because what follows writes to memory.
#define TORCH_TARGET_VERSION (((0ULL + 2) << 56) | ((0ULL + 11) << 48))
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/shim_utils.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

#include "image.h"

namespace involution {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Ints = std::vector<int64_t>;

int64_t thread_count() { return torch::stable::get_num_threads(); }

void parallel_for(int64_t count, int64_t grain, void (*work)(void*, int64_t, int64_t), void* context) {
  if (count > 0)
    torch::stable::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) { work(context, begin, end); });
}

namespace {

// The best instruction set of this processor; INVOLUTION_CPU names another one, for tests.
const InstructionSet& chosen() {
  static const InstructionSet* const best = [] {
    const char* wanted = std::getenv("INVOLUTION_CPU");
    const auto allowed = [&](const InstructionSet& set) { return !wanted || !std::strcmp(wanted, set.name); };
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

Dtype dtype(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return Dtype::float32;
    case ScalarType::Double: return Dtype::float64;
    case ScalarType::BFloat16: return Dtype::bfloat16;
    case ScalarType::Half: return Dtype::float16;
    default: STD_TORCH_CHECK(false, "involution: expected float32, float64, bfloat16 or float16"); return {};
  }
}

void check_like(const Tensor& tensor, const Tensor& like) {
  STD_TORCH_CHECK(tensor.scalar_type() == like.scalar_type(), "involution: dtypes differ");
  STD_TORCH_CHECK(tensor.is_cpu(), "involution: expected CPU tensors");
}

Image image(const Tensor& t) {
  STD_TORCH_CHECK(t.dim() == 4, "involution: expected a tensor of 4 dimensions");
  return {t.data_ptr(), dtype(t),    t.size(0),   t.size(1),   t.size(2),
          t.size(3),    t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
}

// [B, G, Kh, Kw, Ho, Wo] with groups and taps at equal distances, as contiguous and channels-last tensors have them;
// others are copied into `owner`.
Image kernel_image(const Tensor& t, Tensor& owner) {
  STD_TORCH_CHECK(t.dim() == 6, "involution: expected a kernel of 6 dimensions");
  owner = t;
  int64_t tap = 1;
  bool regular = true;
  for (int64_t d = 3, distance = 0; d >= 1; --d) {
    if (t.size(d) == 1) continue;
    if (!distance) tap = distance = t.stride(d);
    regular = regular && t.stride(d) == distance;
    distance *= t.size(d);
  }
  if (!regular) {
    owner = torch::stable::new_empty(t, t.sizes());
    torch::stable::copy_(owner, t);
    tap = owner.stride(3);
  }
  return {owner.data_ptr(), dtype(t),  t.size(0),       t.size(1) * t.size(2) * t.size(3), t.size(4), t.size(5),
          owner.stride(0),  tap,       owner.stride(4), owner.stride(5)};
}

Tensor empty_strided(const Tensor& like, const Ints& sizes, const Ints& strides) {
  int32_t scalar_type;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &scalar_type));
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      sizes.size(), sizes.data(), strides.data(), scalar_type, aoti_torch_device_type_cpu(), 0, &handle));
  return Tensor(handle);
}

// [B, *channels, H, W], channels last if those of `like` lie densest: the rule of schema.py.
Tensor empty(const Tensor& like, const Ints& sizes) {
  const bool channels_last = like.stride(1) == 1 && !like.is_contiguous();
  const size_t rank = sizes.size();
  std::vector<size_t> order;  // dimensions from the outermost in memory to the innermost
  order.push_back(0);
  if (channels_last) order.insert(order.end(), {rank - 2, rank - 1});
  for (size_t d = 1; d < rank - 2; ++d) order.push_back(d);
  if (!channels_last) order.insert(order.end(), {rank - 2, rank - 1});
  Ints strides(rank);
  int64_t distance = 1;
  for (size_t k = rank; k-- > 0;) {
    strides[order[k]] = distance;
    distance *= sizes[order[k]] > 1 ? sizes[order[k]] : 1;
  }
  return empty_strided(like, sizes, strides);
}

Window window(int64_t channels, int64_t groups, const Ints& taps, const Ints& stride, const Ints& padding,
              const Ints& dilation) {
  for (const Ints* pair : {&taps, &stride, &padding, &dilation})
    STD_TORCH_CHECK(pair->size() == 2, "involution: expected pairs");
  STD_TORCH_CHECK(groups > 0 && channels % groups == 0, "involution: groups must divide the channels");
  STD_TORCH_CHECK(taps[0] > 0 && taps[1] > 0 && stride[0] > 0 && stride[1] > 0 && padding[0] >= 0 && padding[1] >= 0 &&
                      dilation[0] > 0 && dilation[1] > 0,
                  "involution: window, stride and dilation must be positive");
  return {groups, taps[0], taps[1], stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1]};
}

Tensor involution2d(const Tensor& x, const Tensor& kernel, const Ints stride, const Ints padding, const Ints dilation) {
  check_like(kernel, x);
  Tensor owner;
  const Image from = image(x), taps = kernel_image(kernel, owner);
  const Window w = window(from.channels, kernel.size(1), {kernel.size(2), kernel.size(3)}, stride, padding, dilation);
  STD_TORCH_CHECK(taps.batch == from.batch, "involution: batch sizes differ");
  const Tensor y = empty(x, {from.batch, from.channels, taps.height, taps.width});
  if (y.numel()) chosen().forward(from, taps, w, image(y));
  return y;
}

Tensor involution2d_grad_x(const Tensor& grad, const Tensor& kernel, const Ints size, const Ints stride,
                           const Ints padding, const Ints dilation) {
  check_like(kernel, grad);
  Tensor owner;
  const Image from = image(grad), taps = kernel_image(kernel, owner);
  const Window w = window(from.channels, kernel.size(1), {kernel.size(2), kernel.size(3)}, stride, padding, dilation);
  STD_TORCH_CHECK(taps.batch == from.batch && taps.height == from.height && taps.width == from.width && size.size() == 2,
                  "involution: kernel and gradient differ in batch or size");
  const Tensor grad_x = empty(grad, {from.batch, from.channels, size[0], size[1]});
  if (grad_x.numel()) chosen().grad_x(from, taps, w, image(grad_x));
  return grad_x;
}

Tensor involution2d_grad_kernel(const Tensor& grad, const Tensor& x, int64_t groups, const Ints taps, const Ints stride,
                                const Ints padding, const Ints dilation) {
  check_like(x, grad);
  const Image from = image(grad), seen = image(x);
  const Window w = window(from.channels, groups, taps, stride, padding, dilation);
  STD_TORCH_CHECK(seen.batch == from.batch && seen.channels == from.channels, "involution: x and gradient differ");
  const Tensor grad_kernel = empty(grad, {from.batch, groups, w.kh, w.kw, from.height, from.width});
  Tensor owner;
  if (grad_kernel.numel()) chosen().grad_kernel(from, seen, w, kernel_image(grad_kernel, owner));
  return grad_kernel;
}

// [G·Kh·Kw, R] and [G·Kh·Kw] as images of one row, the channels of which are the taps.
Span span_of(const Tensor& reduced, const Tensor& weight, const std::optional<Tensor>& bias, const Window& w) {
  const Image features = image(reduced);
  const int64_t taps = w.groups * w.taps();
  STD_TORCH_CHECK(weight.dim() == 2 && weight.size(0) == taps && weight.size(1) == features.channels,
                  "involution: expected a weight of [G*Kh*Kw, R]");
  const Dtype type = dtype(weight);
  Image offset{nullptr, type, 1, taps, 1, 1, 0, 1, 0, 0};
  if (bias) {
    STD_TORCH_CHECK(bias->dim() == 1 && bias->size(0) == taps, "involution: expected a bias of [G*Kh*Kw]");
    offset.data = bias->data_ptr();
    offset.stride_c = bias->stride(0);
  }
  return {features, {weight.data_ptr(), type, 1, taps, 1, features.channels, 0, weight.stride(0), 0, weight.stride(1)},
          offset};
}

void check_spanned(const Tensor& x, const Tensor& reduced, const Tensor& weight, const std::optional<Tensor>& bias) {
  check_like(reduced, x);
  check_like(weight, x);
  if (bias) check_like(*bias, x);
  STD_TORCH_CHECK(reduced.size(0) == x.size(0), "involution: batch sizes differ");
}

Tensor involution2d_spanned(const Tensor& x, const Tensor& reduced, const Tensor& weight,
                            const std::optional<Tensor> bias, int64_t groups, const Ints taps, const Ints stride,
                            const Ints padding, const Ints dilation) {
  check_spanned(x, reduced, weight, bias);
  const Image from = image(x);
  const Window w = window(from.channels, groups, taps, stride, padding, dilation);
  const Span span = span_of(reduced, weight, bias, w);
  const Tensor y = empty(x, {from.batch, from.channels, span.reduced.height, span.reduced.width});
  if (y.numel()) chosen().spanned(from, span, w, image(y));
  return y;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> involution2d_spanned_backward(
    const Tensor& grad, const Tensor& x, const Tensor& reduced, const Tensor& weight, const std::optional<Tensor> bias,
    int64_t groups, const Ints taps, const Ints stride, const Ints padding, const Ints dilation,
    const std::vector<bool> output_mask) {
  STD_TORCH_CHECK(output_mask.size() == 4, "output_mask: expected 4 values, got ", output_mask.size());
  check_spanned(x, reduced, weight, bias);
  check_like(grad, x);
  const Image from = image(x), outer = image(grad);
  const Window w = window(from.channels, groups, taps, stride, padding, dilation);
  const Span span = span_of(reduced, weight, bias, w);
  STD_TORCH_CHECK(outer.batch == from.batch && outer.channels == from.channels && outer.height == span.reduced.height &&
                      outer.width == span.reduced.width,
                  "involution: reduced features and gradient differ in batch or size");
  const Tensor grad_x = empty(x, {from.batch, from.channels, from.height, from.width});
  const Tensor grad_reduced =
      empty(reduced, {from.batch, span.reduced.channels, span.reduced.height, span.reduced.width});
  const int64_t rows = groups * w.taps();
  Tensor grad_weight = empty_strided(weight, {rows, span.reduced.channels}, {span.reduced.channels, 1});
  Tensor grad_bias = empty_strided(weight, {bias ? rows : 0}, {1});
  if (grad.numel() && from.height && from.width) {
    const Span grads = span_of(grad_reduced, grad_weight, bias ? std::optional(grad_bias) : std::nullopt, w);
    chosen().spanned_backward(outer, from, span, w, image(grad_x), grads);
  } else {
    torch::stable::zero_(grad_weight);
    torch::stable::zero_(grad_bias);
  }
  const Tensor none = empty_strided(x, {0}, {1});
  return {output_mask[0] ? grad_x : none, output_mask[1] ? grad_reduced : none, output_mask[2] ? grad_weight : none,
          output_mask[3] ? grad_bias : none};
}

// Which of the sets runs: 0 baseline, 1 avx2, 2 avx512.
int64_t instruction_set() {
  const char* name = chosen().name;
  return !std::strcmp(name, "avx512") ? 2 : !std::strcmp(name, "avx2") ? 1 : 0;
}

}  // namespace
}  // namespace involution

STABLE_TORCH_LIBRARY_FRAGMENT(involution, library) { library.def("cpu_instruction_set() -> int"); }

STABLE_TORCH_LIBRARY_IMPL(involution, CompositeExplicitAutograd, library) {
  library.impl("cpu_instruction_set", TORCH_BOX(&involution::instruction_set));
}

STABLE_TORCH_LIBRARY_IMPL(involution, CPU, library) {
  library.impl("involution2d", TORCH_BOX(&involution::involution2d));
  library.impl("involution2d_grad_x", TORCH_BOX(&involution::involution2d_grad_x));
  library.impl("involution2d_grad_kernel", TORCH_BOX(&involution::involution2d_grad_kernel));
  library.impl("involution2d_spanned", TORCH_BOX(&involution::involution2d_spanned));
  library.impl("involution2d_spanned_backward", TORCH_BOX(&involution::involution2d_spanned_backward));
}
