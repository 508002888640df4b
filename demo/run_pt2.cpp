// Runs a network that `involution export --format pt2` wrote, without Python:
//
//     run_pt2 LIBRARY PACKAGE BATCH HEIGHT WIDTH
//
// LIBRARY is the operator library, which `involution info` names. The images are a ramp from 0 to 1; the first results
// are printed. Compile with the headers and libraries of torch.utils.cpp_extension.include_paths and library_paths:
//
//     g++ -std=c++20 run_pt2.cpp -I INCLUDE ... -L LIBRARIES -Wl,-rpath,LIBRARIES -ltorch -ltorch_cpu -lc10 -ldl
#include <ATen/ops/linspace.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdlib>
#include <iostream>

int main(int count, char** arguments) {
  if (count != 6) return std::cerr << "usage: run_pt2 LIBRARY PACKAGE BATCH HEIGHT WIDTH\n", 2;
  if (!dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL)) return std::cerr << dlerror() << "\n", 2;
  const int64_t batch = std::atoll(arguments[3]), height = std::atoll(arguments[4]), width = std::atoll(arguments[5]);
  torch::inductor::AOTIModelPackageLoader network(arguments[2]);
  const at::Tensor images = at::linspace(0, 1, batch * 3 * height * width).view({batch, 3, height, width});
  const at::Tensor y = network.run({images})[0].flatten();
  std::cout.precision(9);
  for (int64_t i = 0; i < y.numel() && i < 10; ++i) std::cout << y[i].item<float>() << "\n";
}
