// Does with a graph what the programs do that run it, through onnxruntime's C API, and writes what they deposit.
//
// consumer LIBRARY MODEL CONTRACT R PHI Z LATENT SIZE_R SHOWERS ENERGY THETA PHI_ANGLE SEED
//
// Energy in MeV; theta: for ddml the angle to the normal, else the polar angle; rad. Written are, for each deposit,
// four float32 numbers: x, y (mm), layer, energy (MeV).
#include <dlfcn.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {
constexpr double pi = 3.14159265358979323846;

// onnxruntime's wheel has no headers. Its interface is a table of functions whose order never changes; these are the
// places in it of what is called here.
enum Place {
  GetErrorMessage = 2, CreateEnv = 3, CreateSession = 7, Run = 9, CreateSessionOptions = 10,
  SetSessionGraphOptimizationLevel = 23, SetIntraOpNumThreads = 24, SessionGetInputCount = 30, SessionGetInputName = 36,
  SessionGetOutputName = 37, CreateTensorWithDataAsOrtValue = 49, GetTensorMutableData = 51, CreateCpuMemoryInfo = 69,
  GetAllocatorWithDefaultOptions = 78, ReleaseValue = 96,
};
struct Base { void** (*GetApi)(std::uint32_t); const char* (*GetVersionString)(); };
void** api;

template <typename... Arguments>
void call(Place place, Arguments... arguments) {
  void* status = reinterpret_cast<void* (*)(Arguments...)>(api[place])(arguments...);
  if (status == nullptr) return;
  std::fprintf(stderr, "%s\n", reinterpret_cast<const char* (*)(void*)>(api[GetErrorMessage])(status));
  std::exit(3);
}
}  // namespace

int main(int count, char** arguments) {
  if (count != 14) return 2;
  const std::string contract = arguments[3];
  const int nR = std::atoi(arguments[4]), nPhi = std::atoi(arguments[5]), nZ = std::atoi(arguments[6]);
  const int latent = std::atoi(arguments[7]);
  const double sizeR = std::atof(arguments[8]);
  const int showers = std::atoi(arguments[9]);
  const double energy = std::atof(arguments[10]), theta = std::atof(arguments[11]), phi = std::atof(arguments[12]);
  std::mt19937_64 engine(std::strtoull(arguments[13], nullptr, 10));
  std::normal_distribution<double> gauss;

  void* library = dlopen(arguments[1], RTLD_NOW);
  if (library == nullptr) { std::fprintf(stderr, "%s\n", dlerror()); return 4; }
  const auto* base = reinterpret_cast<const Base* (*)()>(dlsym(library, "OrtGetApiBase"))();
  api = base->GetApi(14);
  void *env, *options, *session, *memory, *allocator;
  call(CreateEnv, 3, "consumer", &env);
  call(CreateSessionOptions, &options);
  call(SetIntraOpNumThreads, options, 1);
  call(SetSessionGraphOptimizationLevel, options, 0);  // as the programs do unless they are asked
  call(CreateSession, env, static_cast<const char*>(arguments[2]), options, &session);
  call(CreateCpuMemoryInfo, 1, 0, &memory);
  call(GetAllocatorWithDefaultOptions, &allocator);
  std::size_t inputs = 0;
  call(SessionGetInputCount, session, &inputs);
  char *inputName, *outputName;
  call(SessionGetInputName, session, inputs - 1, allocator, &inputName);  // only the last one is fed
  call(SessionGetOutputName, session, std::size_t{0}, allocator, &outputName);

  const bool dit = contract == "par04-calodit2", dd4hep = contract == "ddml";
  for (int shower = 0; shower < showers; ++shower) {
    std::vector<float> input;
    if (dit) {
      input = {float(energy / 1000.), float(phi), float(theta), 1, 0, 0, 0, 0};
    } else {
      for (int i = 0; i < latent; ++i) input.push_back(float(gauss(engine)));
      input.push_back(float(energy / 1024000.));
      input.push_back(dd4hep ? float(theta / (pi / 2.)) : float((theta / pi * 180.) / 90.));
      input.push_back(0);
      input.push_back(1);
    }
    const std::int64_t shape[2] = {1, std::int64_t(input.size())};
    void *tensor, *output = nullptr, *data;
    call(CreateTensorWithDataAsOrtValue, memory, static_cast<void*>(input.data()), input.size() * sizeof(float),
         static_cast<const std::int64_t*>(shape), std::size_t{2}, 1, &tensor);
    const char* const inputNames[1] = {inputName};
    const char* const outputNames[1] = {outputName};
    call(Run, session, static_cast<void*>(nullptr), static_cast<const char* const*>(inputNames),
         static_cast<void* const*>(&tensor), std::size_t{1}, static_cast<const char* const*>(outputNames),
         std::size_t{1}, &output);
    call(GetTensorMutableData, output, &data);
    const float* cells = static_cast<const float*>(data);
    int cell = 0;
    for (int r = 0; r < nR; ++r)
      for (int a = 0; a < nPhi; ++a)
        for (int z = 0; z < nZ; ++z, ++cell) {
          const double deposit = cells[cell] * (dit ? 1000. : energy);
          if (!(deposit > (dd4hep ? 0. : 0.0005))) continue;
          const double angle = (a + 0.5) * 2 * pi / nPhi - (dd4hep ? 0. : pi);
          const float written[4] = {float((r + 0.5) * sizeR * std::cos(angle)),
                                    float((r + 0.5) * sizeR * std::sin(angle)), float(z), float(deposit)};
          std::fwrite(written, sizeof(float), 4, stdout);
        }
    reinterpret_cast<void (*)(void*)>(api[ReleaseValue])(tensor);
    reinterpret_cast<void (*)(void*)>(api[ReleaseValue])(output);
  }
  return 0;
}
