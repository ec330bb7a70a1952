// Runs an exported rule with onnxruntime alone: one observation per line in, actions out.
//   ./run_rule a1_walk.onnx 0.1 < observations.txt
#include <onnxruntime_cxx_api.h>

#include <iostream>
#include <random>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 3) return std::cerr << "usage: run_rule MODEL.onnx START_SCALE\n", 2;
  Ort::Env env(ORT_LOGGING_LEVEL_ERROR);
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1).AddConfigEntry("session.intra_op.allow_spinning", "0");
  Ort::Session session(env, argv[1], options);
  Ort::IoBinding binding(session);
  Ort::AllocatorWithDefaultOptions memory;
  const auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);

  // Inputs without a default: the observation and, unless the start is evolved, the weights, drawn
  // from ±START_SCALE. weights{k} and initial{k} start equal: the layer's number seeds both.
  std::vector<Ort::Value> given;
  for (size_t i = 0; i < session.GetInputCount(); ++i) {
    const std::string name = session.GetInputNameAllocated(i, memory).get();
    const auto shape = session.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetShape();
    given.push_back(Ort::Value::CreateTensor<float>(memory, shape.data(), shape.size()));
    std::mt19937 random(i ? std::stoi(name.substr(7)) : 0);  // weights0, initial0, weights1 …
    for (size_t j = 0; j < given[i].GetTensorTypeAndShapeInfo().GetElementCount(); ++j)
      given[i].GetTensorMutableData<float>()[j] =
          std::stof(argv[2]) * float(2.0 * random() / 4294967295.0 - 1.0);
    binding.BindInput(name.c_str(), given[i]);
  }
  std::vector<std::string> outputs;
  for (size_t i = 0; i < session.GetOutputCount(); ++i)
    outputs.emplace_back(session.GetOutputNameAllocated(i, memory).get());

  std::cout.precision(9);  // enough to distinguish any two float32
  while (true) {           // a tick
    for (size_t j = 0; j < given[0].GetTensorTypeAndShapeInfo().GetElementCount(); ++j)
      if (!(std::cin >> given[0].GetTensorMutableData<float>()[j])) return 0;
    for (const auto& name : outputs) binding.BindOutput(name.c_str(), cpu);
    session.Run(Ort::RunOptions{nullptr}, binding);
    const auto results = binding.GetOutputValues();
    for (size_t i = 0; i < outputs.size(); ++i) {
      const auto stem = outputs[i].rfind("_out");
      if (stem != std::string::npos)  // state: X_out of this tick is X of the next, without a copy
        binding.BindInput(outputs[i].substr(0, stem).c_str(), results[i]);
      else if (outputs[i] == "action")
        for (size_t j = 0; j < results[i].GetTensorTypeAndShapeInfo().GetElementCount(); ++j)
          std::cout << results[i].GetTensorData<float>()[j] << ' ';
    }
    std::cout << '\n';
  }
}
