// Showers of a model that was exported with `fastv export MODEL --contract fastv -o MODEL.onnx`, one at a time.
//
//   shower MODEL.onnx ENERGY_MEV EVENTS SEED [VOXELS]
//
// prints the sum of the voxels of each event, or that it is handed back to full simulation, and writes the voxels of
// all others to the file VOXELS (float32). A shower is a function of the seed and of the number of its event. (Its noise
// comes from C++ engines: it is not the shower of Python.)

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

class ShowerModel {
 public:
  explicit ShowerModel(const char* path) : session_(env_, path, options()) {
    if (metadata("fastv_contract") != "fastv") throw std::runtime_error("the graph is not of contract fastv");
    if (metadata("conditions").find("},") != std::string::npos)
      throw std::runtime_error("this example knows models of the energy alone");
    normal_ = std::stoul(metadata("noise_normal"));
    uniform_ = std::stoul(metadata("noise_uniform"));
    // A real program has a JSON parser: {"energy": [1000.0, 1000000.0], ...}
    const std::string domain = metadata("domain");
    const std::size_t place = domain.find("\"energy\"");
    if (place == std::string::npos ||
        std::sscanf(domain.c_str() + place, "\"energy\" : [ %f , %f ]", &lowest_, &highest_) != 2)
      throw std::runtime_error("the metadata of the graph have no range of energies");
    noise_.resize(normal_ + uniform_);
    const std::vector<std::int64_t> shape =
        session_.GetOutputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();
    if (shape.size() != 2 || shape[1] <= 0) throw std::runtime_error("the graph has no fixed number of voxels");
    energies_.resize(static_cast<std::size_t>(shape[1]));
  }

  // Voxel energies in MeV, (layer, alpha, r) with r fastest, valid until the next call; none if the shower needs full
  // simulation: its energy is outside the domain of the model, or the model gave what is no energy.
  const std::vector<float>* generate(float energyMeV, std::uint32_t seed, std::uint32_t event) {
    if (!(energyMeV >= lowest_ && energyMeV <= highest_)) return nullptr;
    std::seed_seq sequence{seed, event};
    std::mt19937_64 engine(sequence);  // in Geant4: G4RandGauss::shoot() and G4UniformRand() of the event
    std::normal_distribution<float> gauss;
    std::uniform_real_distribution<float> flat(0.0f, 1.0f);
    for (std::size_t i = 0; i < normal_; ++i) noise_[i] = gauss(engine);
    for (std::size_t i = normal_; i < noise_.size(); ++i) noise_[i] = flat(engine);

    const std::array<std::int64_t, 2> noiseShape{1, static_cast<std::int64_t>(noise_.size())};
    const std::array<std::int64_t, 2> conditionShape{1, 1};
    const std::array<std::int64_t, 2> energyShape{1, static_cast<std::int64_t>(energies_.size())};
    // The tensors are our own memory: nothing is copied.
    std::array<Ort::Value, 2> inputs{
        Ort::Value::CreateTensor<float>(memory_, noise_.data(), noise_.size(), noiseShape.data(), 2),
        Ort::Value::CreateTensor<float>(memory_, &energyMeV, 1, conditionShape.data(), 2)};
    Ort::Value output =
        Ort::Value::CreateTensor<float>(memory_, energies_.data(), energies_.size(), energyShape.data(), 2);
    const std::array<const char*, 2> inputNames{"noise", "conditions"};
    const std::array<const char*, 1> outputNames{"energies"};
    session_.Run(Ort::RunOptions{nullptr}, inputNames.data(), inputs.data(), 2, outputNames.data(), &output, 1);
    const bool good = std::all_of(energies_.begin(), energies_.end(),
                                  [](float energy) { return std::isfinite(energy) && energy >= 0.0f; });
    if (!good) return nullptr;
    return &energies_;
  }

 private:
  static Ort::SessionOptions options() {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);  // an event loop has its own threads; each of them has a model of its own
    options.SetInterOpNumThreads(1);
    return options;
  }

  std::string metadata(const char* key) {
    Ort::AllocatorWithDefaultOptions allocator;
    Ort::AllocatedStringPtr found = session_.GetModelMetadata().LookupCustomMetadataMapAllocated(key, allocator);
    return found ? found.get() : "";
  }

  Ort::Env env_{ORT_LOGGING_LEVEL_ERROR, "fastv"};
  Ort::Session session_;
  Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::size_t normal_ = 0;
  std::size_t uniform_ = 0;
  float lowest_ = 0.0f;   // MeV
  float highest_ = 0.0f;  // MeV
  std::vector<float> noise_;
  std::vector<float> energies_;
};

// A whole number from 0 on.
static std::uint32_t whole(const char* text, const char* what) {
  char* end = nullptr;
  const unsigned long long value = std::strtoull(text, &end, 10);
  if (*text < '0' || *text > '9' || *end != '\0' || value > UINT32_MAX)
    throw std::runtime_error(std::string(what) + " must be a whole number from 0 to 4294967295, got " + text);
  return static_cast<std::uint32_t>(value);
}

int main(int count, char** arguments) {
  if (count != 5 && count != 6) {
    std::fprintf(stderr, "usage: shower MODEL.onnx ENERGY_MEV EVENTS SEED [VOXELS]\n");
    return 2;
  }
  try {
    char* end = nullptr;
    const float energy = std::strtof(arguments[2], &end);
    if (end == arguments[2] || *end != '\0')
      throw std::runtime_error(std::string("ENERGY_MEV must be a number, got ") + arguments[2]);
    const std::uint32_t events = whole(arguments[3], "EVENTS"), seed = whole(arguments[4], "SEED");
    ShowerModel model(arguments[1]);
    std::ofstream voxels;
    if (count == 6) voxels.open(arguments[5], std::ios::binary);
    const std::string unwritten = count == 6 ? std::string("cannot write ") + arguments[5] : "";
    if (!voxels) throw std::runtime_error(unwritten);
    for (std::uint32_t event = 0; event < events; ++event) {
      const std::vector<float>* shower = model.generate(energy, seed, event);
      if (!shower) {
        std::printf("%u handed back\n", event);
        continue;
      }
      std::printf("%u %.6g MeV\n", event, std::accumulate(shower->begin(), shower->end(), 0.0));
      if (count == 6)
        voxels.write(reinterpret_cast<const char*>(shower->data()),
                     static_cast<std::streamsize>(shower->size() * sizeof(float)));
    }
    if (count == 6) voxels.flush();
    if (!voxels) throw std::runtime_error(unwritten);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "shower: %s\n", error.what());
    return 2;
  }
  return 0;
}
