// Tensors of PyTorch as images. The loops write to memory, so every argument is checked.
#pragma once
#define TORCH_TARGET_VERSION (((0ULL + 2) << 56) | ((0ULL + 11) << 48))
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/shim_utils.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <optional>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "image.h"

namespace involution {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;
using Ints = std::vector<int64_t>;

template <class... Words>
void check(bool condition, const Words&... words) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << words);
  throw std::runtime_error(message.str());
}

// Sizes as PyTorch prints them: a view, because checks that succeed are given one too.
struct Shape {
  torch::headeronly::IntHeaderOnlyArrayRef sizes;
  explicit Shape(const Ints& sizes) : sizes(sizes) {}
  explicit Shape(const Tensor& tensor) : sizes(tensor.sizes()) {}
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    for (size_t d = 0; d < shape.sizes.size(); ++d) out << (d ? ", " : "[") << shape.sizes[d];
    return out << (shape.sizes.empty() ? "[]" : "]");
  }
};

Dtype dtype(const char* name, const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return Dtype::float32;
    case ScalarType::Double: return Dtype::float64;
    case ScalarType::BFloat16: return Dtype::bfloat16;
    case ScalarType::Half: return Dtype::float16;
    default: check(false, name, ": expected float32, float64, bfloat16 or float16, got another dtype"); return {};
  }
}

constexpr int64_t kLargest = int64_t(1) << 31;  // sizes and distances in pixels are below, so that no product overflows

[[maybe_unused]] Image image(const char* name, const Tensor& t) {
  check(t.dim() == 4, name, ": expected 4 dimensions, got shape ", Shape(t));
  check(t.size(2) < kLargest && t.size(3) < kLargest, name, ": expected fewer than 2^31 rows and columns, got shape ",
        Shape(t));
  return {t.data_ptr(), dtype(name, t), t.size(0),   t.size(1),   t.size(2),
          t.size(3),    t.stride(0),    t.stride(1), t.stride(2), t.stride(3)};
}

// Run the loops; a failed allocation becomes an error of PyTorch.
template <class Loops>
void run(const Loops& loops) {
  try {
    loops(chosen());
  } catch (const OutOfMemory& error) {
    check(false, "involution: not enough memory: a thread asked for ", error.bytes, " bytes for the rows it works on");
  }
}

// glibc returns large blocks to the system: those of more than 32 MiB at once, others when memory at the end of the heap
// is free. Most are then new memory in every call: ask for huge pages, because the first access to each small one takes
// longer than the arithmetic on it.
void prefer_huge_pages([[maybe_unused]] const Tensor& t) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t large = 4 << 20, page = 2 << 20;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(t.data_ptr()), bytes = t.numel() * t.element_size();
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes) / page * page;
  if (bytes > large) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

Tensor empty_strided(const Tensor& like, const Ints& sizes, const Ints& strides) {
  int32_t scalar_type;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &scalar_type));
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
      sizes.size(), sizes.data(), strides.data(), scalar_type, aoti_torch_device_type_cpu(), 0, &handle));
  const Tensor empty(handle);
  prefer_huge_pages(empty);
  return empty;
}

}  // namespace
}  // namespace involution
